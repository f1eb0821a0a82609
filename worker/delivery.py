"""A reset's way to a provider: claim, find the user, choose, render, hand over, finish."""

from __future__ import annotations

import time

import structlog

from shared import tracing
from shared.errors import PermanentProviderError, ProviderError, StoreUnavailableError
from shared.hints import hint_at
from shared.models import Channel, Message, Outcome, Status
from shared.providers import Provider, SearchableProvider
from shared.settings import LEASE_SLACK_SECONDS
from shared.store.claims import Claim, ClaimOverError, Finish, TooLateError
from shared.wiring import Services
from worker import verdicts
from worker.bulk import BulkDelivery
from worker.choice import ProviderChoice
from worker.circuits import ProviderWatch
from worker.insistence import insist
from worker.letters import Circulars, Letter, Renderer
from worker.lost_claims import LostClaims
from worker.pauses import PauseView
from worker.preparation import Preparation
from worker.verdicts import SettledError

log = structlog.get_logger()


class Delivery:
    """Delivers one reset per call; any number of threads may share it."""

    def __init__(
        self,
        house: Services,
        providers: dict[Channel, list[Provider[Message]]],
        renderer: Renderer,
    ) -> None:
        """All parts may be fakes."""
        self.watch = ProviderWatch(
            {provider.name for channel in providers.values() for provider in channel},
            circuits=house.circuits,
            pauses=PauseView(house.pauses),
            weights=house.weights,
            probe_seconds=house.settings.provider_timeout_seconds + LEASE_SLACK_SECONDS,
        )
        self.lost_claims = LostClaims(house.waiting.recall)
        self._house, self._choice = house, ProviderChoice(providers, self.watch)
        self._preparation = Preparation(house, self._choice, renderer)

    def many(self, circulars: Circulars) -> BulkDelivery:
        """The delivery of many at once, by the same providers and rules."""
        return BulkDelivery(self._house, self._preparation, self._choice, self.watch, circulars)

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
            tracing.span("reset.deliver", facts, parent=reset.trace, kind="consumer") as here,
        ):
            try:
                word = self._conclude(claim, self._work(claim))
            finally:
                self.watch.conclude(reset_id)
            here.note({"status": word})
            return word

    def _claim(self, reset_id: str) -> Claim | None:
        try:
            return self._house.resets.claim(reset_id)
        except StoreUnavailableError:
            self.lost_claims.note([reset_id])
            raise

    def _work(self, claim: Claim) -> Finish:
        try:
            letter = self._preparation.prepare(claim)
            found = self._find(claim, letter)
            if found is None and claim.is_doubtful:
                self._choice.admit(claim, letter.provider.name)
            return found or self._hand_over(claim, letter)
        except SettledError as settled:
            finish = settled.finish
            if finish.status.is_final:
                log.info("reset.settled", status=finish.status.value, reason=finish.reason)
            return finish
        except StoreUnavailableError:
            log.warning("store.unavailable", during="delivery")
            return verdicts.store_away(claim)

    def _find(self, claim: Claim, letter: Letter) -> Finish | None:
        """A doubtful attempt that the provider turns out to have, where it can be asked."""
        provider = letter.provider
        if not claim.is_doubtful:
            return None
        if not isinstance(provider, SearchableProvider):
            verdicts.check_may_resend(claim, self._house.settings, can_ask=False)
            return None
        try:
            receipt = provider.find(letter.message)
        except ProviderError as error:
            log.warning("provider.unasked", provider=letter.provider.name, reason=error.reason)
            delay = verdicts.doubt_seconds(claim.reset, self._house.settings)
            raise SettledError(verdicts.later(claim, "in_doubt", delay)) from error
        if receipt is None:
            verdicts.check_may_resend(claim, self._house.settings, can_ask=True)
            return None
        log.info("attempt.found", provider=letter.provider.name)
        return verdicts.accepted(letter.provider.name, receipt, Outcome.FOUND, 0)

    def _hand_over(self, claim: Claim, letter: Letter) -> Finish:
        """The one call to the provider."""
        provider = letter.provider
        number = self._mark_sending(claim, letter)
        began = time.monotonic()
        facts: tracing.Facts = {"provider": provider.name, "attempt": number}
        try:
            with tracing.span("provider.send", facts, kind="client"):
                receipt = provider.send(letter.message)
        except ProviderError as error:
            return self._note_failure(claim, letter, error, _since_ms(began))
        took = _since_ms(began)
        self.watch.note_good(provider.name, claim.reset.reset_id)
        log.info("attempt.accepted", provider=provider.name, attempt=number, duration_ms=took)
        return verdicts.accepted(provider.name, receipt, Outcome.ACCEPTED, took)

    def _mark_sending(self, claim: Claim, letter: Letter) -> int:
        if not verdicts.may_begin(claim, self._house.settings):
            raise SettledError(verdicts.later(claim, "lease_too_short", 0))
        digest = self._house.suppressions.digest(letter.recipient)
        try:
            return self._house.resets.mark_sending(
                claim,
                provider=letter.provider.name,
                recipient_digest=digest,
                switch=letter.switch,
            )
        except (ClaimOverError, TooLateError) as error:
            raise SettledError(verdicts.unmarked(claim, error)) from error

    def _note_failure(
        self, claim: Claim, letter: Letter, error: ProviderError, duration_ms: int
    ) -> Finish:
        reset, name = claim.reset, letter.provider.name
        self.watch.note_failure(name, reset.reset_id, error)
        if isinstance(error, PermanentProviderError) and error.suppression:
            self._suppress(claim, letter, error.suppression)
        finish = verdicts.failed(
            reset,
            error,
            self._house.settings,
            provider=name,
            has_another=self._choice.has_another(reset, name),
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

    def _suppress(self, claim: Claim, letter: Letter, reason: str) -> None:
        suppressions, source = self._house.suppressions, letter.provider.name
        insist(
            claim.lease_ends,
            lambda: suppressions.add(letter.recipient, reason=reason, source=source),
        )
        log.warning("suppression.added", reason=reason, provider=source)

    def _conclude(self, claim: Claim, finish: Finish) -> str:
        if not insist(claim.lease_ends, lambda: self._house.resets.finish(claim, finish)):
            log.warning("attempt.stale", status=finish.status.value)
        if finish.outcome and finish.status is Status.RETRYING and not finish.delay_seconds:
            reset = claim.reset  # on to the next provider, at once
            self._house.hints.publish(hint_at(reset.reset_id, reset.channel, reset.queue))
        return finish.status.value


def _since_ms(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
