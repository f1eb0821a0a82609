"""What comes with a form: its token, its language, its size; what every page carries."""

from __future__ import annotations

import re

import pytest

from shared.languages import Languages
from tests.support.pages import FRESH_PATH, PASSWORD, PATH, Visit, see
from web.pages.looks import Look

LANGUAGES = Languages()
WRONG = "WRNG2345"
SCRIPT_TAG = '<script src="/ui/password/reveal.js">'  # of our own origin; shows the passwords


@pytest.fixture
def visit(fake_client):
    return Visit(fake_client)


def test_a_form_without_its_token_is_refused(visit):
    _, code = visit.record()
    form = visit.fill(visit.link(code))
    del form["csrfToken"]
    before = visit.everything_stored()

    answer = visit.post(form)

    assert answer.status_code == 400
    assert "open for too long" in see(answer).text
    assert see(answer).forms[0]["code"] == code.link_secret
    assert visit.everything_stored() == before


def test_the_token_of_one_user_is_none_of_another(visit):
    _, code = visit.record()
    foreign = visit.fill(visit.link(code, "eve"))["csrfToken"]

    answer = visit.save(visit.link(code), csrfToken=foreign)

    assert answer.status_code == 400
    assert not visit.has_password()


@pytest.mark.parametrize(
    "minutes", [-121, 3, -(10**7)], ids=["two hours old", "of the future", "of another age"]
)
def test_a_token_lives_for_two_hours(visit, minutes):
    _, code = visit.record()
    now = int(visit.fill(visit.link(code))["csrfToken"].partition(".")[0])
    signature = visit.services.codes.sign("page", f"ada\0{now + minutes}")

    answer = visit.save(visit.link(code), csrfToken=f"{now + minutes}.{signature}")

    assert answer.status_code == 400
    assert not visit.has_password()


@pytest.mark.parametrize(
    "token", ["", ".", "x.y", "-1.2", "1e3.aa", "²." + "0" * 64, "9" * 5000 + ".a"]
)
def test_a_token_that_is_none_does_no_harm(visit, token):
    _, code = visit.record()

    assert visit.save(visit.link(code), csrfToken=token).status_code == 400


@pytest.mark.parametrize(
    ("site", "status"),
    [("same-origin", 200), ("none", 200), ("cross-site", 400), ("same-site", 400), ("", 400)],
)
def test_a_form_that_came_from_another_site_is_refused(visit, site, status):
    _, code = visit.record()

    answer = visit.post(visit.fill(visit.link(code)), Sec_Fetch_Site=site)

    assert answer.status_code == status


def test_a_form_whose_origin_is_hidden_is_taken(visit):
    _, code = visit.record()

    answer = visit.post(visit.fill(visit.link(code)), Origin="null", Sec_Fetch_Site="same-origin")

    assert answer.status_code == 200


@pytest.mark.parametrize("query", ["?userID=ada", "?userID=ada&code=", "?userID=ada&code=ABCD"])
def test_a_link_without_a_whole_code_asks_for_it(visit, query):
    page = see(visit.open(PATH + query))

    assert page.find(id="code")["type"] == "text"
    assert "Code from the message" in page.text


@pytest.mark.parametrize("query", ["", "?code=ABCDEFGH", "?userID="])
def test_a_link_without_its_user_asks_to_open_it_again(visit, query):
    answer = visit.open(PATH + query)

    assert answer.status_code == 200
    assert "open the link in the message once more" in see(answer).text
    assert see(answer).forms == []


@pytest.mark.parametrize("path", [PATH, FRESH_PATH])
def test_a_form_without_its_user_asks_to_open_the_link_again(visit, path):
    answer = visit.post({"password": PASSWORD, "passwordConfirm": PASSWORD}, path=path)

    assert answer.status_code == 400
    assert "open the link in the message once more" in see(answer).text


@pytest.mark.parametrize("language", LANGUAGES.tags)
def test_the_language_of_the_link_wins_over_the_browser_s(visit, language):
    _, code = visit.record()
    other = "fr" if language != "fr" else "it"

    answer = visit.open(visit.link(code, language=language), Accept_Language=other)

    assert see(answer).language == language
    assert LANGUAGES.translate(language, "page.heading") in see(answer).text


