"""Suppressions, webhooks, the audit trail and an organisation's messages in the console."""

from __future__ import annotations

import json

import pytest

from shared.models import Channel, Recipient
from shared.store import keys
from shared.store.admin.audit import Act
from shared.store.webhooks.deliveries import WebhookOutcome
from shared.store.webhooks.subscriptions import EVENTS
from tests.support.batch_builders import a_batch
from tests.support.builders import an_organisation
from tests.support.console import Console
from tests.support.pages import see
from tests.support.store_builders import stores_of
from tests.support.subscriber_stub import SubscriberStub
from tests.web.leaving.test_server_files import commands_of

XSS = "<script>alert(1)</script>"
EVE = "eve@example.com"


@pytest.fixture
def console(fake_client):
    console = Console(fake_client, webhook_allow_private=True)
    console.redis = fake_client
    console.sign_in()
    return console


def a_hook(console, url="https://hooks.example.com/", org_id="acme"):
    return console.services.subscriptions.add(org_id, url, EVENTS)[1].subscription_id


def tried(console, hook, outcome, answer):
    """A webhook that was tried once."""
    stores, webhooks = stores_of(console.redis), console.services.webhooks
    reset_id = stores.record()
    stores.attempt(reset_id)
    webhook = webhooks.claim(hook, keys.tag_of(reset_id))
    webhooks.finish(webhook, outcome, answer=answer, delay_seconds=60)
    return reset_id


def newest(console):
    return console.services.audit.newest(most=1)[0]


@pytest.mark.topology
def test_an_address_is_suppressed_listed_and_lifted(console):
    said = console.note_after("/suppressions/add", to=EVE, reason=XSS)
    listed = console.see("/suppressions").text
    again = console.note_after("/suppressions/add", to=EVE)
    lifted = console.note_after("/suppressions/lift", to=EVE)

    assert "e***@example.com is suppressed." in said
    assert "1 recipients get no messages" in listed
    assert XSS in listed  # as text
    assert "was suppressed already" in again
    assert "The suppression of e***@example.com is lifted." in lifted
    assert "No recipient is suppressed." in console.see("/suppressions").text
    assert EVE not in str(list(console.services.audit.entries()))


def test_a_suppression_is_lifted_from_the_list(console):
    recipient = Recipient(Channel.EMAIL, EVE)
    console.services.suppressions.add(recipient, reason="bounce", source="sendgrid")
    digest = console.services.suppressions.digest(recipient)

    said = console.note_after(f"/suppressions/lift/{digest}")

    assert "The suppression is lifted." in said
    assert console.services.suppressions.find(recipient) is None
    assert (newest(console).act.action, newest(console).act.target) == ("suppression.lift", digest)
    for path in (f"lift/{digest}", f"add/{digest}", "x"):
        assert console.press(f"/suppressions/{path}").status_code == 404


@pytest.mark.parametrize("address", ["", "x", "a@b", "+1", "a\0@example.com", XSS])
def test_what_is_no_address_is_refused_above_the_form(console, address):
    answer = console.press("/suppressions/add", to=address)

    assert answer.status_code == 400
    assert "Not done:" in see(answer).text
    assert XSS not in answer.get_data(as_text=True)


def test_suppressions_are_listed_page_by_page(console):
    suppressions = console.services.suppressions
    for number in range(60):
        recipient = Recipient(Channel.EMAIL, f"u{number}@example.com")
        suppressions.add(recipient, reason="bounce", source="sendgrid")
    page = console.open("/suppressions")
    rest = console.open("/suppressions?from=50").get_data(as_text=True)

    assert page.get_data(as_text=True).count("bounce") == 50
    assert rest.count("bounce") == 10
    assert len(page.get_data()) < 100_000


@pytest.mark.parametrize(
    "path",
    [
        "/suppressions?from=x",
        "/suppressions?from=-5",
        "/suppressions?from=99999999999999999",
        "/audit?before=x",
        "/audit?before=99999999999999999",
        "/audit?q=%00",
        "/webhooks?from=-1",
    ],
)
def test_queries_of_another_make_are_the_first_page(console, path):
    assert console.open(path).status_code == 200


def test_why_a_subscriber_fails_stands_on_its_page(console):
    hook = a_hook(console)
    tried(console, hook, WebhookOutcome.RETRY, "http_500")
    reset_id = tried(console, hook, WebhookOutcome.DEAD, "connect_refused")

    listed, page, now = (console.see(p).text for p in ("/webhooks", f"/webhooks/{hook}", ""))

    assert "fails took no webhook at" in listed
    assert "http_500 it answers with HTTP 500" in page
    assert "connect_refused it refuses connections 1 given up" in page
    assert reset_id in page
    assert f"The subscriber {hook} of acme took no webhook" in now


