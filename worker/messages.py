"""A template in a language becomes an Email or an Sms; called by worker/delivery.py per attempt."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import (
    Environment,
    FileSystemLoader,
    StrictUndefined,
    Template,
    TemplateError,
    select_autoescape,
)

from shared.errors import RenderError
from shared.gsm7 import segments
from shared.languages import spell_moment, spell_time
from shared.links import default_link, expand_template, short_link
from shared.models import Channel, Email, Sms
from worker.names import clean_name

if TYPE_CHECKING:
    from datetime import datetime

    from shared.codes import Code
    from shared.languages import Languages
    from shared.models import Message, Organisation, Recipient, Reset, User
    from shared.settings import Settings

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class _Mail:
    """The three templates of one mail."""

    subject: Template
    text: Template
    html: Template


class MessageRenderer:
    """Renders all messages; one per process, for it keeps the compiled templates."""

    def __init__(
        self, settings: Settings, languages: Languages, *, templates: Path = TEMPLATES
    ) -> None:
        """`templates` is the folder with the files named by message and part."""
        self._settings = settings
        self._languages = languages
        environment = Environment(
            loader=FileSystemLoader(templates),
            autoescape=select_autoescape(["html"]),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._reset = _load_mail(environment, "reset")
        self._notice = _load_mail(environment, "password-changed")
        self._sms = environment.get_template("reset.sms.txt")
        self._says = {tag: partial(languages.say, tag) for tag in languages.tags}
        self._domain = settings.email_from.rpartition("@")[2].encode("idna").decode()

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
        facts = self._facts(reset, user, organisation) | {
            "code": code.spelled,
            "link": self._link(reset, code),
            "moment": self._spell(reset, reset.deadline_at),
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
        facts["moment"] = self._spell(reset, reset.completed_at or reset.created_at)
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
        language = self._languages.choose(reset.language)
        facts = {
            "say": self._says[language],
            "code": code.spelled,
            "link": self._link(reset, code),
            "time": spell_time(language, reset.deadline_at, self._settings.time_zone),
        }
        # The name stands before the words where it costs no segment and no other alphabet.
        plain = _fill(self._sms, facts | {"organisation": None})
        named = _fill(self._sms, facts | {"organisation": self._name_of(organisation)})
        base = self._settings.link_base
        return Sms(
            reset_id=reset.reset_id,
            recipient=recipient,
            body=named if segments(named) == segments(plain) else plain,
            callback_url=f"{base}/callbacks/twilio?resetId={reset.reset_id}#rc=5&rp=all",
            validity_seconds=max(1, math.floor(seconds_left)),
        )

    def _email(
        self, mail: _Mail, reset: Reset, recipient: Recipient, facts: dict[str, object]
    ) -> Email:
        return Email(
            reset_id=reset.reset_id,
            recipient=recipient,
            from_address=self._settings.email_from,
            from_name=self._settings.email_from_name,
            subject=" ".join(_fill(mail.subject, facts).split()),
            text=_fill(mail.text, facts),
            html=_fill(mail.html, facts),
            message_id=f"<{reset.reset_id}@{self._domain}>",
            language=str(facts["language"]),
        )

    def _facts(
        self, reset: Reset, user: User, organisation: Organisation | None
    ) -> dict[str, object]:
        """What every mail knows."""
        language = self._languages.choose(reset.language)
        say, name = self._says[language], clean_name(user.display_name)
        return {
            "say": say,
            "language": language,
            "organisation": self._name_of(organisation),
            "greeting": say("mail.greeting", name=name) if name else say("mail.greeting_plain"),
        }

    def _name_of(self, organisation: Organisation | None) -> str:
        """Who is writing: the organisation, else the sender."""
        name = clean_name(organisation.name) if organisation else None
        return name or self._settings.email_from_name

    def _spell(self, reset: Reset, at: datetime) -> str:
        return spell_moment(self._languages.choose(reset.language), at, self._settings.time_zone)

    def _link(self, reset: Reset, code: Code) -> str:
        user_id, org_id = reset.user_id, reset.org_id
        if reset.url_template is not None:
            return expand_template(reset.url_template, user_id=user_id, code=code, org_id=org_id)
        base = self._settings.link_base
        if reset.channel is Channel.SMS:
            return short_link(base, reset_id=reset.reset_id, code=code)
        language = self._languages.choose(reset.language)
        return default_link(base, user_id=user_id, code=code, org_id=org_id, language=language)


def _load_mail(environment: Environment, name: str) -> _Mail:
    parts = ("subject.txt", "txt", "html")
    return _Mail(*(environment.get_template(f"{name}.{part}") for part in parts))


def _fill(template: Template, facts: dict[str, object]) -> str:
    try:
        return template.render(facts)
    except TemplateError as error:
        raise RenderError(f"{template.name}: {error.message}") from error
