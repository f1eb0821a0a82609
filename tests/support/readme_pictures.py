"""The pictures of the README, as `./run gallery --readme`: of a running Keyturn, in Chromium."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

from playwright.sync_api import Browser

from tests import CHECKOUT
from tests.journeys.stack import Stack
from tests.support.waiting import wait_until

FOLDER = CHECKOUT / "docs" / "pictures"
WIDE, PHONE = {"width": 1100, "height": 780}, {"width": 390, "height": 780}
PEOPLE = ("grace", "alan", "katherine", "dennis", "barbara")
BUSY = {"KEYTURN_USER_COOLDOWN_SECONDS": "0", "KEYTURN_SMS_PROVIDERS": ""}


def draw(browser: Browser) -> None:
    """Write mail.png, page.png and console.png."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        keyturn = Stack(Path(folder), **BUSY).start()
        try:
            for user in PEOPLE:
                email = f"{user}@example.com"
                keyturn.cli("user", "import", "-", given=a_user(user, email))
                keyturn.cli("reset", "send", user, "--type", "email")
            paste(keyturn)
            outbox = keyturn.data_dir / "outbox"
            wait_until(lambda: len(list(outbox.glob("*.json"))) > len(PEOPLE), what="the mails")
            mails = [json.loads(each.read_text()) for each in outbox.glob("*.json")]
            mail = next(each for each in mails if "ada@" in json.dumps(each))
            shoot(browser, "mail", PHONE, html=mail["html"])
            link = re.search(r'href="([^"]+/ui/[^"]+)"', mail["html"])
            assert link is not None
            shoot(browser, "page", PHONE, url=link[1].replace("&amp;", "&"))
            once = re.search(r"\S+/console/sign-in/once/\S+", keyturn.log())
            assert once is not None
            shoot(browser, "console", WIDE, url=once[0])
        finally:
            keyturn.stop()


def a_user(user: str, email: str) -> str:
    """Return the line of an import."""
    about = {"userId": user, "orgId": "demo", "email": email, "emailVerified": True}
    return json.dumps(about)


def paste(keyturn: Stack) -> None:
    """Type the curl line that was printed."""
    line = re.search(r"^  (curl .*)$", keyturn.log(), re.MULTILINE)
    assert line is not None
    subprocess.run(line[1], shell=True, check=True, capture_output=True, env=os.environ)  # noqa: S602


def shoot(
    browser: Browser, name: str, size: dict[str, int], *, url: str = "", html: str = ""
) -> None:
    """Take one picture of a page, or of a mail's HTML."""
    tab = browser.new_page(viewport=size)
    if html:
        tab.set_content(html)
    else:
        tab.goto(url, wait_until="networkidle")
    tab.screenshot(path=str(FOLDER / f"{name}.png"))
    tab.close()
