"""The page in Chromium as a person meets it, with scripts switched off but for one test."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest
from werkzeug.serving import WSGIRequestHandler, make_server

from shared.models import Channel
from tests.shared.messages.test_branding import BRANDING as MAIL_BRANDING
from tests.support.message_builders import a_renderer, an_organisation, mail_of
from tests.support.pages import PASSWORD, Visit
from tests.web.pages.test_looks import BRANDING, brand
from web.forgot.captcha import Captcha
from web.forgot.pages import CAPTCHA
from web.services import build_web_services
from worker.forgot import ForgotProcessor

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PHONE = {"width": 320, "height": 640}

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="Debian's Chromium is not installed"),
]


class Quiet(WSGIRequestHandler):
    def log(self, *_):
        """The journey's own lines are enough."""


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def visit(fake_client):
    return Visit(fake_client)


@pytest.fixture
def address(visit):
    server = make_server("127.0.0.1", 0, visit.app, threaded=True, request_handler=Quiet)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def pictures(tmp_path):
    """Where the pictures go: KEYTURN_TEST_PICTURES to keep them."""
    kept = Path(os.environ.get("KEYTURN_TEST_PICTURES", tmp_path))
    kept.mkdir(parents=True, exist_ok=True)
    return kept


@pytest.fixture
def open_tab(chromium, pictures):
    """Opens a tab, without scripts unless told; fails the test when a page broke its own policy."""
    contexts, complaints = [], []

    def open_one(**fields):
        context = chromium.new_context(**{"java_script_enabled": False} | fields)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: complaints.append(message.text))
        return tab

    yield open_one
    for context in contexts:
        context.close()
    assert [each for each in complaints if "Content Security Policy" in each] == []


def fill_passwords(tab, password=PASSWORD, repeat=None):
    tab.get_by_label("New password", exact=True).fill(password)
    tab.get_by_label("New password again").fill(repeat or password)
    tab.get_by_role("button", name="Save new password").click()


def test_a_person_changes_the_password(visit, address, open_tab, pictures):
    _, code = visit.record()
    tab = open_tab()

    tab.goto(address + visit.link(code, language="en"))
    tab.screenshot(path=pictures / "form-light.png", full_page=True)
    fill_passwords(tab)

    tab.screenshot(path=pictures / "done-light.png", full_page=True)
    assert tab.get_by_role("status").inner_text().startswith("Ihr Passwort wurde geändert")
    assert visit.has_password()


def test_the_rules_and_a_button_that_shows_the_passwords_come_before_the_first_try(
    visit, address, open_tab, pictures
):
    _, code = visit.record()
    tab = open_tab(java_script_enabled=True, viewport={"width": 360, "height": 740})
    tab.goto(address + visit.link(code, language="en"))
    fields = [tab.locator("#password"), tab.locator("#passwordConfirm")]
    tab.screenshot(path=pictures / "rules-phone.png", full_page=True)

    assert "At least 8 characters" in tab.locator("#password-rules").inner_text()
    fields[0].fill(PASSWORD)
    tab.get_by_role("button", name="Show passwords").click()
    tab.screenshot(path=pictures / "shown-phone.png", full_page=True)
    assert [each.get_attribute("type") for each in fields] == ["text", "text"]
    tab.get_by_role("button", name="Hide passwords").click()
    assert [each.get_attribute("type") for each in fields] == ["password", "password"]
    tab.get_by_role("button", name="Show passwords").click()
    fill_passwords(tab)

    assert tab.get_by_role("status").is_visible()
    assert visit.has_password()


def test_without_scripts_there_is_no_button_that_shows_passwords(visit, address, open_tab):
    _, code = visit.record()
    tab = open_tab()

    tab.goto(address + visit.link(code, language="en"))

    assert tab.get_by_role("button").all_inner_texts() == [
        "Save new password", "Send a fresh message",
    ]  # fmt: skip


def test_the_first_bad_field_has_the_focus_and_says_what_is_wrong(
    visit, address, open_tab, pictures
):
    _, code = visit.record()
    tab = open_tab()

    tab.goto(address + visit.link(code, language="en"))
    fill_passwords(tab, "correct-rat-7")

    field = tab.get_by_label("New password", exact=True)
    tab.screenshot(path=pictures / "error-light.png", full_page=True)
    assert "upper case letter" in tab.get_by_role("alert").inner_text()
    assert tab.locator("input:focus").get_attribute("id") == "password"
    assert field.input_value() == ""
    assert field.get_attribute("aria-describedby") == "password-rules password-error"
    assert tab.title().startswith("Error:")
    fill_passwords(tab)
    assert visit.has_password()


def test_a_wrong_code_is_mended_in_its_field(visit, address, open_tab, pictures):
    reset_id, code = visit.record(channel=Channel.SMS)
    tab = open_tab(viewport=PHONE, color_scheme="dark")

    tab.goto(address + visit.short_link(reset_id, code)[:-8] + "WRNG2345")
    fill_passwords(tab)
    tab.screenshot(path=pictures / "wrong-code-phone-dark.png", full_page=True)
    assert tab.locator("input:focus").get_attribute("id") == "code"
    tab.get_by_label("Code from the message").fill(code.formatted.lower())
    fill_passwords(tab)

    assert visit.has_password()


def test_a_used_code_leads_to_a_fresh_message(visit, address, open_tab, pictures):
    _, code = visit.record()
    visit.save(visit.link(code))
    tab = open_tab(viewport=PHONE)

    tab.goto(address + visit.link(code, language="en"))
    tab.screenshot(path=pictures / "used-phone.png", full_page=True)
    visit.hints.published.clear()
    tab.get_by_role("button", name="Neue Nachricht senden").click()

    tab.screenshot(path=pictures / "fresh-phone.png", full_page=True)
    assert len(visit.hints.published) == 1
    assert not visit.has_password("Another-horse-8")


