"""Guesses by one shut nobody else out: links are secrets, and budgets belong to who guesses."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from ipaddress import ip_network
from itertools import count
from urllib.parse import parse_qs, urlsplit

import pytest

from shared.models import Channel
from shared.store import keys
from tests.support.builders import a_token, a_user
from tests.support.code_life import Life
from tests.support.pages import FRESH_PATH, NO_DELAY, Visit, see
from tests.support.wire import Wire, problem
from tests.support.wire_v2 import RETURN, WireV2
from web.admin.schemas import serialise_status
from web.admin.status import load_status
from web.explain.query import explain_user
from web.pages.routes import UNIFORM_DELAY
from web.services import build_web_services

WRONG = "WRNG2345"
MISMATCH, UNUSABLE = (400, 3, "CODE-woT0xc"), (400, 9, "COMMAND-2M9fs")
LIMITS_OFF = {"user_cooldown_seconds": 0, "user_limit_per_hour": 0, "user_limit_per_day": 0}
strangers = (f"198.51.{number // 250}.{number % 250 + 1}" for number in count())


@pytest.fixture
def visit(fake_client):
    return Visit(fake_client, **LIMITS_OFF)


@pytest.fixture
def wire(client):
    return WireV2(client, **LIMITS_OFF)


def at(visit, address):
    """The same installation, visited from another address."""
    other = copy(visit)
    other.browser = visit.app.test_client()
    other.browser.environ_base["REMOTE_ADDR"] = address
    return other


def guess(visit, link, times=5, address="203.0.113.66", code=WRONG):
    """The statuses of so many wrong codes from one address."""
    stranger = at(visit, address)
    return [stranger.save(link, code=code).status_code for _ in range(times)]


def press(visit, link, times=5, address="203.0.113.66", **changes):
    """Press the button for a fresh message; how many messages are to go out."""
    visit.hints.published.clear()
    form = visit.fill(link, **changes)
    for _ in range(times):
        at(visit, address).post(form, path=FRESH_PATH)
    return len(visit.hints.published)


def secret_in(link):
    """The code that a link carries."""
    parts = urlsplit(link)
    return parse_qs(parts.query).get("code", [parts.path.rpartition("/")[2]])[0]


def typed(wire, user_id="ada"):
    newest = wire.services.resets.find_of_user(user_id)[0]
    return wire.services.codes.code(newest.reset_id, newest.key_id).formatted


# The secret of the link.


@pytest.mark.parametrize("channel", list(Channel))
def test_a_link_carries_a_hundred_bits_that_are_not_the_typed_code_s(visit, channel):
    reset_id, code = visit.record(channel=channel)

    secrets = {secret_in(visit.link(code)), secret_in(visit.short_link(reset_id, code))}

    assert len(secrets) == 1
    secret = secrets.pop()
    assert re.fullmatch("[2-9A-HJ-NP-Z]{20}", secret)  # 32 signs: five bits each
    assert code.characters not in secret


def test_a_returned_code_is_the_link_s_secret_and_fits_the_field(wire):
    code = wire.reset_v2(body=RETURN).get_json()["verificationCode"]

    assert len(code) == 20
    assert wire.set_password(code=code.lower()).status_code == 200


@pytest.mark.parametrize("times", [5, 25, 120])
def test_a_right_link_is_never_refused_for_what_others_tried(visit, times):
    reset_id, code = visit.record()
    link = visit.link(code)
    for address in (next(strangers) for _ in range(-(-times // 5))):
        guess(visit, link, address=address)

    assert visit.save(visit.short_link(reset_id, code)).status_code == 200
    assert visit.has_password()


def test_a_right_link_works_where_the_guesses_come_from_too(visit):
    _, code = visit.record()
    link = visit.link(code)
    assert guess(visit, link, times=6)[-1] == 429

    assert at(visit, "203.0.113.66").save(link).status_code == 200


def test_wrong_secrets_spend_nothing_of_anybody(visit):
    _, code = visit.record()
    link = visit.link(code)

    statuses = guess(visit, link, times=120, code="WRNG2345" * 2 + "ABCD")

    assert set(statuses) == {400}
    assert at(visit, "203.0.113.66").save(link, code=code.formatted).status_code == 200


# The typed code.


def test_guesses_of_a_stranger_leave_the_typed_code_to_everybody_else(visit):
    _, code = visit.record()
    link = visit.link(code)

    statuses = guess(visit, link, times=30)

    assert statuses == [400] * 5 + [429] * 25
    assert at(visit, "192.0.2.1").save(link, code=code.formatted).status_code == 200


def test_the_source_waits_for_this_user_alone(visit):
    _, code = visit.record()
    a_user(visit.services, "eve")
    _, other = visit.record("eve")
    guess(visit, visit.link(code), times=6)

    stranger = at(visit, "203.0.113.66")
    waits = stranger.save(visit.link(code), code=code.formatted)

    assert waits.status_code == 429
    assert 890 < int(waits.headers["Retry-After"]) <= 900
    answer = stranger.save(visit.link(other, "eve"), code=other.formatted)
    assert answer.status_code == 200


def test_a_right_code_clears_what_its_typist_mistyped(visit):
    _, code = visit.record()
    link = visit.link(code)
    guess(visit, link, times=4)
    assert at(visit, "203.0.113.66").save(link, code=code.formatted).status_code == 200
    _, code = visit.record()

    assert guess(visit, visit.link(code), times=5) == [400] * 5


@pytest.mark.parametrize(
    ("first", "second", "is_one"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("203.0.113.66", "::ffff:203.0.113.66", True),
        ("203.0.113.66", "203.0.113.67", False),
    ],
)
def test_what_one_source_is(visit, first, second, is_one):
    _, code = visit.record()
    guess(visit, visit.link(code), address=first)

    statuses = guess(visit, visit.link(code), times=1, address=second)

    assert statuses == [429 if is_one else 400]


def test_a_header_makes_no_stranger_another_one(visit):
    _, code = visit.record()
    statuses = [
        visit.post(
            visit.fill(visit.link(code), code=WRONG),
            X_Forwarded_For=f"198.51.100.{number}",
            Forwarded=f"for=198.51.100.{number}",
        ).status_code
        for number in range(6)
    ]

    assert statuses == [400] * 5 + [429]


def test_the_hundredth_wrong_code_ends_the_typed_code_and_nothing_else(visit):
    _, code = visit.record()
    link = visit.link(code)
    for number in range(20):
        guess(visit, link, address=f"198.18.0.{number}")

    refused = visit.save(link, code=code.formatted)

    assert refused.status_code == 410
    assert "Zu viele falsche Codes" in see(refused).text
    assert "Der Link in der Nachricht gilt weiter." in see(refused).text
    assert guess(visit, link, times=1, address="192.0.2.9") == [400]
    assert visit.save(link).status_code == 200


def test_ninety_nine_wrong_codes_leave_the_typed_code_alone(visit):
    _, code = visit.record()
    link = visit.link(code)
    for number in range(19):
        guess(visit, link, address=f"198.18.0.{number}")
    guess(visit, link, times=4, address="198.18.0.19")

    assert visit.save(link, code=code.formatted).status_code == 200


def test_by_the_api_a_hundred_wrong_codes_answer_as_no_live_code_does(wire):
    code = wire.a_code()
    for number in range(20):
        guess(page_of(wire), "/ui/password/reset?userID=ada", address=f"198.18.0.{number}")

    assert problem(wire.set_password(code=typed(wire))) == UNUSABLE
    assert problem(wire.set_password(code=WRONG)) == UNUSABLE
    assert problem(wire.set_password(code="2" * 20)) == MISMATCH
    assert wire.set_password(code=code).status_code == 200


def test_callers_have_budgets_of_their_own(wire):
    wire.a_code()
    statuses = [wire.set_password(code=WRONG).status_code for _ in range(7)]
    wire.token = a_token(wire.services, "ORG_OWNER")

    assert statuses == [400] * 5 + [429] * 2
    assert problem(wire.set_password(code=WRONG)) == MISMATCH
    assert wire.set_password(code=typed(wire)).status_code == 200


def test_guesses_at_once_gain_nothing(wire):
    code = wire.a_code()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: wire.set_password(code=WRONG), range(40)))

    assert sorted(answer.status_code for answer in answers) == [400] * 5 + [429] * 35
    assert wire.set_password(code=code).status_code == 200


@pytest.mark.parametrize(
    "spell",
    [
        lambda code: "".join(chr(ord(sign) + 0xFEE0) for sign in code),
        lambda code: code.lower(),
        lambda code: f" {code[:2]} {code[2:6]}-{code[6:]} ",
        lambda code: f"{code[:4]}\uff0d{code[4:]}",
        lambda code: f"{code[:4]}\u2011{code[4:]}\u200b",
    ],
    ids=["full width", "lower", "blanks", "full-width hyphen", "no-break hyphen"],
)
@pytest.mark.parametrize("is_link", [False, True])
def test_a_code_is_read_however_a_keyboard_spells_it(visit, spell, is_link):
    _, code = visit.record()
    link = visit.link(code)
    right = secret_in(link) if is_link else code.characters

    assert visit.save(link, code=spell(right)).status_code == 200


# The button for a fresh message.


@pytest.mark.parametrize(
    "limits", [{"user_limit_per_hour": 1}, {"user_limit_per_day": 1}, {"user_cooldown_seconds": 60}]
)
def test_presses_of_strangers_spend_nothing_of_the_api_s(fake_client, limits):
    wire = WireV2(fake_client, **LIMITS_OFF | limits)
    page = page_of(wire)
    form = page.fill("/ui/password/reset?userID=ada")
    for _ in range(6):
        assert at(page, next(strangers)).post(form, path=FRESH_PATH).status_code == 200

    assert wire.reset().status_code == 200


def page_of(wire):
    """The pages of an installation that is asked by the API too."""
    wire.app.extensions[UNIFORM_DELAY] = NO_DELAY
    page = Visit.__new__(Visit)
    page.__dict__ |= {"app": wire.app, "browser": wire.app.test_client()}
    return page


def test_strangers_get_a_user_two_messages_an_hour(visit):
    sent = [
        press(visit, "/ui/password/reset?userID=ada", times=2, address=next(strangers))
        for _ in range(4)
        if not settle(visit)
    ]

    assert sum(sent) <= 2


def settle(visit):
    """Let what waits be sent."""
    for reset in visit.services.resets.find_of_user("ada"):
        visit.redis.hset(keys.reset(reset.reset_id), "st", "sending")


def test_presses_of_strangers_leave_the_owner_s_code_alive(visit):
    _, code = visit.record()
    for _ in range(8):
        settle(visit)
        press(visit, "/ui/password/reset?userID=ada", times=1, address=next(strangers))

    assert visit.save(visit.link(code)).status_code == 200


@pytest.mark.parametrize("channel", list(Channel))
def test_presses_from_a_former_mailbox_leave_the_owner_s_code_alive(fake_client, channel):
    life = Life(fake_client, **LIMITS_OFF, page_limit_per_hour=100)
    former = life.send(channel)
    life.change({"email": "new@example.com", "phone": "+41791234568"})
    present = life.send(channel)
    form = see(life.by_page(former)).forms[0]
    for _ in range(6):
        assert life.app.test_client().post(FRESH_PATH, data=form).status_code == 200
        for reset in life.services.resets.find_of_user("ada"):
            life.worker.deliver(reset.reset_id)

    assert life.by_page(present).status_code == 200


def test_presses_of_strangers_displace_nothing_whatever_they_may_ask_for(fake_client):
    visit = Visit(fake_client, **LIMITS_OFF, page_limit_per_hour=100)
    _, code = visit.record()
    for _ in range(8):
        settle(visit)
        press(visit, "/ui/password/reset?userID=ada", times=1, address=next(strangers))

    assert visit.save(visit.link(code)).status_code == 200


def test_a_press_with_a_code_of_her_own_comes_first(visit):
    _, code = visit.record()
    link = visit.link(code)
    visit.save(link)
    for _ in range(8):
        press(visit, "/ui/password/reset?userID=ada", times=2, address=next(strangers))

    assert press(visit, link, times=1, address="192.0.2.1") == 1
    assert press(visit, link, times=1, address="192.0.2.1", code=code.formatted) == 1


def test_a_press_does_not_tell_a_live_typed_code(visit):
    _, code = visit.record(channel=Channel.SMS)
    settle(visit)

    press(visit, "/ui/password/reset?userID=ada", times=1, code=code.formatted)

    assert {hint.task.value for hint in visit.hints.published} == {"keyturn.send_email"}


def test_a_stranger_s_press_replaces_nothing_that_waits(visit):
    reset_id, _ = visit.record()

    assert press(visit, "/ui/password/reset?userID=ada", times=3) == 0
    assert visit.services.resets.find(reset_id).status == "queued"


def test_one_source_presses_for_so_many_users_and_no_more(fake_client):
    visit = Visit(fake_client, user_limit_per_hour=0, user_cooldown_seconds=0)
    for number in range(30):
        a_user(visit.services, f"user-{number}")

    sent = [press(visit, f"/ui/password/reset?userID=user-{n}", times=1) for n in range(30)]

    assert sum(sent) == 20
    assert press(visit, "/ui/password/reset?userID=user-29", times=1, address="192.0.2.1") == 1


# What an operator sees and does.


def operate(wire, user_id="ada"):
    answer = wire.call(
        "/keyturn/v1/limits/_clear",
        data=json.dumps({"limit": "user", "id": user_id, "reason": "a stranger guessed"}),
        headers=wire.headers(),
    )
    assert answer.status_code == 200
    return answer.get_json()


def test_clearing_a_user_ends_every_lock_and_says_what_was_in_force(wire):
    wire.a_code()
    for _ in range(6):
        wire.set_password(code=WRONG)
    assert wire.set_password(code=typed(wire)).status_code == 429

    told, again = operate(wire), operate(wire)

    assert told["wasCounted"] is True
    assert told["cleared"] == {"guessers": 1}
    assert (again["wasCounted"], again["cleared"]) == (False, {})
    assert wire.set_password(code=typed(wire)).status_code == 200


def test_clearing_a_user_lets_a_void_code_be_typed_again(wire):
    wire.a_code()
    for number in range(21):
        guess(page_of(wire), "/ui/password/reset?userID=ada", address=f"198.18.0.{number}")
    assert problem(wire.set_password(code=typed(wire))) == UNUSABLE

    told = operate(wire)

    assert told["cleared"]["void_codes"] == 1
    assert told["cleared"]["guessers"] == 21
    assert wire.set_password(code=typed(wire)).status_code == 200


def test_explain_names_a_lock_and_a_void_code(wire):
    wire.a_code()
    for _ in range(6):
        wire.set_password(code=WRONG)
    services = build_web_services(wire.services)

    said = explain_user(services, "ada").diagnosis

    assert "5 wrong codes from token" in said.text
    assert "waits until" in said.text
    assert "No link ends by them" in said.text
    assert "keyturn limit clear --user ada" in said.next_step

    for number in range(20):
        guess(page_of(wire), "/ui/password/reset?userID=ada", address=f"198.18.0.{number}")

    said = explain_user(services, "ada").diagnosis

    assert "cannot be typed" in said.text
    assert "198.18.0.0/24" in said.text
    assert "198.18.0.1/" not in said.text


def test_status_names_who_guesses_a_void_code_and_guessing_at_large(wire):
    wire.a_code()
    wire.services.samples.take()
    for number in range(21):
        guess(page_of(wire), "/ui/password/reset?userID=ada", address=f"198.18.0.{number}")
    guess(page_of(wire), "/ui/password/reset?userID=eve@people.test")

    view = load_status(build_web_services(wire.services))
    told = serialise_status(view)

    newest = wire.services.resets.find_of_user("ada")[0].reset_id
    assert {each["userId"] for each in told["guesses"]} == {"ada"}
    assert told["guesses"][0]["source"] == "198.18.0.0/24"
    assert told["guesses"][0]["isLocked"] is True
    assert any(newest in each and "limit clear --user ada" in each for each in told["troubles"])
    assert any("wrong codes in the last five minutes" in each for each in told["troubles"])


def test_wrong_codes_are_a_metric_whoever_they_are_guessed_for(wire):
    for name in ("ada", "nobody"):
        guess(page_of(wire), f"/ui/password/reset?userID={name}", times=2)
        guess(page_of(wire), f"/ui/password/reset?userID={name}", times=1, code="2" * 20)

    text = wire.call("/metrics", method="GET").get_data(as_text=True)

    assert 'keyturn_wrong_codes_total{kind="typed"} 4.0' in text
    assert 'keyturn_wrong_codes_total{kind="link"} 2.0' in text


def test_no_address_of_a_guesser_is_kept_or_logged(wire, capsys):
    wire.a_code()
    guess(page_of(wire), "/ui/password/reset?userID=ada", times=7, address="203.0.113.66")

    assert "203.0.113.66" not in wire.stored_words() + capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "is_told"),
    [
        ({"public_url": "https://reset.example.com"}, True),
        (
            {
                "public_url": "https://reset.example.com",
                "trusted_proxies": (ip_network("10.0.0.0/8"),),
            },
            False,
        ),
        ({"public_url": "http://127.0.0.1:8080"}, False),
    ],
)
def test_a_proxy_without_a_name_is_told_at_the_start(fake_client, capsys, settings, is_told):
    Wire(fake_client, **settings)

    assert ("KEYTURN_TRUSTED_PROXIES" in capsys.readouterr().out) == is_told
