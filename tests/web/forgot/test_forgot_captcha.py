"""Captchas before a message is asked for: Altcha here, the others at a maker on loopback."""

import base64
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar
from urllib.parse import parse_qs

import altcha
import pytest

from shared.errors import SettingsError
from shared.settings import load_settings
from shared.store import keys
from tests.support.builders import SECRET
from tests.support.pages import Visit, see

PATH = "/ui/password/forgot"
CALL = "/keyturn/v1/forgot"
ADA = {"identifier": "ada@example.com"}


@pytest.fixture
def visit(fake_client, monkeypatch):
    monkeypatch.setattr("web.forgot.captcha.COST", 10)
    return Visit(fake_client, forgot_captcha="altcha", page_limit_per_hour=0)


def solve(challenge):
    given = altcha.Challenge.from_dict(json.loads(challenge))
    return altcha.Payload(given, altcha.solve_challenge(given)).to_base64()


def challenge_of(visit):
    return see(visit.open(PATH)).find(id="altcha")["data-challenge"]


def test_a_solved_proof_of_work_is_taken_by_the_page(visit):
    page = visit.post(ADA | {"altcha": solve(challenge_of(visit))}, path=PATH)

    assert page.status_code == 200
    assert visit.redis.zcard(keys.FORGOT) == 1


def test_and_by_the_call_which_says_what_it_needs(visit):
    needs = visit.browser.get(CALL).json

    answer = visit.browser.post(CALL, json=ADA | {"captcha": solve(needs["challenge"])})

    assert (needs["captcha"], answer.status_code) == ("altcha", 202)


def test_without_a_captcha_the_call_needs_nothing(fake_client):
    needs = Visit(fake_client).browser.get(CALL).json

    assert needs == {"captcha": "off", "siteKey": "", "challenge": ""}


def test_a_solution_counts_once(visit):
    solution = solve(challenge_of(visit))
    first, second = (visit.post(ADA | {"altcha": solution}, path=PATH) for _ in range(2))

    assert (first.status_code, second.status_code) == (200, 400)
    assert visit.redis.zcard(keys.FORGOT) == 1


def packed(value):
    return base64.b64encode(json.dumps(value).encode()).decode()


def test_what_is_no_solution_is_refused_on_page_and_call(visit):
    challenge = json.loads(challenge_of(visit))
    easier = challenge["parameters"] | {"keyPrefix": ""}
    foreign = altcha.create_challenge("PBKDF2/SHA-256", 10, key_prefix="", hmac_secret="theirs")
    none = {"counter": 0, "derivedKey": "00"}
    bad = [
        "", "x", "none", "é" * 9, "A" * 9000, packed([]), packed({"challenge": "x"}), packed(None),
        packed({"challenge": {"parameters": "x"}, "solution": none}),
        packed({"challenge": challenge, "solution": none}),
        packed({"challenge": challenge, "solution": none | {"counter": "0"}}),
        packed({"challenge": challenge | {"parameters": easier}, "solution": none}),
        packed({"challenge": challenge | {"signature": ""}, "solution": none}),
        packed({"challenge": challenge, "solution": [7]}),
        solve(json.dumps(foreign.to_dict())),
    ]  # fmt: skip

    for solution in bad:
        page = visit.post(ADA | {"altcha": solution}, path=PATH)
        call = visit.browser.post(CALL, json=ADA | {"captcha": solution})
        assert (page.status_code, call.status_code) == (400, 400), solution
        assert call.json["details"][0]["id"] == "KEYTURN-Captcha"
        assert "check that you are a person" in see(page).text
        assert see(page).find(id="identifier")["value"] == "ada@example.com"
    assert visit.redis.zcard(keys.FORGOT) == 0


def test_a_late_solution_is_refused(visit, monkeypatch):
    monkeypatch.setattr("web.forgot.captcha.SOLUTION_SECONDS", -1)

    page = visit.post(ADA | {"altcha": solve(challenge_of(visit))}, path=PATH)

    assert page.status_code == 400


def test_the_page_says_that_it_needs_scripts_and_runs_ours_alone(visit):
    page = visit.open(PATH)

    assert "Please switch on JavaScript" in see(page).text
    assert see(page).find(src="/ui/password/altcha.js")
    assert "script-src 'self';" in page.headers["Content-Security-Policy"]
    script = visit.open("/ui/password/altcha.js")
    assert script.mimetype == "text/javascript"
    assert b"crypto.subtle" in script.get_data()


