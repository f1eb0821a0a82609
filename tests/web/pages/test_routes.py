"""The page: opening it changes nothing, and only the right code with a good password does."""

from __future__ import annotations

import re

import pytest

from shared.codes import Code
from shared.models import Channel
from tests.support.pages import PASSWORD, Visit, see

WRONG = "WRNG2345"


@pytest.fixture
def visit(fake_client):
    return Visit(fake_client)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("user_id", ["ada", "nobody"])
@pytest.mark.parametrize("is_short", [False, True], ids=["link", "short link"])
def test_opening_a_link_changes_nothing_however_often(visit, method, user_id, is_short):
    reset_id, code = visit.record()
    short = visit.short_link(reset_id if user_id == "ada" else "0" * 27, code)
    link = short if is_short else visit.link(code, user_id)
    before = visit.everything_stored()

    answers = [visit.open(link, method=method) for _ in range(30)]

    assert {answer.status_code for answer in answers} == {200}
    assert visit.everything_stored() == before
    assert not any("Set-Cookie" in answer.headers for answer in answers)


def test_a_page_asks_nothing_of_the_store_when_it_is_opened(visit):
    reset_id, code = visit.record()
    visit.lose_redis()

    answers = [visit.open(visit.link(code)), visit.open(visit.short_link(reset_id, code))]

    assert [answer.status_code for answer in answers] == [200, 200]


def without_ids(response):
    """A page without what the visitor said and without the token."""
    text = response.get_data(as_text=True)
    return re.sub(r'value="(ada|nobody|r/\w+|\d+\.[0-9a-f]{64})"', "", text)


def test_opened_pages_are_alike_for_users_who_exist_or_not(visit):
    _, code = visit.record()

    known, unknown = (visit.open(visit.link(code, user_id)) for user_id in ("ada", "nobody"))

    assert without_ids(known) == without_ids(unknown)


def test_opened_short_links_are_alike_for_resets_that_exist_or_not(visit):
    other = Code("W" * 8, "W" * 20)
    reset_id, code = visit.record(channel=Channel.SMS)

    known = visit.open(visit.short_link(reset_id, other))
    unknown = visit.open(visit.short_link("0" * 27, other))

    assert without_ids(known) == without_ids(unknown)
    own = visit.open(visit.short_link(reset_id, code))  # only its holder sees whose it is
    assert see(own).forms[0]["orgID"] == "acme"
    assert "ada" not in see(own).forms[0].values()


def test_the_form_changes_the_password(visit):
    _, code = visit.record()

    answer = visit.save(visit.link(code))

    assert answer.status_code == 200
    assert see(answer).text.startswith("Ihr Passwort wurde geändert")
    assert visit.has_password()


def test_the_form_of_a_short_link_changes_the_password(visit):
    reset_id, code = visit.record(channel=Channel.SMS)

    answer = visit.save(visit.short_link(reset_id, code))

    assert answer.status_code == 200
    assert visit.has_password()


def test_a_code_works_once_on_every_store(client):
    visit = Visit(client)
    reset_id, code = visit.record(channel=Channel.SMS)
    links = (visit.short_link(reset_id, code), visit.link(code))

    answers = [visit.save(link) for link in links] + [visit.save(visit.link(code, "nobody"))]

    assert [answer.status_code for answer in answers] == [200, 410, 400]
    assert visit.has_password()


def test_the_form_carries_the_names_of_the_wire(visit):
    _, code = visit.record()

    form = see(visit.open(visit.link(code))).forms[0]

    assert set(form) == {"userID", "orgID", "code", "password", "passwordConfirm", "csrfToken"}
    assert (form["userID"], form["orgID"], form["code"]) == ("ada", "acme", code.link_secret)


@pytest.mark.parametrize(
    "password",
    [
        "Aa1!" + "🔑" * 196,
        "  Blanks around 1 Aa!  ",
        "Aa1!\t\x00\x07\x1b[31m\u202e",
        "Aa1!<script>alert(1)</script>&amp;%00+",
        "e\u0301A1!\u00e9\u1e9b\u0323x",
    ],
    ids=["200 signs", "blanks", "control signs", "markup", "not normalised"],
)
def test_a_password_is_taken_as_it_was_typed(visit, password):
    _, code = visit.record()

    answer = visit.save(visit.link(code), password=password, passwordConfirm=password)

    assert answer.status_code == 200
    assert visit.has_password(password)
    assert not visit.has_password(password.strip() + "x")


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("Aa1!", "at least 8 characters"),
        ("AAAAAA1!", "lower case letter"),
        ("aaaaaa1!", "upper case letter"),
        ("Aaaaaaa!", "digit"),
        ("Aaaaaaa1", "symbol"),
        ("", "enter a new password"),
        ("Aa1!" + "x" * 197, "at most 200 characters"),
    ],
)
def test_a_password_against_policy_shows_the_form_again_and_keeps_the_code(visit, password, words):
    _, code = visit.record()
    link = visit.link(code)

    answer = visit.save(link, password=password, passwordConfirm=password)

    page = see(answer)
    assert answer.status_code == 400
    assert words in page.text
    assert page.find(role="alert")
    assert page.forms[0]["code"] == code.link_secret
    assert page.forms[0]["password"] == page.forms[0]["passwordConfirm"] == ""
    assert visit.save(link).status_code == 200


def test_a_bad_field_has_the_focus_and_names_its_error(visit):
    _, code = visit.record()

    page = see(visit.save(visit.link(code), password="short", passwordConfirm="short"))

    field = page.find(id="password")
    assert "autofocus" in field
    assert field["aria-invalid"] == "true"
    assert field["aria-describedby"] == "password-rules password-error"
    assert page.find(id="password-error")
    assert page.find(href="#password")


def test_differing_passwords_touch_nothing(visit):
    _, code = visit.record()
    form = visit.fill(visit.link(code), passwordConfirm=PASSWORD + "x")
    before = visit.everything_stored()

    answer = visit.post(form)

    assert answer.status_code == 400
    assert "The two passwords differ" in see(answer).text
    assert visit.everything_stored() == before


def test_a_typed_password_never_stands_on_a_page(visit):
    _, code = visit.record()
    link = visit.link(code)
    attempts = [
        visit.save(link, passwordConfirm=PASSWORD + "x"),
        visit.save(link, code=WRONG),
        visit.save(link, csrfToken="1.2"),
        visit.save(link, password=PASSWORD.lower(), passwordConfirm=PASSWORD.lower()),
        visit.save(link),
        visit.save(link),
    ]

    pages = [answer.get_data(as_text=True).lower() for answer in attempts]

    assert [PASSWORD.lower() in page for page in pages] == [False] * len(pages)
