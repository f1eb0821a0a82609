"""Render a reset or a notice as an Email or an Sms, in a language, for every attempt."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeAlias

from jinja2 import (
    Environment,
    FileSystemLoader,
    StrictUndefined,
    Template,
    TemplateError,
    select_autoescape,
)
from markupsafe import Markup, escape

from shared.codes import Code
from shared.errors import RenderError
from shared.gsm7 import split_into_parts
from shared.languages import (
    END_ISOLATE,
    ISOLATE,
    Languages,
    Sentence,
    direction,
    format_clock_time,
    format_moment,
    gap,
    isolate,
)
from shared.links import default_link, expand_template, short_link
from shared.models import (
    Attempt,
    Channel,
    Email,
    InlineImage,
    Message,
    Recipient,
    Reset,
    Sms,
    User,
)
from shared.organisations.profile import Branding, Profile
from shared.organisations.texts import NEEDED
from shared.policies import usable_from
from shared.providers.message_checks import clean_name, one_line
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
PNG = "image/png"  # an SVG is for the page alone: most mail clients do not show it
UNSAFE_IN_FEEDBACK_ID = re.compile(r"[^A-Za-z0-9._-]")
SMS_NOTICE_SECONDS = 4 * 3600.0  # for which the provider tries; it counts from the first attempt on
MAX_LOGO_WIDTH, MAX_LOGO_HEIGHT = 200, 40  # in a mail, in pixels
NO_BRANDING = Branding(display_name="")
MAX_KEPT = 1024  # mails of languages and organisations, 12 KB each
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
# Words of messages that ask for an act, in the languages of our mails that part words by blanks.
CALL_TO_ACT = re.compile(
    r"\b(account|password|click|call|please|your?|urgente?|verify|security|winner|konto|passwort|bitte"
    r"|klicken|anrufen|gewonnen|sofort|compte|cliquez|appelez|gagné|votre|cuenta|llame|ganado|clicca"
    r"|chiami|vinto|clique|ganhou|rekening|hasło|kliknij|zadzwoń|wygrałeś"
    r"|contraseña|contrasenya|senha|palavra-passe|heslo|klikněte|kliknite|zavolejte|zavolajte"
    r"|adgangskode|passord|lösenord|klicka|klik|salasana|parool|lozinka|nazovite|geslo|pokličite"
    r"|jelszó|kattintson|hívja|sandi|slaptažod\w+|spauskite|parole|parola|sunați|şifre"
    r"|пароль?|парола|натисніть|телефонуйте|кликнете|обадете|κωδικός|καλέστε|المرور|اتصل"
    r"|اضغط|گذرواژه|کلیک|סיסמה|לחצו|התקשרו|पासवर्ड|क्लिक|कॉल|khẩu|nhấp)\b",
    re.IGNORECASE,
)


Translate: TypeAlias = Callable[..., str]
# Called with organisation, language and key of a sentence of its own that cannot be filled.
NoteUnfilled: TypeAlias = Callable[[str, str, str], None]
_parse_sentence = lru_cache(maxsize=4096)(Sentence)


def ignore(_org_id: str, _language: str, _key: str) -> None:
    """Note nothing."""


@dataclass(frozen=True, slots=True)
class ListedCode:
    """A user's code whose link stands in the mail of several users with one address."""

    user: User
    reset: Reset
    code: Code


