"""Sign-in, session, forms, headers: what every page of the console has."""

from __future__ import annotations

import pytest

from tests.support.builders import a_token
from tests.support.console import Console
from tests.support.pages import see
from web.console import session as sessions

ELSEWHERE = [
    "https://evil.example/",
    "//evil.example/console",
    "/console//evil.example",
    "/console/../..//evil.example",
    "/console\\evil",
    "/consolex",
    "/console@evil.example",
    "/ui/password/reset",
    "javascript:alert(1)",
    "/console/\r\nSet-Cookie: a=b",
]


@pytest.fixture
def console(fake_client):
    return Console(fake_client)


def cookie_of(answer):
    return next(h for h in answer.headers.getlist("Set-Cookie") if "keyturn-console" in h)


def test_without_a_session_every_page_asks_to_sign_in(console):
    answer = console.open("/providers")

    assert answer.status_code == 401
    assert see(answer).find(name="next")["value"] == "/console/providers"


def test_a_token_signs_in_and_leads_back(console):
    answer = console.sign_in(next="/console/providers?x=1")

    assert (answer.status_code, answer.headers["Location"]) == (303, "/console/providers?x=1")
    assert console.open("/providers").status_code == 200


def test_the_cookie_is_sealed_and_for_this_host_alone(console):
    cookie = cookie_of(console.sign_in())

    name, _, rest = cookie.partition("=")
    assert name == "__Host-keyturn-console"
    attributes = {each.strip() for each in rest.split(";")[1:]}
    assert attributes == {"Secure", "HttpOnly", "Path=/", "SameSite=Strict"}
    assert console.owner not in cookie


def test_over_plain_http_on_a_network_the_name_is_another(fake_client):
    console = Console(fake_client, public_url="http://10.0.0.7:8000")

    assert cookie_of(console.sign_in()).startswith("keyturn-console=")


def test_a_wrong_token_is_refused_with_words(console):
    for token in ("", "x", "kt_" + "A" * 43, "a b", "a\r\nb", "é", "x" * 5000):
        answer = console.browser.post("/console/sign-in", data={"token": token})

        assert answer.status_code == 401
        assert "did not work" in see(answer).text
        assert "Set-Cookie" not in answer.headers


def test_an_organisation_is_checked_at_sign_in(console):
    assert console.sign_in(org="nowhere").status_code == 403
    assert console.sign_in(console.token, org="beta").status_code == 404
    assert console.sign_in(org="beta").status_code == 303


def test_sign_in_leads_to_the_console_alone(console):
    for target in ELSEWHERE:
        answer = console.sign_in(next=target)

        assert answer.headers["Location"] in ("/console", "/console/"), target


def test_a_cookie_of_another_make_is_no_session(console):
    for cookie in ("", "x", "gAAAA", "é", "=" * 4000):
        console.browser.set_cookie("__Host-keyturn-console", cookie)

        assert console.open().status_code == 401


@pytest.mark.parametrize(
    ("idle", "whole", "status"), [(60, 3600, 200), (1801, 1801, 401), (60, 43_201, 401)]
)
def test_a_session_ends_when_idle_and_after_twelve_hours(console, monkeypatch, idle, whole, status):
    now = sessions.time.time()
    began = sessions.Session(console.owner, "", "n", now - whole, now - idle)
    sealed = console.services.digests.seal(
        sessions.SEALED_AS, sessions.json.dumps(sessions.asdict(began))
    )
    console.browser.set_cookie("__Host-keyturn-console", sealed)

    assert console.open().status_code == status


def test_a_page_that_renews_itself_keeps_no_session_alive(console):
    console.sign_in()

    assert "Set-Cookie" in console.open().headers
    assert "Set-Cookie" not in console.open(HX_Request="true").headers


def test_a_revoked_token_ends_the_session(console):
    console.sign_in()
    console.services.callers.revoke_token(console.services.callers.list_tokens()[-1].token_id)
    console.app.extensions["keyturn"].auth.forget()

    answer = console.open()

    assert answer.status_code == 401
    assert "not valid any more" in see(answer).text


