"""The four drills of docs/operating.md in Chromium, with the console alone, judged by axe too."""

from __future__ import annotations

import json
import re
import sys
import time
from contextlib import contextmanager
from threading import Thread

import pytest
import requests

from tests.journeys.stack import Stack, free_ports
from tests.journeys.test_page_in_browser import ARGUMENTS, CHROMIUM
from tests.support.callback_builders import SendGridKey
from tests.support.callback_poster import CallbackPoster
from tests.support.provider_stub import Answer, ProviderStub
from tests.support.smtp_server import SmtpServer
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.real_server,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="Debian's Chromium is not installed"),
]
OUT_OF_SERVICE = Answer.of_json(503, {"errors": [{"message": "out of service"}]})
ACCEPT_THEN_CUT = Answer(takes=True, how="cut")


class Operator:
    """A browser signed in by the link that `up` printed, and nothing else."""

    def __init__(self, tab, keyturn):
        self.tab, self.base = tab, f"{keyturn.url}/console"
        self.seen = set()  # pages that axe has looked at
        link = re.search(r"(\S+/console/sign-in/once/\S+)", keyturn.log())
        tab.goto(link[1])
        tab.wait_for_url(self.base)

    def open(self, path=""):
        self.tab.goto(self.base + path)

    def sees(self, text, seconds=40):
        """The words appear; pages that renew themselves are not opened again."""
        self.tab.get_by_text(text).first.wait_for(timeout=seconds * 1000)
        self.look()

    def press(self, button, reason="a drill", **fields):
        """Follow a button, say why, and answer its question."""
        self.tab.get_by_role("link", name=button).first.click()
        for name, value in fields.items():
            self.tab.fill(f"#f-{name}", value)
        self.tab.fill("#reason", reason)
        self.look()
        self.tab.locator("form.card button").click()
        self.tab.locator(".note").wait_for()

    def find(self, text):
        self.open("/resets")
        self.tab.fill("#q", text)
        self.tab.get_by_role("button", name="Find").click()
        self.tab.locator(".verdict").wait_for()

    def look(self):
        """What axe finds on a page not seen before; nothing serious may be."""
        title = re.sub(r"\d.*", "", self.tab.title())
        if title not in self.seen:
            self.seen.add(title)
            assert not complaints_of_axe(self.tab), title


def complaints_of_axe(tab):
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(tab).response["violations"]
    return [(each["id"], each["nodes"][0]["html"][:200]) for each in found]


class Callers:
    """Those who ask for resets by the API."""

    def __init__(self, keyturn):
        self._keyturn, self._session = keyturn, requests.Session()

    def ask(self, user_id):
        answer = self._session.post(
            f"{self._keyturn.url}/users/{user_id}/password/_reset",
            headers={"Authorization": f"Bearer {self._keyturn.token}"},
            timeout=60,
        )
        assert answer.status_code == 200, answer.text
        return answer.headers["Keyturn-Reset-Id"]

    @contextmanager
    def asking(self, per_second):
        over = []

        def keep_asking():
            number = 0
            while not over:
                self.ask(f"u{number}")
                number += 1
                time.sleep(1 / per_second)

        thread = Thread(target=keep_asking)
        thread.start()
        try:
            yield
        finally:
            over.append(True)
            thread.join()


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    """Two providers of e-mail, few threads, people enough."""
    key = SendGridKey()
    with ProviderStub(port=free_ports(1)[0]) as stub, SmtpServer() as relay:
        keyturn = Stack(
            tmp_path_factory.mktemp("console"),
            KEYTURN_EMAIL_PROVIDERS="sendgrid,smtp",
            KEYTURN_SENDGRID_API_KEY="SG.test",
            KEYTURN_SENDGRID_API_URL=stub.url,
            KEYTURN_SENDGRID_WEBHOOK_PUBLIC_KEY=key.public,
            KEYTURN_SMTP_URL=relay.url,
            KEYTURN_USER_COOLDOWN_SECONDS="0",
            KEYTURN_USER_LIMIT_PER_HOUR="0",
            KEYTURN_USER_LIMIT_PER_DAY="0",
            KEYTURN_WORKER_THREADS="4",
            KEYTURN_DOUBT_SECONDS="5",
        ).start()
        people = [{"userId": f"u{n}", "orgId": "demo", "email": f"u{n}@example.com",
                   "emailVerified": True} for n in range(400)]  # fmt: skip
        keyturn.cli("user", "import", "-", given="\n".join(map(json.dumps, people)))
        poster = CallbackPoster(keyturn.url, public_url=keyturn.url, key=key)
        yield keyturn, stub, poster
        keyturn.stop()
        sys.stdout.write(keyturn.log()[-8000:])


