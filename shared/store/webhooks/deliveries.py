"""Claim, finish and replay webhooks; the scripts that change a reset record them.

A webhook is kept in the shard of its reset, as `<reset id>:<event name>`, once a subscription.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import islice

import orjson

from shared.models import ResetId
from shared.store import keys
from shared.store.connection import Client, store_errors
from shared.store.scripts import Scripts
from shared.validation import moment

LEASE_SECONDS = 20.0  # a call takes at most half of it
MAX_ANSWERS = 20  # that are told
MAX_AT_ONCE = 1000  # in one run of a script


class WebhookOutcome(StrEnum):
    """How a try ended; the values are labels of a metric."""

    DELIVERED = "told"  # the subscriber answered 2xx
    RETRY = "again"  # another try is due
    DEAD = "dead"  # the last try failed; kept until replayed


@dataclass(frozen=True, slots=True)
class Webhook:
    """An event of a reset, for one subscription."""

    subscription_id: str
    reset_id: ResetId
    event_name: str  # without `reset.`; password.changed as it is
    at: datetime
    user_id: str
    org_id: str
    channel: str
    status: str
    reason: str | None
    tries: int = 1  # this one included
    fence: int = 0
    answer: str | None = None  # to the last try

    @property
    def webhook_id(self) -> str:
        """Return its id, the same at every try."""
        return f"msg_{self.reset_id}_{self.event_name.replace('.', '_')}"

    @property
    def event(self) -> str:
        """Return the event's type, as subscribers know it."""
        return _type_of(self.event_name)

    @property
    def member(self) -> str:
        """Return its name in its shard."""
        return f"{self.reset_id}:{self.event_name}"


@dataclass(frozen=True, slots=True)
class WebhookAnswer:
    """How one try ended; it names no reset, so that it may outlive one."""

    at: datetime
    outcome: WebhookOutcome
    tries: int  # of that webhook, this one included
    event_name: str  # as Webhook's
    answer: str  # `http_500`, `connect_refused`, …

    @property
    def event(self) -> str:
        """Return the event's type, as subscribers know it."""
        return _type_of(self.event_name)


@dataclass(frozen=True, slots=True)
class Backlog:
    """The webhooks of a subscription that were not delivered."""

    due: int
    waiting: int
    dead: int
    oldest_age_seconds: float  # since the oldest was due; 0 if none is
    last: WebhookAnswer | None = None  # to the last try

    @property
    def is_failing(self) -> bool:
        """True if the last try failed."""
        return self.last is not None and self.last.outcome is not WebhookOutcome.DELIVERED


