"""Store tries and uses of codes; the codes themselves are derived and never stored."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import orjson

from shared.errors import TooManyRequestsError
from shared.models import Channel, Queue
from shared.settings import Settings
from shared.store import keys
from shared.store.connection import Client, store_errors
from shared.store.digests import Digests
from shared.store.scripts import Argument, Scripts
from shared.validation import moment, moment_from_us

MAX_WRONG_TRIES = 5  # by one source for one user, in TRIES_SECONDS
TRIES_SECONDS = 15 * 60.0
MAX_WRONG_OF_A_RESET = 100  # by all sources. Source: NIST SP 800-63B-4, 3.2.2
MAX_SOURCES = 256  # that share one key
MAX_WRONG_PASSWORDS = 5  # of one caller at one user
WRONG_PASSWORD_SECONDS = 15 * 60.0
HOLD_SECONDS = 30.0  # how long a password may take to be changed
FIELDS = 9


@dataclass(frozen=True, slots=True)
class KnownCode:
    """What is stored of one of a user's last codes, without the code."""

    reset_id: str
    key_id: str
    deadline_at: datetime
    end: str | None  # used, voided, voided_by_operator, displaced, replaced; None: not ended
    language: str
    channel: Channel
    is_live: bool
    basis: str = ""  # what it rests on: Digests.basis
    wrong_tries: int = 0  # of typed codes, while it was live

    @property
    def may_be_typed(self) -> bool:
        """True while it is live and was not guessed at too often; its link works all the same."""
        return self.is_live and self.wrong_tries < MAX_WRONG_OF_A_RESET


class Guesser(NamedTuple):
    """Who tries codes: what tries are counted by, and what of it may be shown."""

    counted: str
    shown: str


@dataclass(frozen=True, slots=True)
class GuessCount:
    """Tries of typed codes by one source for one user, none of them right."""

    source: str  # as it may be shown
    user_id: str
    tries: int
    until: datetime

    @property
    def is_locked(self) -> bool:
        """True if the source must wait."""
        return self.tries >= MAX_WRONG_TRIES


@dataclass(frozen=True, slots=True)
class CompletionNotice:
    """The notices "your password was changed", recorded when a reset is completed."""

    # Reset id → digest of its address (empty: the user has none) and channel.
    recipients: Mapping[str, tuple[str, Channel]]
    lifetime_seconds: float
    gap_seconds: float  # between two notices to one address
    fields: Mapping[str, str]


