"""Links carry the code, encode what they are given, and obey no template but our three fields."""

from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.codes import Code
from shared.errors import UrlTemplateError, UrlTemplateFieldError
from shared.links import check_template, default_link, expand_template, short_link

CODE = Code("22223333", "ABCDEFGH")


def expand(template, *, user_id="u1", org_id="o1"):
    return expand_template(template, user_id=user_id, code=CODE, org_id=org_id)


def test_the_default_link_leads_to_our_page():
    link = default_link("https://id.example", user_id="u1", code=CODE, org_id="o1")

    assert link == "https://id.example/ui/password/reset?userID=u1&code=ABCDEFGH&orgID=o1"


@given(user_id=st.text(min_size=1), org_id=st.text(min_size=1))
def test_the_default_link_gives_back_any_ids(user_id, org_id):
    link = default_link("https://id.example", user_id=user_id, code=CODE, org_id=org_id)

    query = parse_qs(urlsplit(link).query, strict_parsing=True)
    assert query == {"userID": [user_id], "code": ["ABCDEFGH"], "orgID": [org_id]}
    assert link.isascii()


def test_the_default_link_names_a_language_where_there_is_one():
    link = default_link("https://id.example", user_id="u1", code=CODE, org_id="o1", language="de")

    assert link.endswith("&orgID=o1&lang=de")


def test_the_short_link_carries_the_reset_and_the_code():
    assert short_link("https://id.example", reset_id="0abc", code=CODE) == (
        "https://id.example/r/0abc/ABCDEFGH"
    )


@pytest.mark.parametrize(
    ("template", "link"),
    [
        ("https://a.example/{{.UserID}}/{{.Code}}/{{.OrgID}}", "https://a.example/u1/ABCDEFGH/o1"),
        ("https://a.example/?c={{ .Code }}", "https://a.example/?c=ABCDEFGH"),
        ("https://a.example/?c={{\t.Code\n}}", "https://a.example/?c=ABCDEFGH"),
        ("https://a.example/{{.Code}}{{.Code}}", "https://a.example/ABCDEFGHABCDEFGH"),
        ("https://a.example/}}{.Code}", "https://a.example/%7D%7D%7B.Code%7D"),
        ("https://a.example/a b/ü?q=%20#x", "https://a.example/a%20b/%C3%BC?q=%20#x"),
        ("https://a.example/", "https://a.example/"),
    ],
)
def test_a_template_becomes_a_link(template, link):
    check_template(template)

    assert expand(template) == link


@pytest.mark.parametrize(
    "template",
    [
        "https://a.example/{{",
        "https://a.example/{{.Code",
        "https://a.example/{{.Code}",
        "https://a.example/{{}}",
        "https://a.example/{{.}}",
        "https://a.example/{{Code}}",
        "https://a.example/{{$.Code}}",
        "https://a.example/{{- .Code -}}",
        "https://a.example/{{/* words */}}",
        "https://a.example/{{if .Code}}x{{end}}",
        "https://a.example/{{.Code | html}}",
        "https://a.example/{{.Code .OrgID}}",
        "https://a.example/{{printf .Code}}",
        "https://a.example/{{ {{.Code}} }}",
        "https://a.example/{{.1}}",
        "https://a.example/{{.Code.}}",
        "https://a.example/\r\nBcc: x",
        "https://a.example/\x00",
    ],
)
def test_anything_but_a_field_does_not_parse(template):
    with pytest.raises(UrlTemplateError):
        check_template(template)


@pytest.mark.parametrize("field", ["Name", "userID", "CODE", "Code.Signs", "UserID2", "_", "Ünit"])
def test_an_unknown_field_is_refused_by_its_own_error(field):
    with pytest.raises(UrlTemplateFieldError):
        check_template(f"https://a.example/{{{{.{field}}}}}")


def test_a_value_that_looks_like_a_template_is_only_a_value():
    link = expand("https://a.example/{{.UserID}}", user_id="{{.Code}}/../?&#")

    assert link == "https://a.example/%7B%7B.Code%7D%7D%2F..%2F%3F%26%23"


@given(st.lists(st.sampled_from([*"{}. \tCé", "{{", "}}", ".Code", "{{.UserID}}", ".X"])))
def test_what_is_checked_can_be_expanded_and_nothing_else(pieces):
    template = "".join(pieces)

    try:
        check_template(template)
    except (UrlTemplateError, UrlTemplateFieldError) as error:
        with pytest.raises(type(error)):
            expand(template)
    else:
        assert "{" not in expand(template)


@given(user_id=st.text(), org_id=st.text())
def test_values_come_back_from_the_link_as_they_were(user_id, org_id):
    link = expand("https://a.example/{{.UserID}}/{{.OrgID}}", user_id=user_id, org_id=org_id)

    assert [unquote(part) for part in link.split("/")[3:]] == [user_id, org_id]
