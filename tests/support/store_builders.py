"""The stores over one client, and resets in them, with defaults for the tests beside."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import count
from typing import Any

from shared.models import Channel, Outcome, Queue, Status
from shared.settings import Settings
from shared.store import keys
from shared.store.admin.statistics import CounterStore
from shared.store.codes import CodeStore, CompletionNotice, Guesser
from shared.store.digests import Digests
from shared.store.due_sets import DueStore
from shared.store.resets import Claim, Finish, NewReset, ResetStore

SECRET = "a secret key of more than thirty-two characters"
USER = "ada"
GUESSER = Guesser("198.51.100.7/32", "198.51.100.0/24")
LIFETIME_SECONDS = 3600.0
MARGIN_SECONDS = 600.0
KEEP_SECONDS = 259200.0
DAY_MS = 86_400_000
_numbers = count(1)


@dataclass(frozen=True)
class Stores:
    """The stores, and what a test does behind their backs."""

    client: Any
    digests: Digests
    resets: ResetStore
    codes: CodeStore
    dues: DueStore
    counters: CounterStore

    def record(self, user_id=USER, **changes):
        """Record a reset and give its id."""
        return self.resets.record(self.new(user_id, **changes)).reset_id

    def new(self, user_id=USER, **changes):
        values = {
            "reset_id": self.digests.new_reset_id(user_id),
            "user_id": user_id,
            "org_id": "acme",
            "channel": Channel.EMAIL,
            "language": "en",
            "key_id": "k1",
            "lifetime_seconds": LIFETIME_SECONDS,
            "last_start_seconds": MARGIN_SECONDS,
        }
        return NewReset(**values | changes)

    def notice(self, user_id=USER):
        fields = {"u": user_id, "o": "acme", "lg": "en", "kid": "k1"}
        recipients = {self.digests.new_reset_id(user_id): ("digest", Channel.EMAIL)}
        return CompletionNotice(recipients, 86400.0, 300.0, fields)

    def place(self, user_id=USER):
        return self.digests.user_place(user_id)

    def user(self, user_id=USER):
        return self.client.hgetall(keys.user(*self.place(user_id)))

    def live(self, user_id=USER):
        return {code.reset_id for code in self.codes.list_known(user_id) if code.is_live}

    def field(self, reset_id, name):
        return self.client.hget(keys.reset(reset_id), name)

    def set_field(self, reset_id, name, value):
        self.client.hset(keys.reset(reset_id), name, value)

    def status(self, reset_id):
        return self.resets.find(reset_id).status

    def reason(self, reset_id):
        return self.resets.find(reset_id).reason

    def due_at(self, reset_id, queue=Queue.URGENT):
        """Milliseconds, or None when it stands in no due set."""
        return self.client.zscore(keys.due(keys.tag_of(reset_id), queue), reset_id)

    def make_due(self, reset_id, queue=Queue.URGENT):
        """Let the pause, or the lease, be over."""
        assert self.due_at(reset_id, queue) is not None, "it is not in the due set"
        self.client.zadd(keys.due(keys.tag_of(reset_id), queue), {reset_id: 0})
        if self.field(reset_id, "st") == "sending":
            self.begin_earlier(reset_id)

    def begin_earlier(self, reset_id, seconds=3600):
        """Let the attempt under way have begun so much earlier."""
        name = f"a{self.field(reset_id, 'at')}"
        provider, began_ms = json.loads(self.field(reset_id, name))
        told = json.dumps([provider, str(int(began_ms) - seconds * 1000)])
        self.client.hset(keys.reset(reset_id), name, told)

    def now_ms(self):
        return self.dues.now_ms()

    def end_in(self, reset_id, seconds):
        """Move the deadline to so many seconds from now."""
        deadline = int(self.now_ms() + seconds * 1000)
        self.client.hset(keys.reset(reset_id), "x", deadline)

    def claim_sending(self, reset_id, provider="p1"):
        claim = self.resets.claim(reset_id)
        assert claim is not None, "it cannot be claimed"
        self.mark_sending(claim, provider)
        return claim

    def mark_sending(self, claim: Claim, provider="p1"):
        return self.resets.mark_sending(claim, provider=provider, recipient_digest="d1")

    def attempt(self, reset_id, outcome=Outcome.ACCEPTED, status=Status.ACCEPTED, **changes):
        """One whole attempt with this outcome; then due at once where another look follows."""
        claim = self.claim_sending(reset_id)
        finish = Finish(status=status, outcome=outcome, provider="p1", **changes)
        assert self.resets.finish(claim, finish)
        if not status.is_final:
            self.make_due(reset_id)
        return claim

    def doubt(self, reset_id):
        return self.attempt(reset_id, Outcome.DOUBT, Status.UNKNOWN, delay_seconds=30)

    def retry(self, reset_id):
        return self.attempt(reset_id, Outcome.TRANSIENT, Status.RETRYING, delay_seconds=1)

    def wrong_try(self, user_id=USER, guesser=GUESSER):
        """Try a wrong typed code; return what it was compared with."""
        known = self.codes.begin_try(user_id, guesser)
        self.codes.note_wrong(user_id, guesser)
        return known

    def take(self, reset_id, user_id=USER):
        """Take a code by its link."""
        return self.codes.take(user_id, reset_id, None)

    def complete(self, reset_id, user_id=USER):
        token = self.take(reset_id, user_id)
        notice = self.notice(user_id)
        return self.codes.complete(user_id, reset_id=reset_id, token=token, notice=notice)

    def census(self):
        """How many records there are of each status that is not final."""
        found: dict[str, int] = {}
        for key in self.client.scan_iter("{kt:*}:r:*"):
            status = Status(self.client.hget(key, "st"))
            if not status.is_final:
                found[status.value] = found.get(status.value, 0) + 1
        return found

    def counted_now(self):
        totals = self.counters.totals()
        return {n[4:]: v for n, v in totals.items() if n.startswith("now:") and v}


def stores_of(client, **settings):
    changes = Settings(secret_keys=(SECRET,), **settings)
    digests = Digests(client, (SECRET,))
    return Stores(
        client,
        digests,
        ResetStore(client, digests, changes),
        CodeStore(client, digests, changes),
        DueStore(client),
        CounterStore(client),
    )


def fresh_user():
    return f"user-{next(_numbers)}"


def notice_id_of(notice):
    """The id of a notice's one record."""
    (reset_id,) = notice.recipients
    return reset_id
