"""The use case of reading a reset and explaining it: who may, and what they see."""

from __future__ import annotations

from collections.abc import Sequence

from shared.errors import CallerError, NotFoundError, ProviderMissingError, RecipientSuppressedError
from shared.models import Channel, Kind, Reset, User
from shared.policies import check_country, check_may_reset, check_recipient
from shared.store.suppressions import Suppression
from web.chain import tell_chain
from web.facts import Explanation, Facts
from web.house import House
from web.receiving import is_heard
from web.resets import Credentials
from web.verdicts import judge


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


def explain_reset(house: House, reset: Reset) -> Explanation:
    """Why this reset stands as it does; later refusals of its user play no part."""
    return _explain(house, reset.user_id, (reset,), with_refusals=False)


def explain_user(house: House, user_id: str) -> Explanation:
    """Why a user got, or did not get, a message: judged by the newest thing that happened."""
    return _explain(house, user_id, house.resets.find_of_user(user_id), with_refusals=True)


def _explain(
    house: House, user_id: str, resets: Sequence[Reset], *, with_refusals: bool
) -> Explanation:
    user = house.directory.find_user(user_id)
    reset = next((each for each in resets if each.kind is not Kind.NOTICE), None)
    refusals = tuple(house.refusals.find_of_user(user_id)) if with_refusals else ()
    channel = reset.channel if reset else Channel.EMAIL
    if refusals and (reset is None or refusals[0].at > reset.created_at):
        channel = refusals[0].channel or channel
    own = user.recipient(channel) if user else None
    recipient = own.masked if own else None
    if reset and channel is reset.channel:
        recipient = masked_recipient(house, reset)
    facts = Facts(
        now=house.dues.now(),
        user_id=user_id,
        org_id=user.org_id if user else "",
        reset=reset,
        recipient=recipient,
        suppression=_find_suppression(house, user, channel),
        refusals=refusals,
        obstacle=_find_obstacle(house, user, channel),
        pauses=tuple(house.pauses.all()),
        providers=house.provider_names[channel],
        workers=len(house.dues.workers_seen(reset.queue)) if reset else 0,
        is_heard=bool(
            reset and reset.attempts and is_heard(house.settings, reset.attempts[-1].provider)
        ),
    )
    told = tuple((each, masked_recipient(house, each)) for each in resets)
    return Explanation(user_id, judge(facts), tell_chain(facts), told)


def _find_suppression(house: House, user: User | None, channel: Channel) -> Suppression | None:
    recipient = user.recipient(channel) if user else None
    return house.suppressions.find(recipient) if recipient else None


def _find_obstacle(house: House, user: User | None, channel: Channel) -> str | None:
    """The name of the error that would refuse a request now, limits apart."""
    try:
        _check_now(house, user, channel)
    except CallerError as error:
        return type(error).__name__.removesuffix("Error")
    return None


def _check_now(house: House, user: User | None, channel: Channel) -> None:
    found = check_may_reset(user, None)
    recipient = check_recipient(found, channel, allow_unverified=house.settings.allow_unverified)
    check_country(recipient, house.sms_regions)
    if house.suppressions.find(recipient):
        raise RecipientSuppressedError
    if not house.provider_names[channel]:
        raise ProviderMissingError
