"""Feed batches: look their users up, plan or record their resets, a hundred at a time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import structlog

from shared.errors import DirectoryUnavailableError, StoreUnavailableError, TooManyRequestsError
from shared.models import Channel, Queue
from shared.queue import Hint, Task
from shared.recording import ResetRequest, new_reset, sms_limits
from shared.store.batches import Batch, BatchCursor, BatchState
from shared.store.batches.lists import USERS_PER_LIST, ListEntry
from shared.wiring import Services
from worker.batches.estimate import Estimate
from worker.batches.selection import BatchSelection, ChosenUser, SortedUsers

log = structlog.get_logger()

USERS_PER_STEP = 100  # Redis serves others between two steps
MAX_DUE = 5000  # beyond, batches wait: their list costs a tenth of their records
MAX_WAITING = 20_000  # being retried included
FEED_SECONDS = 3.0  # of one task; the sweepers hint at the next
WAIT_SECONDS = 0.1


class BatchFeeder:
    """Feeds one batch per call, for a few seconds; any number of threads may share it."""

    def __init__(self, services: Services, estimate: Estimate) -> None:
        """All parts may be fakes."""
        self._services, self._estimate = services, estimate
        self._selection = BatchSelection(services)

    def hint(self) -> int:
        """Hint at every batch that has work and no worker; a periodic job of the bulk sweepers."""
        batch_ids = self._services.batches.to_feed()
        for batch_id in batch_ids:
            self._services.hints.publish(Hint(batch_id, Task.FEED_BATCH, Queue.BULK))
        return len(batch_ids)

    def feed(self, batch_id: str) -> str:
        """Feed a batch; return its state, or why nothing was done, for the logs."""
        fence = self._services.batches.take_lease(batch_id)
        batch = self._services.batches.find(batch_id) if fence else None
        if batch is None:
            return "nothing to do"
        with structlog.contextvars.bound_contextvars(batch_id=batch_id):
            until = time.monotonic() + FEED_SECONDS
            try:
                while batch and not batch.is_fed and time.monotonic() < until:
                    batch = self._step(batch, fence)
            except DirectoryUnavailableError:
                log.warning("directory.unavailable")
            except StoreUnavailableError:
                log.warning("store.unavailable", during="feeding")
                return "store unavailable"  # the lease ends by itself
            return self._release(batch_id, fence)

    def _release(self, batch_id: str, fence: int) -> str:
        """End the lease, and the batch if all its resets have ended."""
        batch = self._services.batches.find(batch_id)
        if batch is None:
            return "gone"
        is_finished = batch.state is BatchState.RUNNING and batch.is_fed
        if is_finished:
            ends = self._services.batches.ends(batch_id)
            is_finished = sum(ends.values()) >= batch.recorded
        if self._services.batches.release_lease(batch_id, fence, is_finished=is_finished):
            log.info("batch.finished", recorded=batch.recorded, skipped=sum(batch.skipped.values()))
            return BatchState.FINISHED.value
        return batch.state.value

    def _step(self, batch: Batch, fence: int) -> Batch | None:
        """Return the batch a step further, or unchanged if it must wait; None: stop."""
        entries = self._services.batch_lists.read(batch.list_id, batch.next_list)
        if len(entries) <= batch.next_index:
            return self._skip_lost_list(batch, fence)
        wanted = min(USERS_PER_STEP, len(entries) - batch.next_index, self._room(batch))
        granted = self._services.batches.grant(batch.batch_id, fence, wanted)
        if granted < 0:
            return None
        if granted == 0:
            time.sleep(WAIT_SECONDS)
            return batch
        return self._take(batch, fence, entries, batch.next_index + granted)

    def _room(self, batch: Batch) -> int:
        """Return how many resets may be added to the due set now."""
        if batch.state is BatchState.PLANNING:
            return USERS_PER_STEP
        view = self._services.dues.look(Queue.BULK)
        return max(0, min(MAX_DUE - view.due, MAX_WAITING - view.waiting))

    def _take(
        self, batch: Batch, fence: int, entries: Sequence[ListEntry], granted_end: int
    ) -> Batch | None:
        """Plan or record the users from the next index up to `granted_end`."""
        granted = list(enumerate(entries))[batch.next_index : granted_end]
        found = self._selection.sort(batch, batch.next_list, granted)
        if batch.state is BatchState.PLANNING:
            counts, end = self._plan(batch, found), granted_end
        else:
            counts, end = self._record(batch, found, granted_end)
        if end == batch.next_index:
            return None  # today's budget is spent
        cursor = BatchCursor(batch.next_list, end)
        if end == len(entries):
            cursor = BatchCursor(batch.next_list + 1, 0)
        skipped = sum(number for name, number in counts.items() if name.startswith("k:"))
        return self._advance(batch, fence, cursor, counts, refund=skipped + granted_end - end)

    def _plan(self, batch: Batch, found: SortedUsers) -> Counter[str]:
        counts = self._estimate.count(found.chosen, batch.channel)
        counts.update(f"skip:{reason}" for reason in found.skips.values())
        return Counter({f"p:{name}": number for name, number in counts.items()})

    def _record(self, batch: Batch, found: SortedUsers, end: int) -> tuple[Counter[str], int]:
        """Record what the budget allows; return what was counted, and the index it ended at."""
        chosen = self._within_budget(batch, found.chosen)
        if len(chosen) < len(found.chosen):
            end = found.chosen[len(chosen)].index
        news = [new_reset(self._services, self._request(batch, each)) for each in chosen]
        outcomes = self._services.batch_resets.record(news)
        skips = {index: reason for index, reason in found.skips.items() if index < end}
        skips |= {c.index: reason for c, reason in zip(chosen, outcomes, strict=True) if reason}
        self._services.batch_lists.note_skips(
            batch.batch_id, batch.next_list, skips, batch.lifetime_seconds
        )
        counts = Counter(f"k:{reason}" for reason in skips.values())
        counts["q"] = outcomes.count("") + found.known
        return counts, end

    def _within_budget(
        self, batch: Batch, chosen: tuple[ChosenUser, ...]
    ) -> tuple[ChosenUser, ...]:
        """Return those that the budgets of SMS allow; no other limit applies to a batch."""
        if batch.channel is not Channel.SMS:
            return chosen
        for number, each in enumerate(chosen):
            organisation = self._estimate.find_organisation(each.user.org_id)
            limits = sms_limits(
                self._services.settings, each.user.org_id, organisation, each.recipient
            )
            try:
                if limits:
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

    def _request(self, batch: Batch, each: ChosenUser) -> ResetRequest:
        return ResetRequest(
            user=each.user,
            organisation=self._estimate.find_organisation(each.user.org_id),
            channel=batch.channel,
            reset_id=each.reset_id,
            queue=Queue.BULK,
            batch_id=batch.batch_id,
            since_ms=each.since_ms,
            has_user_limits=False,
        )

    def _advance(
        self,
        batch: Batch,
        fence: int,
        cursor: BatchCursor,
        counts: Counter[str],
        *,
        refund: int = 0,
    ) -> Batch | None:
        is_end = cursor.list_number >= batch.lists
        is_ours = self._services.batches.advance(
            batch.batch_id, fence, cursor, counts, refund=refund, is_end=is_end
        )
        moved = replace(batch, next_list=cursor.list_number, next_index=cursor.index)
        return moved if is_ours else None

    def _skip_lost_list(self, batch: Batch, fence: int) -> Batch | None:
        """Count the users of a list that is no longer kept; nothing can be sent to them."""
        before = batch.next_list * USERS_PER_LIST
        number = min(USERS_PER_LIST, batch.total - before) - batch.next_index
        log.error("batch.list_lost", list_number=batch.next_list, users=number)
        name = "p:skip:list_lost" if batch.state is BatchState.PLANNING else "k:list_lost"
        cursor = BatchCursor(batch.next_list + 1, 0)
        return self._advance(batch, fence, cursor, Counter({name: number}))
