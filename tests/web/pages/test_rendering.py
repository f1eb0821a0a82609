"""The style is readable: contrasts by WCAG 2.2, sizes that phones do not zoom."""

from __future__ import annotations

import re

import pytest

from web.pages.looks import Look

STYLE = str(Look(None, "Keyturn").style)
ROOTS = [
    dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", part))
    for part in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
]
LIGHT, DARK = ROOTS[0] | ROOTS[-2], ROOTS[1] | ROOTS[-1]
WORDS = [
    ("words", "ground"),
    ("words", "card"),
    ("words", "field"),
    ("words", "bad-ground"),
    ("quiet", "ground"),
    ("quiet", "card"),
    ("bad", "card"),
    ("bad", "bad-ground"),
    ("good", "good-ground"),
    ("on-accent", "accent"),
    ("link", "ground"),
]
EDGES = [("field-edge", "card"), ("ring", "card"), ("bad", "field")]


def luminance(colour):
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("pair", WORDS, ids="-on-".join)
def test_words_stand_out(colours, pair):
    assert contrast(colours[pair[0]], colours[pair[1]]) >= 4.5


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("pair", EDGES, ids="-on-".join)
def test_edges_of_fields_stand_out(colours, pair):
    assert contrast(colours[pair[0]], colours[pair[1]]) >= 3


def test_no_words_are_smaller_than_16_pixels():
    sizes = [float(size) for size in re.findall(r"font(?:-size)?:[^;]*?([\d.]+)rem", STYLE)]

    assert min(sizes) >= 1
