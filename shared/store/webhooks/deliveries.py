"""Store webhooks to be delivered: created by the scripts that change a reset, claimed, finished.

A webhook is in the shard of its reset, as `<reset id>:<word>`, once for each subscription.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import orjson

from shared.models import ResetId
from shared.store import keys
from shared.store.connection import Client, store_errors
from shared.store.scripts import Scripts
from shared.validation import moment

LEASE_SECONDS = 20.0  # a call takes at most half of it
FORGOTTEN_AT_ONCE = 1000


class WebhookOutcome(StrEnum):
    """The outcome of one try."""

    TOLD = "told"  # the subscriber said 2xx
    AGAIN = "again"  # another try is due
    DEAD = "dead"  # all tries failed; kept until replayed


@dataclass(frozen=True, slots=True)
class Webhook:
    """One event of one reset, for one subscription."""

    subscription_id: str
    reset_id: ResetId
    word: str  # the event without `reset.`
    at: datetime
    user_id: str
    org_id: str
    channel: str
    status: str
    reason: str | None
    tries: int = 1  # this one included
    fence: int = 0
    answer: str | None = None  # the outcome of the last try

    @property
    def webhook_id(self) -> str:
        """The same at every try."""
        return f"msg_{self.reset_id}_{self.word}"

    @property
    def event(self) -> str:
        """The name of the event, as subscribers know it."""
        return f"reset.{self.word}"

    @property
    def member(self) -> str:
        """Its name in the shard."""
        return f"{self.reset_id}:{self.word}"


@dataclass(frozen=True, slots=True)
class Standing:
    """The backlog of a subscription."""

    due: int
    waiting: int
    dead: int
    oldest_age_seconds: float  # how long the longest waiting has been due; 0 when none is


class WebhookStore:
    """Claim and finish tries, and replay dead webhooks."""

    def __init__(self, client: Client) -> None:
        """`client` may be a fake one."""
        self._client, self._scripts = client, Scripts(client)

    def look(self, subscription_ids: Sequence[str]) -> dict[str, Standing]:
        """Return the backlog of each subscription, over all shards."""
        if not subscription_ids:
            return {}
        calls = [
            ([name for each in subscription_ids for name in _names(tag, each)], ())
            for tag in keys.TAGS
        ]
        shards = self._scripts.run_many("webhook/count", calls)
        with store_errors():
            seconds, microseconds = self._client.time()
        now_ms = seconds * 1000 + microseconds / 1000
        return {
            each: _standing([shard[4 * i : 4 * i + 4] for shard in shards], now_ms)
            for i, each in enumerate(subscription_ids)
        }

    def claim(self, subscription_id: str, tag: str) -> Webhook | None:
        """Claim the webhook that has been due longest in a shard; None if none is due."""
        answer = self._scripts.run(
            "webhook/claim",
            (keys.webhooks_due(tag, subscription_id),),
            (keys.webhook(tag, subscription_id, ""), int(LEASE_SECONDS * 1000)),
        )
        if not answer:
            return None
        member, fence, tries, payload, _ = answer
        return _parse(subscription_id, member, payload, tries=int(tries), fence=int(fence))

    def finish(
        self, webhook: Webhook, what: WebhookOutcome, *, delay_seconds: float = 0, answer: str = ""
    ) -> bool:
        """Store the outcome of a try; return False if another worker has the webhook by now."""
        tag = keys.tag_of(webhook.reset_id)
        due, dead = _names(tag, webhook.subscription_id)
        record = keys.webhook(tag, webhook.subscription_id, webhook.member)
        done = self._scripts.run(
            "webhook/finish",
            (record, due, dead, keys.counters(tag)),
            (webhook.member, webhook.fence, what.value, int(delay_seconds * 1000), answer),
        )
        return bool(done)

    def dead(self, subscription_id: str, *, most: int = 100) -> list[Webhook]:
        """Return dead webhooks, newest first."""
        found: list[tuple[float, Webhook]] = []
        with store_errors():
            for tag in keys.TAGS:
                dead = keys.webhooks_dead(tag, subscription_id)
                for member, score in self._client.zrevrange(dead, 0, most - 1, withscores=True):
                    record = keys.webhook(tag, subscription_id, member)
                    payload, tries, answer = self._client.hmget(record, "d", "n", "e")
                    if payload:  # else it has expired
                        outcome = {"tries": int(tries), "answer": answer}
                        found.append((score, _parse(subscription_id, member, payload, **outcome)))
        found.sort(key=lambda pair: (-pair[0], pair[1].member))
        return [webhook for _, webhook in found[:most]]

    def replay(self, subscription_id: str) -> int:
        """Make all dead webhooks due again, with all their tries; return how many."""
        return sum(self._replay_shard(subscription_id, tag) for tag in keys.TAGS)

    def forget(self, subscription_id: str) -> int:
        """Delete the webhooks of a removed subscription; return how many."""
        return sum(self._forget_shard(subscription_id, tag) for tag in keys.TAGS)

    def _replay_shard(self, subscription_id: str, tag: str) -> int:
        due, dead = _names(tag, subscription_id)
        prefix, number = keys.webhook(tag, subscription_id, ""), 0
        while some := self._scripts.run("webhook/replay", (dead, due), (prefix, FORGOTTEN_AT_ONCE)):
            number += int(some)
        return number

    def _forget_shard(self, subscription_id: str, tag: str) -> int:
        names = _names(tag, subscription_id)
        prefix, number = keys.webhook(tag, subscription_id, ""), 0
        while some := self._scripts.run("webhook/forget", names, (prefix, FORGOTTEN_AT_ONCE)):
            number += int(some)
        return number


def _names(tag: str, subscription_id: str) -> tuple[str, str]:
    return keys.webhooks_due(tag, subscription_id), keys.webhooks_dead(tag, subscription_id)


def _standing(shards: list[list[int | str]], now_ms: float) -> Standing:
    oldest = min((float(shard[3]) for shard in shards if shard[3] != ""), default=now_ms)
    due, waiting, dead = (sum(int(shard[i]) for shard in shards) for i in range(3))
    return Standing(due, waiting, dead, max(0.0, (now_ms - oldest) / 1000))


def _parse(
    subscription_id: str,
    member: str,
    payload: str,
    *,
    tries: int,
    fence: int = 0,
    answer: str | None = None,
) -> Webhook:
    reset_id, _, word = member.partition(":")
    at, user_id, org_id, channel, status, reason = orjson.loads(payload)
    return Webhook(
        subscription_id,
        reset_id,
        word,
        moment(at),
        user_id,
        org_id,
        channel,
        status,
        reason or None,
        tries,
        fence,
        answer,
    )
