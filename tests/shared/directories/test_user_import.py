from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.directories.user_import import parse_line

ADA = {"userId": "ada", "orgId": "acme"}
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FIELDS = ("userId", "orgId", "userName", "displayName", "language", "email", "emailVerified",
          "phone", "phoneVerified", "state", "kind", "password")  # fmt: skip


def a_line(**changes):
    return json.dumps(ADA | changes)


def test_a_line_with_every_field_is_read():
    changes = parse_line(
        a_line(
            userName="ada", displayName="Ada Lovelace", language="EN-gb",
            email="Ada@Example.COM", emailVerified=True, phone="+41 79 123 45 67",
            phoneVerified=False, state="initial", kind="human", password="correct horse",
        )
    )  # fmt: skip

    assert changes == ADA | {
        "userName": "ada", "displayName": "Ada Lovelace", "language": "en-GB",
        "email": "Ada@example.com", "emailVerified": "1", "phone": "+41791234567",
        "phoneVerified": "", "state": "initial", "kind": "human", "password": "correct horse",
    }  # fmt: skip


def test_fields_that_are_not_given_are_not_there():
    assert parse_line(a_line()) == ADA


@pytest.mark.parametrize("blank", ["", " ", "\n", "\r\n", b"", b" \t\n"])
def test_a_blank_line_says_nothing(blank):
    assert parse_line(blank) is None


@pytest.mark.parametrize("name", ["userName", "displayName", "language", "email", "phone"])
@pytest.mark.parametrize("nothing", [None, ""])
def test_null_or_an_empty_text_says_that_there_is_none(name, nothing):
    assert parse_line(a_line(**{name: nothing})) == ADA | {name: ""}


@pytest.mark.parametrize(
    "email",
    ["user@example.com", "user@company.test", "a.b+c@sub.example.org", "jürgen@müller.example",
     "user@mail.local"],
)  # fmt: skip
def test_an_address_of_any_whole_domain_is_taken(email):
    assert parse_line(a_line(email=email))["email"] == email


@pytest.mark.parametrize(
    "email",
    ["user", "@example.com", "user@", "user@host", "a b@example.com", "a@example.com\n",
     "a@example.com\r\nBcc: b@example.com", "a@example.com,b@example.com", "Ada <a@example.com>",
     " a@example.com", "a@exa mple.com", "a@[127.0.0.1]"],
)  # fmt: skip
def test_what_is_no_address_is_refused(email):
    with pytest.raises(ValueError, match=r"^email must be an e-mail address"):
        parse_line(a_line(email=email))


@pytest.mark.parametrize(
    ("given", "stored"),
    [("+41791234567", "+41791234567"), ("+41 (0)79 123 45 67", "+41791234567"),
     ("+1-202-555-0123", "+12025550123"), ("+49 151/23456789", "+4915123456789")],
)  # fmt: skip
def test_a_phone_number_is_stored_as_e164(given, stored):
    assert parse_line(a_line(phone=given))["phone"] == stored


@pytest.mark.parametrize(
    "phone",
    ["banana", "+12", "0791234567", "+", "+41", "+41791234567 ext 5", "+417912345678901234",
     "+41791234567\n", "+1800FLOWERS", "+999123456789", "++41791234567", "+٤١٧٩١٢٣٤٥٦٧"],
)  # fmt: skip
def test_what_is_no_phone_number_is_refused(phone):
    with pytest.raises(ValueError, match=r"^phone must be a phone number"):
        parse_line(a_line(phone=phone))


@pytest.mark.parametrize(
    ("given", "stored"),
    [("de", "de"), ("DE-ch", "de-CH"), ("zh-hant-tw", "zh-Hant-TW"), ("es-419", "es-419"),
     ("gsw", "gsw"), ("sl-rozaj", "sl-rozaj")],
)  # fmt: skip
def test_a_language_is_stored_in_its_usual_spelling(given, stored):
    assert parse_line(a_line(language=given))["language"] == stored


@pytest.mark.parametrize("language", ["d", "deutsch", "de_CH", "de-", "-", "de CH", "12", "de-CHE"])
def test_what_is_no_language_tag_is_refused(language):
    with pytest.raises(ValueError, match=r"^language must be a language tag"):
        parse_line(a_line(language=language))


