"""Render a reset or a notice as an Email or an Sms, in a language, for every attempt."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from jinja2 import (
    Environment,
    FileSystemLoader,
    StrictUndefined,
    Template,
    TemplateError,
    select_autoescape,
)
from markupsafe import Markup

from shared.codes import Code
from shared.errors import RenderError
from shared.gsm7 import split_into_parts
from shared.languages import (
    END_ISOLATE,
    ISOLATE,
    Languages,
    direction,
    format_clock_time,
    format_moment,
    gap,
    isolate,
)
from shared.links import default_link, expand_template, short_link
from shared.models import (
    Channel,
    Email,
    Message,
    Organisation,
    Recipient,
    Reset,
    Sms,
    User,
)
from shared.settings import Settings
from shared.validation import ascii_domain

# Outlook knows no fonts of the system; without a name it shows these scripts in a serif.
OWN_FONTS = {
    **dict.fromkeys(("ar", "fa", "he"), "Tahoma,"),
    "hi": "'Nirmala UI','Kohinoor Devanagari',",
    "ja": "'Hiragino Sans','Yu Gothic UI',Meiryo,",
    "ko": "'Apple SD Gothic Neo','Malgun Gothic',",
    "th": "'Leelawadee UI',Thonburi,",
    "zh-Hans": "'PingFang SC','Microsoft YaHei',",
    "zh-Hant": "'PingFang TC','Microsoft JhengHei',",
}
LTR_MARK = "\u200e"
_NO_ISOLATES = str.maketrans("", "", ISOLATE + END_ISOLATE)
TEMPLATES = Path(__file__).parent / "templates"
MAX_NAME_CHARACTERS = 60
JOINERS = "\u200c\u200d"  # invisible, yet part of how Persian and Indic names are written
# What mail programs turn into a link by themselves, and so would carry somebody's phishing.
ADDRESS = re.compile(r"://|www\.|[^\W_]-?\.-?[^\W_]{2,}|\d\.\d+\.\d", re.IGNORECASE)

MAX_DIGITS = 4  # "Ada 1815", but no number that can be called
# Marks that no name holds; the end of a longer word: "Sammy Davis Jr." is a name; sums.
SENTENCE = re.compile(
    r"\w ?[!?؟。]|[¡¿]|[^\W\d_]{5,}[.](\s|$)|[^\W\d_]{4,}[.]$|[$€£] ?\d|\d ?[%$€£]"
)
STREET = re.compile(
    r"stra(ss|ß)e\b|str\.|(weg|gasse|platz|allee|straat|laan)\b|\b(street|road|avenue|lane|rue|via"
    r"|calle|rua|ulica|ul\.|p\.? ?o\.? box|postfach)\b",
    re.IGNORECASE,
)
# A word in small letters, but those that stand in names.
PLAIN_WORD = re.compile(
    r"(?<!\S)(?!(al|bin|das?|de|de[lnr]|della|di|dos?|du|el?|i|l[ae]|los|of|the|und|van|von|y|zu)\b)"
    r"[^\W\d_]+(?!\S)"
)
MIN_WORDS, MIN_PLAIN_WORDS = 5, 3  # of a sentence
# Words of messages that ask for an act, in the languages of our mails.
CALL_TO_ACT = re.compile(
    r"\b(account|password|click|call|please|your?|urgente?|verify|security|winner|konto|passwort|bitte"
    r"|klicken|anrufen|gewonnen|sofort|compte|cliquez|appelez|gagné|votre|cuenta|llame|ganado|clicca"
    r"|chiami|vinto|clique|ganhou|rekening|hasło|kliknij|zadzwoń|wygrałeś)\b",
    re.IGNORECASE,
)


class MessageRenderer:
    """Renders all messages; one per process, for it keeps the compiled templates."""

    def __init__(
        self, settings: Settings, languages: Languages, *, templates: Path = TEMPLATES
    ) -> None:
        """`templates` is the folder with the files named by message and part."""
        self._settings = settings
        self._wording = Wording(settings, languages)
        environment = make_environment(templates)
        self._reset = MailTemplate.load(environment, "reset")
        self._notice = MailTemplate.load(environment, "password-changed")
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
        """Return the message with the code, for the recipient's channel; equal on every attempt.

        Raises:
            RenderError: a template asks for a value or a sentence that does not exist.
        """
        if recipient.channel is Channel.SMS:
            return self.render_sms(reset, recipient, organisation, code, seconds_left=seconds_left)
        language = self._wording.language(reset)
        values = {
            "greeting": self._wording.greeting(language, user),
            "code": code.formatted,
            "link": self._wording.link(reset, code, language),
            "moment": self._wording.moment(language, reset.deadline_at),
        }
        return self._render_email(self._reset, reset, recipient, organisation, values)

    def render_sms(
        self,
        reset: Reset,
        recipient: Recipient,
        organisation: Organisation | None,
        code: Code,
        *,
        seconds_left: float,
    ) -> Sms:
        """Return the SMS with the code.

        Raises:
            RenderError: the template asks for a value or a sentence that does not exist.
        """
        wording, language = self._wording, self._wording.language(reset)
        values = {
            "translate": wording.translator(language),
            "code": code.formatted,
            "link": wording.link(reset, code, language),
            "time": wording.time(language, reset.deadline_at),
        }
        # The name stands before the text where it costs no segment and no other alphabet, and
        # cuts no code in two.
        plain = fill(self._sms, values | {"organisation": None})
        named = fill(self._sms, values | {"organisation": wording.name_of(organisation)})
        base = self._settings.link_base
        return Sms(
            reset_id=reset.reset_id,
            recipient=recipient,
            body=named if _fits_as_well(named, plain, code.formatted) else plain,
            callback_url=f"{base}/callbacks/twilio?resetId={reset.reset_id}#rc=5&rp=all",
            validity_seconds=max(1, math.floor(seconds_left)),
        )

    def render_notice(
        self, reset: Reset, user: User, recipient: Recipient, organisation: Organisation | None
    ) -> Email:
        """Return the mail that says the password was changed.

        Raises:
            RenderError: a template asks for a value or a sentence that does not exist.
        """
        language, at = self._wording.language(reset), reset.completed_at or reset.created_at
        values = {
            "greeting": self._wording.greeting(language, user),
            "moment": self._wording.moment(language, at),
        }
        return self._render_email(self._notice, reset, recipient, organisation, values)

    def _render_email(
        self,
        mail: MailTemplate,
        reset: Reset,
        recipient: Recipient,
        organisation: Organisation | None,
        values: dict[str, str],
    ) -> Email:
        language = self._wording.language(reset)
        filled = {**self._wording.common_values(language, organisation), **values}
        return Email(
            reset_id=reset.reset_id,
            recipient=recipient,
            from_address=self._settings.email_from,
            from_name=self._settings.email_from_name,
            subject=mail.fill_subject(filled),
            text=fill(mail.text, filled),
            html=fill(mail.html, filled),
            message_id=self._wording.message_id(reset.reset_id),
            language=language,
        )


def _fits_as_well(named: str, plain: str, code: str) -> bool:
    parts, encoding = split_into_parts(named)
    plain_parts, plain_encoding = split_into_parts(plain)
    is_as_dear = (len(parts), encoding) == (len(plain_parts), plain_encoding)
    return is_as_dear and code in parts[0]


class Wording:
    """The values of templates, in a language; any number of threads may share it."""

    def __init__(self, settings: Settings, languages: Languages) -> None:
        """`languages` holds the sentences."""
        self._settings, self._languages = settings, languages
        self._translators = {tag: partial(languages.translate, tag) for tag in languages.tags}
        self._domain = ascii_domain(settings.email_from.rpartition("@")[2])

    def language(self, reset: Reset) -> str:
        """Return the supported language in which a message is written."""
        return self._languages.choose(reset.language)

    def translator(self, language: str) -> Callable[..., str]:
        """Return a function from keys to texts: `translator("de")("mail.automatic")`."""
        return self._translators[language]

    def common_values(self, language: str, organisation: Organisation | None) -> dict[str, object]:
        """Return what every mail in a language from an organisation contains."""
        return {
            "translate": self._translators[language],
            "language": language,
            "direction": direction(language),
            "gap": gap(language),
            # Before a code that begins with digits: it reads from the left all the same.
            "ltr_mark": LTR_MARK if direction(language) == "rtl" else "",
            "own_fonts": Markup(OWN_FONTS.get(language, "")),  # noqa: S704 - our own names
            "organisation": isolate(language, self.name_of(organisation)),
        }

    def greeting(self, language: str, user: User) -> str:
        """Return the first line, with the user's name if it can be used."""
        name = clean_name(user.display_name)
        name = name if name and _is_name_of_person(name) else None
        translate = self._translators[language]
        if not name:
            return translate("mail.greeting_plain")
        return translate("mail.greeting", name=isolate(language, name))

    def name_of(self, organisation: Organisation | None) -> str:
        """Return the sender's name: the organisation's, else the configured one."""
        name = clean_name(organisation.name) if organisation else None
        return name or self._settings.email_from_name

    def moment(self, language: str, at: datetime) -> str:
        """Return a moment for a mail."""
        return format_moment(language, at, self._settings.time_zone)

    def time(self, language: str, at: datetime) -> str:
        """Return a moment for an SMS."""
        return format_clock_time(language, at, self._settings.time_zone)

    def link(self, reset: Reset, code: Code, language: str) -> str:
        """Return the address that carries the code."""
        user_id, org_id = reset.user_id, reset.org_id
        if reset.url_template is not None:
            return expand_template(reset.url_template, user_id=user_id, code=code, org_id=org_id)
        base = self._settings.link_base
        if reset.channel is Channel.SMS:
            return short_link(base, reset_id=reset.reset_id, code=code)
        return default_link(base, user_id=user_id, code=code, org_id=org_id, language=language)

    def message_id(self, reset_id: str) -> str:
        """Return a mail's Message-ID: the same on every attempt."""
        return f"<{reset_id}@{self._domain}>"


