"""What subscriptions have to be told: noted by the scripts that change a reset, claimed, finished.

A webhook stands in the shard of its reset, as `<reset id>:<word>`, once for each subscription.
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
from shared.store.records import moment
from shared.store.scripts import Scripts

LEASE_SECONDS = 20.0  # a call takes at most half of it
FORGOTTEN_AT_ONCE = 1000


class WebhookOutcome(StrEnum):
    """What came of one try."""

    TOLD = "told"  # the subscriber said 2xx
    AGAIN = "again"  # another try is due
    DEAD = "dead"  # told in vain; kept until replayed


@dataclass(frozen=True, slots=True)
class Webhook:
    """One thing about one reset, for one subscription."""

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
    answer: str | None = None  # what the last try came to

    @property
    def webhook_id(self) -> str:
        """The same at every try."""
        return f"msg_{self.reset_id}_{self.word}"

    @property
    def event(self) -> str:
        """What happened, as subscribers know it."""
        return f"reset.{self.word}"

    @property
    def member(self) -> str:
        """Its name in its shard."""
        return f"{self.reset_id}:{self.word}"


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a subscription has been told."""

    due: int
    waiting: int
    dead: int
    oldest_age_seconds: float  # how long the longest waiting has been due; 0 when none is


class WebhookStore:
    """Claims and finishes tries, and looks after what was told in vain."""

    def __init__(self, client: Client) -> None:
        """`client` may be a fake one."""
        self._client, self._scripts = client, Scripts(client)

    def look(self, subscription_ids: Sequence[str]) -> dict[str, Standing]:
        """How each of these stands, over all shards."""
        if not subscription_ids:
            return {}
        calls = [
            ([name for each in subscription_ids for name in _places(tag, each)], ())
            for tag in keys.TAGS
        ]
        shards = self._scripts.run_many("webhook_look", calls)
        with store_errors():
            seconds, microseconds = self._client.time()
        now_ms = seconds * 1000 + microseconds / 1000
        return {
            each: _standing([shard[4 * i : 4 * i + 4] for shard in shards], now_ms)
            for i, each in enumerate(subscription_ids)
        }

    def claim(self, subscription_id: str, tag: str) -> Webhook | None:
        """The right to tell what has been due longest in a shard; None when nothing is."""
        answer = self._scripts.run(
            "webhook_claim",
            (keys.webhooks_due(tag, subscription_id),),
            (keys.webhook(tag, subscription_id, ""), int(LEASE_SECONDS * 1000)),
        )
        if not answer:
            return None
        member, fence, tries, told, _ = answer
        return _parse(subscription_id, member, told, tries=int(tries), fence=int(fence))

    def finish(
        self, webhook: Webhook, what: WebhookOutcome, *, delay_seconds: float = 0, answer: str = ""
    ) -> bool:
        """Note what came of a try; False when somebody else has the webhook by now."""
        tag = keys.tag_of(webhook.reset_id)
        due, dead = _places(tag, webhook.subscription_id)
        record = keys.webhook(tag, webhook.subscription_id, webhook.member)
        done = self._scripts.run(
            "webhook_finish",
            (record, due, dead, keys.counters(tag)),
            (webhook.member, webhook.fence, what.value, int(delay_seconds * 1000), answer),
        )
        return bool(done)

    def dead(self, subscription_id: str, *, most: int = 100) -> list[Webhook]:
        """What was told in vain, the newest first."""
        found: list[tuple[float, Webhook]] = []
        with store_errors():
            for tag in keys.TAGS:
                place = keys.webhooks_dead(tag, subscription_id)
                for member, score in self._client.zrevrange(place, 0, most - 1, withscores=True):
                    record = keys.webhook(tag, subscription_id, member)
                    told, tries, answer = self._client.hmget(record, "d", "n", "e")
                    if told:  # else its time was over
                        facts = {"tries": int(tries), "answer": answer}
                        found.append((score, _parse(subscription_id, member, told, **facts)))
        found.sort(key=lambda pair: (-pair[0], pair[1].member))
        return [webhook for _, webhook in found[:most]]

    def replay(self, subscription_id: str) -> int:
        """Everything told in vain is due again, with all its tries; how many."""
        return sum(self._replay_shard(subscription_id, tag) for tag in keys.TAGS)

    def forget(self, subscription_id: str) -> int:
        """Drop what a subscription that is gone was to be told; how many."""
        return sum(self._forget_shard(subscription_id, tag) for tag in keys.TAGS)

    def _replay_shard(self, subscription_id: str, tag: str) -> int:
        due, dead = _places(tag, subscription_id)
        prefix, number = keys.webhook(tag, subscription_id, ""), 0
        while some := self._scripts.run("webhook_replay", (dead, due), (prefix, FORGOTTEN_AT_ONCE)):
            number += int(some)
        return number

    def _forget_shard(self, subscription_id: str, tag: str) -> int:
        places = _places(tag, subscription_id)
        prefix, number = keys.webhook(tag, subscription_id, ""), 0
        while some := self._scripts.run("webhook_forget", places, (prefix, FORGOTTEN_AT_ONCE)):
            number += int(some)
        return number


def _places(tag: str, subscription_id: str) -> tuple[str, str]:
    return keys.webhooks_due(tag, subscription_id), keys.webhooks_dead(tag, subscription_id)


def _standing(shards: list[list[int | str]], now_ms: float) -> Standing:
    oldest = min((float(shard[3]) for shard in shards if shard[3] != ""), default=now_ms)
    due, waiting, dead = (sum(int(shard[i]) for shard in shards) for i in range(3))
    return Standing(due, waiting, dead, max(0.0, (now_ms - oldest) / 1000))


def _parse(
    subscription_id: str,
    member: str,
    told: str,
    *,
    tries: int,
    fence: int = 0,
    answer: str | None = None,
) -> Webhook:
    reset_id, _, word = member.partition(":")
    at, user_id, org_id, channel, status, reason = orjson.loads(told)
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
