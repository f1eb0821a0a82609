"""A template in a language becomes an Email or an Sms; called by worker/delivery.py per attempt."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from shared.gsm7 import segments
from shared.models import Channel, Email, Sms
from worker.circulars import CircularRenderer
from worker.mail_templates import TEMPLATES, fill, load_mail, make_environment
from worker.wording import Wording

if TYPE_CHECKING:
    from pathlib import Path

    from shared.codes import Code
    from shared.languages import Languages
    from shared.models import Message, Organisation, Recipient, Reset, User
    from shared.settings import Settings
    from worker.mail_templates import MailTemplate


class MessageRenderer:
    """Renders all messages; one per process, for it keeps the compiled templates."""

    def __init__(
        self, settings: Settings, languages: Languages, *, templates: Path = TEMPLATES
    ) -> None:
        """`templates` is the folder with the files named by message and part."""
        self._settings = settings
        self._words = Wording(settings, languages)
        environment = make_environment(templates)
        self._reset = load_mail(environment, "reset")
        self._notice = load_mail(environment, "password-changed")
        self._sms = environment.get_template("reset.sms.txt")
        self.circulars = CircularRenderer(settings, self._words, self._reset)

    def render_reset(
        self,
        reset: Reset,
        user: User,
        recipient: Recipient,
        organisation: Organisation | None,
        code: Code,
        *,
        seconds_left: float,
    ) -> Message:
        """The message with the code, for the recipient's channel; the same on every attempt.

        Raises:
            RenderError: a template asks for a value or a sentence that is not there.
        """
        if recipient.channel is Channel.SMS:
            return self._render_sms(reset, recipient, organisation, code, seconds_left=seconds_left)
        words, language = self._words, self._words.language(reset)
        facts = self._facts(reset, user, organisation) | {
            "code": code.spelled,
            "link": words.link(reset, code, language),
            "moment": words.moment(language, reset.deadline_at),
        }
        return self._email(self._reset, reset, recipient, facts)

    def render_notice(
        self, reset: Reset, user: User, recipient: Recipient, organisation: Organisation | None
    ) -> Email:
        """The mail that says the password was changed.

        Raises:
            RenderError: a template asks for a value or a sentence that is not there.
        """
        facts = self._facts(reset, user, organisation)
        at = reset.completed_at or reset.created_at
        facts["moment"] = self._words.moment(self._words.language(reset), at)
        return self._email(self._notice, reset, recipient, facts)

    def _render_sms(
        self,
        reset: Reset,
        recipient: Recipient,
        organisation: Organisation | None,
        code: Code,
        *,
        seconds_left: float,
    ) -> Sms:
        words, language = self._words, self._words.language(reset)
        facts = {
            "say": words.say(language),
            "code": code.spelled,
            "link": words.link(reset, code, language),
            "time": words.time(language, reset.deadline_at),
        }
        # The name stands before the words where it costs no segment and no other alphabet.
        plain = fill(self._sms, facts | {"organisation": None})
        named = fill(self._sms, facts | {"organisation": words.name_of(organisation)})
        base = self._settings.link_base
        return Sms(
            reset_id=reset.reset_id,
            recipient=recipient,
            body=named if segments(named) == segments(plain) else plain,
            callback_url=f"{base}/callbacks/twilio?resetId={reset.reset_id}#rc=5&rp=all",
            validity_seconds=max(1, math.floor(seconds_left)),
        )

    def _email(
        self, mail: MailTemplate, reset: Reset, recipient: Recipient, facts: dict[str, object]
    ) -> Email:
        return Email(
            reset_id=reset.reset_id,
            recipient=recipient,
            from_address=self._settings.email_from,
            from_name=self._settings.email_from_name,
            subject=" ".join(fill(mail.subject, facts).split()),
            text=fill(mail.text, facts),
            html=fill(mail.html, facts),
            message_id=self._words.message_id(reset.reset_id),
            language=str(facts["language"]),
        )

    def _facts(
        self, reset: Reset, user: User, organisation: Organisation | None
    ) -> dict[str, object]:
        """What every mail knows."""
        words, language = self._words, self._words.language(reset)
        return {
            "say": words.say(language),
            "language": language,
            "organisation": words.name_of(organisation),
            "greeting": words.greeting(language, user),
        }