class Maker(BaseHTTPRequestHandler):
    """Answers as told, and keeps what it was asked."""

    answers: ClassVar = [(200, b'{"success":true}')]
    asked: ClassVar = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.asked.append((self.path, parse_qs(body)))
        status, answer = self.answers[0]
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def maker(socket_enabled):
    Maker.asked.clear()
    with HTTPServer(("127.0.0.1", 0), Maker) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def visit_with(client, kind, url):
    return Visit(
        client,
        forgot_captcha=kind,
        forgot_captcha_site_key="site-1",
        forgot_captcha_secret="hush",
        forgot_captcha_url=url,
        page_limit_per_hour=0,
    )


@pytest.mark.parametrize(
    ("kind", "field", "path", "host"),
    [
        (
            *("turnstile", "cf-turnstile-response", "/turnstile/v0/siteverify"),
            "challenges.cloudflare.com",
        ),
        ("hcaptcha", "h-captcha-response", "/siteverify", "hcaptcha.com"),
    ],
)  # fmt: skip
def test_the_makers_of_others_are_asked(fake_client, maker, kind, field, path, host):
    visit = visit_with(fake_client, kind, maker)
    Maker.answers = [(200, b'{"success":true}')]
    page = visit.open(PATH)

    taken = visit.post(ADA | {field: "solved"}, path=PATH)

    assert taken.status_code == 200
    assert Maker.asked == [(path, {"secret": ["hush"], "response": ["solved"]})]
    assert "hush" not in page.get_data(as_text=True)
    assert see(page).find(**{"data-sitekey": "site-1"})
    policy = page.headers["Content-Security-Policy"]
    assert {
        re.sub(r"^https://(\*\.)?", "", each) for each in re.findall(r"https://\S+[^;\s]", policy)
    } == {host}
    assert "form-action 'self'" in policy


@pytest.mark.parametrize(
    ("status", "answer", "code"),
    [
        (200, b'{"success":false,"error-codes":["timeout-or-duplicate"]}', 400),
        (200, b'{"success":"true"}', 503),
        (200, b"{}", 503),
        (200, b"[]", 503),
        (200, b"<html>", 503),
        (500, b'{"success":true}', 503),
    ],
)
def test_only_a_clear_yes_is_a_yes(fake_client, maker, status, answer, code):
    visit = visit_with(fake_client, "turnstile", maker)
    Maker.answers = [(status, answer)]

    page = visit.post(ADA | {"cf-turnstile-response": "x"}, path=PATH)
    call = visit.browser.post(CALL, json=ADA | {"captcha": "x"})

    assert (page.status_code, call.status_code) == (code, code)
    assert "try" in see(page).text
    assert visit.redis.zcard(keys.FORGOT) == 0


def test_a_maker_that_is_away_is_no_yes(fake_client, socket_enabled):
    visit = visit_with(fake_client, "hcaptcha", "http://127.0.0.1:1")

    page = visit.post(ADA | {"h-captcha-response": "x"}, path=PATH)

    assert page.status_code == 503
    assert visit.redis.zcard(keys.FORGOT) == 0


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"KEYTURN_FORGOT_CAPTCHA": "recaptcha"}, "off or turnstile or hcaptcha or altcha"),
        ({"KEYTURN_FORGOT_CAPTCHA": "turnstile"}, "KEYTURN_FORGOT_CAPTCHA_SECRET"),
        ({"KEYTURN_FORGOT_CAPTCHA_URL": "http://elsewhere.example"}, "https://"),
        ({"KEYTURN_FORGOT_HOSTS": "login.example"}, "login.acme.example=acme"),
        ({"KEYTURN_FORGOT_HOSTS": "a.example=x,A.example=y"}, "twice"),
        ({"KEYTURN_FORGOT_HOSTS": "a.example="}, "1 to 200"),
        ({"KEYTURN_FORGOT_HOSTS": "https://a.example=x"}, "host such as"),
        ({"KEYTURN_PHONE_REGION": "CH,DE"}, "one region"),
        ({"KEYTURN_PHONE_REGION": "Switzerland"}, "no region"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(environ, problem):
    with pytest.raises(SettingsError, match=re.escape(problem)):
        load_settings({"KEYTURN_SECRET_KEYS": SECRET} | environ)
