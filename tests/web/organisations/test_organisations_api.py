"""Branding and texts by HTTP: checked as a whole, never half saved, never overwritten unseen."""

from __future__ import annotations

from threading import Barrier, Thread

import pytest

from tests.shared.organisations.test_logos import a_png, an_svg
from tests.support.builders import a_token
from tests.support.fakes import FakeRedis
from tests.support.wire import Wire, problem

WHY = {"reason": "a test"}
BRANDING = {
    "displayName": "Acme & Söhne",
    "language": "de",
    "languages": ["de", "en"],
    "linkHosts": ["app.acme.example", "APP.acme.example:8443"],
    "light": {"accent": "#8A1C1C"},
    "dark": {"accent": "#ffd24d", "onAccent": "#000000", "link": "#ffd24d"},
    "helpUrl": "https://help.acme.example/a?b=c#d",
    "postalLine": "Acme AG, Weg 1, 8000 Zürich",
    "replyTo": "hilfe@büro.example",
}


class OrgWire(Wire):
    """The calls about `acme`."""

    def org(self, method, path="", *, etag=None, token=None, org_id="acme", **arguments):
        headers = self.headers(token) | ({"If-Match": etag} if etag else {})
        place = f"/keyturn/v1/organisations/{org_id}{path}"
        return self.call(place, method=method, headers=headers, **arguments)

    def put(self, path, body, **arguments):
        return self.org("PUT", path, json=body | WHY, **arguments)

    def everything(self):
        return self.org("GET").get_json(), self.org("GET", "/texts/history").get_json()


@pytest.fixture
def wire(client):
    return OrgWire(client)


@pytest.fixture(scope="module")
def kept_wire():
    """One for all calls that change nothing."""
    with FakeRedis() as client:
        yield OrgWire(client)


def refused(response, *words):
    assert problem(response) == (400, 3, "KEYTURN-Profile")
    message = response.get_json()["message"]
    assert all(word in message for word in words), message


def test_an_organisation_is_shown_with_its_defaults(wire):
    answer = wire.org("GET")

    told = answer.get_json()
    assert answer.status_code == 200
    assert answer.headers["ETag"] == f'"{told["version"]}"'
    assert (told["orgId"], told["texts"]) == ("acme", {})
    assert told["branding"]["displayName"] == "Acme"
    assert told["branding"]["logo"] is None


@pytest.mark.topology
def test_a_branding_comes_back_as_it_was_put(wire):
    answer = wire.put("/branding", BRANDING)

    told = answer.get_json()
    assert answer.status_code == 200, told
    assert told == wire.org("GET", "/branding").get_json()
    assert told["light"] == {"accent": "#8a1c1c", "onAccent": "#ffffff", "link": "#8a1c1c"}
    assert told["linkHosts"] == ["app.acme.example", "app.acme.example:8443"]
    assert told["replyTo"] == "hilfe@xn--bro-hoa.example"
    for name in ("displayName", "language", "languages", "dark", "helpUrl", "postalLine"):
        assert told[name] == BRANDING[name]