def test_signing_out_ends_the_session(console):
    console.sign_in()
    answer = console.press("/sign-out")

    assert "Max-Age=0" in cookie_of(answer)
    assert console.open().status_code == 401


@pytest.mark.parametrize("given", [None, "", "x", "0" * 64])
def test_a_form_without_the_sessions_token_does_nothing(console, given):
    console.sign_in()
    form = {"reason": "a test"} | ({} if given is None else {"csrf": given})

    answer = console.browser.post("/console/pauses/channel/sms/pause", data=form)

    assert answer.status_code == 403
    assert not list(console.services.pauses.all())


def test_the_form_of_another_session_does_nothing(console):
    console.sign_in()
    token = console.csrf()
    console.sign_in()

    answer = console.browser.post(
        "/console/pauses/channel/sms/pause", data={"csrf": token, "reason": "a test"}
    )

    assert answer.status_code == 403


def test_another_site_cannot_post(console):
    console.sign_in()
    form = {"csrf": console.csrf(), "reason": "a test"}
    path = "/console/pauses/channel/sms/pause"

    for site in ("cross-site", "same-site"):
        answer = console.browser.post(path, data=form, headers={"Sec-Fetch-Site": site})
        assert answer.status_code == 403
    answer = console.browser.post(
        "/console/sign-in", data={"token": console.owner}, headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert answer.status_code == 403


@pytest.mark.parametrize("path", ["", "/sign-in", "/providers", "/nowhere"])
def test_no_page_runs_what_stands_in_it(console, path):
    console.sign_in()
    answer = console.open(path)
    policy = answer.headers["Content-Security-Policy"]

    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["Cache-Control"] == "no-store"
    text = answer.get_data(as_text=True)
    assert "<style" not in text
    assert " style=" not in text
    assert " onclick" not in text
    assert len(answer.get_data()) < 100_000


def test_an_unknown_page_is_said_to_be_none(console):
    console.sign_in()

    assert console.open("/nowhere").status_code == 404
    assert (
        console.browser.post("/console/nowhere", data={"csrf": console.csrf()}).status_code == 404
    )


def test_assets_are_kept_by_browsers_until_they_change(console):
    links = see(console.open("/sign-in")).tags
    sheet = next(its["href"] for tag, its in links if its.get("rel") == "stylesheet")
    answer = console.browser.get(sheet)

    assert answer.mimetype == "text/css"
    assert "immutable" in answer.headers["Cache-Control"]
    assert console.open("/static/console.css").headers["Cache-Control"] == "no-store"
    for wrong in ("nothing.css", "../frame.py", "%2e%2e%2fframe.py"):
        assert console.open(f"/static/{wrong}").status_code in (401, 404)


def test_the_console_can_be_shut(fake_client):
    console = Console(fake_client, console="off")

    assert console.open().status_code == 404
    assert console.sign_in().status_code == 404


@pytest.mark.parametrize("reason", ["", " ", "x" * 501])
def test_every_button_asks_for_a_reason(console, reason):
    console.sign_in()

    answer = console.press("/pauses/channel/sms/pause", reason=reason)

    assert answer.status_code == 400
    assert "reason must have" in see(answer).text
    assert not list(console.services.pauses.all())


def test_a_button_acts_says_so_once_and_stands_in_the_trail(console):
    console.sign_in()

    assert "The channel sms is paused." in console.note_after("/pauses/channel/sms/pause")
    assert "The channel sms is paused." not in console.see().text
    (entry, *_) = console.services.audit.newest(most=1)
    token = console.services.callers.find_caller(console.owner)
    act = entry.act
    assert (act.action, act.by, act.reason) == (
        "channel.pause",
        f"token {token.token_id}",
        "a test",
    )
    assert "works again" in console.note_after("/pauses/channel/sms/resume")
    assert not list(console.services.pauses.all())


def test_who_may_not_is_told_so(console):
    console.sign_in(a_token(console.services, "ORG_OWNER_VIEWER"))

    assert console.open("/pauses/channel/sms/pause").status_code == 403
    assert console.press("/pauses/channel/sms/pause").status_code == 403
    assert not list(console.services.pauses.all())
