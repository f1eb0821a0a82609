"""What providers told of resets, applied in its order: suppression first, then status."""

from __future__ import annotations

import structlog

from shared import tracing
from shared.callback_events import CallbackEvent
from shared.hints import hint_at_receipts
from shared.models import Reset
from shared.store.receipts import Waiting
from shared.wiring import Services
from worker.offers import OtherChannel

log = structlog.get_logger()

MOST_AT_ONCE = 100
MOST_PER_TASK = 1000  # then a new hint: other shards wait too


class ReceiptDesk:
    """Applies reports; any number of threads and processes may do so at once."""

    def __init__(self, house: Services) -> None:
        """`house` may hold fakes."""
        self._house, self._other_channel = house, OtherChannel(house)

    def apply(self, shard: int) -> int:
        """Apply what waits in a shard; gives how many reports that were.

        Raises:
            StoreUnavailableError: what was not applied still waits.
        """
        number = 0
        while number < MOST_PER_TASK:
            batch = self._house.receipts.head(shard, most=MOST_AT_ONCE)
            for waiting in batch:
                if not self._apply_one(waiting):
                    return number  # another worker is at this list
                number += 1
            if len(batch) < MOST_AT_ONCE:
                return number
        self._house.hints.publish(hint_at_receipts(shard))
        return number

    def _apply_one(self, waiting: Waiting) -> bool:
        event = waiting.event
        reset = self._find(event)
        facts = {"reset_id": event.reset_id, "provider": event.provider, "type": event.type.value}
        with tracing.span("receipt.apply", facts, parent=reset.trace if reset else None):
            return self._apply_to(waiting, reset)

    def _apply_to(self, waiting: Waiting, reset: Reset | None) -> bool:
        event = waiting.event
        if reset and event.suppression:
            self._suppress(event, reset)
        offered_id = self._other_channel.offer(reset, event) if reset else None
        settled = self._house.receipts.settle(waiting, offered_id=offered_id)
        if settled is None:
            return False
        log.info(
            "receipt.applied",
            reset_id=event.reset_id,
            provider=event.provider,
            type=event.type.value,
            reason=event.reason or None,
            before=settled.before,
            after=settled.after,
        )
        return True

    def _find(self, event: CallbackEvent) -> Reset | None:
        """The reset, where more than its status may follow from the report."""
        is_needed = event.suppression or event.is_failure or tracing.is_tracing()
        return self._house.resets.find(event.reset_id) if is_needed else None

    def _suppress(self, event: CallbackEvent, reset: Reset) -> None:
        """Before the report leaves its list: doing it twice changes nothing."""
        if reset.recipient_digest is None:
            return
        is_new = self._house.suppressions.add_digest(
            reset.recipient_digest,
            reason=event.suppression,
            source=event.provider,
            at_ms=event.at_ms or 0,
        )
        if is_new:
            log.warning("suppression.added", reason=event.suppression, provider=event.provider)


class ReceiptChore:
    """The sweepers' part: what waits is hinted at, and applied here where a hint did not help."""

    __name__ = "receipts"  # in the logs

    def __init__(self, house: Services, desk: ReceiptDesk) -> None:
        """One per process."""
        self._house, self._desk = house, desk
        self._hinted: set[int] = set()

    def __call__(self) -> None:
        """Look once at every shard."""
        waiting = set(self._house.receipts.shards_waiting())
        for shard in waiting & self._hinted:
            self._desk.apply(shard)
        for shard in waiting - self._hinted:
            self._house.hints.publish(hint_at_receipts(shard))
        self._hinted = waiting - self._hinted