def test_a_change_of_fields_leaves_the_others_and_a_whole_one_does_not(wire):
    first = wire.put("/branding", BRANDING)
    second = wire.org(
        "PATCH", "/branding", json={"helpUrl": None, "postalLine": "B"} | WHY,
        etag=first.headers["ETag"],
    )  # fmt: skip
    told = second.get_json()
    assert (told["helpUrl"], told["postalLine"]) == (None, "B")
    assert (told["displayName"], told["dark"]) == (BRANDING["displayName"], BRANDING["dark"])

    third = wire.put("/branding", {}, etag=second.headers["ETag"]).get_json()

    assert third["displayName"] == BRANDING["displayName"]
    assert (third["postalLine"], third["languages"], third["linkHosts"]) == (None, [], [])
    assert third["dark"]["accent"] == "#3367e0"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"displayName": ""}, ["displayName: must be one line"]),
        ({"displayName": "https://acme.example"}, ["displayName:", "no URL or e-mail address"]),
        ({"displayName": "hi@acme.example"}, ["displayName:", "no URL or e-mail address"]),
        ({"displayName": "hi＠acme"}, ["displayName:"]),
        ({"displayName": "www.acme"}, ["displayName:"]),
        ({"displayName": "a\nb\x07"}, ["displayName:"]),
        ({"displayName": "x" * 61}, ["displayName:", "60"]),
        ({"displayName": None}, ["displayName:"]),
        ({"displayName": 7}, ["displayName:"]),
        ({"language": "xx"}, ["language: xx is not supported; the nearest is"]),
        ({"language": "de-CH"}, ["language: de-CH is not supported; the nearest is de"]),
        ({"language": "fr"}, ["language: the default fr is not among the allowed"]),
        ({"languages": ["de", "x" * 900]}, ["languages.1: it is not supported"]),
        ({"languages": "de"}, ["languages:"]),
        ({"languages": ["de"] * 101}, ["languages:"]),
        ({"linkHosts": ["https://x"]}, ["linkHosts.0: must be a host"]),
        ({"linkHosts": ["x.example:65536"]}, ["linkHosts.0: must be a host"]),
        ({"linkHosts": ["x.example", "x.example:0"]}, ["linkHosts.1: must be a host"]),
        ({"light": {}}, ["light.accent:"]),
        ({"light": {"accent": "red"}}, ["light.accent: must be a colour such as"]),
        ({"light": {"acent": "#000000"}}, ["light: unknown field acent; the nearest is accent"]),
        ({"light": {"accent": "#ffff00"}}, ["light.accent:", "nearest that passes is #797900"]),
        ({"dark": {"accent": "#1f54cc", "link": "#1f54cc"}}, ["dark.link:", "nearest"]),
        ({"dark": []}, ["dark:"]),
        ({"helpUrl": "http://help.acme.example"}, ["helpUrl: must look like https://"]),
        ({"helpUrl": "javascript:alert(1)"}, ["helpUrl:"]),
        ({"helpUrl": "https://a@b.example"}, ["helpUrl:"]),
        ({"helpUrl": 'https://b.example/"onclick'}, ["helpUrl:"]),
        ({"helpUrl": "https://b.example/" + "x" * 500}, ["helpUrl:"]),
        ({"helpUrl": "https://[::1"}, ["helpUrl:"]),
        ({"helpUrl": "https://b.example:65536/"}, ["helpUrl:"]),
        ({"helpUrl": "https://b.example:x/"}, ["helpUrl:"]),
        ({"helpUrl": "https://b.example:0/"}, ["helpUrl:"]),
        ({"postalLine": "a\nb"}, ["postalLine: must be one line"]),
        ({"postalLine": " "}, ["postalLine:"]),
        ({"postalLine": "x" * 201}, ["postalLine:"]),
        ({"replyTo": "acme"}, ["replyTo: must be an e-mail address"]),
        ({"replyTo": "a@b.example, c@d.example"}, ["replyTo:"]),
        ({"replyTo": "ä@b.example"}, ["replyTo: must be ASCII before its @"]),
        ({"replyTo": "a@b.example\r\nBcc: c@d.example"}, ["replyTo:"]),
        ({"colour": "#000000"}, ["unknown field colour; the nearest is"]),
        ({"reason": None}, ["reason:"]),
        ({"reason": "x" * 501}, ["reason:"]),
        ({"helpUrl": "x", "replyTo": "x"}, ["helpUrl:", "replyTo:"]),
    ],
)  # fmt: skip
def test_a_bad_branding_is_refused_by_name_and_nothing_is_saved(kept_wire, changes, words):
    before = kept_wire.everything()

    answer = kept_wire.org("PUT", "/branding", json=BRANDING | WHY | changes)

    refused(answer, *words)
    assert kept_wire.everything() == before


