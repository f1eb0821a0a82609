"""Use cases: erase a user, an address or an organisation; each returns a signed receipt.

What identifies a person is removed last, so an erasure that was cut off is repeated and goes on.
Source: docs/decisions/0031-leaving.md
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
from shared.store.admin.erasures import Erased
from shared.store.admin.pauses import Scope
from shared.store.batches import BatchAction
from shared.validation import address_key, format_timestamp
from web.admin.actions import AuditReason
from web.schemas import load_json
from web.services import WebServices

Receipt: TypeAlias = dict[str, Any]

MIN_NAME_CHARACTERS = 3  # of a name that is looked for in reasons
UNKNOWN = "there is no user with that id, and nothing is kept of one"
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


def forget_user(services: WebServices, user_id: str, request: ErasureRequest) -> Receipt:
    """Erase a user and everything that is kept of it.

    Raises:
        NotFoundError: there is no such user, and nothing is kept of one.
        ErasingError: the user is being erased just now.
        StoreUnavailableError, DirectoryUnavailableError: perhaps not all was erased; repeat it.
    """
    user = find_known(services, user_id)
    erasure = _Erasure(services, request, "user", _own_words(services, user_id, user))
    with services.erasures.turn("user", user_id), erasure.acting():
        erasure.erase_user(user_id, user)
        if not (user or erasure.counts.total()):
            raise NotFoundError(UNKNOWN)
        return erasure.conclude()


def forget_address(services: WebServices, text: str, request: ErasureRequest) -> Receipt:
    """Erase an address: users who have it lose it, and what was sent to it goes.

    Raises:
        InvalidRequestError: it is neither an e-mail address nor a phone number.
        NotFoundError: nothing is known of it.
        ErasingError, StoreUnavailableError, DirectoryUnavailableError: as `forget_user`.
    """
    recipient = read_recipient(text)
    key, digest = address_key(recipient.address), services.suppressions.digest(recipient)
    erasure = _Erasure(services, request, "address", {recipient.address, digest})
    with services.erasures.turn("address", recipient.channel, key), erasure.acting():
        erasure.erase_address(recipient, digest)
        if not (erasure.kept or erasure.counts.total()):
            raise NotFoundError("nothing is known of that address")
        return erasure.conclude()


def remove_organisation(
    services: WebServices,
    org_id: str,
    request: ErasureRequest,
    *,
    with_users: bool = False,
    max_users: int | None = None,
) -> Receipt:
    """Remove an organisation with all that it has; its users too if asked.

    Raises:
        NotFoundError: there is none. ErasingError: it is being removed just now.
        OrganisationInUseError: it has users, and more than `max_users` or `with_users` is False.
    """
    if not (org_id.isprintable() and services.callers.organisation_exists(org_id)):
        raise NotFoundError("there is no organisation with that id")
    directory, erasure = services.directory, _Erasure(services, request, "organisation", set())
    number = directory.count_members(org_id) if isinstance(directory, ErasingDirectory) else 0
    if number and not with_users:
        raise OrganisationInUseError(f"the organisation still has {number} users: --with-users")
    if max_users is not None and number > max_users:
        raise OrganisationInUseError(f"the organisation has {number} users: use the command line")
    act = request.why.act("organisation.remove", org_id)
    with services.erasures.turn("organisation", org_id), services.audit.acting(act):
        if isinstance(directory, ErasingDirectory):
            for user_id in directory.list_members(org_id):
                with services.erasures.turn("user", user_id):
                    user = directory.find_user(user_id)
                    erasure.marks |= _own_words(services, user_id, user)
                    erasure.erase_user(user_id, user)
        else:
            erasure.keep("users", None, OWNED)
        erasure.erase_organisation(org_id)
        return erasure.conclude()


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


def find_known(services: WebServices, user_id: str) -> User | None:
    """Return the user, if there is one; what is kept of it may be known all the same.

    Raises:
        NotFoundError: no user can have this id.
    """
    if not user_id.isprintable():  # nor could the store be asked for a lone surrogate
        raise NotFoundError(UNKNOWN)
    return services.directory.find_user(user_id)


def recipients_of(user: User | None) -> list[Recipient]:
    """Return every address that is known of a user."""
    own = (user.email, user.phone, *user.former_emails) if user else ()
    return [each for each in own if each]


def jwt_caller(services: WebServices, user_id: str) -> str:
    """Return the id as a caller of a user of the identity provider, as web/oidc.py makes it."""
    name = hashlib.sha256(f"{services.settings.oidc_issuer}\0{user_id}".encode()).hexdigest()
    return f"jwt_{name[:24]}"


def kept_batches(services: WebServices) -> Iterator[Any]:
    """Yield the batches whose lists are kept."""
    found = map(services.batches.find, services.batches.every_id())
    return (batch for batch in found if batch is not None)


def _names_of(user: User | None) -> set[str]:
    return {user.user_name, user.display_name} - {""} if user else set()


def _own_words(services: WebServices, user_id: str, user: User | None) -> set[str]:
    """Return the words that name a user: id, addresses, names, and the digests of them."""
    own = {user_id, services.digests.user_place(user_id)[1], jwt_caller(services, user_id)}
    own |= {name for name in _names_of(user) if len(name) >= MIN_NAME_CHARACTERS}
    for each in recipients_of(user):
        own |= {each.address, services.suppressions.digest(each)}
    return own


def _signature(services: WebServices, receipt: Receipt) -> str:
    text = orjson.dumps(receipt, option=orjson.OPT_SORT_KEYS).decode()
    return services.digests.digest("forget receipt", text)


class _Erasure:
    """One erasure: what was erased so far, what stays, and the words that may name the person."""

    def __init__(
        self, services: WebServices, request: ErasureRequest, subject: str, marks: set[str]
    ) -> None:
        self._services, self._request, self._subject = services, request, subject
        self.marks, self.kept = marks, list[dict[str, Any]]()
        self.counts = Counter[str]()
        self.receipt_id = f"forget_{secrets.token_hex(8)}"

    def keep(self, what: str, number: int | None, reason: str) -> None:
        if number != 0:
            self.kept.append({"what": what, "number": number, "reason": reason})

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Append to the audit trail under the receipt's id. No word names the person."""
        why = self._request.why
        reason = words(self.marks).sub("***", why.reason)
        action = f"{self._subject}.forget"
        act = Act(by=why.by, action=action, target=self.receipt_id, reason=reason)
        with self._services.audit.acting(act):
            yield

    def erase_user(self, user_id: str, user: User | None) -> None:
        services, recipients = self._services, recipients_of(user)
        erased = self._note(services.erasures.erase_user(user_id))
        lists, caller = kept_batches(services), jwt_caller(services, user_id)
        self.counts["batchEntries"] += services.batch_lists.find_user(lists, user_id, erase=True)
        self.counts["tokens"] += services.callers.remove_tokens(user_id=user_id)
        self.counts["limits"] += services.erasures.erase_caller(caller)
        digests = {services.suppressions.digest(each) for each in recipients}
        self._erase_suppressions(digests | erased.recipient_digests)
        typed = {user_id, *_names_of(user), *(each.address for each in recipients)}
        self.counts["forgotRequests"] += services.forgot.erase(typed)
        addresses = {address_key(each.address) for each in recipients}
        link = f"userID={quote(user_id, safe='')}&"

        def is_about(entry: dict[str, Any]) -> bool:
            text = f"{entry.get('text', '')}\n{entry.get('body', '')}"
            is_own = entry["resetId"] in erased.reset_ids or address_key(entry["to"]) in addresses
            return is_own or link in text

        self._erase_messages(is_about)
        if isinstance(services.directory, ErasingDirectory):
            self.counts["users"] += services.directory.remove_user(user_id)
        else:
            self.keep("users", 1 if user else 0, OWNED)
        self._note(services.erasures.erase_user(user_id))  # what was recorded meanwhile

    def erase_address(self, recipient: Recipient, digest: str) -> None:
        directory, erase = self._services.directory, self._services.erasures.erase_recipient
        key = address_key(recipient.address)
        if isinstance(directory, ErasingDirectory):
            for user_id in directory.find_holders(recipient.address):
                self._note(erase(user_id, recipient, digest))
                self.counts["holders"] += directory.remove_address(user_id, recipient.address)
                self._note(erase(user_id, recipient, digest))  # what was recorded meanwhile
        else:
            users = directory.find_users_by_address(recipient.address)
            for user in users:
                self._note(erase(user.user_id, recipient, digest))
            self.keep("users", len(users), OWNED)
        self._erase_suppressions({digest})
        self.counts["forgotRequests"] += self._services.forgot.erase([recipient.address])
        self._erase_messages(lambda entry: address_key(entry["to"]) == key)

    def erase_organisation(self, org_id: str) -> None:
        services, by = self._services, self._request.why.by
        self.counts["tokens"] += services.callers.remove_tokens(org_id=org_id)
        for subscription in services.subscriptions.all():
            if subscription.org_id == org_id:
                services.subscriptions.remove(subscription)
                self.counts["webhooks"] += services.webhooks.forget(subscription.subscription_id)
                self.counts["subscriptions"] += 1
        services.limits.clear("organisation", org_id)
        for batch in services.batches.active():
            if batch.org_ids == frozenset({org_id}):
                services.batches.change(batch, BatchAction.CANCEL)
                self.counts["cancelledBatches"] += 1
        if (Scope.ORGANISATION, org_id) in ((p.scope, p.name) for p in services.pauses.all()):
            services.pauses.resume(Scope.ORGANISATION, org_id, by=by, reason=self.receipt_id)
        services.callers.remove_organisation(org_id)
        self.counts["organisations"] = 1

    def _note(self, erased: Erased) -> Erased:
        self.counts.update(erased.counts)
        self.marks |= erased.reset_ids | erased.recipient_digests
        return erased

    def _erase_suppressions(self, digests: Iterable[str]) -> None:
        is_asked, number = self._request.with_suppressions, 0
        for digest in digests:
            lifted, found = self._services.erasures.erase_suppression(
                digest, with_suppression=is_asked
            )
            self.counts["liftedSuppressions"] += lifted
            number += found
        self.counts["suppressions"] += number if is_asked else 0
        self.keep("suppressions", 0 if is_asked else number, SUPPRESSED)

    def _erase_messages(self, is_about: Callable[[dict[str, Any]], bool]) -> None:
        data_dir = self._services.settings.data_dir
        self.counts["outboxMessages"] += erase_from_outbox(data_dir, is_about)

    def conclude(self) -> Receipt:
        """Redact the trail if asked, have the server's files written anew; return the receipt."""
        services, request = self._services, self._request
        if request.with_audit:
            with services.erasures.turn("audit"):
                self.counts["auditEntries"] = services.audit.redact(self.marks)
        else:
            self.keep("audit entries", None, TRAIL)
        self.keep("logs", None, LOGS)
        receipt = {
            "receiptId": self.receipt_id,
            "subject": self._subject,
            "at": format_timestamp(datetime.now(UTC)),
            "erased": {what: number for what, number in sorted(self.counts.items()) if number},
            "kept": self.kept,
            "serverFiles": services.erasures.rewrite_files(wait_seconds=request.wait_seconds),
        }
        return receipt | {"signature": _signature(services, receipt)}
