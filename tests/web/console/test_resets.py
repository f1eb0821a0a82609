"""Find a reset, see what happened, press its buttons; what is shown is text and masked."""

from __future__ import annotations

import re

import pytest

from shared.models import Channel, Recipient
from shared.store import keys
from tests.support.builders import a_token, a_user
from tests.support.console import Console
from tests.support.pages import see

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


@pytest.fixture
def console(fake_client):
    console = Console(fake_client)
    console.sign_in()
    return console


@pytest.fixture
def reset_id(console):
    return console.reset().headers["Keyturn-Reset-Id"]


def found(console, text):
    """Where the search leads."""
    answer = console.press("/resets/_find", q=text)
    assert answer.status_code in (200, 303)
    return answer.headers.get("Location", "a choice")


def test_the_search_finds_by_id_name_address_phone_and_request(console, reset_id):
    a_user(console.services, "bob", userName="bob.the.builder", email="bob@example.com")

    assert found(console, reset_id) == f"/console/resets/{reset_id}"
    for text in ("ada", "ada@example.com", " ADA@example.com "):
        assert found(console, text) == "/console/resets?user=ada"
    assert found(console, "bob.the.builder") == "/console/resets?user=bob"
    assert found(console, "+41791234567") == "a choice"  # both have it
    assert found(console, "req-17") == "/console/resets?request=req-17"


def test_an_address_never_stands_in_a_url(console):
    assert found(console, "unknown@example.com") == "/console/resets"
    assert found(console, "+41790000000") == "/console/resets"


def test_a_strange_search_leads_somewhere(console):
    for text in ("", " ", "x" * 400, "a\0b", "\ufffd", "{kt:gate}", "../x", "%"):
        assert found(console, text).startswith("/console/resets")


def test_filters_by_user_status_provider_request_and_time(console):
    reset_id = console.reset(X_Request_Id="req-17").headers["Keyturn-Reset-Id"]
    key = keys.reset(reset_id)
    console.redis.hset(key, mapping={"at": 1, "a1": '["sendgrid",1,2,"accepted","m",null]'})

    def shown(query):
        return f"{reset_id[:12]}…" in console.see(f"/resets?{query}").text

    for query in (
        *("", "user=ada", "status=queued", "request=req-17", "provider=sendgrid"),
        *("user=ada&provider=sendgrid&request=req-17", "since=2020-01-01T00:00"),
        "until=2999-01-01T00:00&since=2020-01-01T00:00:00Z",
    ):
        assert shown(query), query
    for query in (
        *("user=bob", "status=failed", "request=req-1", "provider=smtp", "user=ada&provider=smtp"),
        *("until=2020-01-01T00:00", "since=2999-01-01T00:00", "user=ada&request=x"),
    ):
        assert not shown(query), query


def test_a_filter_that_cannot_be_read_is_said_to_be_so(console):
    for query in ("status=x", "since=x", "until=yesterday", "page=x", f"user={'x' * 201}"):
        assert console.open(f"/resets?{query}").status_code == 400, query
    assert console.open("/resets?page=1-99-1").status_code == 200


def test_the_page_of_a_reset_says_what_happened_and_masks_the_address(console, reset_id):
    page = console.see(f"/resets/{reset_id}")

    assert "It has been waiting in the urgent queue" in page.text
    assert "a***@example.com" in page.text
    code = console.services.codes.code(reset_id, console.services.codes.signing_key_id)
    for hidden in ("ada@example.com", "+41791234567", code.formatted):
        assert hidden not in console.open(f"/resets/{reset_id}").get_data(as_text=True)


def test_hold_release_and_void(console, reset_id):
    assert "It is held." in console.note_after(f"/resets/{reset_id}/hold")
    assert "it is held at" in console.see(f"/resets/{reset_id}").text
    assert "It is released." in console.note_after(f"/resets/{reset_id}/release")
    assert "Its code has ended." in console.note_after(f"/resets/{reset_id}/void")
    again = console.press(f"/resets/{reset_id}/void")
    assert again.status_code == 400
    assert "cannot be voided" in see(again).text
    assert console.open(f"/resets/{reset_id}/erase").status_code == 404


def test_send_again_and_by_the_other_channel(console, reset_id):
    assert "A fresh reset is recorded" in console.note_after(f"/resets/{reset_id}/resend-email")
    assert "A fresh reset is recorded" in console.note_after(f"/resets/{reset_id}/resend-sms")
    newest, second, _ = console.services.resets.find_of_user("ada")
    assert (newest.channel, second.channel) == (Channel.SMS, Channel.EMAIL)
    assert console.open(f"/resets/{reset_id}/resend-pigeon").status_code == 404


def test_a_form_sent_twice_sends_once(console, reset_id):
    form = see(console.open(f"/resets/{reset_id}/resend-email")).forms[-1]

    for _ in range(2):
        assert console.press(f"/resets/{reset_id}/resend-email", **form | {"reason": "x"})
    assert len(console.services.resets.find_of_user("ada")) == 2


