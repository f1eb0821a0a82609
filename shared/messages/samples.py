"""A reset that was never recorded, for messages that are shown, measured or tried."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from shared.models import Channel, Kind, Queue, Reset, Status
from shared.settings import Settings

SAMPLE_ID = "0" * 27  # as long as every reset's


def sample_reset(
    settings: Settings, org_id: str, language: str, channel: Channel, *, reset_id: str = SAMPLE_ID
) -> Reset:
    """Return a reset that begins now."""
    now = datetime.now(UTC)
    return Reset(
        reset_id=reset_id,
        kind=Kind.RESET,
        user_id="sample",
        org_id=org_id,
        channel=channel,
        queue=Queue.BULK,
        status=Status.QUEUED,
        reason=None,
        language=language,
        key_id="",
        sequence=1,
        created_at=now,
        deadline_at=now + timedelta(seconds=settings.lifetime_seconds(channel)),
        request_id=None,
    )