@pytest.mark.parametrize(
    ("header", "language"), [("pl,en;q=0.5", "pl"), ("tlh", "en"), (None, "en")]
)
def test_the_browser_s_language_is_taken_where_the_link_names_none(visit, header, language):
    headers = {"Accept_Language": header} if header else {}

    answer = visit.open(PATH + "?userID=ada&lang=xx", **headers)

    assert see(answer).language == language


def test_the_language_stays_when_the_form_is_shown_again(visit):
    _, code = visit.record()

    answer = visit.save(visit.link(code, language="nl"), password="x", passwordConfirm="x")

    assert see(answer).language == "nl"
    assert see(answer).forms[0]["lang"] == "nl"


@pytest.mark.parametrize(
    "make",
    [
        lambda visit, link: visit.open(link),
        lambda visit, link: visit.open(PATH, method="PUT"),
        lambda visit, link: visit.open("/ui/nowhere"),
        lambda visit, link: visit.open("/r/only-one-part"),
        lambda visit, link: visit.post({"password": "x" * 70_000}),
        lambda visit, link: visit.save(link, code=WRONG),
        lambda visit, link: visit.save(link),
        lambda visit, link: visit.post(visit.fill(link), path=FRESH_PATH),
    ],
    ids=["form", "405", "404", "short 404", "413", "400", "200", "fresh"],
)
def test_every_page_has_its_headers_and_is_html(visit, make):
    _, code = visit.record()

    answer = make(visit, visit.link(code))

    assert see(answer).language == answer.headers["Content-Language"]
    assert answer.headers["Content-Security-Policy"] == Look(None, "").content_security_policy
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", PATH, 405),
        ("GET", FRESH_PATH, 405),
        ("POST", "/r/0abc/ABCDEFGH", 405),
        ("GET", "/ui/nowhere", 404),
    ],
)
def test_a_wrong_call_of_a_page_is_answered_by_a_page(visit, method, path, status):
    answer = visit.open(path, method=method)

    assert answer.status_code == status
    assert ("Allow" in answer.headers) == (status == 405)
    assert see(answer).text


def test_a_body_that_is_too_large_is_a_413_page(visit):
    answer = visit.post({"userID": "ada", "password": "x" * 65_536})

    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"userID=ada&password=%ff%fe", "application/x-www-form-urlencoded"),
        (b"userID=ada&password=\xff", "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=1" % n for n in range(50)), "application/x-www-form-urlencoded"),
        (b"--x\r\nContent-Disposition: form-data; name=userID\r\n\r\nada\r\n--x--\r\n",
         "multipart/form-data; boundary=x"),
        (b'{"userID":"ada"}', "application/json"),
        (b"", "text/plain"),
    ],
    ids=["broken escapes", "raw bytes", "many fields", "multipart", "json", "nothing"],
)  # fmt: skip
def test_a_body_that_is_no_form_of_ours_is_a_400_page(visit, body, kind):
    answer = visit.browser.post(PATH, data=body, content_type=kind)

    assert answer.status_code == 400
    assert see(answer).text


def test_what_a_link_says_is_shown_as_text(visit):
    evil = '"><script>alert(1)</script>'

    page = visit.browser.get(PATH, query_string={"userID": evil, "code": evil, "orgID": evil})

    assert re.findall("<script[^>]*>", page.get_data(as_text=True)) == [SCRIPT_TAG]
    assert see(page).forms[0]["userID"] == evil


def test_the_pages_work_below_a_path(fake_client):
    visit = Visit(fake_client, public_url="https://id.example.com/reset")
    _, code = visit.record()

    page = see(visit.open(visit.link(code)))

    assert page.actions == ["/reset" + PATH, "/reset" + FRESH_PATH]


def test_the_style_asks_for_nothing_from_elsewhere(visit):
    text = visit.open(PATH + "?userID=ada").get_data(as_text=True)

    assert not re.search(r"url\(|@import|<img|<link|style=|\son\w+=", text)
    assert re.findall("<script[^>]*>", text) == [SCRIPT_TAG]
