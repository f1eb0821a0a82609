"""A reset's way to a provider: claim, find the user, choose, render, hand over, finish."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import structlog

from shared import tracing
from shared.errors import PermanentProviderError, ProviderError, StoreUnavailableError
from shared.models import Channel, Message, Outcome, Status
from shared.providers import Provider, SearchableProvider
from shared.queue import hint_at
from shared.settings import LEASE_SLACK_SECONDS
from shared.store.resets import Claim, ClaimOverError, Finish, TooLateError
from shared.wiring import Services
from worker import outcomes
from worker.messages import OutgoingMessage, Renderer
from worker.outcomes import NotSentError
from worker.pauses import PauseView
from worker.preparation import Preparation
from worker.provider_health import ProviderHealth
from worker.routing import ProviderRouter

log = structlog.get_logger()

MAX_NOTED = 10_000  # beyond, leases end by themselves


class LostClaims:
    """Notes them, and has them given back once Redis answers; threads may share it."""

    def __init__(self, recall: Callable[[str], bool]) -> None:
        """`recall` makes a reset due again, when nobody is at the provider with it."""
        self._recall = recall
        self._noted: set[str] = set()
        self._lock = threading.Lock()

    def note(self, reset_ids: Iterable[str]) -> None:
        """Whether these were claimed, nobody knows."""
        with self._lock:
            if len(self._noted) < MAX_NOTED:
                self._noted.update(reset_ids)

    def recall(self) -> int:
        """Give back what was noted; return how many resets are due again. A periodic job.

        Raises:
            StoreUnavailableError: Redis still does not answer; the rest is tried again.
        """
        recalled = 0
        while reset_id := self._take():
            try:
                recalled += self._recall(reset_id)
            except BaseException:
                self.note([reset_id])
                raise
        if recalled:
            log.info("claims.recalled", number=recalled)
        return recalled

    def _take(self) -> str | None:
        with self._lock:
            return self._noted.pop() if self._noted else None


STORE_RETRY_SECONDS = 0.25
ResultT = TypeVar("ResultT")


def retry_until(lease_ends: float, write: Callable[[], ResultT]) -> ResultT:
    """Retry a store write until the lease ends, at a moment of the monotonic clock.

    Raises:
        StoreUnavailableError: the store stayed away until then.
    """
    while True:
        try:
            return write()
        except StoreUnavailableError:
            if time.monotonic() + STORE_RETRY_SECONDS > lease_ends:
                raise
            time.sleep(STORE_RETRY_SECONDS)


class Delivery:
    """Delivers one reset per call; any number of threads may share it."""

    def __init__(
        self,
        services: Services,
        providers: dict[Channel, list[Provider[Message]]],
        renderer: Renderer,
    ) -> None:
        """All parts may be fakes."""
        self.watch = ProviderHealth(
            {provider.name for channel in providers.values() for provider in channel},
            circuits=services.circuits,
            pauses=PauseView(services.pauses),
            probe_seconds=services.settings.provider_timeout_seconds + LEASE_SLACK_SECONDS,
        )
        self.lost_claims = LostClaims(services.waiting.recall)
        self.choice = ProviderRouter(providers, self.watch)
        self.preparation = Preparation(services, self.choice, renderer)
        self._services = services

    def deliver(self, reset_id: str) -> str:
        """Do what is due for a reset now; the answer is a word for the logs."""
        claim = self._claim(reset_id)
        if claim is None:
            return "nothing due"
        reset = claim.reset
        facts = {"reset_id": reset_id, "request_id": reset.request_id}
        facts["channel"] = reset.channel.value
        with (
            structlog.contextvars.bound_contextvars(**facts),
            tracing.span(
                "reset.deliver", facts, parent=reset.trace, kind=tracing.SpanKind.CONSUMER
            ) as here,
        ):
            try:
                word = self._conclude(claim, self._work(claim))
            finally:
                self.watch.conclude(reset_id)
            here.set_attribute("keyturn.status", word)
            return word

    def _claim(self, reset_id: str) -> Claim | None:
        try:
            return self._services.resets.claim(reset_id)
        except StoreUnavailableError:
            self.lost_claims.note([reset_id])
            raise

    def _work(self, claim: Claim) -> Finish:
        try:
            letter = self.preparation.prepare(claim)
            found = self._find(claim, letter)
            if found is None and claim.is_doubtful:
                self.choice.admit(claim, letter.provider.name)
            return found or self._hand_over(claim, letter)
        except NotSentError as settled:
            finish = settled.finish
            if finish.status.is_final:
                log.info("reset.settled", status=finish.status.value, reason=finish.reason)
            return finish
        except StoreUnavailableError:
            log.warning("store.unavailable", during="delivery")
            return outcomes.store_away(claim)

    def _find(self, claim: Claim, letter: OutgoingMessage) -> Finish | None:
        """A doubtful attempt that the provider turns out to have, where it can be asked."""
        provider = letter.provider
        if not claim.is_doubtful:
            return None
        if not isinstance(provider, SearchableProvider):
            outcomes.check_may_resend(claim, self._services.settings, can_ask=False)
            return None
        try:
            receipt = provider.find(letter.message)
        except ProviderError as error:
            log.warning("provider.unasked", provider=letter.provider.name, reason=error.reason)
            delay = outcomes.doubt_seconds(claim.reset, self._services.settings)
            raise NotSentError(outcomes.later(claim, "in_doubt", delay)) from error
        if receipt is None:
            outcomes.check_may_resend(claim, self._services.settings, can_ask=True)
            return None
        log.info("attempt.found", provider=letter.provider.name)
        return outcomes.accepted(letter.provider.name, receipt, Outcome.FOUND, 0)

    def _hand_over(self, claim: Claim, letter: OutgoingMessage) -> Finish:
        """The one call to the provider."""
        provider = letter.provider
        number = self._mark_sending(claim, letter)
        began = time.monotonic()
        facts: tracing.Facts = {"provider": provider.name, "attempt": number}
        try:
            with tracing.span("provider.send", facts, kind=tracing.SpanKind.CLIENT):
                receipt = provider.send(letter.message)
        except ProviderError as error:
            return self._note_failure(claim, letter, error, _since_ms(began))
        took = _since_ms(began)
        self.watch.note_good(provider.name, claim.reset.reset_id)
        log.info("attempt.accepted", provider=provider.name, attempt=number, duration_ms=took)
        return outcomes.accepted(provider.name, receipt, Outcome.ACCEPTED, took)

    def _mark_sending(self, claim: Claim, letter: OutgoingMessage) -> int:
        if not outcomes.may_begin(claim, self._services.settings):
            raise NotSentError(outcomes.later(claim, "lease_too_short", 0))
        digest = self._services.suppressions.digest(letter.recipient)
        try:
            return self._services.resets.mark_sending(
                claim,
                provider=letter.provider.name,
                recipient_digest=digest,
                switch=letter.switch,
            )
        except (ClaimOverError, TooLateError) as error:
            raise NotSentError(outcomes.unmarked(claim, error)) from error

    def _note_failure(
        self, claim: Claim, letter: OutgoingMessage, error: ProviderError, duration_ms: int
    ) -> Finish:
        reset, name = claim.reset, letter.provider.name
        self.watch.note_failure(name, reset.reset_id, error)
        if isinstance(error, PermanentProviderError) and error.suppression:
            self._suppress(claim, letter, error.suppression)
        finish = outcomes.failed(
            reset,
            error,
            self._services.settings,
            provider=name,
            has_another=self.choice.has_another(reset, name),
            duration_ms=duration_ms,
        )
        event = {Status.UNKNOWN: "attempt.doubtful", Status.RETRYING: "attempt.deferred"}
        log.warning(
            event.get(finish.status, "attempt.refused"),
            provider=name,
            attempt=len(reset.attempts) + 1,
            reason=error.reason,
            duration_ms=duration_ms,
        )
        return finish

    def _suppress(self, claim: Claim, letter: OutgoingMessage, reason: str) -> None:
        suppressions, source = self._services.suppressions, letter.provider.name
        retry_until(
            claim.lease_ends,
            lambda: suppressions.add(letter.recipient, reason=reason, source=source),
        )
        log.warning("suppression.added", reason=reason, provider=source)

    def _conclude(self, claim: Claim, finish: Finish) -> str:
        if not retry_until(claim.lease_ends, lambda: self._services.resets.finish(claim, finish)):
            log.warning("attempt.stale", status=finish.status.value)
        if finish.outcome and finish.status is Status.RETRYING and not finish.delay_seconds:
            reset = claim.reset  # on to the next provider, at once
            self._services.hints.publish(hint_at(reset.reset_id, reset.channel, reset.queue))
        return finish.status.value


def _since_ms(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
