"""The page looks like the organisation of its link, and says no more about who exists."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace

import pytest

from shared.models import Channel
from shared.organisations.profile import Logo, Palette
from tests.support.pages import FRESH_PATH, PATH, Visit, see
from tests.support.pictures import a_png
from web.pages.looks import LOOKS, Look, Looks

BRANDING = {
    "display_name": "Analytical Engines",
    "logo": Logo("image/png", a_png(300, 90), 300, 90),
    "light": Palette("#8c145a", "#fffffe", "#8c145b"),
    "dark": Palette("#f08cc0", "#12161c", "#f08cc1"),
    "help_url": "https://help.example/reset?a=1&b=2",
    "postal_line": "Engines AG, Seestrasse 1, 8002 Zürich",
}
SVG = b"<svg xmlns='http://www.w3.org/2000/svg' width='30' height='9'><path d='M0 0h9v9z'/></svg>"
LINK = f"{PATH}?userID=ada&orgID=acme&lang=en"


@pytest.fixture
def visit(fake_client):
    return Visit(fake_client, email_from_name="Keyturn of Example Inc")


def brand(visit, texts=None, tag="en", **branding):
    """Save a branding and texts, and let the pages forget what they had read."""
    profiles = visit.services.profiles
    before = profiles.find("acme").branding
    is_logo_new = "logo" in branding
    changed = replace(before, **branding)
    profiles.save_branding("acme", changed, version=before.version, is_logo_new=is_logo_new)
    if texts:
        profiles.save_text("acme", tag, texts, version=0, by="test", reason="test")
    visit.app.extensions[LOOKS] = Looks(visit.services)


def policy_of(answer):
    parts = answer.headers["Content-Security-Policy"].split("; ")
    return dict(part.split(" ", 1) for part in parts)


def test_a_page_shows_all_of_the_branding(visit):
    brand(visit, **BRANDING)

    answer = visit.open(LINK)

    page = see(answer)
    logo = page.find(alt="Analytical Engines")
    content = base64.b64encode(BRANDING["logo"].content).decode()
    assert logo["src"] == f"data:image/png;base64,{content}"
    assert page.find(href=BRANDING["help_url"])
    assert BRANDING["postal_line"] in page.text
    assert "Choose a new password · Analytical Engines" in page.text
    assert "Example Inc" not in answer.text
    for colour in ("#8c145a", "#fffffe", "#8c145b", "#f08cc0", "#12161c", "#f08cc1"):
        assert colour in answer.text


@pytest.mark.parametrize("branding", [{}, BRANDING], ids=["plain", "branded"])
def test_the_policy_allows_this_style_this_script_and_images_in_the_page_alone(visit, branding):
    brand(visit, **branding)

    answer = visit.open(LINK)

    policy = policy_of(answer)
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy["style-src"] == f"'sha256-{digest}'"
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy.get("img-src") == ("data:" if branding else None)
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert " style=" not in answer.text


def test_every_page_after_the_first_looks_the_same(visit):
    brand(visit, **BRANDING)
    _, code = visit.record()
    link = visit.link(code, language="en")

    pages = [
        visit.save(link, passwordConfirm="other"),
        visit.save(link, code="WRNG2345"),
        visit.post(visit.fill(link), path=FRESH_PATH),
        visit.save(link),
        visit.open(link),
    ]

    for answer in pages:
        assert see(answer).find(alt="Analytical Engines")
        assert BRANDING["postal_line"] in see(answer).text


def test_an_svg_is_shown_as_an_image(visit):
    brand(visit, logo=Logo("image/svg+xml", SVG, 30, 9))

    logo = see(visit.open(LINK)).find(alt="Acme")

    assert logo["src"] == f"data:image/svg+xml;base64,{base64.b64encode(SVG).decode()}"


@pytest.mark.parametrize("org_id", ["", "unknown", "ac\x00me", "a" * 3000, "Acme"])
def test_an_unknown_organisation_looks_like_the_installation(visit, org_id):
    brand(visit, **BRANDING)

    answer = visit.browser.get(PATH, query_string={"userID": "ada", "orgID": org_id, "lang": "en"})

    assert answer.status_code == 200
    assert "Keyturn of Example Inc" in see(answer).text
    assert policy_of(answer)["style-src"] in Look(None, "").content_security_policy


def test_the_look_does_not_tell_who_exists(visit):
    brand(visit, **BRANDING)

    pages = [visit.open(LINK.replace("ada", name)).text for name in ("ada", "bob")]

    known, unknown = (re.sub(r'value="[^"]*"', "", page) for page in pages)
    assert known == unknown


def test_the_link_of_an_sms_shows_the_organisation_to_its_holder_alone(visit):
    brand(visit, **BRANDING)
    reset_id, code = visit.record(channel=Channel.SMS)
    _, other = visit.record(channel=Channel.SMS)

    assert "Analytical Engines" in see(visit.open(visit.short_link(reset_id, code))).text + str(
        see(visit.open(visit.short_link(reset_id, code))).tags
    )
    for wrong in (visit.short_link(reset_id, other), f"/r/{reset_id}/{code.characters}"):
        assert "Analytical Engines" not in visit.open(wrong).text


def test_an_organisation_that_cannot_be_read_does_not_cost_the_page(visit):
    brand(visit, **BRANDING)
    visit.lose_redis()

    assert visit.open(LINK).status_code == 200


def test_own_sentences_stand_on_the_page(visit):
    brand(visit, {"page.heading": "Neu bei {organisation}", "page.intro": "Los"}, tag="de")

    page = see(visit.open(LINK.replace("=en", "=de")))

    assert "Neu bei Acme" in page.text
    assert "Los" in page.text
    assert "Neu bei" not in see(visit.open(LINK)).text


def test_an_own_sentence_that_cannot_be_filled_is_the_built_in_one(visit):
    brand(visit, {"page.heading": "Neu {code}", "page.submit": "<b>Los</b>"})

    answer = visit.open(LINK)

    assert "Choose a new password" in see(answer).text
    assert "&lt;b&gt;Los&lt;/b&gt;" in answer.text
    assert visit.services.counters.totals()["text:en:acme"] == 1


@pytest.mark.parametrize(
    ("query", "header", "shown"),
    [("lang=en", "fr", "it"), ("lang=de", "", "de"), ("", "fr, de;q=0.5", "de"), ("", "fr", "it"),
     ("lang=de-CH", "", "de"), ("lang=nonsense", "de", "de")],
)  # fmt: skip
def test_the_page_keeps_to_the_languages_of_the_organisation(visit, query, header, shown):
    brand(visit, language="it", languages=("de", "it"))

    answer = visit.open(f"{PATH}?userID=ada&orgID=acme&{query}", Accept_Language=header)

    assert see(answer).language == shown


@pytest.mark.parametrize("field", ["display_name", "help_url", "postal_line"])
def test_no_field_of_the_branding_is_more_than_words(visit, field):
    hostile = '"><img src=x onerror=alert(1)></style><script>'
    brand(visit, **BRANDING | {field: hostile})

    answer = visit.open(LINK)

    assert "<script>" not in answer.text
    assert answer.text.count("</style>") == 1
    assert len([tag for tag, _ in see(answer).tags if tag == "img"]) == 1
