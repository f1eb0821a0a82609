"""Store what is known of prefixes of phone numbers: figures, what has tripped, operators' words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from shared.guard.rules import BLOCK, LEVELS, counted_of, prefixes_of
from shared.store import keys
from shared.store.connection import Client, store_errors, time_ms
from shared.store.scripts import Scripts
from shared.validation import moment

RULES = {1: "velocity", 2: "conversion", 3: "source"}  # by their numbers in the script
ALLOW = "allow"
VERBS = (ALLOW, BLOCK)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixState:
    """A prefix, or a source, under a rule or an operator's word."""

    prefix: str  # or `source` and who asks
    rule: str  # velocity, conversion, source, allow or block
    level: str  # watch, slow or stop; of `allow`: off
    by: str  # who: `rule`, or an operator
    reason: str
    since: datetime
    until: datetime | None  # None: until it is lifted
    refused: int
    sent: int  # to different numbers, in the last hour or so
    used: int  # codes of those
    past_conversion: float | None  # of a week; None: nothing was sent
    cost: float | None = None  # of what was sent; None: not priced


class PrefixStore:
    """Read and change what holds for prefixes."""

    def __init__(self, client: Client) -> None:
        """`client` may be a fake one."""
        self._client, self._scripts = client, Scripts(client)

    def note_used(self, recipient_digest: str, phone: str) -> None:
        """Count a code by SMS to this recipient as used; once, and only within its life."""
        counted = counted_of(prefixes_of(phone))
        names = (keys.sms_mark(recipient_digest), *map(keys.sms_subject, counted))
        self._scripts.run("code/note_used", names, (keys.sms_subject(""),))

    def name(
        self, prefix: str, verb: str, *, by: str, reason: str, seconds: float | None
    ) -> datetime | None:
        """Allow or block a prefix; return until when, None: until it is lifted.

        What rules hold below an allowed prefix ends.
        """
        now_ms = time_ms(self._client)
        until_ms = now_ms + int(seconds * 1000) if seconds else 0
        value = orjson.dumps([verb, by, reason, now_ms, until_ms])
        with store_errors():
            self._client.hset(keys.SMS_NAMED, prefix, value)
            held = self._client.zrange(keys.SMS_STATES, 0, -1) if verb == ALLOW else ()
            for name in (each for each in held if each.startswith(prefix)):
                self._client.zrem(keys.SMS_STATES, name)
                self._client.hdel(keys.sms_subject(name), "ends", "strikes")
        return moment(until_ms) if until_ms else None

    def lift(self, prefix: str) -> bool:
        """End what rules and operators say of a prefix or a source; return False for none."""
        with store_errors():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.hdel(keys.SMS_NAMED, prefix)
            pipeline.zrem(keys.SMS_STATES, prefix)
            pipeline.hdel(keys.sms_subject(prefix), "ends", "strikes")
            return any(pipeline.execute()[:2])

    def list_states(self, *, most: int = 1000) -> list[PrefixState]:
        """Return what is in force, operators' words first."""
        words, now_ms = self.named(), time_ms(self._client)
        with store_errors():
            tripped = self._client.zrevrangebyscore(keys.SMS_STATES, "+inf", now_ms, 0, most)
            subjects = [*words, *tripped]
            pipeline = self._client.pipeline(transaction=False)
            for subject in subjects:
                pipeline.hgetall(keys.sms_subject(subject))
            figures = pipeline.execute()
        pairs = zip(subjects, figures, strict=True)
        return [
            _state(name, found, words.get(name) if index < len(words) else None)
            for index, (name, found) in enumerate(pairs)
            if index < len(words) or "ends" in found  # not lifted meanwhile
        ]

    def named(self) -> dict[str, list[Any]]:
        """Return what operators say of prefixes now: verb, by, reason, since and until in ms."""
        now_ms = time_ms(self._client)
        with store_errors():
            named = self._client.hgetall(keys.SMS_NAMED)
        words = {prefix: orjson.loads(value) for prefix, value in sorted(named.items())}
        return {prefix: word for prefix, word in words.items() if not 0 < word[4] <= now_ms}

    def totals(self) -> Mapping[str, int]:
        """Return how often rules tripped, and met a message: `tripped|met:<rule>:<level>`."""
        with store_errors():
            return {name: int(n) for name, n in self._client.hgetall(keys.SMS_TOTALS).items()}


def _state(name: str, found: Mapping[str, str], word: list[Any] | None) -> PrefixState:
    """Return the state of a prefix by its figures, or by an operator's word on it."""
    counts = {"s": 0, "u": 0}
    for field, number in found.items():
        if field[:1] in counts and field[1:].isdecimal():
            counts[field[0]] += int(number)
    past = float(found.get("S", 0))
    if word:
        rule, by, reason, since_ms, until_ms = word
        level, refused = "stop" if rule == BLOCK else "off", 0
    else:
        rule, level, by = RULES[int(found["rule"])], LEVELS[int(found["level"])], "rule"
        since_ms, until_ms, refused = found["since"], found["ends"], int(found["refused"])
        reason = f"{found['open']} numbers in an hour without a used code, more than "
        reason += f"the {found['most']} expected"
        if rule == "conversion":
            reason = "far fewer codes are used than before"
    return PrefixState(
        prefix=name,
        rule=rule,
        level=level,
        by=by,
        reason=reason,
        since=moment(since_ms),
        until=moment(until_ms) if int(until_ms) else None,
        refused=refused,
        sent=counts["s"],
        used=counts["u"],
        past_conversion=min(1.0, float(found.get("U", 0)) / past) if past >= 1 else None,
    )
