"""What is due of batches, many recipients to a call: claim, draft, group, hand over, finish.

The same steps and rules as worker/delivery.py takes for one. Whatever does not fit into a circular
is given back and hinted at singly.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import cast

import structlog

from shared.errors import (
    PermanentProviderError,
    ProviderError,
    RefusedTogetherError,
    RenderError,
    StoreUnavailableError,
)
from shared.models import BulkRecipient, Outcome, Receipt
from shared.providers import BulkOutcome, BulkProvider
from shared.store.resets import Finish
from shared.wiring import Services
from worker import outcomes
from worker.bulk.bisection import send_splitting
from worker.bulk.claims import End, OpenClaims
from worker.bulk.preparation import BulkPreparation
from worker.delivery import retry_until
from worker.messages import BulkItem, Circulars
from worker.preparation import Preparation, cannot_render
from worker.provider_health import ProviderHealth
from worker.routing import ProviderRouter

log = structlog.get_logger()

HARMLESS = (PermanentProviderError, RefusedTogetherError)  # they say nothing against a provider


class BulkDelivery:
    """Delivers many resets per call; any number of threads may share it."""

    def __init__(
        self,
        services: Services,
        preparation: Preparation,
        choice: ProviderRouter,
        watch: ProviderHealth,
        circulars: Circulars,
    ) -> None:
        """All parts may be fakes; all but the last are those of the process's Delivery."""
        self._services, self._circulars = services, circulars
        self._choice, self._watch, self._preparation = choice, watch, preparation
        self._drafts = BulkPreparation(preparation, services.directory, services.suppressions)

    def deliver(self, reset_ids: Sequence[str]) -> int:
        """Do what is due for these resets now; gives how many there were.

        Raises:
            StoreUnavailableError: Redis stayed away for as long as the claims held.
        """
        claims = self._services.resets.claim_many(reset_ids)
        waiting = OpenClaims(self._services, claims)
        try:
            self._work(waiting)
        except StoreUnavailableError:
            log.warning("store.unavailable", during="delivery of many")
            waiting.end([(claim, outcomes.store_away(claim)) for claim in waiting.claims])
        except Exception:  # whose fault it was nobody knows: alone, each costs itself alone
            waiting.end([(claim, outcomes.alone(claim)) for claim in waiting.claims])
            raise
        finally:
            for claim in claims:
                self._watch.conclude(claim.reset.reset_id)
        return len(claims)

    def _work(self, waiting: OpenClaims) -> None:
        drafts, ends = self._drafts.make(waiting.claims)
        waiting.end(ends)
        for group in self._groups(drafts):
            self._send(group, waiting)

    def _groups(self, drafts: Sequence[BulkItem]) -> Iterator[list[BulkItem]]:
        """Those who share provider, organisation and language, no more than go into a request."""
        groups: dict[tuple[str, str, str], list[BulkItem]] = defaultdict(list)
        for draft in drafts:
            reset = draft.claim.reset
            key = (draft.provider.name, reset.org_id, self._circulars.language(reset))
            groups[key].append(draft)
        for group in groups.values():
            most = cast("BulkProvider", group[0].provider).max_recipients
            for first in range(0, len(group), most):
                yield group[first : first + most]

    def _send(self, drafts: list[BulkItem], waiting: OpenClaims) -> None:
        provider, reset = drafts[0].provider, drafts[0].claim.reset
        organisation = self._preparation.organisation(reset.org_id)
        try:
            circular = self._circulars.render(self._circulars.language(reset), organisation, drafts)
        except RenderError as error:
            finish = cannot_render(error)
            waiting.end([(draft.claim, finish) for draft in drafts])
            return
        going = self._mark(drafts, circular.recipients, waiting)
        if not going:
            return
        began = time.monotonic()
        results = send_splitting(
            cast("BulkProvider", provider),
            circular.with_recipients(tuple(copy for _, copy in going)),
            may_call=lambda: outcomes.may_begin(going[0][0].claim, self._services.settings),
        )
        took_ms = round((time.monotonic() - began) * 1000)
        self._tell_watch(going[0][0], results)
        waiting.end(self._judge([draft for draft, _ in going], results, took_ms))

    def _mark(
        self, drafts: Sequence[BulkItem], copies: Sequence[BulkRecipient], waiting: OpenClaims
    ) -> list[tuple[BulkItem, BulkRecipient]]:
        """Those whose attempt is marked, as the last step before the call."""
        settings, provider = self._services.settings, drafts[0].provider.name
        if not all(outcomes.may_begin(draft.claim, settings) for draft in drafts):
            waiting.end([(d.claim, outcomes.later(d.claim, "lease_too_short", 0)) for d in drafts])
            return []
        digest = self._services.suppressions.digest
        marks = [(draft.claim, digest(draft.recipient), draft.switch) for draft in drafts]
        told = self._services.resets.mark_sending_many(marks, provider=provider)
        refused: list[End] = []
        going = []
        for draft, copy, answer in zip(drafts, copies, told, strict=True):
            if isinstance(answer, Exception):
                refused.append((draft.claim, outcomes.unmarked(draft.claim, answer)))
            else:
                going.append((draft, copy))
                waiting.forget(draft.claim)  # from here on only an outcome may be noted
        waiting.end(refused)
        return going

    def _tell_watch(self, draft: BulkItem, results: Sequence[BulkOutcome]) -> None:
        """One call, one outcome for the circuit; where it is half open the draft stands alone."""
        name, reset_id = draft.provider.name, draft.claim.reset.reset_id
        errors = [each for each in results if isinstance(each, ProviderError)]
        bad = [each for each in errors if not isinstance(each, HARMLESS)]
        if bad:
            self._watch.note_failure(name, reset_id, bad[0])
        elif len(errors) < len(results):
            self._watch.note_good(name, reset_id)
        else:
            self._watch.note_failure(name, reset_id, errors[0])

    def _judge(
        self, drafts: Sequence[BulkItem], results: Sequence[BulkOutcome], took_ms: int
    ) -> list[End]:
        """What each outcome means for its reset."""
        accepted: dict[Receipt, Finish] = {}
        ends: list[End] = []
        for draft, outcome in zip(drafts, results, strict=True):
            if isinstance(outcome, Receipt):
                if outcome not in accepted:
                    accepted[outcome] = outcomes.accepted(
                        draft.provider.name, outcome, Outcome.ACCEPTED, took_ms
                    )
                ends.append((draft.claim, accepted[outcome]))
            else:
                ends.append((draft.claim, self._judge_failure(draft, outcome, took_ms)))
        log.info(
            "circular.sent",
            provider=drafts[0].provider.name,
            recipients=len(drafts),
            statuses=dict(Counter(finish.status.value for _, finish in ends)),
            duration_ms=took_ms,
        )
        return ends

    def _judge_failure(self, draft: BulkItem, error: ProviderError, took_ms: int) -> Finish:
        claim, name = draft.claim, draft.provider.name
        if isinstance(error, RefusedTogetherError):
            return outcomes.refused_together(error, provider=name, duration_ms=took_ms)
        if isinstance(error, PermanentProviderError):
            reset_id = claim.reset.reset_id
            log.warning("attempt.refused", reset_id=reset_id, provider=name, reason=error.reason)
            if error.suppression:
                self._suppress(draft, error.suppression)
        return outcomes.failed(
            claim.reset,
            error,
            self._services.settings,
            provider=name,
            has_another=self._choice.has_another(claim.reset, name),
            duration_ms=took_ms,
        )

    def _suppress(self, draft: BulkItem, reason: str) -> None:
        add, source = self._services.suppressions.add, draft.provider.name
        retry_until(
            draft.claim.lease_ends, lambda: add(draft.recipient, reason=reason, source=source)
        )
        log.warning("suppression.added", reason=reason, provider=source)