@pytest.mark.parametrize("name", ["userId", "orgId"])
@pytest.mark.parametrize("bad", ["", "a/b", "a\nb", "a" * 201, "a\x00", "\ud800", "\u200b"])
def test_an_id_that_cannot_stand_in_a_path_is_refused(name, bad):
    with pytest.raises(ValueError, match=rf"^{name} "):
        parse_line(a_line(**{name: bad}))


@pytest.mark.parametrize("good", ["a", "a" * 200, "with blank", "ünï", "🙂", "a:b{c}", "69629"])
def test_an_id_of_printable_characters_is_taken(good):
    assert parse_line(a_line(userId=good))["userId"] == good


@pytest.mark.parametrize("name", ["userName", "displayName"])
def test_a_name_has_at_most_200_characters(name):
    assert parse_line(a_line(**{name: "x" * 200}))

    with pytest.raises(ValueError, match=rf"^{name} has at most 200"):
        parse_line(a_line(**{name: "x" * 201}))


@pytest.mark.parametrize("display_name", ["<b>Ada</b>", "{code}", "a\nb", "https://evil.example"])
def test_a_display_name_may_be_anything_a_person_is_called(display_name):
    assert parse_line(a_line(displayName=display_name))["displayName"] == display_name


@pytest.mark.parametrize(
    ("name", "bad"),
    [("state", "asleep"), ("state", None), ("state", "ACTIVE"), ("kind", "robot"), ("kind", 1),
     ("emailVerified", "true"), ("emailVerified", 1), ("phoneVerified", None), ("password", None),
     ("password", ""), ("password", "x" * 201), ("password", 12345678), ("email", ["a@b.ch"]),
     ("displayName", 5), ("userId", 5), ("userId", None), ("language", {"a": 1}), ("phone", 4179)],
)  # fmt: skip
def test_a_wrong_type_or_word_is_refused_by_the_name_of_its_field(name, bad):
    with pytest.raises(ValueError, match=rf"^{name} "):
        parse_line(a_line(**{name: bad}))


@pytest.mark.parametrize("missing", ["userId", "orgId"])
def test_a_missing_id_is_named(missing):
    line = json.dumps({key: value for key, value in ADA.items() if key != missing})

    with pytest.raises(ValueError, match=rf"^{missing} is missing"):
        parse_line(line)


def test_an_unknown_field_is_named():
    with pytest.raises(ValueError, match=r"^unknown field nickname; known are userId, orgId"):
        parse_line(a_line(nickname="Ada"))


@pytest.mark.parametrize("field", ["ada@example.com", "+41791234567", "x" * 41])
def test_an_address_in_place_of_a_field_is_not_repeated(field):
    with pytest.raises(ValueError, match="unknown field") as caught:
        parse_line(a_line(**{field: 1}))

    assert field not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "is not JSON"), ("nonsense", "is not JSON"), ('{"a":1} x', "is not JSON"),
        ("[" * 60_000, "is not JSON"), ("[]", "must be a JSON object"),
        ("null", "must be a JSON object"), ('"x"', "must be a JSON object"),
        ("1" * 5000, "must be a JSON object"), (b"\xff\xfe", "is not UTF-8"),
        ('{"userId":"a","userId":"b","orgId":"o"}', "names a field twice"),
        ("x" * 65_537, "at most 64 KiB"),
    ],
    ids=["open", "word", "more", "deep", "list", "null", "text", "long", "latin", "twice", "huge"],
)  # fmt: skip
def test_what_is_no_line_is_refused(line, problem):
    with pytest.raises(ValueError, match=problem):
        parse_line(line)


@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(), anything, max_size=6))
def test_any_object_is_read_or_refused(fields):
    check_any_line(json.dumps(ADA | fields))


@given(st.text() | st.binary())
def test_any_line_is_read_or_refused(line):
    check_any_line(line)


def check_any_line(line):
    changes, problem = read_or_refuse(line)
    assert problem.isprintable()
    assert set(changes) <= set(FIELDS)
    assert all(value.encode() is not None for value in changes.values())


def read_or_refuse(line):
    try:
        return parse_line(line) or {}, ""
    except ValueError as error:
        return {}, str(error)


@given(
    st.emails() | st.from_regex(r"\+[1-9][0-9]{6,14}", fullmatch=True), st.sampled_from(FIELDS[2:])
)
def test_a_refusal_never_repeats_an_address(address, misplaced_in):
    line = a_line(**{misplaced_in: address, "state": address})

    _, problem = read_or_refuse(line)

    assert problem
    assert address not in problem
