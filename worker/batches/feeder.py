"""Feeds batches: looks their users up, plans or records their resets, a hundred at a time."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace

import structlog

from shared.errors import DirectoryUnavailableError, StoreUnavailableError, TooManyRequestsError
from shared.models import Channel, Queue
from shared.policies import last_start_seconds
from shared.queue import Hint, Task
from shared.store.batches import Batch, BatchCursor, BatchState
from shared.store.batches.lists import USERS_PER_LIST, ListEntry
from shared.store.limits import Limit
from shared.store.resets import NewReset
from shared.wiring import Services
from worker.batches.estimate import Estimate
from worker.batches.selection import BatchSelection, Chosen, Sorted

log = structlog.get_logger()

USERS_PER_STEP = 100  # Redis serves others between two steps
MAX_DUE = 5000  # beyond, batches wait: their list costs a tenth of their records
MAX_WAITING = 20_000  # being retried included
FEED_SECONDS = 3.0  # of one task; the sweepers hint at the next
WAIT_SECONDS = 0.1
DAY_SECONDS = 24 * 3600


class BatchFeeder:
    """Feeds one batch per call, for a few seconds; any number of threads may share it."""

    def __init__(self, services: Services, estimate: Estimate) -> None:
        """All parts may be fakes."""
        self._services, self._estimate = services, estimate
        self._selection = BatchSelection(services)

    def hint(self) -> int:
        """Hint at every batch that has work and no feeder; a periodic job of bulk sweepers."""
        batch_ids = self._services.batches.to_feed()
        for batch_id in batch_ids:
            self._services.hints.publish(Hint(batch_id, Task.FEED_BATCH, Queue.BULK))
        return len(batch_ids)

    def feed(self, batch_id: str) -> str:
        """Bring a batch further; the answer is a word for the logs."""
        fence = self._services.batches.take(batch_id)
        batch = self._services.batches.find(batch_id) if fence else None
        if batch is None:
            return "nothing to do"
        with structlog.contextvars.bound_contextvars(batch_id=batch_id):
            try:
                self._feed(batch, fence)
            except DirectoryUnavailableError:
                log.warning("directory.unavailable")
            except StoreUnavailableError:
                log.warning("store.unavailable", during="feeding")
                return "store unavailable"  # the lease ends by itself
            return self._let_go(batch_id, fence)

    def _feed(self, batch: Batch, fence: int) -> None:
        until = time.monotonic() + FEED_SECONDS
        current: Batch | None = batch
        while current and not current.is_fed and time.monotonic() < until:
            current = self._step(current, fence)

    def _let_go(self, batch_id: str, fence: int) -> str:
        """Say whether all of it has ended; what is under way is for the workers."""
        batch = self._services.batches.find(batch_id)
        if batch is None:
            return "gone"
        is_finished = batch.state is BatchState.RUNNING and batch.is_fed
        if is_finished:
            ends = self._services.batches.ends(batch_id)
            is_finished = sum(ends.values()) >= batch.recorded
        if self._services.batches.let_go(batch_id, fence, is_finished=is_finished):
            log.info("batch.finished", recorded=batch.recorded, skipped=sum(batch.skipped.values()))
            return BatchState.FINISHED.value
        return batch.state.value

    def _step(self, batch: Batch, fence: int) -> Batch | None:
        """The batch a step further, or as it is when it must wait; None: stop."""
        entries = self._services.batch_lists.read(batch.list_id, batch.next_list)
        if len(entries) <= batch.next_place:
            return self._pass_over(batch, fence)
        wanted = min(USERS_PER_STEP, len(entries) - batch.next_place, self._room(batch))
        granted = self._services.batches.grant(batch.batch_id, fence, wanted)
        if granted < 0:
            return None
        if granted == 0:
            time.sleep(WAIT_SECONDS)
            return batch
        end = batch.next_place + granted
        part = list(enumerate(entries))[batch.next_place : end]
        return self._take(batch, fence, part, is_last=end == len(entries))

    def _room(self, batch: Batch) -> int:
        """How many may be added to the due set now."""
        if batch.state is BatchState.PLANNING:
            return USERS_PER_STEP
        view = self._services.dues.look(Queue.BULK)
        return max(0, min(MAX_DUE - view.due, MAX_WAITING - view.waiting))

    def _take(
        self, batch: Batch, fence: int, part: list[tuple[int, ListEntry]], *, is_last: bool
    ) -> Batch | None:
        found = self._selection.sort(batch, batch.next_list, part)
        if batch.state is BatchState.PLANNING:
            counts, end = self._plan(batch, found), part[-1][0] + 1
        else:
            counts, end = self._record(batch, found, part[-1][0] + 1)
        if end == part[0][0]:
            return None  # today's budget is spent
        is_last = is_last and end == part[-1][0] + 1
        place = (
            BatchCursor(batch.next_list + 1, 0) if is_last else BatchCursor(batch.next_list, end)
        )
        skipped = sum(number for name, number in counts.items() if name.startswith("k:"))
        unused = part[-1][0] + 1 - end
        return self._advance(batch, fence, place, counts, refund=skipped + unused)

    def _plan(self, batch: Batch, found: Sorted) -> Counter[str]:
        counts = self._estimate.count(found.chosen, batch.channel)
        counts.update(f"skip:{why}" for why in found.skips.values())
        return Counter({f"p:{name}": number for name, number in counts.items()})

    def _record(self, batch: Batch, found: Sorted, end: int) -> tuple[Counter[str], int]:
        """Record what may be; what was counted, and the place up to which it was done."""
        chosen = self._within_budget(batch, found.chosen)
        if len(chosen) < len(found.chosen):
            end = found.chosen[len(chosen)].place
        told = self._services.batch_resets.record([self._new(batch, each) for each in chosen])
        skips = {place: why for place, why in found.skips.items() if place < end}
        skips |= {each.place: why for each, why in zip(chosen, told, strict=True) if why}
        self._services.batch_lists.note_skips(
            batch.batch_id, batch.next_list, skips, batch.lifetime_seconds
        )
        counts = Counter(f"k:{why}" for why in skips.values())
        counts["q"] = len(chosen) + found.known - sum(1 for why in told if why)
        return counts, end

    def _within_budget(self, batch: Batch, chosen: tuple[Chosen, ...]) -> tuple[Chosen, ...]:
        """Those whom the day's budget of SMS still reaches."""
        most = self._services.settings.sms_budget_per_day
        if batch.channel is not Channel.SMS or not most:
            return chosen
        limits = [Limit("sms_budget", "all", most, DAY_SECONDS)]
        for number, each in enumerate(chosen):
            try:
                self._services.limits.pass_gate(
                    limits,
                    recipient_digest="",
                    version=-1,
                    reset_id=each.reset_id,
                    is_repeatable=True,
                )
            except TooManyRequestsError as error:
                log.warning("reset.limited", limit=error.limit)
                return chosen[:number]
        return chosen

    def _new(self, batch: Batch, each: Chosen) -> NewReset:
        lifetime = self._services.settings.lifetime_seconds(batch.channel)
        return NewReset(
            reset_id=each.reset_id,
            user_id=each.user.user_id,
            org_id=each.user.org_id,
            channel=batch.channel,
            language=self._estimate.language(each.user),
            key_id=self._services.codes.signing_key_id,
            lifetime_seconds=lifetime,
            last_start_seconds=last_start_seconds(batch.channel, lifetime),
            queue=Queue.BULK,
            since_ms=each.since_ms,
            extra={"b": batch.batch_id},
        )

    def _advance(
        self, batch: Batch, fence: int, place: BatchCursor, counts: Counter[str], *, refund: int = 0
    ) -> Batch | None:
        is_end = place.list_number >= batch.lists
        is_ours = self._services.batches.advance(
            batch.batch_id, fence, place, counts, refund=refund, is_end=is_end
        )
        moved = replace(batch, next_list=place.list_number, next_place=place.place)
        return moved if is_ours else None

    def _pass_over(self, batch: Batch, fence: int) -> Batch | None:
        """A list that is not kept any more: its users are counted, nothing can be sent to them."""
        before = batch.next_list * USERS_PER_LIST
        number = min(USERS_PER_LIST, batch.total - before) - batch.next_place
        log.error("batch.list_lost", list_number=batch.next_list, users=number)
        name = "p:skip:list_lost" if batch.state is BatchState.PLANNING else "k:list_lost"
        return self._advance(
            batch, fence, BatchCursor(batch.next_list + 1, 0), Counter({name: number})
        )
