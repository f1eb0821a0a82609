"""A name greets and does nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.messages.rendering import MAX_NAME_CHARACTERS, clean_name


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("Ada Lovelace", "Ada Lovelace"),
        ("  Ada \t Lovelace ", "Ada Lovelace"),
        ("Ada\r\nBcc: eve", "Ada Bcc: eve"),
        ("Ada\x00\x1b[31m", "Ada[31m"),
        ("A\u202eda\u200b", "Ada"),
        ("علی\u200cرضا", "علی\u200cرضا"),
        ("\ud800Ada", "Ada"),
        ("J. R. R. Tolkien", "J. R. R. Tolkien"),
        ("J.R.R. Tolkien", "J.R.R. Tolkien"),
        ("Dr. O'Neill-Smith, M.D.", "Dr. O'Neill-Smith, M.D."),
        ("<b>Ada</b> {{7*7}}", "<b>Ada</b> {{7*7}}"),
        ("Łukasz Żółć", "Łukasz Żółć"),
        ("王小明", "王小明"),
        ("A" * 61, "A" * 59 + "…"),
    ],
)
def test_a_name_becomes_one_printable_line(raw, clean):
    assert clean_name(raw) == clean


@pytest.mark.parametrize(
    "raw",
    [
        "",
        " \n ",
        "\u200c",
        "https://evil.example",
        "ftp://x",
        "www.evil",
        "WWW.EVIL",
        "Win at evil.example now",
        "evil.example/path",
        "ada@evil.example",
        "192.168.1.1",
        "evil.\u200bexample",
        "evil.\u200cexample",
        "evil。example",
        "evil．example",
        "ｅｖｉｌ.example",
        "почта.рф",  # a host in Cyrillic letters
        "A" * 100 + " evil.example",
    ],
)
def test_an_empty_name_or_one_with_an_address_is_not_used(raw):
    assert clean_name(raw) is None


@given(st.text())
def test_whatever_was_typed_a_name_is_short_and_of_one_line(raw):
    name = clean_name(raw)

    if name is not None:
        assert 0 < len(name) <= MAX_NAME_CHARACTERS
        assert len(name.splitlines()) == 1
        assert name.strip() == name
