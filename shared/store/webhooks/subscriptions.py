"""Store the webhook subscriptions of organisations, with their sealed secrets.

The list is kept in one place and copied to every shard, so that a script that changes a reset's
status finds it beside the reset. A version keeps an older copy from overwriting a newer one.
"""

from __future__ import annotations

import base64
import secrets
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, cast

import orjson

from shared.models import Status
from shared.store import keys
from shared.store.connection import Client, store_errors, time_ms
from shared.store.digests import Digests
from shared.store.scripts import Argument, Scripts
from shared.validation import moment

SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix of a secret, not a secret
SECRET_BYTES = 32
SEAL_KIND = "webhook secret"
# A reset reached a final status, its code was used, or a password was changed in any way.
FINAL = (f"reset.{status}" for status in Status if status.is_final)
EVENTS = (*FINAL, "reset.completed", "password.changed")
LIFETIME_SECONDS = 14 * 86400.0  # of a webhook


@dataclass(frozen=True, slots=True)
class Subscription:
    """A URL and the events it receives."""

    subscription_id: str
    org_id: str
    url: str
    events: tuple[str, ...]
    created_at: datetime
    sealed_secret: str = field(repr=False)
    disabled: str | None = None  # why, while nothing is sent


class SubscriptionStore:
    """Add, list, switch and remove subscriptions."""

    def __init__(
        self, client: Client, digests: Digests, *, keep_seconds: float = LIFETIME_SECONDS
    ) -> None:
        """`client` may be a fake one; `keep_seconds`: how long a webhook is tried and kept."""
        self._client, self._digests, self._scripts = client, digests, Scripts(client)
        self._keep_ms = int(keep_seconds * 1000)

    def add(self, org_id: str, url: str, events: tuple[str, ...]) -> tuple[str, Subscription]:
        """Add a subscription; return its secret, which is not shown again, and the subscription."""
        secret = SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
        made = Subscription(
            subscription_id=f"hook_{secrets.token_hex(6)}",
            org_id=org_id,
            url=url,
            events=events,
            created_at=moment(time_ms(self._client)),
            sealed_secret=self._digests.seal(SEAL_KIND, secret),
        )
        name, value = made.subscription_id, _serialise(made)
        self._change(lambda pipeline: pipeline.hset(keys.SUBSCRIPTIONS, name, value))
        return secret, made

    def secret(self, subscription: Subscription) -> str:
        """Return the secret that signs."""
        return self._digests.unseal(SEAL_KIND, subscription.sealed_secret)

    def find(self, subscription_id: str) -> Subscription | None:
        """Return the subscription, or None."""
        with store_errors():
            found = self._client.hget(keys.SUBSCRIPTIONS, subscription_id)
        return _parse(subscription_id, found) if found else None

    def all(self) -> list[Subscription]:
        """Return every subscription, the oldest first."""
        with store_errors():
            found = self._client.hgetall(keys.SUBSCRIPTIONS)
        return _parse_all(found)

    def switch(self, subscription: Subscription, *, disabled: str | None) -> bool:
        """Disable it for a reason, or enable it (None); return False if it was removed."""
        switched = replace(subscription, disabled=disabled)
        is_there = self._scripts.run(
            "webhook/switch_subscription",
            (keys.SUBSCRIPTIONS, keys.SUBSCRIPTIONS_VERSION),
            (switched.subscription_id, _serialise(switched)),
        )
        self.spread()
        return bool(is_there)

    def remove(self, subscription: Subscription) -> None:
        """Remove it."""
        gone = subscription.subscription_id
        self._change(lambda pipeline: pipeline.hdel(keys.SUBSCRIPTIONS, gone))

    def spread(self) -> None:
        """Copy the list to every shard; may be repeated."""
        with store_errors():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.get(keys.SUBSCRIPTIONS_VERSION)
            pipeline.hgetall(keys.SUBSCRIPTIONS)
            version, found = pipeline.execute()
        if version is None:
            return  # there never was a subscription
        by_org: defaultdict[str, list[str]] = defaultdict(list)
        for each in _parse_all(found):
            if each.disabled is None:
                names = ",".join(event.removeprefix("reset.") for event in each.events)
                by_org[each.org_id].append(f"{each.subscription_id}={names}")
        arguments: list[Argument] = [int(version), self._keep_ms]
        for org_id, subscribed in by_org.items():
            arguments += [org_id, " ".join(subscribed)]
        calls = [((keys.subscribed(tag),), arguments) for tag in keys.TAGS]
        self._scripts.run_many("webhook/subscribe", calls)

    def _change(self, change: Callable[[Any], object]) -> None:
        with store_errors():
            pipeline = self._client.pipeline(transaction=True)
            change(pipeline)
            pipeline.incr(keys.SUBSCRIPTIONS_VERSION)
            pipeline.execute()
        self.spread()


def _serialise(subscription: Subscription) -> str:
    return orjson.dumps(
        {
            "org": subscription.org_id,
            "url": subscription.url,
            "events": subscription.events,
            "created": int(subscription.created_at.timestamp() * 1000),
            "secret": subscription.sealed_secret,
            "disabled": subscription.disabled,
        }
    ).decode()


def _parse_all(found: dict[str, str]) -> list[Subscription]:
    every = [_parse(name, text) for name, text in found.items()]
    return sorted(every, key=lambda each: (each.created_at, each.subscription_id))


def _parse(subscription_id: str, text: str) -> Subscription:
    fields = cast("dict[str, Any]", orjson.loads(text))
    return Subscription(
        subscription_id,
        fields["org"],
        fields["url"],
        tuple(fields["events"]),
        moment(fields["created"]),
        fields["secret"],
        fields["disabled"],
    )