class MessageRenderer:
    """Renders all messages; one per process, for it keeps the compiled templates."""

    def __init__(
        self,
        settings: Settings,
        languages: Languages,
        note_unfilled: NoteUnfilled = ignore,
        *,
        templates: Path = TEMPLATES,
    ) -> None:
        """`templates` is the folder with the files named by message and part."""
        self._settings = settings
        self._wording = Wording(settings, languages, note_unfilled)
        self.text_version = self._wording.text_version
        environment = make_environment(templates)
        self._reset = MailTemplate.load(environment, "reset")
        self._notice = MailTemplate.load(environment, "password-changed")
        self._test = MailTemplate.load(environment, "provider-test")
        self._sms = environment.get_template("reset.sms.txt")
        self._kept: dict[tuple[str | None, str, str], tuple[Profile | None, list[list[str]]]] = {}
        self._notice_sms = environment.get_template("password-changed.sms.txt")

    def render_reset(
        self,
        reset: Reset,
        user: User,
        recipient: Recipient,
        profile: Profile | None,
        code: Code,
        *,
        seconds_left: float,
        listed: Sequence[ListedCode] = (),
    ) -> Message:
        """Return the message with the code, for the recipient's channel; equal on every attempt.

        Raises:
            RenderError: a template asks for a value or a sentence that does not exist.
        """
        if recipient.channel is Channel.SMS:
            return self.render_sms(reset, recipient, profile, code, seconds_left=seconds_left)
        language = self._wording.language(reset)
        values = {
            "code": code.formatted,
            "link": self._wording.link(reset, code, language),
            "moment": self._wording.moment(language, reset.deadline_at),
        }
        every = [ListedCode(user, reset, code), *listed] if listed else []
        return self._render_email(self._reset, reset, user, recipient, profile, values, every)

    def render_sms(
        self,
        reset: Reset,
        recipient: Recipient,
        profile: Profile | None,
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
            "code": code.formatted,
            "link": wording.link(reset, code, language),
            "time": wording.time(language, reset.deadline_at),
        }
        return self._render_sms(self._sms, reset, recipient, profile, values, seconds_left)

    def _render_sms(
        self,
        template: Template,
        reset: Reset,
        recipient: Recipient,
        profile: Profile | None,
        values: dict[str, str],
        seconds_left: float,
    ) -> Sms:
        wording, language = self._wording, self._wording.language(reset)
        name = isolate(language, wording.name_of(profile))
        translate = wording.translator(language, profile, values | {"organisation": name})
        # The name stands before the text where it costs no segment and no other alphabet, and
        # cuts no code in two.
        plain = fill(template, values | {"translate": translate, "organisation": None})
        named = fill(template, values | {"translate": translate, "organisation": name})
        is_named = name not in plain and _fits_as_well(named, plain, values.get("code", ""))
        base = self._settings.link_base
        return Sms(
            reset_id=reset.reset_id,
            recipient=recipient,
            body=named if is_named else plain,
            callback_url=f"{base}/callbacks/twilio?resetId={reset.reset_id}#rc=5&rp=all",
            validity_seconds=max(1, math.floor(seconds_left)),
            from_name=name,
            language=language,
            org_id=reset.org_id,
            code=values.get("code", ""),
            link=values.get("link", ""),
            deadline_at=reset.deadline_at if "code" in values else None,
        )

    def render_notice(
        self, reset: Reset, user: User, recipient: Recipient, profile: Profile | None
    ) -> Message:
        """Return the message that says the password was changed, for the recipient's channel.

        Raises:
            RenderError: a template asks for a value or a sentence that does not exist.
        """
        language, at = self._wording.language(reset), reset.completed_at or reset.created_at
        if recipient.channel is Channel.SMS:
            said = {"time": self._wording.time(language, at)}
            seconds = SMS_NOTICE_SECONDS
            return self._render_sms(self._notice_sms, reset, recipient, profile, said, seconds)
        values = {"moment": self._wording.moment(language, at)}
        return self._render_email(self._notice, reset, user, recipient, profile, values)

    def render_test(self, reset: Reset, recipient: Recipient, profile: Profile | None) -> Message:
        """Return a message that says it is a test, otherwise as the one with the code."""
        if recipient.channel is Channel.EMAIL:
            nameless = User(reset.user_id, reset.org_id)
            return self._render_email(self._test, reset, nameless, recipient, profile, {})
        language, name = self._wording.language(reset), self._wording.name_of(profile)
        text = self._wording.translator(language, profile, {})("sms.test")
        return Sms(
            reset_id=reset.reset_id,
            recipient=recipient,
            body=f"{name}: {text}",
            from_name=name,
            language=language,
            org_id=reset.org_id,
        )

    def _render_email(
        self,
        mail: MailTemplate,
        reset: Reset,
        user: User,
        recipient: Recipient,
        profile: Profile | None,
        values: dict[str, str],
        listed: Sequence[ListedCode] = (),
    ) -> Email:
        wording, language = self._wording, self._wording.language(reset)
        filled = wording.common_values(language, profile, values)
        own = {**values, "greeting": wording.greeting(language, filled["translate"], user)}
        filled |= own
        filled["listed"] = [
            (
                isolate(language, one_line(each.user.user_name or each.user.user_id)),
                wording.link(each.reset, each.code, language),
            )
            for each in listed
        ]
        from_address, from_name = wording.sender(profile, reset.attempts)
        if listed or wording.text_version(reset, profile):  # its sentences may have any value
            own = {}
        subject, text, html = self._fill(mail, language, profile, filled, own)
        return Email(
            reset_id=reset.reset_id,
            recipient=recipient,
            from_address=from_address,
            from_name=from_name,
            subject=subject,
            text=text,
            html=html,
            message_id=wording.message_id(reset.reset_id),
            language=language,
            reply_to=filled["brand"].reply_to or "",
            feedback_id=wording.feedback_id(reset, language),
            logo=filled["logo"],
            org_id=reset.org_id,
            code=values.get("code", ""),
            link=values.get("link", ""),
            deadline_at=reset.deadline_at if "code" in values else None,
        )

    def _fill(
        self,
        mail: MailTemplate,
        language: str,
        profile: Profile | None,
        filled: dict[str, Any],
        own: dict[str, str],
    ) -> tuple[str, str, str]:
        """Return the parts, rendered once for all whose mails differ in their own values alone."""
        key = (mail.html.name, language, profile.org_id if profile else "")
        kept = self._kept.get(key) if own else None
        if kept is None or kept[0] != profile:
            marked = filled | {name: f"\0{name}\0" for name in own}
            parts = mail.fill_subject(marked), fill(mail.text, marked), fill(mail.html, marked)
            if not own:
                return parts
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            kept = self._kept[key] = (profile, [part.split("\0") for part in parts])
        in_html = {name: str(escape(value)) for name, value in own.items()}
        subject, text, html = kept[1]
        return _join(subject, own), _join(text, own), _join(html, in_html)


