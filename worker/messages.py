"""A template in a language becomes an Email or an Sms; called by worker/delivery.py per attempt."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from jinja2 import (
    Environment,
    FileSystemLoader,
    StrictUndefined,
    Template,
    TemplateError,
    select_autoescape,
)

from shared.codes import Code
from shared.errors import RenderError
from shared.gsm7 import segments
from shared.languages import format_clock_time, format_moment
from shared.links import default_link, expand_template, short_link
from shared.models import (
    BulkEmail,
    Channel,
    Email,
    Message,
    Organisation,
    Recipient,
    Reset,
    Sms,
    User,
)
from shared.providers import Provider
from shared.store.resets import Claim

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from shared.codes import Code
    from shared.languages import Languages
    from shared.models import Message, Organisation, Recipient, Reset, User
    from shared.settings import Settings

MAX_CHARACTERS = 60
_JOINERS = "\u200c\u200d"  # invisible, yet part of how Persian and Indic names are written
# What mail programs turn into a link by themselves, and so would carry somebody's phishing.
_ADDRESS = re.compile(r"://|www\.|[^\W_]-?\.-?[^\W_]{2,}|\d\.\d+\.\d", re.IGNORECASE)


def clean_name(raw: str) -> str | None:
    """A name as one line of at most 60 printable characters; None when there is none to use.

    A name that holds an address is not used at all.
    """
    line = " ".join(raw.split())
    if not line.isprintable():
        line = "".join(sign for sign in line if sign.isprintable() or sign in _JOINERS)
        line = line.strip(_JOINERS + " ")
    if not line or _holds_address(line):
        return None
    return line if len(line) <= MAX_CHARACTERS else line[: MAX_CHARACTERS - 1].rstrip() + "…"


def _holds_address(line: str) -> bool:
    """True for hosts too that are spelled with other full stops or with wide letters."""
    if not line.isascii():
        line = unicodedata.normalize("NFKC", line).replace("\u3002", ".")
        line = "".join(sign for sign in line if sign not in _JOINERS)
    return _ADDRESS.search(line) is not None


class Wording:
    """Words for resets and people; any number of threads may share it."""

    def __init__(self, settings: Settings, languages: Languages) -> None:
        """`languages` holds the sentences."""
        self._settings, self._languages = settings, languages
        self._says = {tag: partial(languages.say, tag) for tag in languages.tags}
        self._domain = settings.email_from.rpartition("@")[2].encode("idna").decode()

    def language(self, reset: Reset) -> str:
        """The one of our languages in which a message is written."""
        return self._languages.choose(reset.language)

    def say(self, language: str) -> Callable[..., str]:
        """The sentences of a language: `say("de")("mail.automatic")`."""
        return self._says[language]

    def greeting(self, language: str, user: User) -> str:
        """The first line, with the name where there is one to use."""
        name = clean_name(user.display_name)
        say = self._says[language]
        return say("mail.greeting", name=name) if name else say("mail.greeting_plain")

    def name_of(self, organisation: Organisation | None) -> str:
        """Who is writing: the organisation, else the sender."""
        name = clean_name(organisation.name) if organisation else None
        return name or self._settings.email_from_name

    def moment(self, language: str, at: datetime) -> str:
        """A moment for a mail."""
        return format_moment(language, at, self._settings.time_zone)

    def time(self, language: str, at: datetime) -> str:
        """A moment for an SMS."""
        return format_clock_time(language, at, self._settings.time_zone)

    def link(self, reset: Reset, code: Code, language: str) -> str:
        """The address that carries the code."""
        user_id, org_id = reset.user_id, reset.org_id
        if reset.url_template is not None:
            return expand_template(reset.url_template, user_id=user_id, code=code, org_id=org_id)
        base = self._settings.link_base
        if reset.channel is Channel.SMS:
            return short_link(base, reset_id=reset.reset_id, code=code)
        return default_link(base, user_id=user_id, code=code, org_id=org_id, language=language)

    def message_id(self, reset_id: str) -> str:
        """A mail's Message-ID: the same on every attempt."""
        return f"<{reset_id}@{self._domain}>"


TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class MailTemplate:
    """The three templates of one mail."""

    subject: Template
    text: Template
    html: Template


def make_environment(templates: Path) -> Environment:
    """Where templates are kept once they are compiled; `templates` is the folder with the files."""
    return Environment(
        loader=FileSystemLoader(templates),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


def load_mail(environment: Environment, name: str) -> MailTemplate:
    """The mail of this name."""
    parts = ("subject.txt", "txt", "html")
    return MailTemplate(*(environment.get_template(f"{name}.{part}") for part in parts))


def fill(template: Template, facts: dict[str, object]) -> str:
    """A template with its values.

    Raises:
        RenderError: it asks for a value or a sentence that is not there.
    """
    try:
        return template.render(facts)
    except TemplateError as error:
        raise RenderError(f"{template.name}: {error.message}") from error


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


class Renderer(Protocol):
    """Turns a reset into a message."""

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
        """The message with the code."""

    def render_notice(
        self, reset: Reset, user: User, recipient: Recipient, organisation: Organisation | None
    ) -> Email:
        """The mail that tells of a changed password."""


class ProviderSwitch(NamedTuple):
    """A message goes out by another provider than this one."""

    before: str
    reason: str  # paused, circuit_open, asked_to_wait, or the last attempt's outcome


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A message, whom it goes to and who carries it."""

    message: Message
    recipient: Recipient
    provider: Provider[Message]
    switch: ProviderSwitch | None = None


@dataclass(frozen=True, slots=True)
class BulkItem:
    """What a copy of a circular is made of, and who carries it."""

    claim: Claim
    user: User
    recipient: Recipient
    code: Code
    provider: Provider[Message]
    switch: ProviderSwitch | None = None


class Circulars(Protocol):
    """Turns drafts that share language and organisation into one mail for many."""

    def language(self, reset: Reset) -> str:
        """The language a reset's mail is written in."""

    def render(
        self, language: str, organisation: Organisation | None, drafts: Sequence[BulkItem]
    ) -> BulkEmail:
        """The mail, with a copy for each draft in their order."""
