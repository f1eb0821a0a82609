"""The page and the call for forgotten passwords, as a person and an application meet them."""

import pytest

from shared.models import Channel
from shared.store import keys
from tests.support.builders import a_user, an_organisation
from tests.support.fakes import FakeRedis
from tests.support.pages import Visit, see
from worker.forgot import ForgotProcessor

PATH = "/ui/password/forgot"
CALL = "/keyturn/v1/forgot"
LIMITS = {"page_limit_per_hour": 0}


@pytest.fixture
def visit(fake_client):
    return Visit(fake_client, **LIMITS)


def wish(visit, identifier, *, path=PATH, **fields):
    """Open the page, fill it in, post it."""
    response = visit.open(path)
    form = see(response).forms[0] | {"identifier": identifier} | fields
    return visit.post(form, path=PATH)


def waiting(visit):
    return visit.redis.zcard(keys.FORGOT)


def answer(visit):
    return ForgotProcessor(visit.services).answer()


def sent(visit, user_id="ada"):
    return [each.channel for each in visit.services.resets.find_of_user(user_id)]


def test_the_page_asks_in_the_readers_language_and_changes_nothing(visit):
    before = visit.everything_stored()

    page = visit.open(PATH, Accept_Language="fr")

    assert page.status_code == 200
    assert see(page).language == "fr"
    assert "Mot de passe oublié" in see(page).text
    assert "script" not in dict(see(page).tags)
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert visit.everything_stored() == before


@pytest.mark.parametrize(
    "identifier",
    ["ada@example.com", " ADA@Example.COM ", "ada", "+41791234567", "nobody@example.com", "x"],
)
@pytest.mark.topology
def test_everybody_gets_the_same_page(visit, identifier):
    page, other = wish(visit, identifier), wish(visit, "somebody-else")

    assert page.status_code == 200
    assert page.get_data() == other.get_data()
    assert waiting(visit) == 2
    assert [hint.about for hint in visit.hints.published] == ["all", "all"]


@pytest.mark.parametrize(
    ("identifier", "channel"),
    [
        ("ADA@Example.com", Channel.EMAIL),
        ("Ａda@example.com", Channel.EMAIL),
        ("ada.lovelace", Channel.EMAIL),
        ("Ada.Lovelace", Channel.EMAIL),
        ("+41 79 123 45 67", Channel.SMS),
        ("0041 (0)79 123-45-67", Channel.SMS),
        ("079/123.45.67", Channel.SMS),
        ("\u202a+41 79 123 45 67\u202c", Channel.SMS),
        ("０７９ １２３ ４５ ６７", Channel.SMS),
    ],
)
def test_a_user_is_found_by_any_usual_spelling(visit, identifier, channel):
    a_user(visit.services, userName="ada.lovelace")

    wish(visit, identifier)

    assert answer(visit) == 1
    assert sent(visit) == [channel]
    assert waiting(visit) == 0


def test_a_domain_is_compared_by_idna(visit):
    a_user(visit.services, email="ada@bücher.example")

    wish(visit, "Ada@XN--BCHER-KVA.example")
    answer(visit)

    assert sent(visit) == [Channel.EMAIL]


def test_a_number_without_its_country_needs_a_region(fake_client):
    visit = Visit(fake_client, sms_countries=("CH", "DE"), **LIMITS)
    a_user(visit.services, "bob", phone="+4915112345678", email=None, userName="0151 12345678")

    wish(visit, "079 123 45 67")
    wish(visit, "0151 12345678")
    answer(visit)

    assert (sent(visit), sent(visit, "bob")) == ([], [Channel.SMS])


def test_the_region_may_be_set(fake_client):
    visit = Visit(fake_client, sms_countries=("CH", "DE"), phone_region="CH", **LIMITS)

    wish(visit, "079 123 45 67")
    answer(visit)

    assert sent(visit) == [Channel.SMS]


@pytest.mark.parametrize(
    ("how", "found"),
    [
        ({"path": PATH}, {"ada", "bea"}),
        ({"path": f"{PATH}/acme"}, {"ada"}),
        ({"path": f"{PATH}?orgID=beta"}, {"bea"}),
        ({"path": f"{PATH}/nowhere"}, set()),
    ],
)
def test_the_organisation_is_that_of_path_or_parameter(visit, how, found):
    an_organisation(visit.services, "beta")
    a_user(visit.services, "bea", orgId="beta")

    page = wish(visit, "ada@example.com", **how)
    answer(visit)

    assert page.status_code == 200
    assert {user for user in ("ada", "bea") if sent(visit, user)} == found


@pytest.mark.parametrize(
    ("host", "organisation", "found"),
    [
        ("login.acme.example", None, {"ada"}),
        ("LOGIN.acme.example:8443", None, {"ada"}),
        ("elsewhere.example", None, {"bea"}),
        ("login.acme.example", "beta", {"bea"}),
    ],
)
def test_the_organisation_may_be_that_of_the_host(fake_client, host, organisation, found):
    pairs = (("login.acme.example", "acme"), ("*", "beta"))
    visit = Visit(fake_client, forgot_hosts=pairs, **LIMITS)
    an_organisation(visit.services, "beta")
    a_user(visit.services, "bea", orgId="beta")
    body = {"identifier": "ada@example.com"}
    body |= {"organisationId": organisation} if organisation else {}

    visit.browser.post(CALL, json=body, headers={"Host": host})
    answer(visit)

    assert {user for user in ("ada", "bea") if sent(visit, user)} == found


