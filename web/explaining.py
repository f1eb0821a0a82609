"""The use case of reading a reset: who may, and what they see."""

from __future__ import annotations

from shared.errors import NotFoundError
from shared.models import Reset
from web.house import House
from web.resets import Credentials


def find_reset_for(
    house: House, credentials: Credentials, reset_id: str
) -> tuple[Reset, str | None]:
    """The reset and its masked recipient, for a caller with `user.read` in its organisation.

    Raises:
        NotFoundError: no such reset, or not theirs to see.
    """
    caller = house.auth.authenticate(credentials.authorization)
    if credentials.org_id:
        house.auth.organisation_in_force(caller, credentials.org_id)
    reset = house.resets.find(reset_id)
    if reset is None or not house.auth.may(caller, reset.org_id, "user.read"):
        raise NotFoundError
    return reset, masked_recipient(house, reset)


def masked_recipient(house: House, reset: Reset) -> str | None:
    """The address written to, masked; None when the user has another one by now."""
    user = house.directory.find_user(reset.user_id)
    recipient = user.recipient(reset.channel) if user else None
    if recipient is None:
        return None
    is_same = reset.recipient_digest in (None, house.suppressions.digest(recipient))
    return recipient.masked if is_same else None
