"""Count what a batch would send and cost, for its plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from shared.gsm7 import segments
from shared.messages.rendering import MessageRenderer
from shared.models import Channel, Kind, Queue, Recipient, Reset, Sms, Status
from shared.policies import dial_region
from shared.wiring import Services
from worker.batches.selection import ChosenUser
from worker.preparation import remember_organisations

ANY_REGION = "*"
MICROS = 1_000_000  # a price of 1, as it is counted
MAX_REMEMBERED = 10_000
SAMPLE_ID = "0" * 27  # as long as every reset's


class Estimate:
    """Counts by organisation, language and country; SMS with their segments and their price."""

    def __init__(self, services: Services, renderer: MessageRenderer) -> None:
        """`renderer` writes the SMS whose segments are counted."""
        self._services, self._renderer = services, renderer
        self.find_organisation = remember_organisations(services)
        self._prices = dict(services.settings.sms_prices)
        self._segments: dict[tuple[str, str], int] = {}

    def count(self, chosen: Iterable[ChosenUser], channel: Channel) -> Counter[str]:
        """Return what these add to a plan, by name.

        `send`, `org:<id>`, `language:<tag>`; for SMS `country:<region>`, `segments`, `cost` (in
        millionths) and `unpriced` (messages to countries without a price).
        """
        counts: Counter[str] = Counter()
        for each in chosen:
            organisation = self.find_organisation(each.user.org_id)
            language = self._services.languages.choose_for(each.user, organisation)
            counts.update(("send", f"org:{each.user.org_id}", f"language:{language}"))
            if channel is Channel.SMS:
                counts.update(self._count_sms(each.user.org_id, each.recipient, language))
        return counts

    def _count_sms(self, org_id: str, recipient: Recipient, language: str) -> dict[str, int]:
        region = dial_region(recipient.address) or "?"
        number = self._segments_of(org_id, language)
        price = self._prices.get(region, self._prices.get(ANY_REGION))
        if price is None:
            return {f"country:{region}": 1, "segments": number, "unpriced": 1}
        cost = round(price * MICROS) * number
        return {f"country:{region}": 1, "segments": number, "cost": cost}

    def _segments_of(self, org_id: str, language: str) -> int:
        """Return the segments of any SMS: codes, links and times are equally long in all."""
        known = self._segments.get((org_id, language))
        if known is None:
            if len(self._segments) >= MAX_REMEMBERED:
                self._segments.clear()
            sample = self._render_sample(org_id, language)
            known = self._segments[org_id, language] = segments(sample.body)[0]
        return known

    def _render_sample(self, org_id: str, language: str) -> Sms:
        now, seconds = datetime.now(UTC), self._services.settings.lifetime_seconds(Channel.SMS)
        key_id = self._services.codes.signing_key_id
        reset = Reset(
            reset_id=SAMPLE_ID,
            kind=Kind.RESET,
            user_id="sample",
            org_id=org_id,
            channel=Channel.SMS,
            queue=Queue.BULK,
            status=Status.QUEUED,
            reason=None,
            language=language,
            key_id=key_id,
            sequence=1,
            created_at=now,
            deadline_at=now + timedelta(seconds=seconds),
            request_id=None,
        )
        return self._renderer.render_sms(
            reset,
            Recipient(Channel.SMS, "+41791234567"),
            self.find_organisation(org_id),
            self._services.codes.code(SAMPLE_ID, key_id),
            seconds_left=seconds,
        )
