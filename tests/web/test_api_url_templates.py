"""Url templates: what parses, where they may lead, and that readers cannot differ on it."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from shared.codes import CodeBook
from shared.errors import SettingsError, UrlNotAllowedError
from shared.links import check_link_host, expand_template
from shared.settings import load_settings
from tests.support.builders import a_token, a_user, an_organisation
from tests.support.wire import problem
from tests.support.wire_v2 import WireV2

ALLOWED = (
    "app.example.com",
    "b.example:8443",
    "[::1]:3000",
    "2001:db8::7",
    "xn--bcher-kva.example",
)
BASE = "http://127.0.0.1:8080"  # with https, no http template passes
NOT_ALLOWED = (400, 3, "KEYTURN-UrlNotAllowed")


@pytest.mark.parametrize(
    "template",
    [
        "https://app.example.com/reset?code={{.Code}}",
        "https://app.example.com",
        "https://app.example.com?c={{.Code}}",
        "https://app.example.com#{{.Code}}",
        "http://app.example.com/",
        "HTTPS://APP.Example.COM/",
        "https://app.example.com:8080/",
        "https://app.example.com:/",
        "https://b.example:8443/x",
        "https://b.example:08443/x",
        "http://[::1]:3000/",
        "http://[0:0::1]:3000/",
        "https://[2001:DB8::7]/",
        "https://xn--bcher-kva.example/",
        "https://app.example.com/@evil.example/",
        "https://app.example.com/?next=https://evil.example/",
        "https://app.example.com/{x}/[y]",
    ],
)
def test_a_template_to_an_allowed_host_passes(template):
    check_link_host(template, ALLOWED, base=BASE)


@pytest.mark.parametrize(
    "template",
    [
        "https://evil.example/",
        "https://app.example.com.evil.example/",
        "https://evilapp.example.com/",
        "https://sub.app.example.com/",
        "https://example.com/",
        # user information
        "https://app.example.com@evil.example/",
        "https://app.example.com:80@evil.example/",
        "https://user@app.example.com/",
        "https://user:pass@app.example.com/",
        "https://@app.example.com/",
        "https://evil.example%40app.example.com/",
        # slashes
        "https:app.example.com/",
        "https:/app.example.com/",
        "https:///app.example.com/",
        "https:////app.example.com/",
        "//app.example.com/",
        "/app.example.com/",
        "app.example.com/",
        "https://",
        "https:///",
        "https://evil.example\\@app.example.com/",
        "https://app.example.com\\.evil.example/",
        "https:\\\\app.example.com/",
        "https://app.example.com/\\evil.example",
        # ports
        "https://b.example/",
        "https://b.example:8444/",
        "https://app.example.com:99999999/",
        "https://app.example.com:x/",
        "https://app.example.com:-1/",
        "https://app.example.com:٣/",
        "https://app.example.com:80:80/",
        "http://[::1]/",
        "http://[::1]:3001/",
        "http://::1:3000/",
        "http://[::ffff:1]:3000/",
        "http://[::1%25eth0]:3000/",
        "http://[::1:3000/",
        "http://[app.example.com]/",
        "https://app.example.com]/",
        # spelling
        "https://app.example.com./",
        "https://app..example.com/",
        "https://app%2eexample.com/",
        "https://app.example.com%2eevil.example/",
        "https://app.example.com%2f.evil.example/",
        "https://app。example.com/",
        "https://\uff41pp.example.com/",
        "https://app.exampl\u0435.com/",
        "https://bücher.example/",
        "https://app.example.com\u200b/",
        "https://app.example.com .evil.example/",
        " https://app.example.com/",
        "https://app.example.com\t/",
        "https://app.example.com\n.evil.example/",
        "\x00https://app.example.com/",
        "https://app.example.com;evil.example/",
        "https://app.example.com,evil.example/",
        "https://app.example.com&evil.example/",
        # scheme
        "javascript://app.example.com/%0aalert(1)",
        "ftp://app.example.com/",
        "data:text/html,app.example.com",
        "httpss://app.example.com/",
        "http s://app.example.com/",
        "javascript:https://app.example.com/",
        # fields where the address is decided
        "https://{{.OrgID}}/",
        "https://{{.OrgID}}.example.com/",
        "https://app.example.com{{.Code}}/",
        "https://app.example.com:{{.Code}}/",
        "https://{{.UserID}}@app.example.com/",
        "{{.UserID}}://app.example.com/",
        "http{{.UserID}}://app.example.com/",
        "{{.UserID}}https://app.example.com/",
        "https:{{.UserID}}//app.example.com/",
        "https://app.example.com{/",
        "",
    ],
)
def test_any_other_template_is_refused(template):
    with pytest.raises(UrlNotAllowedError):
        check_link_host(template, ALLOWED, base=BASE)


@pytest.mark.parametrize("template", ["https:///x", "https:x", "http://", "https://:443/"])
def test_an_empty_entry_allows_nothing(template):
    with pytest.raises(UrlNotAllowedError):
        check_link_host(template, ("", ":443", "https://"), base=BASE)


@pytest.mark.parametrize("entry", ["app.example.com:443", "APP.example.com:443"])
def test_a_port_that_goes_without_saying_counts(entry):
    check_link_host("https://app.example.com/", (entry,), base=BASE)

    with pytest.raises(UrlNotAllowedError):
        check_link_host("http://app.example.com/", (entry,), base=BASE)


@pytest.fixture
def wire(real_client):
    return WireV2(real_client, link_hosts=("links.example",))


def reset(wire, template, user_id="ada", **headers):
    return wire.reset_v2(user_id, {"sendLink": {"urlTemplate": template}}, **headers)


@pytest.mark.parametrize("host", ["reset.example.com", "links.example", "own.example:8443"])
def test_base_setting_and_organisation_name_the_hosts(wire, host):
    an_organisation(wire.services, link_hosts=("own.example:8443",))

    assert reset(wire, f"https://{host}/?c={{{{.Code}}}}").status_code == 200


def test_the_hosts_are_those_of_the_users_organisation(wire):
    an_organisation(wire.services, "beta", link_hosts=("beta.example",))
    a_user(wire.services, "bob", orgId="beta")
    token = a_token(wire.services, instance=("IAM_OWNER",))

    assert problem(reset(wire, "https://beta.example/", token=token)) == NOT_ALLOWED
    assert reset(wire, "https://beta.example/", "bob", token=token).status_code == 200
    header = {"token": token, "x_zitadel_orgid": "beta"}
    assert problem(reset(wire, "https://beta.example/", **header)) == NOT_ALLOWED


@pytest.mark.parametrize("template", ["https://x.example/{{.Code}}", "javascript:alert(1)", "x"])
def test_a_template_elsewhere_is_refused(wire, template):
    assert problem(reset(wire, template)) == NOT_ALLOWED
    assert wire.records() == []


@pytest.mark.parametrize(
    ("action", "error_id"),
    [
        ("{{.Password}}", "DOMAIN-ieYa7"),
        ("{{.code}}", "DOMAIN-ieYa7"),
        ("{{.User.ID}}", "DOMAIN-ieYa7"),
        ("{{", "DOMAIN-oGh5e"),
        ("{{}}", "DOMAIN-oGh5e"),
        ("{{.}}", "DOMAIN-oGh5e"),
        ("{{Code}}", "DOMAIN-oGh5e"),
        ("{{.Code | html}}", "DOMAIN-oGh5e"),
        ("{{- .Code -}}", "DOMAIN-oGh5e"),
        ("{{if .Code}}x{{end}}", "DOMAIN-oGh5e"),
        ("{{/* x */}}", "DOMAIN-oGh5e"),
        ("{{printf .Code}}", "DOMAIN-oGh5e"),
        ('{{template "x"}}', "DOMAIN-oGh5e"),
        ("{{$x := .Code}}", "DOMAIN-oGh5e"),
        ("{{.Code{{.Code}}", "DOMAIN-oGh5e"),
        ("\n", "DOMAIN-oGh5e"),
        ("\u202e", "DOMAIN-oGh5e"),
    ],
)
def test_a_template_knows_three_fields_and_no_actions(wire, action, error_id):
    assert problem(reset(wire, f"https://links.example/{action}")) == (400, 3, error_id)


@pytest.mark.parametrize("action", ["{{ .Code }}", "{{\t.Code}}", "}}", "{.Code}", "{{.Code}}}}"])
def test_blanks_around_a_field_and_closing_braces_do_no_harm(wire, action):
    assert reset(wire, f"https://links.example/{action}").status_code == 200


def test_a_template_has_at_most_200_characters(wire):
    base = "https://links.example/"

    assert reset(wire, base + "x" * (200 - len(base))).status_code == 200
    assert problem(reset(wire, base + "x" * (201 - len(base)))) == (400, 3, None)


def test_values_are_percent_encoded_when_inserted():
    code = CodeBook(("k" * 32,)).code("0abc", CodeBook(("k" * 32,)).signing_key_id)
    template = "https://links.example/{{.UserID}}?u={{.UserID}}&c={{.Code}}&o={{.OrgID}}#x"
    values = {"user_id": "a/b?c=d&e#f @g\\ü{{.Code}}%2e", "org_id": "o&c=other"}

    parts = urlsplit(expand_template(template, code=code, **values))

    query = parse_qs(parts.query)
    assert parts.hostname == "links.example"
    assert parts.fragment == "x"
    assert query == {"u": [values["user_id"]], "c": [code.link_secret], "o": [values["org_id"]]}


@pytest.mark.parametrize("raw", ["https://app.example.com", "app.example.com/x", "*.example.com"])
def test_a_setting_that_is_no_host_is_refused(raw):
    with pytest.raises(SettingsError, match="KEYTURN_LINK_HOSTS"):
        load_settings({"KEYTURN_LINK_HOSTS": raw})


def test_a_setting_may_name_ports_and_ipv6():
    settings = load_settings({"KEYTURN_LINK_HOSTS": "App.example.com:8443, [::1]:3000"})

    assert settings.link_hosts == ("app.example.com:8443", "[::1]:3000")