def test_the_page_looks_as_the_organisation_of_its_host(fake_client):
    visit = Visit(fake_client, forgot_hosts=(("login.acme.example", "beta"),), **LIMITS)
    an_organisation(visit.services, "beta", name="Beta Works")

    page = see(visit.open(PATH, Host="login.acme.example"))

    assert "Beta Works" in page.text
    assert page.forms[0]["orgID"] == "beta"


def test_the_call_answers_everybody_the_same(visit):
    known = visit.browser.post(CALL, json={"identifier": "ada@example.com"})
    unknown = visit.browser.post(CALL, json={"identifier": "eve@example.com"})

    assert (known.status_code, known.get_data()) == (202, b"{}")
    assert (unknown.status_code, unknown.get_data()) == (202, b"{}")
    assert list(known.headers.keys()) == list(unknown.headers.keys())


BAD = [
    "",
    "   ",
    "ada@example.com\n",
    "ada\r\nBcc: eve@example.com",
    "ada\0",
    "\u2028",
    "1" * 40,
    "+" + "4 " * 40,
    "x" * 255,
    "x" * 10_000,
    "\U000e0001",
]


@pytest.mark.parametrize("identifier", BAD)
def test_what_is_no_identifier_is_refused_and_not_kept(visit, identifier):
    call = visit.browser.post(CALL, json={"identifier": identifier})
    page = wish(visit, identifier)

    assert (call.status_code, call.json["code"]) == (400, 3)
    assert call.json["message"].startswith("identifier must")
    assert call.json["details"][0]["id"] == "KEYTURN-Identifier"
    assert page.status_code == 400
    assert "No message was sent" in see(page).text
    assert waiting(visit) == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"identifier":',
        b'{"identifier":null}',
        b'{"identifier":7}',
        b'{"identifier":["ada"]}',
        b'{"identifier":"ada","identifier":"eve"}',
        b'{"identifier":"ada","channel":"sms"}',
        b'{"identifier":"ada","organisationId":"a/b"}',
        b'{"identifier":"ada","organisationId":"a\\u0000"}',
        b'{"identifier":"ada","organisationId":5}',
        b'{"identifier":"ada","captcha":{}}',
        b'{"identifier":"\\ud800"}',
        b'{"identifier":"\xff"}',
    ],
)
def test_a_body_that_is_not_of_the_call_is_refused(visit, body):
    response = visit.browser.post(CALL, data=body, content_type="application/json")

    assert (response.status_code, response.json["code"]) == (400, 3)
    assert "ada" not in response.json["message"]
    assert waiting(visit) == 0


def test_a_body_that_is_too_large_is_refused(visit):
    call = visit.browser.post(CALL, data=b"x" * 70_000, content_type="application/json")
    page = visit.post({"identifier": "x" * 70_000}, path=PATH)

    assert (call.status_code, page.status_code) == (413, 413)
    assert page.mimetype == "text/html"


@pytest.mark.topology
def test_what_was_typed_is_kept_and_no_markup(visit):
    page = see(wish(visit, '"><script>\n'))

    assert page.find(id="identifier")["value"] == '"><script>\n'
    assert "script" not in dict(page.tags)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": "https://evil.example"},
    ],
)
def test_the_form_of_another_site_asks_for_nothing(visit, headers):
    page = visit.post({"identifier": "ada"}, path=PATH, **headers)
    call = visit.open(CALL, method="POST", Content_Type="text/plain", **headers)

    assert (page.status_code, call.status_code) == (400, 400)
    assert waiting(visit) == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "same-origin", "Origin": "null"},
        {"Origin": "https://reset.example.com"},
        {"Origin": "http://localhost"},
    ],
)
def test_our_own_form_is_taken(visit, headers):
    assert visit.post({"identifier": "ada"}, path=PATH, **headers).status_code == 200
    assert waiting(visit) == 1


def test_a_source_beyond_its_budget_waits_whatever_it_types():
    visit = Visit(FakeRedis(), page_limit_per_hour=1)
    pages = [wish(visit, f"user-{number}").status_code for number in range(10)]

    page, call = wish(visit, "ada"), visit.browser.post(CALL, json={"identifier": "x"})

    assert pages == [200] * 10
    assert (page.status_code, call.status_code) == (429, 429)
    assert 3500 < int(page.headers["Retry-After"]) <= 3600
    assert call.json["details"][0]["id"] == "KEYTURN-RateLimited"
    assert "forgot_source" in call.json["message"]
    assert waiting(visit) == 10


def test_an_identifier_beyond_its_budget_is_dropped_without_a_word():
    visit = Visit(FakeRedis(), page_limit_per_hour=1)

    def ask(number, identifier):
        address = {"REMOTE_ADDR": f"192.0.2.{number}"}
        body = {"identifier": identifier}
        return visit.browser.post(CALL, json=body, environ_base=address)

    answers = [ask(number, "ada@example.com") for number in range(12)]

    assert {each.status_code for each in answers} == {202}
    assert waiting(visit) == 10
    assert ask(20, "ADA@example.com").status_code == 202
    assert waiting(visit) == 10
    ask(21, "eve@example.com")
    assert waiting(visit) == 11


def test_a_store_that_is_away_is_told(visit, monkeypatch):
    def refuse(*_args, **_options):
        raise ConnectionError

    monkeypatch.setattr(visit.redis, "execute_command", refuse)
    monkeypatch.setattr("redis.RedisError", ConnectionError)

    page = visit.post({"identifier": "ada"}, path=PATH)
    call = visit.browser.post(CALL, json={"identifier": "ada"})

    assert (page.status_code, call.status_code) == (503, 503)
    assert page.headers["Retry-After"] == "5"
