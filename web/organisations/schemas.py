"""Schemas of the calls about an organisation's branding and texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from marshmallow import ValidationError, fields, post_load
from marshmallow.validate import Length, Range

from shared import validation
from shared.languages import Languages
from shared.organisations.colours import COLOUR_PATTERN, check_palette, colour
from shared.organisations.logos import MAX_LOGO_BYTES
from shared.organisations.texts import check_language
from shared.providers.message_checks import MAX_NAME_CHARACTERS, clean_name
from shared.settings import types
from web.admin.schemas import ReasonSchema, reason_field
from web.schemas import CamelCaseSchema, Count, OwnSchema, ResponseSchema, Timestamp

MAX_URL_CHARACTERS = 500
MAX_LINE_CHARACTERS = 200
MAX_ENTRIES = 100  # languages, hosts
LANGUAGES = Languages()


class Checked(fields.String):
    """A text that a function reads, which raises ValueError with the remedy."""

    def __init__(self, parse: Callable[[str], str], **options: Any) -> None:
        """`options` are those of String."""
        super().__init__(**options)
        self.parse = parse

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, *args, **kwargs)
        try:
            return self.parse(text)
        except ValueError as error:
            raise ValidationError(str(error)) from None


def display_name(text: str) -> str:
    """Return a name as messages show it."""
    name = clean_name(text, of_organisation=True)
    if name is None or name != " ".join(text.split()):
        most = MAX_NAME_CHARACTERS
        raise ValueError(
            f"must be one line of 1 to {most} characters, and no URL or e-mail address"
        )
    return name


def language_tag(text: str) -> str:
    """Return a supported language."""
    return check_language(text, LANGUAGES)


def help_url(text: str) -> str:
    """Return an https URL that a mail can link."""
    most = MAX_URL_CHARACTERS
    try:
        parts = urlsplit(text)
        is_usable = (
            parts.scheme == "https"
            and validation.is_host_name(parts.hostname or "")
            and parts.port != 0
            and "@" not in parts.netloc
            and text.isascii()
            and text.isprintable()
            and not set(text) & set(" <>\"'\\`{}")
            and len(text) <= most
        )
    except ValueError:  # of the port
        is_usable = False
    if not is_usable:
        raise ValueError(f"must look like https://help.example.com/sign-in, in ASCII, up to {most}")
    return text


def reply_to(text: str) -> str:
    """Return an address that every mail server takes as a header."""
    address = types.email(text)
    if not address.isascii():
        raise ValueError("must be ASCII before its @: not all mail servers take other letters")
    return address


def postal_line(text: str) -> str:
    """Return a postal address in one line."""
    if not text.strip() or not text.isprintable() or len(text) > MAX_LINE_CHARACTERS:
        raise ValueError(f"must be one line of 1 to {MAX_LINE_CHARACTERS} printable characters")
    return text.strip()


def _colour_field(description: str, **options: Any) -> Checked:
    described = {"pattern": COLOUR_PATTERN, "description": description}
    return Checked(colour, metadata=described, **options)


class PaletteRequestSchema(OwnSchema):
    """Colours of one mode; each is checked against WCAG AA."""

    accent = _colour_field("Of the button", required=True)
    on_accent = _colour_field("Of the text on it; white when not given", allow_none=True)
    link = _colour_field("When not given: accent, or the nearest readable one", allow_none=True)


class BrandingRequestSchema(ReasonSchema):
    """What is to be shown; null is the default of a field."""

    display_name = Checked(
        display_name, metadata={"minLength": 1, "maxLength": MAX_NAME_CHARACTERS}
    )
    language = Checked(language_tag, allow_none=True, metadata={"description": "The default one"})
    languages = fields.List(
        Checked(language_tag),
        allow_none=True,
        validate=Length(max=MAX_ENTRIES),
        metadata={"description": "Those it writes in; none means all"},
    )
    link_hosts = fields.List(
        Checked(validation.link_host), allow_none=True, validate=Length(max=MAX_ENTRIES)
    )
    light = fields.Nested(PaletteRequestSchema, allow_none=True)
    dark = fields.Nested(PaletteRequestSchema, allow_none=True)
    help_url = Checked(help_url, allow_none=True, metadata={"description": "https"})
    postal_line = Checked(postal_line, allow_none=True)
    reply_to = Checked(reply_to, allow_none=True)

    @post_load
    def _make_palettes(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        for mode in ("light", "dark"):
            if data.get(mode):
                try:
                    data[mode] = check_palette(mode, **data[mode])
                except ValueError as error:
                    raise ValidationError(str(error)) from None
        return data


class ReasonQuerySchema(CamelCaseSchema):
    """The query of a call without a JSON body."""

    reason = reason_field()


class SentencesRequestSchema(ReasonSchema):
    """All sentences of one language that replace built-in ones."""

    sentences = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        required=True,
        metadata={"description": "By key, such as `reset.subject`"},
    )


class RollbackRequestSchema(ReasonSchema):
    """Which version is to be in force again."""

    version = fields.Integer(required=True, strict=True, validate=Range(min=1))


class PaletteSchema(ResponseSchema):
    """Colours of one mode."""

    accent = fields.String()
    on_accent = fields.String()
    link = fields.String()


class LogoSchema(ResponseSchema):
    """What is known of a logo."""

    media_type = fields.String()
    width = Count()
    height = Count()
    bytes = fields.Function(
        lambda logo: len(logo.content), metadata={"type": "integer", "maximum": MAX_LOGO_BYTES}
    )


class BrandingSchema(ResponseSchema):
    """How an organisation looks; its defaults included."""

    display_name = fields.String()
    language = fields.String(allow_none=True)
    languages = fields.List(fields.String())
    link_hosts = fields.List(fields.String())
    light = fields.Nested(PaletteSchema)
    dark = fields.Nested(PaletteSchema)
    help_url = fields.String(allow_none=True)
    postal_line = fields.String(allow_none=True)
    reply_to = fields.String(allow_none=True)
    logo = fields.Nested(LogoSchema, allow_none=True)
    version = Count()


class TextVersionSchema(ResponseSchema):
    """The sentences of one language that replace built-in ones; version 0: there are none."""

    language = fields.String()
    version = Count()
    sentences = fields.Dict(values=fields.String())


class TextSchema(TextVersionSchema):
    """The same, beside the built-in sentences."""

    built_in = fields.Dict(values=fields.String())


class TextsSchema(ResponseSchema):
    """The texts of all languages in which a sentence is replaced."""

    texts = fields.List(fields.Nested(TextVersionSchema))


class OrganisationSchema(ResponseSchema):
    """An organisation, as messages show it."""

    org_id = fields.String()
    branding = fields.Nested(BrandingSchema)
    texts = fields.Function(
        lambda profile: {tag: text.version for tag, text in profile.texts.items()},
        metadata={
            "type": "object",
            "additionalProperties": {"type": "integer"},
            "description": "language → version",
        },
    )
    version = fields.String(metadata={"description": "Another after every change"})


class TextChangeSchema(TextVersionSchema):
    """A version of the texts of one language; without sentences: they were removed."""

    by = fields.String()
    reason = fields.String()
    at = Timestamp()


class TextHistorySchema(ResponseSchema):
    """The last versions, the newest first."""

    versions = fields.List(fields.Nested(TextChangeSchema))


BRANDING_REQUEST = BrandingRequestSchema()
SENTENCES_REQUEST = SentencesRequestSchema()
ROLLBACK_REQUEST = RollbackRequestSchema()
ORGANISATION, BRANDING = OrganisationSchema(), BrandingSchema()
TEXTS, TEXT_VERSION, HISTORY = TextsSchema(), TextVersionSchema(), TextHistorySchema()