@pytest.mark.parametrize(
    "body", [b"[]", b"{", b'{"reason":"x"', b'"x"', b'{"reason":1,"reason":2}']
)
def test_a_body_that_is_no_object_is_refused(kept_wire, body):
    refused(kept_wire.org("PUT", "/branding", data=body))
    refused(kept_wire.org("PUT", "/texts/de", data=body))


def test_a_blank_reason_is_refused(wire):
    answer = wire.org("PUT", "/branding", json={"reason": " "})
    assert answer.status_code == 400
    assert "reason" in answer.get_json()["message"]
    assert wire.org("DELETE", "/branding/logo").status_code == 400
    assert wire.org("DELETE", "/branding/logo?why=x").status_code == 400


@pytest.mark.topology
def test_the_second_of_two_editors_is_told(wire):
    etag = wire.put("/branding", BRANDING).headers["ETag"]
    assert wire.put("/branding", BRANDING | {"postalLine": "first"}, etag=etag).status_code == 200

    answer = wire.put("/branding", BRANDING | {"postalLine": "second"}, etag=etag)

    assert problem(answer) == (412, 9, "KEYTURN-VersionConflict")
    assert wire.org("GET", "/branding").get_json()["postalLine"] == "first"


def test_a_name_may_be_a_domain_and_goes_out(wire):
    for name in ("Booking.com", "check24.de", "A.B.C. Bank", "Yahoo!"):
        told = wire.put("/branding", {"displayName": name}, etag="*").get_json()
        assert told["displayName"] == name

        shown = wire.org("GET", "/preview").get_json()
        assert shown["from"].startswith(f"{name} <")
        assert f"Reset your password for {name}" in shown["subject"]


def test_an_etag_of_another_version_changes_nothing(wire):
    etag = wire.put("/branding", BRANDING).headers["ETag"]
    before = wire.everything()

    for wrong in ('"0"', '"999"', f"W/{etag}", "2 3", ",", '"*"', f'*, "{etag}'):
        assert wire.put("/branding", {}, etag=wrong).status_code == 412, wrong
    assert wire.everything() == before
    assert wire.put("/branding", {}, etag=f'"999", {etag}').status_code == 200


def test_what_exists_is_not_changed_without_an_etag(wire):
    assert wire.put("/branding", BRANDING).status_code == 200
    assert wire.put("/texts/de", {"sentences": {"reset.code": "Oder:"}}).status_code == 200

    answers = [
        wire.put("/branding", {}),
        wire.org("DELETE", "/branding/logo?reason=x"),
        wire.put("/texts/de", {"sentences": {}}),
        wire.org("DELETE", "/texts/de?reason=x"),
        wire.org("POST", "/texts/_rollback", json={"version": 1} | WHY),
    ]

    assert {problem(each) for each in answers} == {(428, 9, "KEYTURN-VersionMissing")}
    assert wire.put("/branding", {}, etag="*").status_code == 200
    assert wire.put("/texts/fr", {"sentences": {"reset.code": "Ou :"}}).status_code == 200