def test_a_user_who_hit_a_limit_is_let_ask_again(fake_client):
    console = Console(fake_client, user_limit_per_hour=1)
    console.sign_in()
    console.reset()
    assert console.reset().status_code == 429

    page = console.see("/resets?user=ada")
    assert "a limit, the user's resets in an hour" in page.text
    page.find(href="/console/users/ada/limits")
    assert "Cleared" in console.note_after("/users/ada/limits")
    assert console.reset().status_code == 200


def test_a_suppressed_address_is_lifted_and_written_to(console):
    ada = Recipient(Channel.EMAIL, "ada@example.com")
    console.services.suppressions.add(ada, reason="bounce", source="sendgrid")
    assert console.reset().status_code == 400

    page = console.see("/resets?user=ada")
    assert "suppressed" in page.text
    page.find(href="/console/users/ada/lift/email")
    assert "The suppression is lifted" in console.note_after("/users/ada/lift/email")
    assert len(console.services.resets.find_of_user("ada")) == 1


def test_addresses_are_shown_whole_once_after_a_recorded_click(console):
    assert "ada@example.com" not in console.see("/resets?user=ada").text

    assert "ada@example.com, +41791234567" in console.note_after("/users/ada/addresses")
    assert "ada@example.com" not in console.see("/resets?user=ada").text
    (entry, *_) = console.services.audit.newest(most=1)
    assert (entry.act.action, entry.act.target) == ("user.show_addresses", "ada")
    assert "example.com" not in str(entry)


def test_what_another_organisation_has_is_not_there(console):
    a_user(console.services, "bob", orgId="beta", email="bob@example.com", phone="+41790000001")
    theirs = console.reset("bob", token=console.owner, x_zitadel_orgid="beta")
    theirs = theirs.headers["Keyturn-Reset-Id"]
    console.sign_in(console.token)

    assert "/resets/" not in found(console, theirs)
    for text in ("bob", "bob@example.com", "+41790000001"):
        assert "user=bob" not in found(console, text)
    assert theirs[:12] not in console.open("/resets").get_data(as_text=True)
    for path in (
        *(f"/resets/{theirs}", f"/resets/{theirs}/hold", f"/resets/{theirs}/resend-email"),
        *("/users/bob/addresses", "/users/bob/limits"),
    ):
        assert console.open(path).status_code == 404, path
        absent = console.open(path.replace(theirs, theirs[0] + "a" * 26).replace("bob", "nobody"))
        assert absent.status_code == 404


def test_a_user_who_moved_shows_nothing_of_the_other_organisation(console):
    console.reset()
    a_user(console.services, orgId="beta")
    console.sign_in(a_token(console.services, "ORG_OWNER", org_id="beta"))

    assert console.see("/resets?user=ada").text.count("queued") <= 1  # of the filter


def test_nothing_that_is_stored_becomes_part_of_the_page(console):
    services = console.services
    evil_id = "<b>'\"&amp;ada"
    a_user(services, evil_id, displayName=EVIL, userName=EVIL, email="eve@example.com")
    reset_id = services.digests.new_reset_id(evil_id)
    console.reset("ada", X_Request_Id=re.sub(r"\s", "", EVIL)[:120])
    console.note_after("/pauses/organisation/acme/pause", reason=EVIL)
    ids = [each.reset_id for each in services.resets.find_of_user("ada")]
    console.note_after(f"/resets/{ids[0]}/hold", reason=EVIL)
    assert reset_id

    for path in (
        *("", "/resets", f"/resets/{ids[0]}", "/resets?user=ada", "/providers"),
        f"/resets?user={EVIL}",
        f"/resets?request={EVIL}&provider={EVIL}",
        "/resets?user=%3Cb%3E%27%22%26amp%3Bada",
        f"/users/ada/limits?reason={EVIL}&once={EVIL}",
    ):
        tags = console.see(path).tags
        assert not [tag for tag, _ in tags if tag in ("img", "b")], path
        assert [its.get("src", "")[:15] for tag, its in tags if tag == "script"] == [
            "/console/static"
        ], path
        assert not [its for _, its in tags if any(name.startswith("on") for name in its)]


def test_a_viewer_sees_and_changes_nothing(console, reset_id):
    console.sign_in(a_token(console.services, "ORG_OWNER_VIEWER"))

    page = console.see(f"/resets/{reset_id}")
    assert not [its for tag, its in page.tags if tag == "a" and "/hold" in (its["href"] or "")]
    assert console.open(f"/resets/{reset_id}/hold").status_code == 403
    assert console.press(f"/resets/{reset_id}/resend-email").status_code == 403
    assert console.press("/users/ada/limits").status_code == 403
    assert console.press("/users/ada/lift/email").status_code == 403
