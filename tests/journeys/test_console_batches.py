"""A batch from upload to report in Chromium, with the console alone; axe looks at every page."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest

from tests.journeys.stack import Stack
from tests.journeys.test_console_drills import Operator, complaints_of_axe
from tests.journeys.test_page_in_browser import ARGUMENTS, CHROMIUM
from tests.support.subscriber_stub import SubscriberStub

pytestmark = [
    pytest.mark.browser,
    pytest.mark.real_server,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="Debian's Chromium is not installed"),
]
USERS = 60
PAGES = ("/batches", "/batches/upload", "/batches/filter", "/suppressions", "/suppressions/add",
         "/webhooks", "/audit", "/preview")  # fmt: skip


@pytest.fixture(scope="module")
def keyturn(tmp_path_factory):
    keyturn = Stack(
        tmp_path_factory.mktemp("console-batches"), KEYTURN_WEBHOOK_ALLOW_PRIVATE="true"
    ).start()
    people = [{"userId": f"u{n}", "orgId": "demo", "email": f"u{n}@example.com", "language": "de",
               "emailVerified": True} for n in range(USERS)]  # fmt: skip
    keyturn.cli("user", "import", "-", given="\n".join(map(json.dumps, people)))
    yield keyturn
    keyturn.stop()
    sys.stdout.write(keyturn.log()[-8000:])


def upload(operator, path, reason="the outage of Monday", rate="0"):
    operator.open("/batches/upload")
    operator.tab.set_input_files("#file", path)
    operator.tab.fill("#rate", rate)
    operator.tab.fill("#reason", reason)
    operator.look()
    operator.tab.get_by_role("button", name="Plan").click()


def test_a_batch_from_upload_to_report_with_the_console_alone(keyturn, tmp_path):
    from playwright.sync_api import sync_playwright

    users, bad, results = tmp_path / "users.csv", tmp_path / "bad.csv", tmp_path / "results.csv"
    users.write_text("Name;User ID\n" + "".join(f"U {n};u{n}\n" for n in range(USERS)) + "N;no\n")
    bad.write_bytes(b"Name;User ID\nA;u1\nB;\xff\nC\n")
    with sync_playwright() as playwright, SubscriberStub(500) as subscriber:
        keyturn.cli("webhook", "add", "--org", "demo", "--url", subscriber.url)
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(ARGUMENTS))
        operator = Operator(browser.new_context().new_page(), keyturn)

        upload(operator, bad)
        operator.sees("2 of 4 lines cannot be read; nothing was started")
        operator.sees("line 3: is not UTF-8")

        upload(operator, users, rate="10")
        operator.sees("get a message")
        plan = operator.tab.inner_text("main")
        assert "unknown_user\t1" in plan
        assert f"de\t{USERS}" in plan
        operator.press("Start")
        operator.sees("a second")  # the rate, once it was looked at twice
        operator.sees(" left")
        operator.press("Pause")
        operator.sees(f"of {USERS + 1} done")
        assert " left" not in operator.tab.inner_text("#live")
        operator.press("Resume")
        operator.sees("finished", seconds=30)
        with operator.tab.expect_download() as download:
            operator.tab.get_by_role("link", name="Results as CSV").click()
        download.value.save_as(results)

        operator.open()
        operator.sees("took no webhook at")
        operator.tab.get_by_role("link", name="Show it").first.click()
        operator.sees("it answers with HTTP 500")
        operator.press("Test")
        operator.sees("It did not take the test: http_500.")
        check_pages(browser, operator)
        browser.close()

    rows = list(csv.DictReader(Path(results).read_text().splitlines()))
    assert {row["status"] for row in rows[:USERS]} <= {"accepted", "delivered"}
    assert (len(rows), rows[-1]["reason"]) == (USERS + 1, "unknown_user")
    trail = keyturn.cli("audit", "--json").stdout
    acts = [each["action"] for each in json.loads(trail) if each["action"].startswith("batch.")]
    assert acts == ["batch.resume", "batch.pause", "batch.start", "batch.plan"]


def check_pages(browser, operator):
    """On a phone and in the dark too, axe finds nothing and no page is wider than the screen."""
    cookies = operator.tab.context.cookies()
    phone = browser.new_context(color_scheme="dark", viewport={"width": 360, "height": 740})
    phone.add_cookies(cookies)
    tab = phone.new_page()
    for path in PAGES:
        answer = tab.goto(operator.base + path)
        assert len(answer.body()) < 100_000, path
        assert complaints_of_axe(tab) == [], path
        for frame, words in (("The mail", "ABCD-2345"), ("The page", "Demo")):
            if path == "/preview":
                tab.frame_locator(f"[title='{frame}']").get_by_text(words).first.wait_for()
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360, path