def clean_name(raw: str) -> str | None:
    """Return a name as one line of at most 60 printable characters; None if none can be used.

    A name that holds an address is not used at all.
    """
    line = " ".join(raw.split())
    if not line.isprintable():
        line = "".join(sign for sign in line if sign.isprintable() or sign in JOINERS)
        line = line.strip(JOINERS + " ")
    if not line or _holds_address(line):
        return None
    return (
        line if len(line) <= MAX_NAME_CHARACTERS else line[: MAX_NAME_CHARACTERS - 1].rstrip() + "…"
    )


def _is_name_of_person(line: str) -> bool:
    """Return False for a number to call, a postal address or a sentence: none of them greets.

    A stranger chooses the display name, and our mail would carry it. Who loses a true name to a
    rule is greeted without it.
    """
    line = unicodedata.normalize("NFKC", line)
    digits, words = sum(char.isdigit() for char in line), len(line.split())
    plain = sum(found[0].islower() for found in PLAIN_WORD.finditer(line))
    return not (
        digits > MAX_DIGITS
        or (digits and not any(char.isalpha() for char in line))
        or SENTENCE.search(line)
        or (digits and STREET.search(line))
        or (words >= MIN_WORDS and plain >= MIN_PLAIN_WORDS)
        or (words > 2 and CALL_TO_ACT.search(line))  # noqa: PLR2004
    )


