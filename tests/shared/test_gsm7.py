"""SMS segments, as the carriers count them."""

from __future__ import annotations

import pytest

from shared.gsm7 import BASIC, EXTENSION, is_gsm7, segments


def test_the_alphabet_has_its_127_signs():
    assert len(BASIC) == 127  # 128 less the escape
    assert len(EXTENSION) == 10
    assert not BASIC & EXTENSION


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (1, "GSM-7")),
        ("a" * 160, (1, "GSM-7")),
        ("a" * 161, (2, "GSM-7")),
        ("a" * 306, (2, "GSM-7")),
        ("a" * 307, (3, "GSM-7")),
        ("€" * 80, (1, "GSM-7")),
        ("€" * 81, (2, "GSM-7")),
        ("a" * 152 + "€" + "a" * 152, (3, "GSM-7")),
        ("ж" * 70, (1, "UCS-2")),
        ("ж" * 71, (2, "UCS-2")),
        ("ж" * 134, (2, "UCS-2")),
        ("ж" * 135, (3, "UCS-2")),
        ("😀" * 35, (1, "UCS-2")),
        ("😀" * 36, (2, "UCS-2")),
        ("😀" * 67, (3, "UCS-2")),
        ("a" * 69 + "ç", (1, "UCS-2")),
    ],
    ids=lambda value: f"{value[:1]}x{len(value)}" if isinstance(value, str) else None,
)
def test_segments_are_counted_as_carriers_count_them(text, expected):
    assert segments(text) == expected


@pytest.mark.parametrize("text", ["Ç", "@host #ABCD", "ä{}[]~|\\^€\n", "ÄÖÜßñ§"])
def test_gsm7_takes_its_own_signs(text):
    assert is_gsm7(text)


@pytest.mark.parametrize("text", ["ç", "`", "ł", "“", "\t", "😀", "\u00a0"])
def test_gsm7_does_not_take_other_signs(text):
    assert not is_gsm7(text)