@pytest.mark.topology
def test_a_subscriber_is_tested_replayed_enabled_and_removed(console):
    with SubscriberStub(204, 500) as stub:
        hook = a_hook(console, stub.url)
        tried(console, hook, WebhookOutcome.DEAD, "http_500")
        notes = [
            console.note_after(f"/webhooks/{hook}/{verb}", reason=f"why {verb}")
            for verb in ("test", "test", "replay", "enable", "remove")
        ]

    wanted = ("It took the test: http_204.", "It did not take the test: http_500.",
              "1 are delivered again.", "It is enabled.", "1 were dropped.")  # fmt: skip
    assert all(words in note for words, note in zip(wanted, notes, strict=True)), notes
    acts = [(e.act.action, e.act.reason) for e in console.services.audit.newest(most=5)]
    assert acts == [
        (f"webhook.{verb}", f"why {verb}")
        for verb in ("remove", "enable", "replay", "test", "test")
    ]
    assert console.open(f"/webhooks/{hook}").status_code == 404


def test_of_an_organisation_only_its_own_subscribers_are_shown(console):
    an_organisation(console.services, "beta")
    a_hook(console, "https://beta.example.com/", "beta")
    a_hook(console, "https://acme.example.com/")
    every = console.see("/webhooks").text
    console.sign_in(console.token)
    own = console.see("/webhooks").text

    assert "beta.example.com" in every
    assert ("acme.example.com" in own, "beta.example.com" in own) == (True, False)


def audited(console, number, **fields):
    for each in range(number):
        values = {
            "by": "eve",
            "action": "queue.pause",
            "target": f"t{each}",
            "reason": "r",
        } | fields
        console.services.audit.record(Act(**values))


@pytest.mark.topology
def test_the_trail_is_filtered_paged_and_exported(console):
    audited(console, 120)
    audited(console, 2, by="bob", reason=XSS)

    first = console.open("/audit")
    bobs = console.see("/audit?q=BOB").text
    lines = console.open("/audit/export?q=bob").get_data(as_text=True).splitlines()
    seen, path = [], "/audit?q=eve"
    while path:
        page = console.see(path)
        seen += [w for w in page.text.split() if w.startswith("t") and w[1:].isdigit()]
        links = [f["href"] for tag, f in page.tags if tag == "a" and "before=" in f.get("href", "")]
        path = links[0].removeprefix("/console") if links else ""

    assert len(first.get_data()) < 100_000
    assert XSS not in first.get_data(as_text=True)
    assert "t119" not in bobs
    assert [json.loads(line)["by"] for line in lines] == ["bob", "bob"]
    assert sorted(seen, key=lambda word: int(word[1:])) == [f"t{n}" for n in range(120)]


def test_an_act_of_an_older_page_tells_how_it_ended(console):
    with console.services.audit.acting(Act(by="eve", action="queue.pause", target="old")):
        pass
    audited(console, 60)

    older = console.see("/audit?q=old").text

    assert "old – done" in older


def test_mail_sms_and_page_are_shown_in_frames_without_scripts(console):
    page = console.open("/preview?language=de&mode=dark")
    mail = console.open("/preview/acme/mail?language=de")
    whole = console.open("/preview/acme/page?language=de&mode=dark")

    assert see(page).language == "en"
    assert "frame-src 'self'" in page.headers["Content-Security-Policy"]
    for part in (mail, whole):
        assert part.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
        assert len(part.get_data()) < 100_000
    assert "ABCD-2345" in mail.get_data(as_text=True)
    assert 'lang="de"' in whole.get_data(as_text=True)


def test_a_language_or_name_that_is_not_there_is_refused(console):
    statuses = [
        console.open(f"/preview{path}").status_code
        for path in ("?language=xx", "?name=x", "?org=nowhere", "/acme/x", "/nowhere/mail")
    ]

    assert statuses == [400, 400, 404, 404, 404]


def test_the_names_of_an_organisation_stand_there_as_text(console):
    an_organisation(console.services, "beta", name=XSS)

    assert XSS not in console.open("/preview?org=beta").get_data(as_text=True)
    assert XSS not in console.open("/preview/beta/mail").get_data(as_text=True)


def filled(console, first, number):
    """More of everything that the pages list."""
    for each in range(first, first + number):
        a_batch(console.services, "ada", batch_id=f"{each:016x}")
        recipient = Recipient(Channel.EMAIL, f"u{each}@example.com")
        console.services.suppressions.add(recipient, reason="bounce", source="sendgrid")
        console.services.audit.record(Act(by="eve", action="queue.pause", target=f"t{each}"))


@pytest.mark.real_server
def test_a_page_costs_the_same_however_much_there_is(real_client):
    console = Console(real_client)
    console.sign_in()
    hook = a_hook(console)
    paths = ("/batches", "/suppressions", "/audit", "/webhooks", f"/webhooks/{hook}", "/preview")
    filled(console, 0, 210)
    few = {path: commands_of(real_client, lambda path=path: console.open(path)) for path in paths}
    filled(console, 210, 300)

    many = {path: commands_of(real_client, lambda path=path: console.open(path)) for path in paths}

    for path in paths:
        assert many[path] <= few[path] + 5, path
        assert many[path] < 1800, path