def test_the_four_drills_with_the_console_alone(installation):
    from playwright.sync_api import sync_playwright

    keyturn, stub, poster = installation
    callers = Callers(keyturn)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(ARGUMENTS))
        tab = browser.new_context().new_page()
        broken = []
        tab.on("pageerror", lambda error: broken.append(str(error)))
        tab.on("console", lambda line: broken.append(line.text) if "Policy" in line.text else None)
        operator = Operator(tab, keyturn)
        operator.sees("All is well")

        a_provider_is_down(operator, callers, stub)
        a_backlog(operator, callers, stub)
        a_second_copy(operator, callers, stub)
        got_nothing(operator, callers, stub, poster)

        browser.close()
    assert broken == []
    trail = [(each["action"], each["reason"]) for each in acts_of(keyturn)]
    for action in ("provider.try", "provider.pause", "provider.resume"):
        assert (action, "a drill") in trail
    assert ("suppression.lift_and_resend", "a drill") in trail


def acts_of(keyturn):
    done = keyturn.cli("audit", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def a_provider_is_down(operator, callers, stub):
    stub.outage = OUT_OF_SERVICE
    with callers.asking(per_second=10):
        operator.sees("sendgrid has its circuit open")
        operator.sees("it answers with HTTP 503")
    reset_id = callers.ask("u1")
    operator.find(reset_id)
    operator.sees("smtp")  # which carried it
    stub.outage = None
    operator.open()
    operator.press("Try now: sendgrid")
    operator.sees("sendgrid is tried again")
    with callers.asking(per_second=5):
        operator.tab.locator("td:has-text('works') >> nth=1").wait_for(timeout=40_000)


def a_backlog(operator, callers, stub):
    stub.delay_seconds = 1.2  # four threads take three a second; callers ask for ten
    try:
        with callers.asking(per_second=10):
            operator.open()
            operator.sees("The urgent queue falls behind")
            operator.press("Pause sendgrid")
            operator.sees("sendgrid is paused")
            operator.open()
            wait_until(
                lambda: (
                    "falls behind" not in operator.tab.inner_text("main")
                    and "due for" not in operator.tab.inner_text("main")
                ),
                what="a queue that is not behind any more",
            )
    finally:
        stub.delay_seconds = 0.0
    operator.press("Resume sendgrid")
    operator.sees("sendgrid is tried again")


def takes_again(callers, stub, user_id):
    """The first provider has what is asked for now, so that it may have what comes next."""

    def has_taken():
        reset_id = callers.ask(user_id)
        time.sleep(2)
        return any(each["resetId"] == reset_id for each in stub.taken)

    wait_until(has_taken, what="a mail by the first provider")


def a_second_copy(operator, callers, stub):
    takes_again(callers, stub, "u390")
    stub.answers(ACCEPT_THEN_CUT)
    callers.ask("u300")
    operator.find("u300@example.com")
    operator.tab.locator("table.stack a").first.click()
    operator.sees("in doubt, it may have been taken")
    operator.sees("both copies carry the same code")
    operator.sees("2.")


def got_nothing(operator, callers, stub, poster):
    operator.find("u310@example.com")
    operator.sees("No request for this user reached Keyturn")
    callers.ask("u310")
    wait_until(
        lambda: any(each["to"] == "u310@example.com" for each in stub.taken), what="the mail"
    )
    mail = next(each for each in stub.taken if each["to"] == "u310@example.com")
    poster.post_mail(poster.mail_events(mail, "bounce", type="bounce"))
    wait_until(lambda: reads_bounced(operator), what="a verdict that names the bounce")
    operator.press("Lift u***@example.com and send")
    operator.sees("The suppression is lifted; fresh resets: u310")
    wait_until(
        lambda: len([each for each in stub.taken if each["to"] == "u310@example.com"]) > 1,
        what="a second mail",
    )


def reads_bounced(operator):
    operator.find("u310@example.com")
    return "bounced" in operator.tab.inner_text(".verdict")
