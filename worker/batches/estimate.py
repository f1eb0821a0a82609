"""What a batch would send and cost, counted for its plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from shared.gsm7 import segments
from shared.models import Channel, Kind, Organisation, Queue, Recipient, Reset, Sms, Status, User
from shared.policies import dial_region
from shared.wiring import Services
from worker.batches.selection import Chosen
from worker.messages import Renderer
from worker.preparation import remembering

ANY_REGION = "*"
MICROS = 1_000_000  # a price of 1, as it is counted
MAX_REMEMBERED = 10_000
SAMPLE_ID = "0" * 27  # as long as every reset's


class Estimate:
    """Counts by organisation, language and country; SMS with their segments and their price."""

    def __init__(self, services: Services, renderer: Renderer) -> None:
        """`renderer` writes the SMS whose segments are counted."""
        self._services, self._renderer = services, renderer
        self._find_organisation = remembering(services.callers.find_organisation)
        self._prices = dict(services.settings.sms_prices)
        self._segments: dict[tuple[str, str], int] = {}

    def language(self, user: User) -> str:
        """The language a user is written to in."""
        organisation = self._find_organisation(user.org_id)
        return self._services.languages.choose(
            user.language, organisation.language if organisation else None
        )

    def count(self, chosen: Iterable[Chosen], channel: Channel) -> Counter[str]:
        """What these add to a plan, by name.

        `send`, `org:<id>`, `language:<tag>`; for SMS `country:<region>`, `segments`, `cost` (in
        millionths) and `unpriced` (messages to countries without a price).
        """
        counts: Counter[str] = Counter()
        for each in chosen:
            language = self.language(each.user)
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
        known = self._segments.get((org_id, language))
        if known is None:
            if len(self._segments) >= MAX_REMEMBERED:
                self._segments.clear()
            known = self._render_sample(self._find_organisation(org_id), org_id, language)
            self._segments[org_id, language] = known
        return known

    def _render_sample(self, organisation: Organisation | None, org_id: str, language: str) -> int:
        """The segments of an SMS: codes, links and times are equally long in all of them."""
        now = datetime.now(UTC)
        seconds = self._services.settings.lifetime_seconds(Channel.SMS)
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
        sample = self._renderer.render_reset(
            reset,
            User("sample", org_id),
            Recipient(Channel.SMS, "+41791234567"),
            organisation,
            self._services.codes.code(SAMPLE_ID, key_id),
            seconds_left=seconds,
        )
        return segments(sample.body)[0] if isinstance(sample, Sms) else 0
