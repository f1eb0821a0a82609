"""Check contrasts by WCAG 2.2 AA (1.4.3), and find the nearest colour that passes."""

from __future__ import annotations

import colorsys
import math
import re

from shared.organisations.profile import Palette

# The grounds on which mail and page show links: a card and what is around it.
GROUNDS = {"light": ("#ffffff", "#f1f3f6"), "dark": ("#1c2229", "#12161b")}
MIN_CONTRAST = 4.5
DARKEST = 0.04045  # of a channel; from here on sRGB is a curve
WHITE = "#ffffff"
COLOUR_PATTERN = "^#[0-9a-fA-F]{6}$"


def colour(text: str) -> str:
    """Parse `#rrggbb`; return it in lower case."""
    if not re.fullmatch(COLOUR_PATTERN, text):
        raise ValueError("must be a colour such as #1f54cc")
    return text.lower()


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, 1 to 21."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def nearest_passing(given: str, others: tuple[str, ...]) -> str:
    """Return the colour of the same hue, nearest in lightness, that contrasts with all others."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*_channels(given))
    candidate, step = given, 0
    while min(contrast(candidate, other) for other in others) < MIN_CONTRAST:
        # 1 darker, 1 lighter, 2 darker, …: black or white passes at the latest.
        step = -step if step > 0 else 1 - step
        moved = min(1.0, max(0.0, lightness - step / 255))
        rgb = colorsys.hls_to_rgb(hue, moved, saturation)
        candidate = "#" + "".join(f"{round(255 * channel):02x}" for channel in rgb)
    return candidate


def check_palette(
    mode: str, accent: str, on_accent: str | None = None, link: str | None = None
) -> Palette:
    """Return the palette of `light` or `dark`; the text on a button is white unless given.

    Without `link` it is the accent, or the nearest colour that can be read on the grounds.

    Raises:
        ValueError: a contrast is too low; it names the field and the nearest colour that passes.
    """
    words = on_accent or WHITE
    if on_accent is None:
        _check(f"{mode}.accent", accent, (WHITE,))
    else:
        _check(f"{mode}.onAccent", on_accent, (accent,))
    if link is not None:
        _check(f"{mode}.link", link, GROUNDS[mode])
    return Palette(accent, words, link or nearest_passing(accent, GROUNDS[mode]))


def _check(field: str, given: str, others: tuple[str, ...]) -> None:
    worst = min(others, key=lambda other: contrast(given, other))
    if (found := contrast(given, worst)) < MIN_CONTRAST:
        shown = math.floor(found * 100) / 100
        raise ValueError(
            f"{field}: the contrast of {given} with {worst} is {shown:.2f}, "
            f"and must be {MIN_CONTRAST} or more (WCAG AA); the nearest that passes is "
            f"{nearest_passing(given, others)}"
        )


def _channels(text: str) -> tuple[float, float, float]:
    red, green, blue = (int(text[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue


def _luminance(text: str) -> float:
    """Return the relative luminance.

    Source: https://www.w3.org/TR/WCAG22/#dfn-relative-luminance
    """
    linear = (c / 12.92 if c <= DARKEST else ((c + 0.055) / 1.055) ** 2.4 for c in _channels(text))
    return sum(map(math.prod, zip((0.2126, 0.7152, 0.0722), linear, strict=True)))