@pytest.mark.topology
def test_of_editors_at_the_same_time_one_wins(wire):
    answers, start = [], Barrier(6)

    def edit(number):
        start.wait(10)
        sentences = {"reset.code": f"Oder {number}:"}
        answers.append(wire.put("/texts/de", {"sentences": sentences}, etag='"0"').status_code)

    threads = [Thread(target=edit, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert sorted(answers) == [200] + [412] * 5
    assert len(wire.everything()[1]["versions"]) == 1


@pytest.mark.parametrize(
    ("content", "media_type"), [(a_png(), "image/png"), (an_svg(), "image/svg+xml")]
)
def test_a_logo_is_put_and_removed(wire, content, media_type):
    answer = wire.org("PUT", "/branding/logo?reason=new", data=content)

    logo = answer.get_json()["logo"]
    assert (logo["mediaType"], logo["bytes"]) == (media_type, len(content))
    assert wire.services.profiles.find("acme").branding.logo.content == content
    gone = wire.org("DELETE", "/branding/logo?reason=old", etag=answer.headers["ETag"])
    assert gone.get_json()["logo"] is None
    assert gone.headers["ETag"] != answer.headers["ETag"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["logo: it is neither PNG nor SVG"]),
        (b"GIF89a", ["logo: it is neither PNG nor SVG"]),
        (an_svg("<script/>"), ["logo: it holds <script>"]),
        (a_png() + b"\0" * 110_000, ["logo: it has", "at most 102400"]),
    ],
)
def test_a_bad_logo_is_refused_and_the_old_one_stays(wire, content, words):
    etag = wire.org("PUT", "/branding/logo?reason=new", data=a_png()).headers["ETag"]

    refused(wire.org("PUT", "/branding/logo?reason=x", data=content, etag=etag), *words)

    assert wire.services.profiles.find("acme").branding.logo.content == a_png()


def test_a_logo_without_an_end_is_too_large(wire):
    answer = wire.org("PUT", "/branding/logo?reason=x", data=b"x" * (1024 * 1024 + 1))

    assert answer.status_code == 413


def test_texts_have_versions_a_history_and_a_way_back(wire):
    first = wire.put("/texts/de", {"sentences": {"reset.heading": "Neu"}})
    told = first.get_json()
    assert (first.status_code, told["version"], first.headers["ETag"]) == (200, 1, '"1"')
    assert told["builtIn"]["reset.heading"] == "Neues Passwort wählen"
    second = wire.put("/texts/de", {"sentences": {"reset.heading": "Neuer"}}, etag='"1"')
    gone = wire.org("DELETE", "/texts/de?reason=away", etag=second.headers["ETag"])
    assert (gone.get_json()["sentences"], gone.headers["ETag"]) == ({}, '"0"')

    back = wire.org("POST", "/texts/_rollback", json={"version": 1, "reason": "better"})

    assert back.get_json()["sentences"] == {"reset.heading": "Neu"}
    history = wire.org("GET", "/texts/history").get_json()["versions"]
    assert [(each["version"], each["reason"]) for each in history] == [
        (4, "better"), (3, "away"), (2, "a test"), (1, "a test")]  # fmt: skip
    assert {each["by"] for each in history} == {
        f"token {wire.services.callers.find_caller(wire.token).token_id}"
    }
    assert wire.org("GET", "/texts").get_json()["texts"] == [
        {"language": "de", "version": 4, "sentences": {"reset.heading": "Neu"}}
    ]


@pytest.mark.parametrize("version", [9, 0, -1, "1", 1.5, None, True])
def test_a_version_that_is_not_there_is_refused(kept_wire, version):
    answer = kept_wire.org("POST", "/texts/_rollback", json={"version": version} | WHY, etag="*")

    refused(answer, "version:")


def test_a_version_of_another_organisation_is_not_there(wire):
    owner = a_token(wire.services, "ORG_OWNER", org_id="beta")
    sentences = {"sentences": {"reset.heading": "Secret"}}
    assert wire.put("/texts/de", sentences, org_id="beta", token=owner).status_code == 200

    refused(wire.org("POST", "/texts/_rollback", json={"version": 1} | WHY), "version: 1")