@pytest.mark.parametrize("language", ["de", "pl", "fr", "el", "ar", "th"])
def test_no_page_is_wider_than_a_small_phone(visit, address, open_tab, pictures, language):
    tab = open_tab(viewport=PHONE, color_scheme="dark")

    tab.goto(f"{address}/ui/password/reset?userID=ada&lang={language}")

    tab.screenshot(path=pictures / f"form-phone-dark-{language}.png", full_page=True)
    widths = [tag.bounding_box() for tag in tab.locator("main, h1, input:visible, button").all()]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"] for box in widths)


def test_everything_is_reached_by_the_keyboard_alone(visit, address, open_tab):
    _, code = visit.record()
    tab = open_tab()

    tab.goto(address + visit.link(code, language="en"))
    for signs in (PASSWORD, PASSWORD):
        tab.keyboard.press("Tab")
        tab.keyboard.type(signs)
    tab.keyboard.press("Enter")

    tab.get_by_role("status").wait_for()
    assert visit.has_password()


def ask_for_forgotten(tab, identifier="ADA@Example.com"):
    tab.get_by_label("E-mail address, phone number or user name").fill(identifier)
    tab.get_by_role("button", name="Send the message").click()


def test_a_person_who_forgot_asks_gets_a_link_and_changes_the_password(
    visit, address, open_tab, pictures
):
    phone = {"locale": "en-GB", "viewport": PHONE}
    tab = open_tab(**phone)
    tab.goto(f"{address}/ui/password/forgot/acme")
    tab.screenshot(path=pictures / "forgot-phone.png", full_page=True)
    ask_for_forgotten(tab)
    tab.screenshot(path=pictures / "forgot-sent-phone.png", full_page=True)
    assert "Please look at your messages" in tab.get_by_role("status").inner_text()

    ForgotProcessor(visit.services).answer()
    (reset,) = visit.services.resets.find_of_user("ada")
    code = visit.services.codes.code(reset.reset_id, reset.key_id)
    tab.goto(address + visit.link(code, language="en"))
    fill_passwords(tab)

    assert visit.has_password()
    for name, fields in {"light": {}, "dark": {"color_scheme": "dark"}}.items():
        tab = open_tab(**fields, locale="en-GB")
        tab.goto(f"{address}/ui/password/forgot")
        tab.screenshot(path=pictures / f"forgot-{name}.png", full_page=True)
        ask_for_forgotten(tab, "4" * 40)
        tab.screenshot(path=pictures / f"forgot-refused-{name}.png", full_page=True)
        assert tab.locator("#identifier").input_value() == "4" * 40


def test_a_browser_solves_the_proof_of_work_while_the_form_is_filled_in(
    visit, address, open_tab, pictures
):
    services = build_web_services(visit.services)
    settings = replace(services.settings, forgot_captcha="altcha")
    visit.app.extensions[CAPTCHA] = Captcha(replace(services, settings=settings))
    silent, tab = open_tab(locale="en-GB"), open_tab(java_script_enabled=True, locale="en-GB")

    silent.goto(f"{address}/ui/password/forgot")
    silent.screenshot(path=pictures / "forgot-without-scripts.png", full_page=True)
    ask_for_forgotten(silent)
    tab.goto(f"{address}/ui/password/forgot")
    ask_for_forgotten(tab)  # before the solution is there

    assert "The check that you are a person" in silent.get_by_role("alert").inner_text()
    assert "Please look at your messages" in tab.get_by_role("status").inner_text()
    assert visit.services.forgot.depth() == 1


def accessibility_of(tab):
    """What axe-core finds wrong, as a text."""
    from axe_playwright_python.sync_playwright import Axe

    return Axe().run(tab).generate_snapshot()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_branded_page_keeps_its_policy_and_is_accessible(
    visit, address, open_tab, pictures, scheme
):
    brand(visit, **BRANDING)
    _, code = visit.record()
    tab = open_tab(java_script_enabled=True, viewport=PHONE, color_scheme=scheme)

    tab.goto(address + visit.link(code, language="en"))

    tab.screenshot(path=pictures / f"branded-phone-{scheme}.png", full_page=True)
    assert tab.get_by_alt_text("Analytical Engines").evaluate("it => it.naturalWidth") == 300
    accents = {"light": "rgb(140, 20, 90)", "dark": "rgb(240, 140, 192)"}
    button = tab.get_by_role("button", name="Save new password")
    assert button.evaluate("it => getComputedStyle(it).backgroundColor") == accents[scheme]
    assert accessibility_of(tab) == ""
    assert tab.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


@pytest.mark.parametrize("branding", [{}, MAIL_BRANDING], ids=["plain", "branded"])
def test_a_mail_is_accessible_in_the_light_in_the_dark_and_on_a_phone(open_tab, pictures, branding):
    mail = mail_of(a_renderer(), organisation=an_organisation(**branding))
    name = "branded" if branding else "plain"
    for scheme in ("light", "dark"):
        for width in (320, 600):
            tab = open_tab(
                java_script_enabled=True, viewport={"width": width, "height": 640},
                color_scheme=scheme,
            )  # fmt: skip
            tab.set_content(mail.whole_html)
            tab.screenshot(path=pictures / f"mail-{name}-{scheme}-{width}.png", full_page=True)
            assert tab.evaluate("document.documentElement.scrollWidth") == width
            assert accessibility_of(tab) == ""
            ground = tab.locator(".card").evaluate("it => getComputedStyle(it).backgroundColor")
            assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(28, 34, 41)"}[scheme]
