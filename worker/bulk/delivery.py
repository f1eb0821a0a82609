"""Deliver many resets, many recipients to a call: claim, prepare, group, mark, send, finish.

The same steps and rules as worker/delivery.py takes for one. A reset that does not fit into a bulk
e-mail is given back and hinted at singly.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from threading import BoundedSemaphore, Lock, get_ident
from typing import cast

import structlog

from shared.errors import (
    PermanentProviderError,
    ProviderError,
    RefusedTogetherError,
    RenderError,
    StoreUnavailableError,
)
from shared.models import BulkEmail, BulkRecipient, Outcome, Receipt, Reset
from shared.providers import BulkOutcome, BulkProvider
from shared.queue import hint_at
from shared.store.resets import Claim, Finish
from shared.wiring import Services
from worker import outcomes
from worker.bulk.bisection import send_splitting
from worker.bulk.claims import End, GoAlone, OpenClaims
from worker.bulk.messages import BulkMessageRenderer
from worker.bulk.portions import Portions
from worker.bulk.preparation import BulkPreparation
from worker.delivery import Delivery, suppress
from worker.outgoing import BulkItem
from worker.preparation import cannot_render
from worker.routing import blames_from

log = structlog.get_logger()

MAX_AT_ONCE = 4  # tasks: one claims and marks, the others are at the provider
MAX_SMALL_AT_ONCE = 8  # of those that a busy worker makes of single resets
MAX_NAMED = 50  # resets in a line of the log; more would be too long
HARMLESS = (PermanentProviderError, RefusedTogetherError)  # they say nothing against a provider


class BulkDelivery:
    """Delivers many resets per call; any number of threads may share it."""

    def __init__(
        self,
        services: Services,
        single: Delivery,
        renderer: BulkMessageRenderer,
    ) -> None:
        """`single` is the process's other delivery: both know the same providers."""
        self._services, self._renderer = services, renderer
        self._router, self._health = single.router, single.health
        self._lost_claims = single.lost_claims
        self._preparation = BulkPreparation(services, single.preparation, single.router)
        self._portions = Portions(services.settings)
        self._places = BoundedSemaphore(MAX_AT_ONCE)
        self._small_places = BoundedSemaphore(MAX_SMALL_AT_ONCE)
        # One portion at a time is claimed and marked: claims that wait for others run out.
        self._turn = Lock()
        self._under_way: set[int] = set()  # threads

    def is_busy(self) -> bool:
        """Return True if further hints would only wait in this process."""
        return len(self._under_way) > MAX_AT_ONCE

    def deliver(self, reset_ids: Sequence[str], go_alone: GoAlone | None = None) -> int:
        """Do what is due for these resets now; return how many were claimed.

        `go_alone` is told of each that was given back to go out singly; by default it is hinted at.
        Where it is given, a reset that shares its call with no other goes alone, too: calls of one
        thread follow each other.

        Raises:
            StoreUnavailableError: Redis stayed away for as long as the claims held.
        """
        claimed, first, thread = 0, 0, get_ident()
        self._under_way.add(thread)
        try:
            with self._small_places if go_alone else self._places:
                while first < len(reset_ids):
                    size = self._portions.size()
                    claimed += self._deliver(reset_ids[first : first + size], go_alone)
                    first += size
        finally:
            self._under_way.discard(thread)
        return claimed

    def _hint(self, reset: Reset) -> None:
        self._services.hints.publish(hint_at(reset.reset_id, reset.channel, reset.queue))

    def _deliver(self, reset_ids: Sequence[str], go_alone: GoAlone | None) -> int:
        """Deliver one portion; while it is at the provider, another is claimed."""
        claims: list[Claim] = []
        open_claims = partial(OpenClaims, self._services, go_alone=go_alone or self._hint)
        waiting = open_claims(claims)
        try:
            with self._turn:
                began = time.monotonic()
                claims = self._services.resets.claim_many(reset_ids)
                waiting = open_claims(claims)
                items, ends = self._preparation.prepare(claims)
                groups = [*self._groups(items)]
                if go_alone:
                    single = [group[0].claim for group in groups if len(group) == 1]
                    ends += [(claim, outcomes.alone(claim)) for claim in single]
                    groups = [group for group in groups if len(group) > 1]
                waiting.end(ends)
                first, *others = groups or [[]]
                marked = self._begin(first, waiting)
                if claims:
                    self._portions.note(len(reset_ids), time.monotonic() - began)
            self._send(marked, waiting)
            for group in others:
                with self._turn:
                    marked = self._begin(group, waiting)
                self._send(marked, waiting)
        except StoreUnavailableError:
            log.warning("store.unavailable", during="delivery of many")
            if not claims:
                self._lost_claims.note(reset_ids)
            waiting.end([(claim, outcomes.store_away(claim)) for claim in waiting.claims])
        except Exception:  # it is unknown which reset caused it: alone, each fails by itself
            waiting.end([(claim, outcomes.alone(claim)) for claim in waiting.claims])
            raise
        finally:
            for claim in claims:
                self._health.conclude(claim.reset.reset_id)
        return len(claims)

    def _groups(self, items: Sequence[BulkItem]) -> Iterator[list[BulkItem]]:
        """Group by provider, organisation and language, no more than go into a request."""
        groups: dict[tuple[str, str, str], list[BulkItem]] = defaultdict(list)
        for item in items:
            reset = item.claim.reset
            key = (item.provider.name, reset.org_id, self._renderer.language(reset))
            groups[key].append(item)
        for group in groups.values():
            most = cast("BulkProvider", group[0].provider).max_recipients
            for first in range(0, len(group), most):
                yield group[first : first + most]

    def _begin(
        self, items: Sequence[BulkItem], waiting: OpenClaims
    ) -> tuple[list[BulkItem], BulkEmail | None]:
        """Render and mark; return what goes out: no items and None if nothing does."""
        items = self._renew(items, waiting)
        if not items:
            return [], None
        reset = items[0].claim.reset
        profile = self._router.find_profile(reset.org_id)
        try:
            bulk_email = self._renderer.render(self._renderer.language(reset), profile, items)
        except RenderError as error:
            finish = cannot_render(error)
            waiting.end([(item.claim, finish) for item in items])
            return [], None
        version = self._renderer.text_version(reset, profile)
        marked = self._mark(items, bulk_email.recipients, waiting, text_version=version)
        recipients = tuple(each for _, each in marked)
        return [item for item, _ in marked], bulk_email.with_recipients(recipients)

    def _renew(self, items: Sequence[BulkItem], waiting: OpenClaims) -> Sequence[BulkItem]:
        """Return the items with claims that last for a call; renew them if they do not."""
        settings = self._services.settings
        if all(outcomes.may_begin(item.claim, settings) for item in items):
            return items
        renewed = self._services.resets.renew_many([item.claim for item in items])
        for item, claim in zip(items, renewed, strict=True):
            if claim is None:
                waiting.forget(item.claim)  # another worker has it
        pairs = zip(items, renewed, strict=True)
        return [replace(item, claim=claim) for item, claim in pairs if claim]

    def _send(self, begun: tuple[list[BulkItem], BulkEmail | None], waiting: OpenClaims) -> None:
        """Call the provider with what was marked, and record how it ended."""
        items, bulk_email = begun
        if not items or bulk_email is None:
            return
        provider = items[0].provider
        if not outcomes.may_still_call(items[0].claim, self._services.settings):
            finish = outcomes.not_called(provider.name)
            waiting.end([(item.claim, finish) for item in items])
            return
        began = time.monotonic()
        results = send_splitting(
            cast("BulkProvider", provider),
            bulk_email,
            may_call=lambda: outcomes.may_begin(items[0].claim, self._services.settings),
        )
        took_ms = round((time.monotonic() - began) * 1000)
        self._note_health(items[0], results, bulk_email)
        waiting.end(self._conclude(items, results, took_ms))

    def _mark(
        self,
        items: Sequence[BulkItem],
        recipients: Sequence[BulkRecipient],
        waiting: OpenClaims,
        *,
        text_version: str,
    ) -> list[tuple[BulkItem, BulkRecipient]]:
        """Return those whose attempt could be marked, as the last step before the call."""
        digest = self._services.suppressions.digest
        marks = [(item.claim, digest(item.recipient), item.switch) for item in items]
        answers = self._services.resets.mark_sending_many(
            marks, provider=items[0].provider.name, text_version=text_version
        )
        refused: list[End] = []
        marked = []
        for item, recipient, answer in zip(items, recipients, answers, strict=True):
            if isinstance(answer, Exception):
                refused.append((item.claim, outcomes.unmarked(item.claim, answer)))
            else:
                marked.append((item, recipient))
                waiting.forget(item.claim)  # from here on only an outcome may be recorded
        waiting.end(refused)
        return marked

    def _note_health(
        self, item: BulkItem, results: Sequence[BulkOutcome], bulk_email: BulkEmail
    ) -> None:
        """Note one outcome for one call; where the circuit is half open the item stands alone."""
        name, reset_id = item.provider.name, item.claim.reset.reset_id
        errors = [each for each in results if isinstance(each, ProviderError)]
        bad = [each for each in errors if not isinstance(each, HARMLESS)]
        if bad or len(errors) == len(results):
            error = (bad or errors)[0]
            if not blames_from(name, error, bulk_email, self._services.settings):
                self._health.note_failure(name, reset_id, error)
        else:
            self._health.note_good(name, reset_id)

    def _conclude(
        self, items: Sequence[BulkItem], results: Sequence[BulkOutcome], took_ms: int
    ) -> list[End]:
        """Return what each outcome means for its reset."""
        name = items[0].provider.name
        accepted: dict[Receipt, Finish] = {}  # one for all who share a receipt
        ends: list[End] = []
        for item, result in zip(items, results, strict=True):
            if isinstance(result, Receipt):
                if result not in accepted:
                    accepted[result] = outcomes.accepted(name, result, Outcome.ACCEPTED, took_ms)
                ends.append((item.claim, accepted[result]))
            else:
                ends.append((item.claim, self._failed(item, result, took_ms)))
        is_small = len(items) <= MAX_NAMED
        log.info(
            "circular.sent",
            provider=name,
            recipients=len(items),
            statuses=dict(Counter(finish.status.value for _, finish in ends)),
            duration_ms=took_ms,
            **({"reset_ids": [claim.reset.reset_id for claim, _ in ends]} if is_small else {}),
        )
        return ends

    def _failed(self, item: BulkItem, error: ProviderError, took_ms: int) -> Finish:
        claim, name = item.claim, item.provider.name
        if isinstance(error, RefusedTogetherError):
            return outcomes.refused_together(error, provider=name, duration_ms=took_ms)
        if isinstance(error, PermanentProviderError):
            reset_id, reason = claim.reset.reset_id, error.suppression
            log.warning("attempt.refused", reset_id=reset_id, provider=name, reason=error.reason)
            if reason:
                suppress(self._services, claim, item.recipient, reason=reason, source=name)
        return outcomes.failed(
            claim.reset,
            error,
            self._services.settings,
            provider=name,
            has_another=self._router.has_another(claim.reset, name, error),
            duration_ms=took_ms,
        )
