"""Use cases: erase a user, an address or an organisation; each returns a signed receipt.

What identifies a person is removed last, so an erasure that was cut off is repeated and goes on.
Source: docs/decisions/0031-leaving.md
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias
from urllib.parse import quote

import orjson

from shared import validation
from shared.directories import ErasingDirectory
from shared.errors import InvalidRequestError, NotFoundError, OrganisationInUseError
from shared.models import Channel, Recipient, User
from shared.providers.outbox import erase_from_outbox
from shared.store.admin.audit import Act, words
from shared.store.admin.pauses import Scope
from shared.store.batches import BatchAction
from shared.validation import address_key, format_timestamp
from web.admin.actions import AuditReason
from web.schemas import load_json
from web.services import WebServices

Receipt: TypeAlias = dict[str, Any]

MIN_NAME_CHARACTERS = 3  # of a name that is looked for in reasons
OWNED = "the user belongs to another directory; remove it there"
SUPPRESSED = "so that the address is not written to again; --with-suppressions erases them"
TRAIL = "who did what must stay provable; --with-audit takes the person out of it"
LOGS = "reset ids and keyed digests alone, which lead to no record any more; they expire by age"


@dataclass(frozen=True, slots=True)
class ErasureRequest:
    """Who erases and why, and what goes as well."""

    why: AuditReason
    with_suppressions: bool = False
    with_audit: bool = False
    wait_seconds: float = 0  # for the server's files to be written anew


@dataclass(slots=True)
class _Erasure:
    """What was erased so far, what stays, and the words by which the person may be named."""

    counts: Counter[str] = field(default_factory=Counter)
    kept: list[dict[str, Any]] = field(default_factory=list)
    marks: set[str] = field(default_factory=set)

    def keep(self, what: str, number: int | None, reason: str) -> None:
        if number != 0:
            self.kept.append({"what": what, "number": number, "reason": reason})


def forget_user(services: WebServices, user_id: str, request: ErasureRequest) -> Receipt:
    """Erase a user and everything that is kept of it.

    Raises:
        NotFoundError: there is no such user, and nothing is kept of one.
        ErasingError: the user is being erased just now.
        StoreUnavailableError, DirectoryUnavailableError: perhaps not all was erased; repeat it.
    """
    user = services.directory.find_user(user_id)
    own = _own_words(services, user_id, user)
    with services.erasures.turn("user", user_id), _acting(services, "user", request, own) as name:
        done = _erase_user(services, user_id, user, request)
        if not (user or done.counts.total()):
            raise NotFoundError("there is no user with that id, and nothing is kept of one")
        return _conclude(services, "user", name, done, request)


def forget_address(services: WebServices, text: str, request: ErasureRequest) -> Receipt:
    """Erase an address: users who have it lose it, and what was sent to it goes.

    Raises:
        InvalidRequestError: it is neither an e-mail address nor a phone number.
        NotFoundError: nothing is known of it.
        ErasingError, StoreUnavailableError, DirectoryUnavailableError: as `forget_user`.
    """
    recipient = read_recipient(text)
    digest, done = services.suppressions.digest(recipient), _Erasure()
    done.marks = {recipient.address, digest}
    turn = services.erasures.turn("address", recipient.channel, address_key(recipient.address))
    with turn, _acting(services, "address", request, done.marks) as name:
        directory, held = services.directory, 0
        if isinstance(directory, ErasingDirectory):
            holders = directory.find_holders(recipient.address)
        else:
            users = directory.find_users_by_address(recipient.address)
            holders, held = [user.user_id for user in users], len(users)
        for user_id in holders:
            _erase_sent(services, user_id, recipient, done)
            if isinstance(directory, ErasingDirectory):
                done.counts["holders"] += directory.remove_address(user_id, recipient.address)
                _erase_sent(services, user_id, recipient, done)  # what was recorded meanwhile
        _erase_recipients(services, {digest}, request, done)
        done.counts["forgotRequests"] = services.forgot.erase([recipient.address])
        done.counts["outboxMessages"] = erase_from_outbox(
            services.settings.data_dir,
            lambda entry: address_key(entry["to"]) == address_key(recipient.address),
        )
        done.keep("users", held, OWNED)
        if not (done.kept or done.counts.total()):
            raise NotFoundError("nothing is known of that address")
        return _conclude(services, "address", name, done, request)


def remove_organisation(
    services: WebServices,
    org_id: str,
    request: ErasureRequest,
    *,
    with_users: bool = False,
    max_users: int | None = None,
) -> Receipt:
    """Remove an organisation with its tokens and subscriptions; its users too if asked.

    Raises:
        NotFoundError: there is none. ErasingError: it is being removed just now.
        OrganisationInUseError: it has users, and more than `max_users` or `with_users` is False.
    """
    if not services.callers.organisation_exists(org_id):
        raise NotFoundError("there is no organisation with that id")
    directory, done = services.directory, _Erasure()
    is_ours = isinstance(directory, ErasingDirectory)
    number = directory.count_members(org_id) if isinstance(directory, ErasingDirectory) else 0
    if number and not with_users:
        raise OrganisationInUseError(f"the organisation still has {number} users: --with-users")
    if max_users is not None and number > max_users:
        raise OrganisationInUseError(f"the organisation has {number} users: use the command line")
    name, act = _new_name(), request.why.act("organisation.remove", org_id)
    with services.erasures.turn("organisation", org_id), services.audit.acting(act):
        members = directory.list_members(org_id) if isinstance(directory, ErasingDirectory) else ()
        for user_id in members:
            with services.erasures.turn("user", user_id):
                user = directory.find_user(user_id)
                each = _erase_user(services, user_id, user, request)
            done.counts, done.marks = done.counts + each.counts, done.marks | each.marks
        _remove_belongings(services, org_id, name, request, done)
        services.callers.remove_organisation(org_id)
        done.counts["organisations"] = 1
        done.keep("users", None if not is_ours else 0, OWNED)
        return _conclude(services, "organisation", name, done, request)


def _remove_belongings(
    services: WebServices, org_id: str, name: str, request: ErasureRequest, done: _Erasure
) -> None:
    """Remove what works for an organisation: tokens, webhooks, limits, batches, its pause."""
    done.counts["tokens"] += services.callers.remove_tokens(org_id=org_id)
    for subscription in services.subscriptions.all():
        if subscription.org_id == org_id:
            services.subscriptions.remove(subscription)
            done.counts["webhooks"] += services.webhooks.forget(subscription.subscription_id)
            done.counts["subscriptions"] += 1
    services.limits.clear("organisation", org_id)
    for batch in services.batches.active():
        if batch.org_ids == frozenset({org_id}):
            services.batches.change(batch, BatchAction.CANCEL)
            done.counts["cancelledBatches"] += 1
    for pause in services.pauses.all():
        if (pause.scope, pause.name) == (Scope.ORGANISATION, org_id):
            services.pauses.resume(Scope.ORGANISATION, org_id, by=request.why.by, reason=name)


def verify_receipt(services: WebServices, text: str | bytes) -> Receipt:
    """Return a receipt if it is as it was signed.

    Raises:
        InvalidRequestError: it is not, or is no receipt.
    """
    try:
        receipt: Receipt = load_json(text)
        signature = str(receipt.pop("signature"))
        right = _signature(services, receipt)
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise InvalidRequestError("this is no receipt of an erasure") from error
    if not hmac.compare_digest(signature.encode(), right.encode()):
        raise InvalidRequestError("the receipt was changed, or is another installation's")
    return receipt | {"signature": signature}


def read_recipient(text: str) -> Recipient:
    """Return the recipient of a typed address.

    Raises:
        InvalidRequestError: it is none; the text does not repeat it.
    """
    try:
        if "@" in text:
            return Recipient(Channel.EMAIL, validation.email(text))
        return Recipient(Channel.SMS, validation.phone(text))
    except ValueError as error:
        raise InvalidRequestError(f"address {error}") from None


def _own_words(services: WebServices, user_id: str, user: User | None) -> set[str]:
    """Return the words that name a user: id, addresses, names, and the digests of them."""
    digest, recipients = services.suppressions.digest, recipients_of(user)
    names = (user.user_name, user.display_name) if user else ()
    own = {user_id, services.digests.user_place(user_id)[1], jwt_caller(services, user_id)}
    own |= {name for name in names if len(name) >= MIN_NAME_CHARACTERS}
    return own.union(*({each.address, digest(each)} for each in recipients))


def recipients_of(user: User | None) -> list[Recipient]:
    """Return every address that is known of a user."""
    own = (user.email, user.phone, *user.former_emails) if user else ()
    return [each for each in own if each]


def jwt_caller(services: WebServices, user_id: str) -> str:
    """Return the id as a caller of a user of the identity provider, as web/oidc.py makes it."""
    name = hashlib.sha256(f"{services.settings.oidc_issuer}\0{user_id}".encode()).hexdigest()
    return f"jwt_{name[:24]}"


def _erase_user(
    services: WebServices, user_id: str, user: User | None, request: ErasureRequest
) -> _Erasure:
    done = _Erasure(marks=_own_words(services, user_id, user))
    erasures, recipients = services.erasures, recipients_of(user)
    first = erasures.erase_user(user_id)
    batches = kept_batches(services)
    done.counts["batchEntries"] = services.batch_lists.find_user(batches, user_id, erase=True)
    done.counts["tokens"] = services.callers.remove_tokens(user_id=user_id)
    done.counts["limits"] = erasures.erase_caller(jwt_caller(services, user_id))
    digests = {services.suppressions.digest(each) for each in recipients}
    _erase_recipients(services, digests | first.recipient_digests, request, done)
    typed = {user_id, *(each.address for each in recipients)}
    typed |= {user.user_name, user.display_name} - {""} if user else set()
    done.counts["forgotRequests"] = services.forgot.erase(typed)
    addresses = {address_key(each.address) for each in recipients}
    link = f"userID={quote(user_id, safe='')}&"

    def is_about(entry: dict[str, Any]) -> bool:
        text = f"{entry.get('text', '')}\n{entry.get('body', '')}"
        is_own = entry["resetId"] in first.reset_ids or address_key(entry["to"]) in addresses
        return is_own or link in text

    done.counts["outboxMessages"] = erase_from_outbox(services.settings.data_dir, is_about)
    if isinstance(services.directory, ErasingDirectory):
        done.counts["users"] = int(services.directory.remove_user(user_id))
    else:
        done.keep("users", 1 if user else 0, OWNED)
    second = erasures.erase_user(user_id)  # what was recorded meanwhile
    done.counts.update(first.counts)
    done.counts.update(second.counts)
    done.marks |= first.reset_ids | second.reset_ids | first.recipient_digests
    return done


def _erase_sent(services: WebServices, user_id: str, recipient: Recipient, done: _Erasure) -> None:
    digest = services.suppressions.digest(recipient)
    erased = services.erasures.erase_recipient(user_id, recipient, digest)
    done.counts.update(erased.counts)
    done.marks |= erased.reset_ids


def _erase_recipients(
    services: WebServices, digests: Iterable[str], request: ErasureRequest, done: _Erasure
) -> None:
    staying = 0
    for digest in digests:
        lifted, number = services.erasures.erase_suppression(
            digest, with_suppression=request.with_suppressions
        )
        done.counts["liftedSuppressions"] += lifted
        if request.with_suppressions:
            done.counts["suppressions"] += number
        else:
            staying += number
    done.keep("suppressions", staying, SUPPRESSED)


def kept_batches(services: WebServices) -> Iterator[Any]:
    """Yield the batches whose lists are kept."""
    found = map(services.batches.find, services.batches.every_id())
    return (batch for batch in found if batch is not None)


def _new_name() -> str:
    return f"forget_{secrets.token_hex(8)}"


@contextmanager
def _acting(
    services: WebServices, subject: str, request: ErasureRequest, own: set[str]
) -> Iterator[str]:
    """Append to the audit trail under a new receipt's id; give that. No word names the person."""
    name, why = _new_name(), request.why
    reason = words(own).sub("***", why.reason)
    with services.audit.acting(
        Act(by=why.by, action=f"{subject}.forget", target=name, reason=reason)
    ):
        yield name


def _conclude(
    services: WebServices, subject: str, name: str, done: _Erasure, request: ErasureRequest
) -> Receipt:
    if request.with_audit:
        with services.erasures.turn("audit"):
            done.counts["auditEntries"] = services.audit.redact(done.marks)
    else:
        done.keep("audit entries", None, TRAIL)
    done.keep("logs", None, LOGS)
    receipt = {
        "receiptId": name,
        "subject": subject,
        "at": format_timestamp(datetime.now(UTC)),
        "erased": {what: number for what, number in sorted(done.counts.items()) if number},
        "kept": done.kept,
        "serverFiles": services.erasures.rewrite_files(wait_seconds=request.wait_seconds),
    }
    return receipt | {"signature": _signature(services, receipt)}


def _signature(services: WebServices, receipt: Receipt) -> str:
    text = orjson.dumps(receipt, option=orjson.OPT_SORT_KEYS).decode()
    return services.digests.digest("forget receipt", text)