def _holds_address(line: str) -> bool:
    """Return True if a mail program may link a part of the line, also in full-width letters."""
    if not line.isascii():
        line = unicodedata.normalize("NFKC", line).replace("\u3002", ".")
        line = "".join(sign for sign in line if sign not in JOINERS)
    return ADDRESS.search(line) is not None


def make_environment(folder: Path) -> Environment:
    """Return a Jinja environment that refuses unknown values; it keeps the compiled templates."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


@dataclass(frozen=True, slots=True)
class MailTemplate:
    """The three templates of one mail."""

    subject: Template
    text: Template
    html: Template

    def fill_subject(self, values: dict[str, object]) -> str:
        """Return the subject as one line, without marks of direction: some lists show them.

        Raises:
            RenderError: as `fill`.
        """
        return " ".join(fill(self.subject, values).translate(_NO_ISOLATES).split())

    @classmethod
    def load(cls, environment: Environment, name: str) -> MailTemplate:
        """Return the mail of this name."""
        parts = ("subject.txt", "txt", "html")
        return cls(*(environment.get_template(f"{name}.{part}") for part in parts))


def fill(template: Template, values: dict[str, object]) -> str:
    """Return a template with its values.

    Raises:
        RenderError: it asks for a value or a sentence that does not exist.
    """
    try:
        return template.render(values)
    except TemplateError as error:
        raise RenderError(f"{template.name}: {error.message}") from error