class WebhookStore:
    """Claim and finish tries; list, replay and forget webhooks."""

    def __init__(self, client: Client) -> None:
        """`client` may be a fake one."""
        self._client, self._scripts = client, Scripts(client)

    def read_backlogs(self, subscription_ids: Sequence[str]) -> dict[str, Backlog]:
        """Return the backlog of each subscription, over all shards."""
        if not subscription_ids:
            return {}
        calls = [
            ([name for each in subscription_ids for name in _keys(tag, each)], ())
            for tag in keys.TAGS
        ]
        shards = self._scripts.run_many("webhook/count", calls)
        return {
            each: _parse_backlog([shard[5 * i : 5 * i + 5] for shard in shards])
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
        member, fence, tries, record, _ = answer
        return _parse(subscription_id, member, record, tries=int(tries), fence=int(fence))

    def finish(
        self,
        webhook: Webhook,
        outcome: WebhookOutcome,
        *,
        delay_seconds: float = 0,
        answer: str = "",
    ) -> bool:
        """Record how a try ended; return False if another worker has claimed the webhook."""
        tag = keys.tag_of(webhook.reset_id)
        due, dead, answers = _keys(tag, webhook.subscription_id)
        record = keys.webhook(tag, webhook.subscription_id, webhook.member)
        is_done = self._scripts.run(
            "webhook/finish",
            (record, due, dead, keys.counters(tag), answers),
            (webhook.member, webhook.fence, outcome.value, int(delay_seconds * 1000), answer),
        )
        return bool(is_done)

    def answers(self, subscription_ids: Sequence[str]) -> dict[str, list[WebhookAnswer]]:
        """Return how the last tries of each ended, the newest first; one round trip."""
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for each in subscription_ids:
                for tag in keys.TAGS:
                    pipeline.lrange(keys.webhook_answers(tag, each), 0, -1)
            shards = iter(pipeline.execute())
        found = {}
        for each in subscription_ids:
            own = [_parse_answer(text) for shard in islice(shards, keys.SHARDS) for text in shard]
            found[each] = sorted(own, key=lambda one: one.at, reverse=True)[:MAX_ANSWERS]
        return found

    def dead(self, subscription_id: str, *, most: int = 100) -> list[Webhook]:
        """Return the dead webhooks, the newest first."""
        found: list[tuple[float, Webhook]] = []
        with store_errors():
            for tag in keys.TAGS:
                dead = keys.webhooks_dead(tag, subscription_id)
                for member, score in self._client.zrevrange(dead, 0, most - 1, withscores=True):
                    key = keys.webhook(tag, subscription_id, member)
                    record, tries, answer = self._client.hmget(key, "d", "n", "e")
                    if record:  # else it has expired
                        webhook = _parse(
                            subscription_id, member, record, tries=int(tries), answer=answer
                        )
                        found.append((score, webhook))
        found.sort(key=lambda pair: (-pair[0], pair[1].member))
        return [webhook for _, webhook in found[:most]]

    def find_of_user(self, user_place: tuple[str, str]) -> list[Webhook]:
        """Return the webhooks about a user that were not delivered."""
        tag, found = user_place[0], []
        with store_errors():
            for told in self._client.zrange(keys.told(*user_place), 0, -1):
                subscription_id, _, member = told.partition(":")
                key = keys.webhook(tag, subscription_id, member)
                record, tries, answer = self._client.hmget(key, "d", "n", "e")
                if record:  # else it was delivered
                    each = _parse(subscription_id, member, record, tries=int(tries), answer=answer)
                    found.append(each)
        return found

    def replay(self, subscription_id: str) -> int:
        """Make every dead webhook due again, with all its tries; return how many."""
        return self._run_everywhere("webhook/replay", subscription_id)

    def forget(self, subscription_id: str) -> int:
        """Drop every webhook of a subscription that was removed; return how many."""
        number = self._run_everywhere("webhook/forget", subscription_id)
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for tag in keys.TAGS:
                pipeline.unlink(keys.webhook_answers(tag, subscription_id))
            pipeline.execute()
        return number

    def _run_everywhere(self, script: str, subscription_id: str) -> int:
        number = 0
        for tag in keys.TAGS:
            due, dead, _ = _keys(tag, subscription_id)
            prefix = keys.webhook(tag, subscription_id, "")
            while some := self._scripts.run(script, (dead, due), (prefix, MAX_AT_ONCE)):
                number += int(some)
        return number


def _keys(tag: str, subscription_id: str) -> tuple[str, str, str]:
    due, dead = keys.webhooks_due(tag, subscription_id), keys.webhooks_dead(tag, subscription_id)
    return due, dead, keys.webhook_answers(tag, subscription_id)


def _type_of(event_name: str) -> str:
    return event_name if "." in event_name else f"reset.{event_name}"


def _parse_answer(text: str) -> WebhookAnswer:
    at, outcome, tries, event_name, answer = text.split(" ", 4)
    return WebhookAnswer(moment(at), WebhookOutcome(outcome), int(tries), event_name, answer)


def _parse_backlog(shards: list[list[int | str]]) -> Backlog:
    age_ms = max((float(shard[3]) for shard in shards if shard[3] != ""), default=0.0)
    due, waiting, dead = (sum(int(shard[i]) for shard in shards) for i in range(3))
    answers = [_parse_answer(str(shard[4])) for shard in shards if shard[4]]
    last = max(answers, key=lambda each: each.at, default=None)
    return Backlog(due, waiting, dead, max(0.0, age_ms / 1000), last)


def _parse(
    subscription_id: str,
    member: str,
    record: str,
    *,
    tries: int,
    fence: int = 0,
    answer: str | None = None,
) -> Webhook:
    reset_id, _, event_name = member.partition(":")
    at, user_id, org_id, channel, status, reason = orjson.loads(record)
    return Webhook(
        subscription_id,
        reset_id,
        event_name,
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
