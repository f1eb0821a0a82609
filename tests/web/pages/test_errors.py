"""A code that does not work says what to do next, and nobody learns who has an account."""

from __future__ import annotations

import pytest

from shared.models import Channel
from tests.support.builders import a_user
from tests.support.pages import FRESH_PATH, Visit, see

WRONG = "WRNG2345"


@pytest.fixture
def visit(fake_client):
    return Visit(fake_client)


def test_a_wrong_code_is_kept_in_its_field(visit):
    _, code = visit.record()

    answer = visit.save(visit.link(code), code="wrng-2345")

    field = see(answer).find(id="code")
    assert answer.status_code == 400
    assert field["value"] == "wrng-2345"
    assert field["autocomplete"] == "one-time-code"
    assert "autofocus" in field
    assert not visit.has_password()


def test_five_wrong_codes_make_their_source_wait_and_the_link_works_on(visit):
    _, code = visit.record()
    link = visit.link(code)
    wrong = [visit.save(link, code=WRONG) for _ in range(5)]

    waits, saved = visit.save(link, code=code.formatted), visit.save(link)

    assert {each.status_code for each in wrong} == {400}
    assert (waits.status_code, saved.status_code) == (429, 200)
    assert 890 < int(waits.headers["Retry-After"]) <= 900
    assert visit.has_password()


def test_a_used_code_says_what_to_do_next(visit):
    _, code = visit.record()
    visit.save(visit.link(code))

    answer = visit.save(visit.link(code), password="Other-horse-8", passwordConfirm="Other-horse-8")

    assert answer.status_code == 410
    assert "Dieser Code wurde schon benutzt" in see(answer).text
    assert see(answer).actions == [FRESH_PATH]
    assert not visit.has_password("Other-horse-8")


def test_a_displaced_code_names_the_newer_message(visit):
    _, oldest = visit.record()
    for channel in (Channel.SMS, Channel.EMAIL, Channel.SMS):
        visit.record(channel=channel)

    answer = visit.save(visit.link(oldest))

    assert answer.status_code == 410
    assert "Dieser Code gilt nicht mehr" in see(answer).text


def test_an_expired_code_says_so(fake_client):
    visit = Visit(fake_client, code_lifetime_seconds=0.001)
    _, code = visit.record()

    answer = visit.save(visit.link(code))

    assert answer.status_code == 410
    assert "abgelaufen" in see(answer).text
    assert see(answer).forms[0]["code"] == code.link_secret


@pytest.mark.parametrize(
    "user_id",
    ["nobody", "robot", "fresh", "locked", "gone", "\x00\x01", "ä" * 201, "r/" + "0" * 27, "r/"],
)
def test_whoever_may_not_have_a_reset_looks_like_somebody_without_a_code(visit, user_id):
    _, code = visit.record()
    a_user(visit.services, "idle")
    a_user(visit.services, "robot", kind="machine")
    a_user(visit.services, "fresh", state="initial")
    a_user(visit.services, "locked", state="locked")
    a_user(visit.services, "gone", state="inactive")

    idle, other = (visit.save(visit.link(code, name)) for name in ("idle", user_id))

    assert (other.status_code, see(other).text) == (idle.status_code, see(idle).text)
    assert idle.status_code == 400


def test_inventing_users_fills_no_memory(visit):
    visit.save("/ui/password/reset?userID=first&code=ABCDEFGH")

    for number in range(30):
        visit.save(f"/ui/password/reset?userID=stranger-{number}&code=ABCDEFGH")

    guesses = visit.redis.keys("*:guess:*")
    assert {visit.redis.ttl(key) for key in guesses} <= set(range(880, 901))
    assert not [key for key in visit.redis.keys("*") if "stranger" in key]
    assert "stranger" not in str([visit.redis.hgetall(key) for key in guesses])


def test_the_store_being_gone_keeps_the_form(visit):
    _, code = visit.record()
    form = visit.fill(visit.link(code))
    visit.lose_redis()

    saved, asked = visit.post(form), visit.post(form, path=FRESH_PATH)

    assert (saved.status_code, asked.status_code) == (503, 503)
    assert see(saved).forms[0]["code"] == code.link_secret
    assert "Nothing was changed" in see(saved).text
    assert int(saved.headers["Retry-After"]) > 0


def test_a_code_that_another_request_is_using_counts_as_used(visit):
    reset_id, code = visit.record()
    visit.services.code_store.take("ada", reset_id, None)

    answer = visit.save(visit.link(code))

    assert answer.status_code == 410
    assert "schon benutzt" in see(answer).text
    assert not visit.has_password()


def test_the_language_of_the_reset_stays_after_a_code_that_ended(visit):
    _, code = visit.record()
    visit.save(visit.link(code))
    page = see(visit.save(visit.link(code)))

    answer = visit.post(page.forms[0], path=FRESH_PATH)

    assert see(answer).language == page.language == "de"
