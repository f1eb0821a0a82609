"""Keep the claims of one bulk task until each has ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import structlog

from shared.models import Reset
from shared.store.resets import Claim, Finish
from shared.wiring import Services
from worker import outcomes
from worker.delivery import retry_until

log = structlog.get_logger()

End: TypeAlias = tuple[Claim, Finish]
GoAlone: TypeAlias = Callable[[Reset], object]


class OpenClaims:
    """Claims until they end; belongs to one thread."""

    def __init__(self, services: Services, claims: Sequence[Claim], go_alone: GoAlone) -> None:
        """`services` records the ends; `go_alone` is told of those that go out singly."""
        self._services, self._go_alone = services, go_alone
        self._open = {claim.reset.reset_id: claim for claim in claims}

    @property
    def claims(self) -> list[Claim]:
        """Return the claims that have not ended."""
        return list(self._open.values())

    def forget(self, claim: Claim) -> None:
        """Drop a claim whose attempt is marked: without an outcome, its lease ends it in doubt."""
        self._open.pop(claim.reset.reset_id, None)

    def end(self, ends: Sequence[End]) -> None:
        """Record the ends of some, and tell which of them go out singly.

        Raises:
            StoreUnavailableError: the store stayed away until the claims ended.
        """
        if not ends:
            return
        lease_ends = min(claim.lease_ends for claim, _ in ends)
        recorded = retry_until(lease_ends, lambda: self._services.resets.finish_many(ends))
        if stale := recorded.count(False):
            log.warning("attempt.stale", number=stale)
        for claim, finish in ends:
            self.forget(claim)
            if finish.reason in outcomes.ALONE:
                self._go_alone(claim.reset)
