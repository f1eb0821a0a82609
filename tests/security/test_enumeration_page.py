"""The page tells nobody who exists: one answer and one pace; a client spends no other's places."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.models import Channel
from tests.security.test_guesses import LIMITS_OFF, WRONG, at
from tests.support.builders import a_user
from tests.support.pages import FRESH_PATH, PATH, Visit, see
from web.pages.enumeration import UniformDelay

WRONG_LINK = "WRNG2345" * 2 + "ABCD"
STRANGERS = ["nobody", "Ada", "ada ", "\uff41da", "robot", "fresh", "locked", "gone", "a" * 201]
STRANGERS += ["ada\x00", "r/" + "0" * 27, "r/", "r/ada", "ada@example.com"]


@pytest.fixture
def visit(fake_client):
    visit = Visit(fake_client, **LIMITS_OFF)
    a_user(visit.services, "idle", language="fr")
    a_user(visit.services, "robot", kind="machine")
    a_user(visit.services, "fresh", state="initial")
    a_user(visit.services, "locked", state="locked")
    a_user(visit.services, "gone", state="inactive")
    visit.record()
    return visit


def answers(visit, user_id, codes, *, presses=0, address="203.0.113.66"):
    """What a visitor sees who presses the button so often and types these codes."""
    stranger = at(visit, address)
    form = stranger.fill(f"{PATH}?userID=x") | {"csrfToken": token_of(stranger, user_id)}
    form |= {"userID": user_id, "lang": "en"}
    seen = [stranger.post(form | {"code": ""}, path=FRESH_PATH) for _ in range(presses)]
    seen += [stranger.post(form | {"code": code}) for code in codes]
    return [(each.status_code, text_of(each)) for each in seen]


def token_of(visit, user_id):
    page = visit.browser.get(PATH, query_string={"userID": user_id})
    return see(page).forms[0]["csrfToken"]


def text_of(answer):
    """The page without what the visitor said, and without what differs from second to second."""
    page = see(answer)
    fields = [sorted(set(form) - {"csrfToken"}) for form in page.forms]
    headers = {name: value for name, value in answer.headers.items() if "Id" not in name}
    headers.pop("Content-Length")
    headers.pop("Retry-After", None)
    return page.text, page.language, fields, headers


@pytest.mark.parametrize("other", ["idle", *STRANGERS])
@pytest.mark.parametrize("presses", [0, 2])
def test_wrong_none_and_unknown_are_one_answer_and_one_budget(visit, other, presses):
    codes = [WRONG, "", "x", WRONG_LINK, "23456789ABCDEFGHJK", WRONG, WRONG, WRONG_LINK, WRONG]

    ada = answers(visit, "ada", codes, presses=presses)
    else_ = answers(visit, other, codes, presses=presses)

    assert else_ == ada
    tried = [status for status, _ in ada[presses:]]
    assert tried == [400] * 6 + [429, 400, 429]


def test_ids_share_no_count_whether_they_exist_or_not(visit):
    for user_id in ("nobody", "no other", "ada", "idle"):
        statuses = [status for status, _ in answers(visit, user_id, [WRONG] * 6)]
        assert statuses == [400] * 5 + [429]


@pytest.mark.parametrize("other", ["nobody", "idle"])
def test_the_end_of_the_wait_is_told_alike(visit, other):
    waits = {}
    for user_id in ("ada", other):
        stranger = at(visit, "203.0.113.66")
        form = stranger.fill(f"{PATH}?userID={user_id}", code=WRONG)
        waits[user_id] = [stranger.post(form) for _ in range(6)][-1].headers["Retry-After"]

    assert abs(int(waits["ada"]) - int(waits[other])) <= 1


def test_a_short_link_s_wrong_code_tells_no_reset(visit):
    reset_id, _ = visit.record(channel=Channel.SMS)
    known = answers(visit, f"r/{reset_id}", [WRONG] * 6 + [WRONG_LINK], presses=1)

    assert answers(visit, "r/" + "0" * 27, [WRONG] * 6 + [WRONG_LINK], presses=1) == known


def test_a_code_that_ended_is_known_to_who_holds_it_alone(visit):
    _, code = visit.record()
    visit.save(visit.link(code))

    assert visit.save(visit.link(code)).status_code == 410
    assert visit.save(visit.link(code), code=code.formatted).status_code == 410
    assert visit.save(visit.link(code), code=WRONG).status_code == 400
    assert visit.save(visit.link(code, "nobody")).status_code == 400


def test_a_wrong_code_is_answered_in_the_visitor_s_language(visit):
    answer = visit.post(visit.fill(f"{PATH}?userID=idle", code=WRONG), Accept_Language="pl")

    assert see(answer).language == "pl"


@pytest.mark.parametrize("code", [WRONG, WRONG_LINK])
@pytest.mark.parametrize("path", [PATH, FRESH_PATH])
def test_the_pace_is_one(visit, code, path):
    visit.app.extensions["keyturn.uniform_delay"] = UniformDelay(slots=4, min_seconds=0.2)
    took = {}
    for user_id in ("ada", "idle", "nobody", "r/" + "0" * 27):
        form = visit.fill(f"{PATH}?userID={user_id}", code=code)
        began = time.monotonic()
        visit.post(form, path=path)
        took[user_id] = time.monotonic() - began

    assert min(took.values()) >= 0.2


def test_no_password_is_hashed_before_the_code_is_right(visit, monkeypatch):
    hashed = []
    monkeypatch.setattr(visit.services.directory, "set_password", lambda *_, **__: hashed.append(1))

    answers(visit, "ada", [WRONG] * 6 + [WRONG_LINK])

    assert hashed == []


def test_one_client_keeps_none_of_twelve_people_waiting(fake_client):
    visit = Visit(fake_client, web_threads=24, **LIMITS_OFF)  # half of them may hash passwords
    visit.app.extensions["keyturn.uniform_delay"] = UniformDelay(slots=12, min_seconds=0.25)
    people = [f"person-{number}" for number in range(12)]
    links = {}
    for name in people:
        a_user(visit.services, name)
        _, code = visit.record(name)
        links[name] = visit.fill(visit.link(code, name))
        if name.endswith(("1", "3", "5")):
            links[name]["code"] = code.formatted
    form = visit.fill(f"{PATH}?userID=person-1")
    until = time.monotonic() + 3

    def flood(_):
        statuses = set()
        while time.monotonic() < until:
            statuses.add(at(visit, "203.0.113.66").post(form, path=FRESH_PATH).status_code)
        return statuses

    with ThreadPoolExecutor(24) as pool:
        flooding = [pool.submit(flood, number) for number in range(12)]
        time.sleep(0.5)
        saving = [
            pool.submit(at(visit, f"192.0.2.{n}").post, links[name])
            for n, name in enumerate(people)
        ]
        statuses = [each.result().status_code for each in saving]

    assert statuses == [200] * 12
    assert set().union(*(each.result() for each in flooding)) == {200, 429}
