"""Deliver a reset: claim, prepare, mark, call the provider, finish."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import structlog

from shared import tracing
from shared.errors import PermanentProviderError, ProviderError, StoreUnavailableError
from shared.messages.rendering import MessageRenderer
from shared.models import Channel, Message, Outcome, Recipient, Status
from shared.organisations.providers import OwnProviders
from shared.organisations.sender import OWN
from shared.providers import Provider, SearchableProvider
from shared.queue import hint_at
from shared.settings import LEASE_SLACK_SECONDS
from shared.store.organisations.profiles import remember_profiles
from shared.store.resets import Claim, ClaimOverError, Finish, TooLateError
from shared.wiring import Services
from worker import outcomes
from worker.outcomes import NotSentError
from worker.outgoing import OutgoingMessage
from worker.preparation import Preparation
from worker.routing import OwnCalls, PauseView, ProviderHealth, ProviderRouter, blames_from

log = structlog.get_logger()

STORE_RETRY_SECONDS = 0.25
ResultT = TypeVar("ResultT")
MAX_LOST_CLAIMS = 10_000  # beyond, leases end by themselves


class Delivery:
    """Delivers one reset per call; any number of threads may share it."""

    def __init__(
        self,
        services: Services,
        providers: dict[Channel, list[Provider[Message]]],
        renderer: MessageRenderer,
    ) -> None:
        """All parts may be fakes."""
        pauses = PauseView(services.pauses)
        self.health = ProviderHealth(
            {provider.name for channel in providers.values() for provider in channel},
            circuits=services.circuits,
            pauses=pauses,
            probe_seconds=services.settings.provider_timeout_seconds + LEASE_SLACK_SECONDS,
        )
        self.lost_claims = LostClaims(services.waiting.recall)
        self.router = ProviderRouter(
            providers,
            self.health,
            OwnProviders(services.settings, services.senders),
            remember_profiles(services.profiles),
        )
        self.preparation = Preparation(services, self.router, renderer, pauses)
        self._services = services
        self._own_calls = OwnCalls(services.settings.worker_threads)

    def deliver(self, reset_id: str) -> str:
        """Do what is due for a reset now; return its status for the logs."""
        try:
            claim = self._services.resets.claim(reset_id)
        except StoreUnavailableError:
            self.lost_claims.note([reset_id])
            raise
        if claim is None:
            return "nothing due"
        reset = claim.reset
        attributes = {"reset_id": reset_id, "request_id": reset.request_id}
        attributes["channel"] = reset.channel.value
        with (
            structlog.contextvars.bound_contextvars(**attributes),
            tracing.span(
                "reset.deliver", attributes, parent=reset.trace, kind=tracing.SpanKind.CONSUMER
            ) as here,
        ):
            try:
                status = self._finish(claim, self._work(claim))
            finally:
                self.health.conclude(reset_id)
            here.set_attribute("keyturn.status", status)
            return status

    def _work(self, claim: Claim) -> Finish:
        try:
            outgoing = self.preparation.prepare(claim)
            with self._own_calls.one(claim, outgoing.provider.name):
                found = self._find(claim, outgoing) if claim.is_doubtful else None
                return found or self._send(outgoing.claim, outgoing)
        except NotSentError as error:
            finish = error.finish
            if finish.status.is_final:
                log.info("reset.settled", status=finish.status.value, reason=finish.reason)
            return finish
        except StoreUnavailableError:
            log.warning("store.unavailable", during="delivery")
            return outcomes.store_away(claim)

    def _find(self, claim: Claim, outgoing: OutgoingMessage) -> Finish | None:
        """Ask the provider whether it has the message of a doubtful attempt.

        None: it has not, or cannot be asked, and the message may be sent again.

        Raises:
            NotSentError: it may not be sent again now.
        """
        provider, settings = outgoing.provider, self._services.settings
        if isinstance(provider, SearchableProvider):
            try:
                receipt = provider.find(outgoing.message)
            except ProviderError as error:
                log.warning("provider.unasked", provider=provider.name, reason=error.reason)
                delay = outcomes.doubt_seconds(claim.reset, settings)
                raise NotSentError(outcomes.later(claim, "in_doubt", delay)) from error
            if receipt is not None:
                log.info("attempt.found", provider=provider.name)
                return outcomes.accepted(provider.name, receipt, Outcome.FOUND, 0)
        outcomes.check_may_resend(claim, settings, can_ask=isinstance(provider, SearchableProvider))
        self.router.admit(claim, provider.name)
        return None

    def _send(self, claim: Claim, outgoing: OutgoingMessage) -> Finish:
        """Mark the attempt and call the provider, once."""
        provider = outgoing.provider
        number = self._mark_sending(claim, outgoing)
        if not outcomes.may_still_call(claim, self._services.settings):
            return outcomes.not_called(provider.name)
        began = time.monotonic()
        attributes: tracing.Attributes = {"provider": provider.name, "attempt": number}
        try:
            with tracing.span("provider.send", attributes, kind=tracing.SpanKind.CLIENT):
                receipt = provider.send(outgoing.message)
        except ProviderError as error:
            return self._note_failure(claim, outgoing, error, _since_ms(began))
        took = _since_ms(began)
        self.health.note_good(provider.name, claim.reset.reset_id)
        log.info("attempt.accepted", provider=provider.name, attempt=number, duration_ms=took)
        return outcomes.accepted(provider.name, receipt, Outcome.ACCEPTED, took)

    def _mark_sending(self, claim: Claim, outgoing: OutgoingMessage) -> int:
        if not outcomes.may_begin(claim, self._services.settings):
            raise NotSentError(outcomes.later(claim, "lease_too_short", 0))
        digest = self._services.suppressions.digest(outgoing.recipient)
        try:
            return self._services.resets.mark_sending(
                claim,
                provider=outgoing.provider.name,
                recipient_digest=digest,
                switch=outgoing.switch,
                text_version=outgoing.text_version,
            )
        except (ClaimOverError, TooLateError) as error:
            raise NotSentError(outcomes.unmarked(claim, error)) from error

    def _note_failure(
        self, claim: Claim, outgoing: OutgoingMessage, error: ProviderError, duration_ms: int
    ) -> Finish:
        reset, name = claim.reset, outgoing.provider.name
        if not blames_from(name, error, outgoing.message, self._services.settings):
            self.health.note_failure(name, reset.reset_id, error)
        if isinstance(error, PermanentProviderError) and error.suppression:
            reason, recipient = error.suppression, outgoing.recipient
            suppress(self._services, claim, recipient, reason=reason, source=name)
        finish = outcomes.failed(
            reset,
            error,
            self._services.settings,
            provider=name,
            has_another=self.router.has_another(reset, name, error),
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

    def _finish(self, claim: Claim, finish: Finish) -> str:
        if not retry_until(claim.lease_ends, lambda: self._services.resets.finish(claim, finish)):
            log.warning("attempt.stale", status=finish.status.value)
        if finish.outcome and finish.status is Status.RETRYING and not finish.delay_seconds:
            reset = claim.reset  # on to the next provider, at once
            self._services.hints.publish(hint_at(reset.reset_id, reset.channel, reset.queue))
        return finish.status.value


def _since_ms(began: float) -> int:
    return round((time.monotonic() - began) * 1000)


class LostClaims:
    """Claims whose answer was lost; gives them back. Threads may share it."""

    def __init__(self, recall: Callable[[str], bool]) -> None:
        """`recall` makes a reset due again, unless a worker is at the provider with it."""
        self._recall = recall
        self._noted: set[str] = set()
        self._lock = threading.Lock()

    def note(self, reset_ids: Iterable[str]) -> None:
        """Note resets that may have been claimed."""
        with self._lock:
            if len(self._noted) < MAX_LOST_CLAIMS:
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


def suppress(
    services: Services, claim: Claim, recipient: Recipient, *, reason: str, source: str
) -> None:
    """Suppress a recipient that a provider refused for good; an organisation's own says nothing.

    Raises:
        StoreUnavailableError: the store stayed away until the lease ended.
    """
    if source.startswith(OWN):
        return  # the company keeps it for that account; it concerns no other organisation
    suppressions = services.suppressions
    retry_until(claim.lease_ends, lambda: suppressions.add(recipient, reason=reason, source=source))
    log.warning("suppression.added", reason=reason, provider=source)


def retry_until(lease_ends: float, write: Callable[[], ResultT]) -> ResultT:
    """Retry a store write until the lease ends: a moment of the monotonic clock.

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