@pytest.mark.parametrize(
    ("sentences", "words"),
    [
        ({"reset.subjct": "x"}, ["reset.subjct: there is no such sentence", "reset.subject"]),
        ({"reset.intro": "{name}"}, ["reset.intro: there is no field {name} here"]),
        ({"sms.reset": "Code {code}"}, ["sms.reset: it must hold {link}"]),
        ({"reset.subject": "a\nb"}, ["reset.subject: it must be one line"]),
        ({"reset.intro": 7}, ["sentences.reset.intro"]),
        ({"reset.intro": None}, ["sentences.reset.intro"]),
        ({"reset": {"intro": "x"}}, ["sentences.reset"]),
        (["x"], ["sentences:"]),
        (None, ["sentences:"]),
    ],
)
def test_bad_texts_are_refused_and_the_old_ones_stay(kept_wire, sentences, words):
    wire = kept_wire
    if not wire.everything()[0]["texts"]:
        wire.put("/texts/de", {"sentences": {"reset.heading": "Neu"}})
    before = wire.everything()
    if isinstance(sentences, dict):
        sentences |= {"reset.heading": "Anders"}

    refused(wire.put("/texts/de", {"sentences": sentences}, etag='"1"'), *words)

    assert wire.everything() == before


def test_too_many_texts_are_too_large(wire):
    answer = wire.put("/texts/de", {"sentences": {"reset.heading": "x" * 70_000}})

    assert answer.status_code == 413


@pytest.mark.parametrize("language", ["xx", "de-CH", "DE", "zh", "history2", "%F0%9F%98%80"])
def test_texts_of_an_unsupported_language_are_refused(kept_wire, language):
    for method in ("GET", "PUT", "DELETE"):
        body = {"json": {"sentences": {}} | WHY} if method == "PUT" else {}
        refused(
            kept_wire.org(method, f"/texts/{language}?reason=x", **body), "language: ", "nearest"
        )


def test_another_organisation_looks_like_none(wire):
    stranger = a_token(wire.services, "ORG_OWNER", org_id="beta")
    for method, path in (("GET", ""), ("GET", "/branding"), ("PUT", "/texts/de")):
        answers = [
            wire.org(method, path, token=stranger, org_id=org_id).get_json()
            for org_id in ("acme", "none-such")
        ]
        assert answers == [{"code": 5, "message": "Not Found"}] * 2


def test_who_may_read_may_not_write(wire):
    viewer = a_token(wire.services, "ORG_OWNER_VIEWER")

    assert wire.org("GET", token=viewer).status_code == 200
    assert problem(wire.put("/branding", BRANDING, token=viewer))[2] == "AUTH-5mWD2"
    settings_manager = a_token(wire.services, "ORG_SETTINGS_MANAGER")
    assert wire.put("/branding", BRANDING, token=settings_manager).status_code == 200


def test_a_reset_is_written_in_an_allowed_language(wire):
    wire.put("/branding", {"language": "fr", "languages": ["fr", "en"]})
    wire.services.directory.import_users(['{"userId": "ada", "orgId": "acme", "language": "de"}'])

    def language():
        reset_id = wire.reset(body={}).headers["Keyturn-Reset-Id"]
        return wire.show(reset_id).get_json()["language"]

    assert language() == "fr"
    wire.put("/branding", {"languages": ["it", "en"]}, etag="*")
    assert language() == "en"
    wire.put("/branding", {}, etag="*")
    assert language() == "de"


def test_link_hosts_of_the_branding_are_those_of_templates(wire):
    token = a_token(wire.services, "ORG_OWNER")
    body = {"sendLink": {"urlTemplate": "https://app.acme.example/?c={{.Code}}"}}

    def ask():
        return wire.call(
            "/v2/users/ada/password_reset", json=body, headers=wire.headers(token)
        ).status_code

    assert ask() == 400
    wire.put("/branding", {"linkHosts": ["app.acme.example"]})
    assert ask() == 200


def test_a_script_of_another_site_may_send_the_etag_and_read_it(wire):
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "PATCH"}
    before = wire.call(
        "/keyturn/v1/organisations/acme/branding", method="OPTIONS", headers=asked
    ).headers
    assert "If-Match" in before["Access-Control-Allow-Headers"]
    assert before["Access-Control-Allow-Methods"] == "PATCH"

    answer = wire.call(
        "/keyturn/v1/organisations/acme", method="GET", headers=wire.headers(Origin="https://x.y")
    )
    assert "ETag" in answer.headers["Access-Control-Expose-Headers"]
