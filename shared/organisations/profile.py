"""What an organisation owns: branding and texts, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from shared.organisations.sender import Sender


@dataclass(frozen=True, slots=True)
class Logo:
    """A checked picture of at most 100 KB."""

    media_type: str  # image/png or image/svg+xml
    content: bytes = field(repr=False)
    width: int  # as the picture says, in pixels
    height: int


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours as `#rrggbb`; each pair that is read together has a contrast of 4.5 or more."""

    accent: str  # of the button
    on_accent: str  # of the text on it
    link: str  # of a link on the grounds of mail and page


LIGHT = Palette("#1f54cc", "#ffffff", "#1f54cc")
DARK = Palette("#3367e0", "#ffffff", "#8fb0ff")


@dataclass(frozen=True, slots=True, kw_only=True)
class Branding:
    """How an organisation looks; a stored organisation's name, languages and hosts included."""

    display_name: str
    language: str | None = None  # the default one
    languages: tuple[str, ...] = ()  # the allowed ones; empty: all
    link_hosts: tuple[str, ...] = ()
    logo: Logo | None = None
    light: Palette = LIGHT
    dark: Palette = DARK
    help_url: str | None = None
    postal_line: str | None = None
    reply_to: str | None = None
    version: int = 0
    is_set: bool = False  # it was written, beyond name, languages and hosts


@dataclass(frozen=True, slots=True)
class TextVersion:
    """The sentences of one language that replace the built-in ones."""

    language: str
    version: int  # no other text of the organisation has it
    sentences: Mapping[str, str]  # by key: `reset.subject`; none: they were removed
    by: str = ""  # this and the next two: in the history alone
    reason: str = ""
    at: datetime | None = None


Texts: TypeAlias = Mapping[str, TextVersion]  # by language


@dataclass(frozen=True, slots=True)
class Profile:
    """Branding and texts of an organisation; `version` is another after every change."""

    org_id: str
    branding: Branding
    texts: Texts
    version: str
    sender: Sender | None = None  # None: it sends as the installation does
