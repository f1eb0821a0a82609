"""What the pages of an organisation look like: name, logo, colours; its own sentences."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from markupsafe import Markup

from shared.errors import StoreUnavailableError
from shared.languages import isolate
from shared.messages.rendering import NO_BRANDING, Translate, Wording
from shared.messages.unfilled import count_unfilled
from shared.organisations.profile import Branding, Palette, Profile
from shared.store.organisations.profiles import remember_profiles
from shared.wiring import Services

LOOKS = "keyturn.looks"  # the extension's name
STYLE = (Path(__file__).parent.parent / "templates" / "page.css").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Look:
    """The look of one organisation, or of the installation."""

    profile: Profile | None
    name: str

    @property
    def branding(self) -> Branding:
        """Return the branding; the installation's has nothing but colours."""
        return self.profile.branding if self.profile else NO_BRANDING

    @property
    def logo_url(self) -> str | None:
        """Return an address that holds the logo: nothing is fetched."""
        logo = self.branding.logo
        content = base64.b64encode(logo.content).decode() if logo else ""
        return f"data:{logo.media_type};base64,{content}" if logo else None

    @property
    def style(self) -> Markup:
        """Return the style sheet with the colours."""
        return Markup(_style(self.branding.light, self.branding.dark))  # noqa: S704 - ours

    @property
    def content_security_policy(self) -> str:
        """Return a policy that allows this style sheet, our script and the logo alone."""
        digest = hashlib.sha256(self.style.encode()).digest()
        images = "img-src data:; " if self.branding.logo else ""
        return (
            f"default-src 'none'; {images}script-src 'self'; "
            f"style-src 'sha256-{base64.b64encode(digest).decode()}'; "
            "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )


class Looks:
    """Finds looks; any number of threads may share it."""

    def __init__(self, services: Services) -> None:
        """`services` may hold fakes."""
        self._find = remember_profiles(services.profiles)
        note_unfilled = count_unfilled(services.counters)
        self._wording = Wording(services.settings, services.languages, note_unfilled)

    def find(self, org_id: str) -> Look:
        """Return the look of an organisation; the installation's if there is no such."""
        try:
            profile = self._find(org_id) if org_id.isprintable() and org_id else None
        except StoreUnavailableError:
            profile = None
        return Look(profile, self._wording.name_of(profile))

    def translator(self, look: Look, language: str) -> Translate:
        """Return the function from keys to sentences, the organisation's own first."""
        fields = {"organisation": isolate(language, look.name)}
        return self._wording.translator(language, look.profile, fields)


@lru_cache(maxsize=256)
def _style(light: Palette, dark: Palette) -> str:
    return (
        f"{STYLE}:root {{ {_colours(light)} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {_colours(dark)} }} }}\n"
    )


def _colours(palette: Palette) -> str:
    return (
        f"--accent: {palette.accent}; --on-accent: {palette.on_accent}; --link: {palette.link}; "
        f"--ring: {palette.link};"
    )
