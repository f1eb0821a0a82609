"""The button for a fresh message: one answer, at one pace, for everybody."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Semaphore

import pytest

from shared.errors import CodeMismatchError, TooManyRequestsError
from shared.models import Channel
from shared.queue import Task
from tests.support.builders import a_user
from tests.support.pages import FRESH_PATH, Visit, see
from tests.support.waiting import HANG_SECONDS
from web.http import find_source
from web.pages.enumeration import (
    MIN_SECONDS_WITHOUT_PLACE,
    PLACES_OF_A_SOURCE,
    UniformDelay,
    Visitor,
)

MIN_SECONDS = 0.05
WRONG = "WRNG2345"
HERE, ELSEWHERE = (
    Visitor("ada", "", find_source(peer, "", ())) for peer in ("127.0.0.1", "198.51.100.7")
)


@pytest.fixture
def visit(fake_client):
    return Visit(fake_client)


def ask(visit, link):
    return visit.post(visit.fill(link), path=FRESH_PATH)


def test_a_fresh_message_goes_out(visit):
    _, code = visit.record()
    visit.hints.published.clear()

    answer = ask(visit, visit.link(code))

    assert answer.status_code == 200
    assert [hint.task for hint in visit.hints.published] == [Task.SEND_EMAIL]


def test_a_fresh_message_takes_the_way_of_the_used_one(visit):
    reset_id, code = visit.record(channel=Channel.SMS)
    visit.save(visit.short_link(reset_id, code))
    visit.hints.published.clear()

    ask(visit, visit.short_link(reset_id, code))

    assert [hint.task for hint in visit.hints.published] == [Task.SEND_SMS]


@pytest.mark.parametrize(
    "other", ["nobody", "robot", "locked", "silent", "limited", "r/" + "0" * 27]
)
def test_the_answer_is_the_same_for_everybody(fake_client, other):
    visit = Visit(fake_client, user_limit_per_hour=2)
    _, code = visit.record()
    a_user(visit.services, "robot", kind="machine")
    a_user(visit.services, "locked", state="locked")
    a_user(visit.services, "silent", emailVerified=False)
    a_user(visit.services, "limited")
    visit.record("limited")
    visit.record("limited")

    ada, else_ = (ask(visit, visit.link(code, user_id)) for user_id in ("ada", other))

    assert (ada.status_code, else_.status_code) == (200, 200)
    assert ada.get_data() == else_.get_data()
    assert len(visit.hints.published) == 4  # one recorded by each record(), one asked for by ada


def test_the_button_needs_the_token_too(visit):
    _, code = visit.record()
    form = visit.fill(visit.link(code)) | {"csrfToken": "1.2"}
    visit.hints.published.clear()

    answer = visit.post(form, path=FRESH_PATH)

    assert answer.status_code == 400
    assert see(answer).actions == [FRESH_PATH]
    assert visit.hints.published == []
    assert visit.post(see(answer).forms[0], path=FRESH_PATH).status_code == 200


def test_the_button_keeps_the_pace_whoever_is_asked_for(fake_client):
    visit = Visit(fake_client, delay=UniformDelay(slots=2, min_seconds=MIN_SECONDS))
    _, code = visit.record()
    forms = {user_id: visit.fill(visit.link(code, user_id)) for user_id in ("ada", "nobody")}

    seconds = {name: seconds_of(visit.post, form, path=FRESH_PATH) for name, form in forms.items()}

    assert min(seconds.values()) >= MIN_SECONDS


@pytest.mark.parametrize("user_id", ["ada", "nobody"])
@pytest.mark.parametrize("wrong", ["WRNG2345", "WRNG2345" * 2 + "ABCD"])
def test_a_refused_form_keeps_the_pace_whoever_is_asked_for(fake_client, user_id, wrong):
    visit = Visit(fake_client, delay=UniformDelay(slots=2, min_seconds=MIN_SECONDS))
    _, code = visit.record()

    assert seconds_of(visit.save, visit.link(code, user_id), code=wrong) >= MIN_SECONDS


def seconds_of(act, *arguments, **fields):
    began = time.monotonic()
    act(*arguments, **fields)
    return time.monotonic() - began


@contextmanager
def busy(delay, *, requests=PLACES_OF_A_SOURCE, visitor=HERE):
    """So many requests of a source wait in the delay meanwhile."""
    inside, may_leave = Semaphore(0), Event()

    def wait():
        inside.release()
        may_leave.wait(HANG_SECONDS)

    with ThreadPoolExecutor(requests) as pool:
        for _ in range(requests):
            pool.submit(delay.run, wait, visitor)
            assert inside.acquire(timeout=HANG_SECONDS)
        yield
        may_leave.set()


def test_a_source_with_too_many_requests_is_told_before_anything_is_done(fake_client):
    delay = UniformDelay(slots=50, min_seconds=0)
    visit = Visit(fake_client, delay=delay)
    _, code = visit.record()
    link = visit.link(code)
    forms = [visit.fill(visit.link(code, each), code=WRONG) for each in ("ada", "nobody")]
    before = visit.everything_stored()

    with busy(delay):
        answers = [visit.post(form, path=FRESH_PATH) for form in forms]
        saved = visit.post(forms[0])
        unchanged = visit.everything_stored() == before
        by_link = visit.save(link)

    assert [answer.status_code for answer in answers] == [429, 429]
    assert {answer.headers["Retry-After"] for answer in (*answers, saved)} == {"1"}
    assert (saved.status_code, see(saved).forms[0]["code"]) == (429, WRONG)
    assert answers[0].get_data() == answers[1].get_data()
    assert unchanged
    assert by_link.status_code == 200


def test_a_client_keeps_no_other_from_a_place(fake_client):
    delay = UniformDelay(slots=3, min_seconds=0)
    visit = Visit(fake_client, delay=delay)
    _, code = visit.record()
    link = visit.link(code)

    with busy(delay, visitor=ELSEWHERE):
        wrong, right = visit.save(link, code=WRONG), visit.save(link, code=code.formatted)

    assert (wrong.status_code, right.status_code) == (400, 200)


@pytest.mark.parametrize("spelled", ["link_secret", "formatted"])
def test_a_right_code_needs_no_place(fake_client, spelled):
    visit = Visit(fake_client, delay=UniformDelay(slots=0, min_seconds=5))
    _, code = visit.record()

    answer = visit.save(visit.link(code), code=getattr(code, spelled))

    assert answer.status_code == 200
    assert visit.save(visit.link(code), code=getattr(code, spelled)).status_code == 410


@pytest.mark.parametrize("user_id", ["ada", "nobody"])
def test_without_a_place_a_refusal_says_nothing_and_keeps_a_shorter_pace(fake_client, user_id):
    visit = Visit(fake_client, delay=UniformDelay(slots=0, min_seconds=5))
    _, code = visit.record()
    form = visit.fill(visit.link(code, user_id), code=WRONG)
    began = time.monotonic()

    saved, asked = visit.post(form), visit.post(form, path=FRESH_PATH)

    assert (saved.status_code, asked.status_code) == (429, 200)
    assert see(saved).forms[0]["code"] == WRONG
    assert time.monotonic() - began >= 2 * MIN_SECONDS_WITHOUT_PLACE


def refuse():
    raise CodeMismatchError


def fail():
    raise ZeroDivisionError


@pytest.mark.parametrize("act", [refuse, fail, lambda: None])
@pytest.mark.parametrize("only_refusals", [False, True])
def test_a_place_is_free_again_however_it_ended(act, only_refusals):
    delay = UniformDelay(slots=1, min_seconds=0)
    raised = []

    for _ in range(3):
        try:
            delay.run(act, HERE, only_refusals=only_refusals)
        except (CodeMismatchError, ZeroDivisionError, TooManyRequestsError) as error:
            raised.append(type(error))

    assert TooManyRequestsError not in raised


def test_what_succeeds_does_not_wait():
    delay = UniformDelay(slots=1, min_seconds=5)

    assert seconds_of(delay.run, lambda: None, HERE) < 1
