"""Contact sheets of all languages, as `./run gallery [FOLDER] [--languages ar,he] [--dark]`.

With --readme the three pictures of the README instead (tests/support/readme_pictures.py).

For each language the reset mail and the page at the width of a phone, as PNG; the SMS and the
mail's text part; and sheet.html with all of them side by side. Nothing is sent.
"""

from __future__ import annotations

import argparse
import sys
from html import escape
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from shared.codes import Code
from shared.gsm7 import segments
from shared.languages import direction
from shared.models import Channel
from tests.support import readme_pictures
from tests.support.fakes import FakeRedis
from tests.support.message_builders import (
    EMAIL,
    LANGUAGES,
    PHONE,
    a_renderer,
    a_reset,
    a_user,
    an_organisation,
)
from tests.support.pages import PATH, Visit
from web.pages.errors import POLICY_COMPLAINTS
from web.pages.forms import Filled
from web.pages.rendering import show_form
from web.services import build_web_services

CHROMIUM = Path("/usr/bin/chromium")
PHONE_SIZE = {"width": 390, "height": 844}
CODE = Code("23ABWMWM", "W" * 20)  # begins with digits: the hard case from right to left
SHEET = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Languages of Keyturn</title>
<style>body{font:15px/1.4 system-ui,sans-serif;margin:16px;background:#888}
section{display:inline-block;vertical-align:top;width:830px;margin:6px;padding:10px;background:#fff}
img{width:400px;vertical-align:top}
pre{white-space:pre-wrap;background:#eee;padding:8px;margin:6px 0}
</style>
"""


def main(arguments: list[str]) -> int:
    """Write the pictures and the sheet; the exit status."""
    parser = argparse.ArgumentParser(prog="./run gallery", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("build/gallery"))
    parser.add_argument("--languages", default=",".join(LANGUAGES.tags))
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--readme", action="store_true", help="the pictures in docs/pictures")
    options = parser.parse_args(arguments)
    if not CHROMIUM.exists():
        sys.exit("./run gallery needs Debian's Chromium: apt-get install chromium fonts-noto-core")
    options.folder.mkdir(parents=True, exist_ok=True)
    with FakeRedis() as client, sync_playwright() as playwright:
        visit = Visit(client)
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"]
        )
        if options.readme:
            readme_pictures.draw(browser)
            return 0
        scheme = "dark" if options.dark else "light"
        view = browser.new_page(viewport=PHONE_SIZE, color_scheme=scheme)
        tags = options.languages.split(",")
        sections = [_draw(view, options.folder, visit, language) for language in tags]
        browser.close()
    sheet = options.folder / "sheet.html"
    sheet.write_text(SHEET + "\n".join(sections), encoding="utf-8")
    sys.stdout.write(f"{sheet}\n")
    return 0


def _draw(view: Page, folder: Path, visit: Visit, language: str) -> str:
    """Take the pictures of a language; its part of the sheet."""
    renderer, organisation = a_renderer(time_zone="Europe/Zurich"), an_organisation()
    reset = a_reset(language=language)
    mail = renderer.render_reset(reset, a_user(), EMAIL, organisation, CODE, seconds_left=60)
    short = a_reset(Channel.SMS, language=language)
    sms = renderer.render_sms(short, PHONE, organisation, CODE, seconds_left=60)
    services = build_web_services(visit.services)
    with visit.app.test_request_context(PATH):
        filled = Filled(handle="ada", org_id="acme", code=CODE.formatted, language=language)
        failed = show_form(services, filled, POLICY_COMPLAINTS["length"])
    for part, html in (("mail", mail.html), ("page", failed.get_data(as_text=True))):
        view.set_content(html)
        view.screenshot(path=str(folder / f"{language}-{part}.png"), full_page=True)
    number, alphabet = segments(sms.body)
    return (
        f"<section><h2>{language} · {direction(language)}</h2>"
        f'<p dir="auto">{escape(mail.subject)}</p>'
        f'<img src="{language}-mail.png" alt=""> <img src="{language}-page.png" alt="">'
        f'<pre dir="auto" lang="{language}">{escape(sms.body)}</pre><p>{number} {alphabet}</p>'
        f'<pre dir="auto" lang="{language}">{escape(mail.text)}</pre></section>'
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
