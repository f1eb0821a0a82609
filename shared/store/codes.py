"""Store tries and uses of codes; the codes themselves are derived and never stored."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from shared.errors import CodeMismatchError, TooManyRequestsError
from shared.models import Channel, Queue
from shared.settings import Settings
from shared.store import keys
from shared.store.connection import Client, store_errors
from shared.store.digests import Digests
from shared.store.scripts import Scripts
from shared.validation import moment, moment_from_us

MAX_WRONG_TRIES = 5
MAX_WRONG_TRIES_PER_DAY = 20
MAX_WRONG_PASSWORDS = 5
WRONG_PASSWORD_SECONDS = 15 * 60.0
RESERVE_SECONDS = 30.0  # how long comparing and settling may take
HOLD_SECONDS = 30.0  # how long a password may take to be changed
FIELDS = 8


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


@dataclass(frozen=True, slots=True)
class CompletionNotice:
    """The notice "your password was changed", recorded when a reset is completed."""

    reset_id: str
    lifetime_seconds: float
    fields: Mapping[str, str]
    # Those to the former addresses: reset id → the address's digest. The fields are the same.
    copies: Mapping[str, str] = field(default_factory=dict)


class CodeStore:
    """Count tries before a code is compared, so that parallel guesses gain nothing."""

    def __init__(self, client: Client, digests: Digests, settings: Settings) -> None:
        """`client` may be a fake one."""
        self._client, self._digests = client, digests
        self._scripts = Scripts(client, settings.durability)
        self._keep_ms = int(settings.record_lifetime_seconds * 1000)

    def begin_try(self, user_id: str) -> list[KnownCode]:
        """Reserve one try; return the codes to compare with, newest first.

        Raises:
            TooManyRequestsError: too many wrong codes today.
            CodeMismatchError: all remaining tries are reserved now.
        """
        tag, user = self._digests.user_place(user_id)
        answer = self._scripts.run(
            "code/begin_try",
            (keys.user(tag, user), keys.live(tag, user), keys.recent(tag, user)),
            (MAX_WRONG_TRIES, MAX_WRONG_TRIES_PER_DAY, tag, int(RESERVE_SECONDS * 1000)),
        )
        if answer[0] == "limited":
            raise TooManyRequestsError("codes", retry_after_seconds=-(-int(answer[1]) // 1000))
        if answer[0] == "spent":
            raise CodeMismatchError
        return [_known(answer[i : i + FIELDS]) for i in range(1, len(answer), FIELDS)]

    def list_known(self, user_id: str) -> list[KnownCode]:
        """Return a user's last codes, without a try."""
        tag, user = self._digests.user_place(user_id)
        answer = self._scripts.run(
            "code/list_known", (keys.live(tag, user), keys.recent(tag, user)), (tag,)
        )
        return [_known(answer[i : i + FIELDS]) for i in range(0, len(answer), FIELDS)]

    def refund_try(self, user_id: str) -> None:
        """Uncount the try that begin_try counted: the code was right, or an old one."""
        self._settle(user_id, "refund", "", "")

    def note_opened(self, user_id: str, reset_id: str) -> None:
        """Settle a try: the code was right but is not used yet."""
        self._settle(user_id, "opened", reset_id, "")

    def note_wrong(self, user_id: str) -> str:
        """Count a wrong code; return `ok`, `voided` (the last try) or `none` (no live code)."""
        return self._settle(user_id, "wrong", "", "")

    def take(self, user_id: str, reset_id: str) -> str | None:
        """Hold a code while the password is changed; return a token, or None if it is held."""
        token = secrets.token_hex(8)
        return token if self._settle(user_id, "take", reset_id, token) == "ok" else None

    def _settle(self, user_id: str, what: str, reset_id: str, token: str) -> str:
        tag, user = self._digests.user_place(user_id)
        answer = self._scripts.run(
            "code/settle_try",
            (keys.user(tag, user), keys.live(tag, user)),
            (what, reset_id, MAX_WRONG_TRIES, tag, token, int(HOLD_SECONDS * 1000)),
        )
        return str(answer)

    def complete(
        self, user_id: str, *, reset_id: str, token: str, notice: CompletionNotice | None
    ) -> tuple[int, datetime] | None:
        """Use up every live code and record the notice, because the password was changed.

        `reset_id` and `token` are empty where no code was used. Return the user's sequence and
        the time; None if the hold was lost. With a code, the call may be repeated if its answer
        was lost.
        """
        tag, user = self._digests.user_place(user_id)
        notice_id = notice.reset_id if notice else ""
        lifetime_ms = int(notice.lifetime_seconds * 1000) if notice else 0
        copies = notice.copies if notice else {}
        fields: list[str | int] = [len(copies)]
        for pair in (*copies.items(), *(notice.fields.items() if notice else ())):
            fields += pair
        answer = self._scripts.run_durably(
            "code/complete",
            (
                keys.user(tag, user),
                keys.live(tag, user),
                keys.counters(tag),
                f"{tag}:r:{notice_id}",
                keys.due(tag, "urgent"),
                *(keys.reset(copy_id) for copy_id in copies),
            ),
            [reset_id, token, tag, self._keep_ms, notice_id, lifetime_ms, *fields],
        )
        return (int(answer[1]), moment_from_us(answer[2])) if answer[0] else None

    def end_code(self, user_id: str, reset_id: str, end: str, *, detail: str = "") -> str:
        """End a code before its time, for a KnownCode.end; return `ended`, or why it could not be.

        `detail` is an operator's and becomes an event. A reset still queued is cancelled.
        """
        tag, user = self._digests.user_place(user_id)
        names = [keys.reset(reset_id), keys.live(tag, user), keys.user(tag, user)]
        names += [keys.due(tag, Queue.URGENT), keys.due(tag, Queue.BULK), keys.counters(tag)]
        return str(self._scripts.run("code/end", names, (reset_id, end, detail, self._keep_ms)))

    def begin_password_try(self, user_id: str) -> None:
        """Reserve one try of the current password.

        Raises:
            TooManyRequestsError: five were wrong in 15 minutes.
        """
        tag, user = self._digests.user_place(user_id)
        arguments = (MAX_WRONG_PASSWORDS, int(WRONG_PASSWORD_SECONDS * 1000))
        wait_ms = int(
            self._scripts.run("code/begin_password_try", (keys.user(tag, user),), arguments)
        )
        if wait_ms:
            raise TooManyRequestsError("passwords", retry_after_seconds=-(-wait_ms // 1000))

    def forget_password_tries(self, user_id: str) -> None:
        """Reset the count of wrong passwords: the current one was right."""
        tag, user = self._digests.user_place(user_id)
        with store_errors():
            self._client.hdel(keys.user(tag, user), "pw", "pwx")

    def release(self, user_id: str, token: str) -> None:
        """Release the hold on a code, because the password was not changed."""
        tag, user = self._digests.user_place(user_id)
        self._scripts.run("code/release", (keys.user(tag, user),), (token,))


def _known(values: list[str]) -> KnownCode:
    reset_id, key_id, deadline, end, language, channel, is_live, basis = values
    return KnownCode(
        reset_id,
        key_id,
        moment(deadline),
        end or None,
        language,
        Channel(channel),
        int(is_live) == 1,
        basis,
    )
