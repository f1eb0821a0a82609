"""The language of an error is the caller's."""

import pytest

from shared.languages import Languages
from web.problems import choose_language

LANGUAGES = Languages()


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        (None, "en"),
        ("", "en"),
        ("de-AT, en;q=0.5", "de"),
        ("en;q=0.5, pl;q=0.8", "pl"),
        ("tlh, nl;q=0.3", "nl"),
        ("de;q=0, fr;q=0.1", "fr"),
        ("de;q=nan, fr;q=0.1", "fr"),
        ("de;q=7", "en"),
        ("*", "en"),
        ("*, de;q=0.2", "de"),
        ("DE_ch", "de"),
        (";;;,,,", "en"),
        ("x," * 100_000 + "de", "en"),
    ],
)
def test_the_language_a_header_likes_best_is_chosen(header, chosen):
    assert choose_language(LANGUAGES, header) == chosen
