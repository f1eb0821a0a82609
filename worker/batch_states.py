"""Whether the batch a reset belongs to still wants it sent; known for a second."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from shared.models import Status
from shared.store.batch_records import BatchState
from shared.store.claims import Claim, Finish
from shared.wiring import Services
from worker import verdicts
from worker.verdicts import SettledError

KNOWN_SECONDS = 1.0
MOST_KNOWN = 1024
LEAST_WAIT_SECONDS = 3.0  # of a reset whose batch was just paused
MOST_WAIT_SECONDS = 60.0


class BatchStates:
    """Checks claims. Safe for threads: dict operations alone."""

    def __init__(self, house: Services, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` counts seconds and never goes back."""
        self._house, self._clock = house, clock
        self._known: dict[str, tuple[float, tuple[BatchState, float] | None]] = {}

    def check(self, claim: Claim) -> None:
        """Nothing, when the reset may go out.

        Raises:
            SettledError: its batch is paused or cancelled.
            StoreUnavailableError: nobody can say.
        """
        batch_id = claim.reset.batch_id
        found = self._state(batch_id) if batch_id else None
        if found is None:
            return
        state, changed_at = found
        if state is BatchState.PAUSED:
            self._refresh(claim)
            raise SettledError(verdicts.later(claim, "batch_paused", _wait(claim, changed_at)))
        if state is BatchState.CANCELLED:
            raise SettledError(_cancelled(claim))

    def _refresh(self, claim: Claim) -> None:
        """A pause costs nobody its code: what was never tried lives anew from its last look."""
        reset = claim.reset
        if not reset.attempts:
            lifetime = self._house.settings.lifetime_seconds(reset.channel)
            self._house.batch_resets.refresh(reset.user_id, reset.reset_id, lifetime)

    def _state(self, batch_id: str) -> tuple[BatchState, float] | None:
        now = self._clock()
        known = self._known.get(batch_id)
        if known is not None and now - known[0] < KNOWN_SECONDS:
            return known[1]
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        found = self._house.batches.state(batch_id)
        told = (found[0], found[1].timestamp() if found[1] else 0.0) if found else None
        self._known[batch_id] = (now, told)
        return told


def _wait(claim: Claim, paused_at: float) -> float:
    """The longer a pause lasts, the seldomer its resets are looked at."""
    since = claim.now.timestamp() - paused_at
    longest = min(max(since, LEAST_WAIT_SECONDS), MOST_WAIT_SECONDS)
    return random.uniform(longest / 2, longest)


def _cancelled(claim: Claim) -> Finish:
    if (
        claim.is_doubtful
    ):  # the provider may have it: no second copy, its word or the deadline ends it
        left = (claim.reset.deadline_at - claim.now).total_seconds()
        return verdicts.later(claim, "batch_cancelled", left)
    return verdicts.ended(Status.CANCELLED, "batch_cancelled")
