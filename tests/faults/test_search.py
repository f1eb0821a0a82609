"""The fault run's search finds a secret in every form it may be written in."""

from __future__ import annotations

import base64

import pytest

from faults.planted import Planted
from faults.search import Search

NUMBER, CODE, TOKEN = "+41791234567", "ABCD-EFGH", "kt_pat_0123456789"


@pytest.fixture
def search() -> Search:
    words = {"token": TOKEN}
    return Search(Planted(domain="planted.example", numbers=[NUMBER], codes=[CODE], words=words))


def wrapped(text: str) -> bytes:
    return base64.b64encode(text.encode())


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"to good.1@planted.example now", "address"),
        (b"to GOOD.1@Planted.Example now", "address"),
        (b"?mail=good.1%40planted.example&x", "address"),
        (b"to +41791234567.", "number"),
        (b"to 079 123 45 67.", "number"),
        (b"To=%2B41791234567&Body", "number"),
        (b"the code ABCD-EFGH is", "code"),
        (b"/r/xyz/ABCDEFGH?", "code"),
        (b"code=abcdefgh&", "code"),
        (b"Bearer kt_pat_0123456789", "token"),
        (b'{"body":"' + wrapped('[["good.1@planted.example"],{}]') + b'"}', "address in base64"),
        (b'{"body":"' + wrapped('[["the code is ABCD-EFGH"],{}]') + b'"}', "code in base64"),
    ],
)
def test_a_planted_thing_is_found(search, content, kind):
    search.look("log", content)

    assert (kind, "log") in search.found


def test_what_only_looks_like_a_secret_is_none(search):
    search.look("log", b"code ABCD-EFGJ, number 1791234567, 17641791234567890, digest abcdefghij")

    assert not search.found


def test_commands_on_directory_records_are_the_only_exception(search, tmp_path):
    file = tmp_path / "x.aof"
    own = b"*3\r\n$4\r\nHSET\r\n$9\r\nkt:user:1\r\n$24\r\nemail a@planted.example \r\n"
    other = own.replace(b"kt:user:1", b"kt:audit0")

    file.write_bytes(b"#TS:1\r\n" + own)
    search.look_in_commands(file)
    found_in_own = dict(search.found)
    file.write_bytes(own + other + b"*2\r\n$3\r\nGET\r\n$9\r\nkt:us")
    search.look_in_commands(file)

    assert found_in_own == {}
    assert search.found == {("address", "x.aof"): 1}


def test_a_file_is_searched_across_the_borders_of_its_pieces(search, tmp_path):
    file = tmp_path / "x.log"
    file.write_bytes(b"......... good.1@planted.example ....")

    search.look_in_file(file, piece_bytes=16)

    assert ("address", "x.log") in search.found
