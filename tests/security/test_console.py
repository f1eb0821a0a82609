"""The console: who may open which page and press which button, and what each leaves in the trail.

The routes are those of Flask's url_map: a new one fails until ROUTES tells who may.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest

from shared.models import Channel, Recipient
from shared.store.webhooks.subscriptions import EVENTS
from tests.support.batch_builders import a_batch
from tests.support.builders import a_token
from tests.support.console import Console
from tests.test_architecture import CONSOLE_ROUTES, OPEN_ROUTES


class Page(NamedTuple):
    """A page or a button: an example of its path, who may, and the act it leaves."""

    path: str
    may: frozenset[str]
    act: str = ""  # the action in the audit trail; empty: it changes nothing


ADA = Recipient(Channel.EMAIL, "ada@example.com")
OWNER, VIEWER, ORG_OWNER, ORG_VIEWER = (
    *("IAM_OWNER", "IAM_OWNER_VIEWER"),
    *("ORG_OWNER", "ORG_OWNER_VIEWER"),
)
ALL = frozenset({OWNER, VIEWER, ORG_OWNER, ORG_VIEWER})
READERS, WRITERS = frozenset({OWNER, VIEWER}), frozenset({OWNER})
OPERATORS = WRITERS | {ORG_OWNER}
ROUTES: dict[str, list[Page]] = {
    "/console/": [],
    "/console": [Page("", READERS)],  # others are led to the resets
    "/console/<path:_rest>": [],
    "/console/sign-out": [],
    "/console/providers": [Page("/providers", READERS)],
    "/console/pauses/<scope>/<path:name>/pause": [
        Page("/pauses/channel/sms/pause", WRITERS, "channel.pause"),
        Page("/pauses/organisation/acme/pause", WRITERS | {ORG_OWNER}, "organisation.pause"),
        Page("/pauses/organisation/beta/pause", WRITERS, "organisation.pause"),
    ],
    "/console/pauses/<scope>/<path:name>/resume": [
        Page("/pauses/queue/bulk/resume", WRITERS, "queue.resume"),
        Page("/pauses/provider/outbox/resume", WRITERS),
    ],
    "/console/batches": [Page("/batches", OPERATORS)],
    "/console/batches/upload": [Page("/batches/upload", OPERATORS)],
    "/console/batches/filter": [Page("/batches/filter", OPERATORS)],
    "/console/batches/<batch_id>": [Page("/batches/b1", OPERATORS), Page("/batches/beta", WRITERS)],
    "/console/batches/<batch_id>/<action>": [
        Page("/batches/b1/pause", OPERATORS, "batch.pause"),
        Page("/batches/b1/cancel", OPERATORS, "batch.cancel"),
        Page("/batches/beta/cancel", WRITERS, "batch.cancel"),
    ],
    "/console/batches/<batch_id>/results.csv": [
        Page("/batches/b1/results.csv", OPERATORS),
        Page("/batches/beta/results.csv", WRITERS),
    ],
    "/console/suppressions": [Page("/suppressions", READERS)],
    "/console/suppressions/<verb>": [
        Page("/suppressions/add", WRITERS, "suppression.add"),
        Page("/suppressions/lift", WRITERS, "suppression.lift"),
    ],
    "/console/suppressions/<verb>/<digest>": [
        Page("/suppressions/lift/DIGEST", WRITERS, "suppression.lift")
    ],
    "/console/webhooks": [Page("/webhooks", ALL)],
    "/console/webhooks/<subscription_id>": [
        Page("/webhooks/HOOK-acme", ALL),
        Page("/webhooks/HOOK-beta", READERS),
    ],
    "/console/webhooks/<subscription_id>/<verb>": [
        Page("/webhooks/HOOK-acme/replay", OPERATORS, "webhook.replay"),
        Page("/webhooks/HOOK-acme/enable", OPERATORS, "webhook.enable"),
        Page("/webhooks/HOOK-acme/test", OPERATORS, "webhook.test"),
        Page("/webhooks/HOOK-beta/test", WRITERS, "webhook.test"),
        Page("/webhooks/HOOK-beta/remove", WRITERS, "webhook.remove"),
    ],
    "/console/audit": [Page("/audit", READERS), Page("/audit?q=eve", READERS)],
    "/console/audit/export": [Page("/audit/export", READERS)],
    "/console/preview": [Page("/preview?org=acme", ALL), Page("/preview?org=beta", READERS)],
    "/console/preview/<org_id>/<part>": [
        Page("/preview/acme/mail", ALL),
        Page("/preview/beta/page", READERS),
    ],
    "/console/providers/<name>/test": [Page("/providers/outbox/test", WRITERS)],
    "/console/resets": [Page("/resets", ALL), Page("/resets?user=ada", ALL)],
    "/console/resets/_find": [],
    "/console/resets/<reset_id>": [Page("/resets/RESET", ALL)],
    "/console/resets/<reset_id>/<verb>": [
        Page("/resets/RESET/hold", OPERATORS, "reset.hold"),
        Page("/resets/RESET/void", OPERATORS, "reset.void"),
        Page("/resets/RESET/resend-email", OPERATORS, "reset.resend"),
    ],
    "/console/users/<path:user_id>/limits": [Page("/users/ada/limits", OPERATORS, "limit.clear")],
    "/console/users/<path:user_id>/lift/<channel>": [
        Page("/users/ada/lift/email", WRITERS, "suppression.lift_and_resend")
    ],
    "/console/users/<path:user_id>/addresses": [
        Page("/users/ada/addresses", ALL, "user.show_addresses")
    ],
}


@pytest.fixture
def console(fake_client):
    return Console(fake_client)


def test_every_route_of_the_console_tells_who_may(console):
    routes = {rule.rule for rule in console.app.url_map.iter_rules()}

    assert set(ROUTES) == CONSOLE_ROUTES
    assert {r for r in routes if re.match(r"/console($|/)", r)} - {
        *(route for route in OPEN_ROUTES if route.startswith("/console/"))
    } == CONSOLE_ROUTES


@pytest.mark.parametrize("page", [each for pages in ROUTES.values() for each in pages], ids=str)
def test_each_page_to_each_role(console, page):
    """Who may not is refused, at the question and at its answer; who may leaves an entry."""
    trail, suppressions = console.services.audit, console.services.suppressions
    for role in sorted(ALL):
        is_instance = role.startswith("IAM_")
        token = a_token(console.services, *(() if is_instance else (role,)),
                        instance=(role,) if is_instance else ())  # fmt: skip
        console.sign_in(token)
        reset_id = console.reset().headers["Keyturn-Reset-Id"]
        if "lift" in page.path:
            suppressions.add(ADA, reason="bounce", source="sendgrid")
        path = page.path.replace("RESET", reset_id).replace("DIGEST", suppressions.digest(ADA))
        if "HOOK" in path:
            org_id = "beta" if "beta" in path else "acme"
            url = f"http://127.0.0.1:9/{role}"
            _, made = console.services.subscriptions.add(org_id, url, EVENTS)
            path = path.replace(f"HOOK-{org_id}", made.subscription_id)
        for batch_id, org_id in (("b1", "acme"), ("beta", "beta")):
            a_batch(console.services, "ada", batch_id=batch_id, org_ids=frozenset({org_id}))
        before = len(list(trail.newest(most=1000)))

        opened = console.open(path).status_code
        answer = console.press(path, to="ada@example.com") if page.act else None
        suppressions.lift(ADA)

        entries = list(trail.newest(most=1000))
        if role in page.may:
            assert opened == 200, (role, opened)
        else:
            assert opened in (403, 404) if page.path else opened == 303, (role, opened)
        if page.act and role in page.may:
            assert answer.status_code in (200, 303), answer.get_data(as_text=True)
            assert (entries[0].act.action, entries[0].act.reason) == (page.act, "a test")
            assert len(entries) == before + 1
        elif page.act:
            assert answer.status_code in (403, 404)
            assert len(entries) == before