def _join(pieces: list[str], own: dict[str, str]) -> str:
    return "".join(own[each] if place % 2 else each for place, each in enumerate(pieces))


def _fits_as_well(named: str, plain: str, code: str) -> bool:
    parts, encoding = split_into_parts(named)
    plain_parts, plain_encoding = split_into_parts(plain)
    is_as_dear = (len(parts), encoding) == (len(plain_parts), plain_encoding)
    return is_as_dear and code in parts[0]


class Wording:
    """The values of templates, in a language; any number of threads may share it."""

    def __init__(
        self, settings: Settings, languages: Languages, note_unfilled: NoteUnfilled = ignore
    ) -> None:
        """`languages` holds the sentences."""
        self._settings, self._languages = settings, languages
        self._translators = {tag: partial(languages.translate, tag) for tag in languages.tags}
        self._note_unfilled = note_unfilled
        self._domain = ascii_domain(settings.email_from.rpartition("@")[2])

    def language(self, reset: Reset) -> str:
        """Return the supported language in which a message is written."""
        return self._languages.choose(reset.language)

    def text_version(self, reset: Reset, profile: Profile | None) -> str:
        """Return the version of the organisation's own texts in a message; empty: it has none."""
        own = profile.texts.get(self.language(reset)) if profile else None
        return str(own.version) if own else ""

    def translator(
        self, language: str, profile: Profile | None, fields: Mapping[str, str]
    ) -> Translate:
        """Return a function from keys to texts: `translate("mail.automatic")`.

        The organisation's own sentences come first, which may have any of the fields.
        """
        built_in = self._translators[language]
        own = profile.texts.get(language) if profile else None
        if profile is None or own is None:
            return built_in
        until = fields.get("moment") or fields.get("time")
        filled = {**fields, "until": until} if until else fields
        org_id, noted = profile.org_id, set[str]()

        def translate(key: str, /, **values: object) -> str:
            """Return the own sentence; the built-in one if there is none that can be filled."""
            if key in own.sentences:
                try:
                    sentence = _parse_sentence(own.sentences[key])
                    text = sentence.fill({**filled, **values})
                    if text.strip() and sentence.names.issuperset(NEEDED.get(key, ())):
                        return text
                except (KeyError, TypeError):  # it has a field that is not known here: noted below
                    pass
                if key not in noted:  # a sentence may stand in text, HTML and title of a mail
                    noted.add(key)
                    self._note_unfilled(org_id, language, key)
            return built_in(key, **values)

        return translate

    def common_values(
        self, language: str, profile: Profile | None, values: Mapping[str, str]
    ) -> dict[str, Any]:
        """Return what every mail in a language from an organisation contains, and the values."""
        brand = profile.branding if profile else NO_BRANDING
        name = isolate(language, self.name_of(profile))
        return {
            **values,
            "translate": self.translator(language, profile, {**values, "organisation": name}),
            "language": language,
            "direction": direction(language),
            "gap": gap(language),
            # Before a code that begins with digits: it reads from the left all the same.
            "ltr_mark": LTR_MARK if direction(language) == "rtl" else "",
            "own_fonts": Markup(OWN_FONTS.get(language, "")),  # noqa: S704 - our own names
            "organisation": name,
            "brand": brand,
            "logo": inline_logo(brand),
            "listed": (),
        }

    def greeting(self, language: str, translate: Translate, user: User) -> str:
        """Return the first line, with the user's name if it can be used."""
        name = clean_name(user.display_name)
        name = name if name and _is_name_of_person(name) else None
        if not name:
            return translate("mail.greeting_plain")
        return translate("mail.greeting", name=isolate(language, name))

    def name_of(self, profile: Profile | None) -> str:
        """Return the sender's name: the organisation's, else the configured one."""
        name = clean_name(profile.branding.display_name, of_organisation=True) if profile else None
        return name or self._settings.email_from_name

    def sender(self, profile: Profile | None, attempts: Iterable[Attempt]) -> tuple[str, str]:
        """Return the From of a mail: the organisation's own address if it may be used, and name."""
        own = profile.sender if profile else None
        usable = usable_from(own, attempts)
        name = own.from_.name if own and own.from_ else ""
        address = usable.address if usable else self._settings.email_from
        return address, name or self.name_of(profile)

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

    def feedback_id(self, reset: Reset, language: str) -> str:
        """Return what Gmail counts complaints by: kind, organisation, language, sender."""
        org_id = UNSAFE_IN_FEEDBACK_ID.sub("-", reset.org_id)
        return f"{reset.kind}:{org_id}:{language}:keyturn"


def inline_logo(branding: Branding) -> InlineImage | None:
    """Return the logo as a mail carries it; None if there is none that mail clients show."""
    logo = branding.logo
    if logo is None or logo.media_type != PNG:
        return None
    scale = min(1, MAX_LOGO_WIDTH / logo.width, MAX_LOGO_HEIGHT / logo.height)
    width, height = (max(1, round(side * scale)) for side in (logo.width, logo.height))
    return InlineImage(logo.content, width, height)


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