class CodeStore:
    """Count tries before a typed code is compared, so that parallel guesses gain nothing."""

    def __init__(self, client: Client, digests: Digests, settings: Settings) -> None:
        """`client` may be a fake one."""
        self._client, self._digests = client, digests
        self._scripts = Scripts(client, settings.durability)
        self._keep_ms = int(settings.record_lifetime_seconds * 1000)

    def begin_try(self, user_id: str, guesser: Guesser) -> list[KnownCode]:
        """Count one try of a typed code; return the codes to compare with, newest first.

        Raises:
            TooManyRequestsError: too many codes of this guesser were wrong.
        """
        tag, user = self._digests.user_place(user_id)
        answer = self._scripts.run(
            "code/begin_try",
            (keys.guesses(tag, user), keys.user(tag, user)),
            (
                *(self._field(user, guesser), MAX_WRONG_TRIES, int(TRIES_SECONDS * 1000)),
                *(MAX_SOURCES, tag, guesser.shown, user_id),
            ),
        )
        if answer[0] == "limited":
            raise TooManyRequestsError("codes", retry_after_seconds=-(-int(answer[1]) // 1000))
        return [_known(answer[i : i + FIELDS]) for i in range(1, len(answer), FIELDS)]

    def _field(self, user: str, guesser: Guesser | None) -> str:
        return f"{user}:{self._digests.digest('source', guesser.counted)}" if guesser else ""

    def list_known(self, user_id: str) -> list[KnownCode]:
        """Return a user's last codes, without a try."""
        tag, user = self._digests.user_place(user_id)
        answer = self._scripts.run("code/list_known", (keys.user(tag, user),), (tag,))
        return [_known(answer[i : i + FIELDS]) for i in range(0, len(answer), FIELDS)]

    def list_guesses(self, user_id: str | None = None) -> list[GuessCount]:
        """Return who tries codes of a user, or of any user with codes, the most tries first."""
        places = [(keys.tag_of_digest(each), each) for each in map("{:02x}".format, range(256))]
        if user_id is not None:
            places = [self._digests.user_place(user_id)]
        with store_errors():
            now_seconds, _ = self._client.time()
            pipeline = self._client.pipeline(transaction=False)
            for place in places:
                pipeline.hgetall(keys.guesses(*place))
            entries = [entry for answer in pipeline.execute() for entry in answer.values()]
        found = []
        for tries, till, shown, name in map(orjson.loads, entries):
            if name and user_id in (None, name) and int(till) > now_seconds * 1000:
                found.append(GuessCount(shown, name, tries, moment(till)))
        return sorted(found, key=lambda count: -count.tries)

    # What a try came to. `guesser` is None for a link's secret, whose tries are not counted.

    def refund_try(self, user_id: str, guesser: Guesser | None) -> None:
        """Uncount a try: the code was right, but had ended."""
        self._settle("refund", user_id, guesser)

    def note_opened(self, user_id: str, reset_id: str, guesser: Guesser | None) -> None:
        """Settle a try: the code was right but is not used yet."""
        self._settle("opened", user_id, guesser, reset_id)

    def note_wrong(self, user_id: str, guesser: Guesser | None) -> None:
        """Count a wrong code for the metrics."""
        self._settle("wrong_typed" if guesser else "wrong_link", user_id, guesser)

    def take(self, user_id: str, reset_id: str, guesser: Guesser | None) -> str | None:
        """Hold a code while the password is changed; return a token, or None if it is held."""
        token = secrets.token_hex(8)
        return token if self._settle("take", user_id, guesser, reset_id, token) == "ok" else None

    def _settle(
        self, what: str, user_id: str, guesser: Guesser | None, reset_id: str = "", token: str = ""
    ) -> str:
        tag, user = self._digests.user_place(user_id)
        names = [keys.user(tag, user), keys.guesses(tag, user), keys.counters(tag)]
        field, hold_ms = self._field(user, guesser), int(HOLD_SECONDS * 1000)
        arguments = (what, reset_id, field, tag, token, hold_ms)
        return str(self._scripts.run("code/settle_try", names, arguments))

    def complete(
        self, user_id: str, *, reset_id: str, token: str, notice: CompletionNotice | None
    ) -> tuple[int, datetime, frozenset[str]] | None:
        """Use up every live code and record the notices, because the password was changed.

        A notice that has yet to go out stands for this change too; else the next is due
        `gap_seconds` after the last. So the person reads of the last change soon, and of a
        hundred in few mails.

        `reset_id` and `token` are empty where no code was used. Return the user's sequence, the
        time and the notices that were recorded; None if the hold was lost. With a code, the call
        may be repeated if its answer was lost.
        """
        tag, user = self._digests.user_place(user_id)
        arguments: list[Argument] = [reset_id, token, tag, self._keep_ms]
        recipients = notice.recipients if notice else {}
        if notice:
            arguments += [self._digests.new_reset_id(user_id), user_id, notice.fields["o"]]
            times_ms = (int(notice.lifetime_seconds * 1000), int(notice.gap_seconds * 1000))
            arguments += [*times_ms, len(recipients)]
            for notice_id, (digest, channel) in recipients.items():
                arguments += [notice_id, digest, channel.value]
            for pair in notice.fields.items():
                arguments += pair
        names = [keys.user(tag, user), keys.counters(tag)]
        names += [keys.due(tag, Queue.URGENT), keys.older(tag, user)]
        names += [keys.reset(each) for each in recipients]
        answer = self._scripts.run_durably("code/complete", names, arguments)
        if not answer[0]:
            return None
        return int(answer[1]), moment_from_us(answer[2]), frozenset(answer[3:])

    def end_code(self, user_id: str, reset_id: str, end: str, *, detail: str = "") -> str:
        """End a code before its time, for a KnownCode.end; return `ended`, or why it could not be.

        `detail` is an operator's and becomes an event. A reset still queued is cancelled.
        """
        tag, user = self._digests.user_place(user_id)
        names = [keys.reset(reset_id), keys.user(tag, user)]
        names += [keys.due(tag, Queue.URGENT), keys.due(tag, Queue.BULK), keys.counters(tag)]
        return str(self._scripts.run("code/end", names, (reset_id, end, detail, self._keep_ms)))

    def begin_password_try(self, user_id: str, *, by: str) -> None:
        """Reserve one of the tries that a caller has at the current password of a user.

        Raises:
            TooManyRequestsError: five of the caller were wrong in 15 minutes.
        """
        arguments = (MAX_WRONG_PASSWORDS, int(WRONG_PASSWORD_SECONDS * 1000), by)
        names = (
            self._password_tries(user_id, by),
            keys.tried(self._digests.user_place(user_id)[1]),
        )
        wait_ms = int(self._scripts.run("code/begin_password_try", names, arguments))
        if wait_ms:
            raise TooManyRequestsError("passwords", retry_after_seconds=-(-wait_ms // 1000))

    def refund_password_try(self, user_id: str, *, by: str) -> None:
        """Uncount a try: no password was compared."""
        names = (keys.counted(""), self._password_tries(user_id, by))
        self._scripts.run("reset/undo_gate", names, (0, 1, "", 1))

    def forget_password_tries(self, user_id: str, *, by: str) -> None:
        """Reset the count of a caller's wrong passwords: the user's password was set."""
        with store_errors():
            self._client.delete(self._password_tries(user_id, by))

    def _password_tries(self, user_id: str, by: str) -> str:
        """Return the key of a caller's count: strangers do not lock out the user itself."""
        return keys.window("passwords", f"{by}:{self._digests.user_place(user_id)[1]}")

    def release(self, user_id: str, token: str) -> None:
        """Release the hold on a code, because the password was not changed."""
        tag, user = self._digests.user_place(user_id)
        self._scripts.run("code/release", (keys.user(tag, user),), (token,))


def _known(values: list[str]) -> KnownCode:
    reset_id, key_id, deadline, end, language, channel, is_live, basis, wrong_tries = values
    return KnownCode(
        reset_id,
        key_id,
        moment(deadline),
        end or None,
        language,
        Channel(channel),
        int(is_live) == 1,
        basis,
        int(wrong_tries),
    )
