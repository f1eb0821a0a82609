"""Contrasts as WCAG 2.2 has them, and the nearest colour that passes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.organisations.colours import (
    GROUNDS,
    MIN_CONTRAST,
    check_palette,
    colour,
    contrast,
    nearest_passing,
)
from shared.organisations.profile import DARK, LIGHT

COLOURS = st.integers(0, 0xFFFFFF).map("#{:06x}".format)


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    # Source: https://webaim.org/resources/contrastchecker/
    [("#000000", "#ffffff", 21.0), ("#ffffff", "#ffffff", 1.0), ("#777777", "#ffffff", 4.48),
     ("#767676", "#ffffff", 4.54), ("#ff0000", "#ffffff", 4.0), ("#0000ff", "#ffffff", 8.59)],
)  # fmt: skip
def test_a_contrast_is_as_others_count_it(one, other, ratio):
    assert contrast(one, other) == pytest.approx(ratio, abs=0.01)
    assert contrast(other, one) == contrast(one, other)


@pytest.mark.parametrize("text", ["", "1f54cc", "#1f54c", "#1f54ccc", "#1f54cg", "red", "#fff",
                                  "#1f54cc\n", "rgb(0,0,0)", "#１f54cc"])  # fmt: skip
def test_other_texts_are_no_colour(text):
    with pytest.raises(ValueError, match="must be a colour such as"):
        colour(text)


def test_a_colour_is_kept_in_lower_case():
    assert colour("#1F54CC") == "#1f54cc"


@pytest.mark.parametrize(("mode", "palette"), [("light", LIGHT), ("dark", DARK)])
def test_the_built_in_colours_pass(mode, palette):
    assert check_palette(mode, palette.accent, palette.on_accent, palette.link) == palette


@settings(max_examples=25)
@given(COLOURS)
def test_the_nearest_passes_and_is_left_alone(given_colour):
    for others in (*GROUNDS.values(), ("#ffffff",), ("#777777",)):
        found = nearest_passing(given_colour, others)
        assert all(contrast(found, other) >= MIN_CONTRAST for other in others)
        assert nearest_passing(found, others) == found


def test_a_pale_button_is_refused_with_the_nearest_of_its_hue():
    with pytest.raises(ValueError, match=r"light\.accent: the contrast of #ffff00") as refused:
        check_palette("light", "#ffff00")

    near = re.search(r"nearest that passes is (#\w{6})", str(refused.value))[1]
    assert near == "#797900"  # yellow, as light as may be
    assert check_palette("light", near).accent == near


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("light", "#1f54cc", "#1f54cc"), "light.onAccent"),
        (("dark", "#1f54cc", "#000000"), "dark.onAccent"),
        (("light", "#1f54cc", None, "#ffffff"), "light.link"),
        (("light", "#1f54cc", None, "#767676"), "light.link"),  # passes on white alone
        (("dark", "#1f54cc", None, "#1f54cc"), "dark.link"),
        (("dark", "#eeeeee"), "dark.accent"),
    ],
)
def test_each_pair_that_is_read_together_is_checked(arguments, field):
    with pytest.raises(ValueError, match=f"{field}: .* the nearest that passes is #"):
        check_palette(*arguments)


def test_dark_words_on_a_pale_button_pass():
    palette = check_palette("light", "#ffff00", "#000000")

    assert contrast(palette.link, "#ffffff") >= MIN_CONTRAST  # found, for none was given
