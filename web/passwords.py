"""Use case: set a password (v2), by code, by the current password, or by permission."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import NoReturn

import structlog

from shared.codes import is_link_secret, normalise_code
from shared.errors import (
    CallerError,
    CodeExpiredError,
    CodeMismatchError,
    CodeUnusableError,
    CountryNotAllowedError,
    DirectoryUnavailableError,
    InvalidRequestError,
    KeyturnError,
    MachineUserError,
    PasswordMismatchError,
    PasswordMissingError,
    PasswordTooLongError,
    PasswordUserNotInitialisedError,
    PasswordUserUnknownError,
    RecipientMissingError,
    StoreUnavailableError,
    TooManyRequestsError,
    UnknownKeyError,
    UserChangedError,
    UserNotInitialisedError,
    UserUnknownError,
)
from shared.models import Caller, Channel, Organisation, Queue, Recipient, User, UserState
from shared.passwords.check import check_new_password
from shared.passwords.policy import normalise_password
from shared.policies import (
    NOTICE_GAP_SECONDS,
    NOTICE_LIFETIME_SECONDS,
    check_country,
    check_may_reset,
    check_recipient,
    provider_names,
    record_lifetime_seconds,
    sms_regions,
)
from shared.queue import hint_at
from shared.recording import (
    NEVER_MS,
    ResetRequest,
    page_limits,
    record_refusals,
    record_reset,
    sms_budget,
)
from shared.store.admin.audit import Act
from shared.store.codes import (
    MAX_WRONG_OF_A_RESET,
    WRONG_PASSWORD_SECONDS,
    CompletionNotice,
    Guesser,
    KnownCode,
)
from shared.store.limits import Limit
from shared.tracing import bind_context
from shared.validation import MAX_PASSWORD_CHARACTERS
from web.auth import USER_WRITE, Credentials, audit_name, count_change, retry_when_rights_change
from web.resets import check_id_length
from web.services import WebServices

log = structlog.get_logger()

STORE_RETRY_SECONDS = 0.5
MAX_CODE_CHARACTERS = 20
MAX_PASSWORD_TRIES = 100  # of one caller in 15 minutes, at all users it may not write to


@dataclass(frozen=True, slots=True)
class Completed:
    """A changed password."""

    user: User
    language: str
    sequence: int
    changed_at: datetime


def complete_reset(
    services: WebServices,
    *,
    user_id: str,
    typed_code: str,
    new_password: str,
    guesser: Guesser,
    change_required: bool = False,
) -> Completed:
    """Change a user's password with a code; every live code of the user is used up.

    The code is checked before the password: a password against the policy leaves the code usable.
    `guesser`: whose wrong codes are counted.

    Raises:
        UserUnknownError, UserNotInitialisedError, MachineUserError, UserInactiveError.
        CodeMismatchError: the code is wrong, and another one is live.
        CodeUnusableError: the code was used, voided or displaced, what it rests on changed, or no
            code is live.
        CodeExpiredError.
        TooManyRequestsError: too many typed codes of the guesser were wrong.
        PasswordMissingError, PasswordTooLongError, PasswordPolicyError.
        DirectoryUnavailableError: nothing was changed.
        StoreUnavailableError: nothing was changed; or, if the store failed after the directory was
            written and did not recover, the password was changed.
    """
    bind_context(user=services.digests.user_place(user_id)[1])
    user = check_may_reset(services.directory.find_user(user_id), None)
    known, tried = check_code(services, user_id, typed_code, guesser)
    return use_code(services, user, known, tried, new_password, change_required=change_required)


def use_code(
    services: WebServices,
    user: User,
    known: KnownCode,
    tried: Guesser | None,
    new_password: str,
    *,
    change_required: bool = False,
) -> Completed:
    """Change the password with a code that is right; raise as complete_reset."""
    user_id = user.user_id
    if not _still_rests(services, known, user):
        services.code_store.refund_try(user_id, tried)
        _end_code(services, user_id, known)
    try:
        check_new_password(services, user, new_password)
    except KeyturnError:
        services.code_store.note_opened(user_id, known.reset_id, tried)
        raise
    token = services.code_store.take(user_id, known.reset_id, tried)
    if token is None:
        raise CodeUnusableError("used", language=known.language)
    try:
        user = services.directory.set_password(
            user,
            new_password,
            change_required=change_required,
            only_if=partial(_still_rests, services, known),
        )
    except (DirectoryUnavailableError, InvalidRequestError):  # or the application refuses it
        services.code_store.release(user_id, token)
        raise
    except UserChangedError:
        services.code_store.release(user_id, token)
        _end_code(services, user_id, known)
    return _conclude(services, user, known, token)


def _still_rests(services: WebServices, known: KnownCode, user: User) -> bool:
    """Return True if what a code rests on is as it was when the code was sent."""
    changed = services.digests.what_changed(known.basis, user, known.channel)
    return user.state is UserState.ACTIVE and not changed


def _end_code(services: WebServices, user_id: str, known: KnownCode) -> NoReturn:
    services.code_store.end_code(user_id, known.reset_id, "replaced")
    log.info("code.refused", reset_id=known.reset_id, why="replaced")
    raise CodeUnusableError("replaced", language=known.language)


def check_code(
    services: WebServices, user_id: str, typed_code: str, guesser: Guesser
) -> tuple[KnownCode, Guesser | None]:
    """Return the live code that matches, and whose try it was: a link's secret needs none.

    All known codes are compared, for constant time. A link's secret is right whatever others tried.
    """
    tried, store = None if is_link_secret(typed_code) else guesser, services.code_store
    known_codes = store.begin_try(user_id, tried) if tried else store.list_known(user_id)
    matching = [known for known in known_codes if _matches(services, known, typed_code)]
    if not matching:
        _refuse_wrong_code(services, user_id, known_codes, tried)
    known = matching[0]
    if known.may_be_typed or (known.is_live and tried is None):
        return known, tried
    store.refund_try(user_id, tried)
    end = "voided" if known.is_live else known.end
    log.info("code.refused", reset_id=known.reset_id, why=end or "expired")
    if end:
        raise CodeUnusableError(end, language=known.language)
    raise CodeExpiredError(language=known.language)


def _matches(services: WebServices, known: KnownCode, typed_code: str) -> bool:
    try:
        return services.codes.code(known.reset_id, known.key_id).matches(typed_code)
    except UnknownKeyError:
        return False


def _refuse_wrong_code(
    services: WebServices, user_id: str, known_codes: list[KnownCode], tried: Guesser | None
) -> NoReturn:
    services.code_store.note_wrong(user_id, tried)
    log.info("code.refused", why="wrong")
    for known in known_codes if tried else ():
        if known.is_live and known.wrong_tries == MAX_WRONG_OF_A_RESET - 1:
            log.warning("codes.voided", reset_id=known.reset_id)
    if any(known.is_live if tried is None else known.may_be_typed for known in known_codes):
        raise CodeMismatchError
    raise CodeUnusableError


def _conclude(services: WebServices, user: User, known: KnownCode, token: str) -> Completed:
    notice = make_notice(services, user, language=known.language)
    done = _use_up(services, user, known, token, notice)
    if done is None:
        raise CodeUnusableError("used", language=known.language)
    _hint_at_notices(services, notice, recorded=done[2])
    log.info("reset.completed", reset_id=known.reset_id)
    return Completed(user, known.language, *done[:2])


def _use_up(
    services: WebServices, user: User, known: KnownCode, token: str, notice: CompletionNotice
) -> tuple[int, datetime, frozenset[str]] | None:
    """Use up the codes; retry once, because the password has been changed already."""
    complete = partial(
        services.code_store.complete,
        user.user_id,
        reset_id=known.reset_id,
        token=token,
        notice=notice,
    )
    try:
        return complete()
    except StoreUnavailableError:
        log.warning("store.unavailable", during="completing")
        time.sleep(STORE_RETRY_SECONDS)
        return complete()


def make_notice(services: WebServices, user: User, *, language: str) -> CompletionNotice:
    """Return the record of the message "your password was changed".

    It goes to the e-mail address the user has now, or by SMS where there is none that may be
    written to; and by e-mail to each address that the user had a while ago.
    """
    fields = {
        "u": user.user_id,
        "o": user.org_id,
        "lg": language,
        "kid": services.codes.signing_key_id,
    }
    organisation = services.callers.find_organisation(user.org_id)
    keep_seconds = record_lifetime_seconds(services.settings, organisation)
    if keep_seconds < services.settings.record_lifetime_seconds:
        fields["kp"] = str(int(keep_seconds * 1000))
    new_id, digest = services.digests.new_reset_id, services.suppressions.digest
    present, recipients = _present_recipient(services, user, organisation), {}
    channel = present.channel if present else Channel.EMAIL
    notice_id, present_digest = new_id(user.user_id), digest(present) if present else ""
    if channel is Channel.EMAIL or _is_within_budget(services, notice_id):
        recipients[notice_id] = (present_digest, channel)
    former = {digest(each) for each in user.former_emails} - {present_digest}
    recipients |= {new_id(user.user_id): (each, Channel.EMAIL) for each in sorted(former)}
    return CompletionNotice(recipients, NOTICE_LIFETIME_SECONDS, NOTICE_GAP_SECONDS, fields)


def _present_recipient(
    services: WebServices, user: User, organisation: Organisation | None
) -> Recipient | None:
    """Return where a notice goes now; the e-mail address, for the record, if nowhere."""
    for channel in (Channel.EMAIL, Channel.SMS):
        try:
            recipient = check_recipient(
                user, channel, allow_unverified=services.settings.allow_unverified
            )
            check_country(recipient, sms_regions(organisation, services.sms_regions))
        except (RecipientMissingError, CountryNotAllowedError):
            continue
        if provider_names(organisation, channel, services.provider_names[channel]):
            return recipient
    return user.email


def _is_within_budget(services: WebServices, notice_id: str) -> bool:
    """Count an SMS toward the day's budget; return False if that is spent."""
    budget = sms_budget(services.settings)
    try:
        if budget.most:
            services.limits.pass_gate([budget], recipient_digest="", version=-1, reset_id=notice_id)
    except TooManyRequestsError as error:
        log.warning("reset.limited", limit=error.limit)
        return False
    return True


def _hint_at_notices(
    services: WebServices, notice: CompletionNotice, *, recorded: Collection[str]
) -> None:
    """Hint at the notices; one that an earlier notice stands for costs no SMS."""
    for reset_id, (_, channel) in notice.recipients.items():
        services.hints.publish(hint_at(reset_id, channel, Queue.URGENT))
        budget = sms_budget(services.settings)
        if channel is Channel.SMS and reset_id not in recorded and budget.most:
            services.limits.give_back([budget], reset_id=reset_id)


def request_fresh(services: WebServices, *, user_id: str, typed_code: str, source: str) -> None:
    """Request a fresh message from the page; do not reveal whether a reset was recorded.

    The button has limits of its own, so that a stranger's presses spend nothing of the API's.
    Holders of a former code, or of a link, get the message on its channel. While the user still has
    the address it went to, they have limits apart from strangers'. All others get it only if none
    waits to be sent and it displaces no code.

    Raises:
        StoreUnavailableError, DirectoryUnavailableError: no reset can be recorded at present.
    """
    held = find_held(services, user_id, typed_code)
    channel = held.channel if held else Channel.EMAIL
    try:
        with record_refusals(services, user_id, channel) as refused:
            user = check_may_reset(services.directory.find_user(user_id), None)
            refused.organisation = services.callers.find_organisation(user.org_id)
            is_holder = held and services.digests.still_reaches(held.basis, user, channel)
            request = ResetRequest(
                user=user,
                organisation=refused.organisation,
                channel=channel,
                reset_id=services.digests.new_reset_id(user_id),
                limits=page_limits(
                    services, user, None if is_holder else source, is_holder=bool(is_holder)
                ),
                has_user_limits=False,
                since_ms=0 if is_holder else NEVER_MS,
            )
            record_reset(services, request)
    except (StoreUnavailableError, DirectoryUnavailableError):
        raise
    except CallerError as error:
        limit = error.limit if isinstance(error, TooManyRequestsError) else None
        log.info("reset.unmatched", why=type(error).__name__, limit=limit)


def find_held(services: WebServices, user_id: str, typed_code: str) -> KnownCode | None:
    """Return the code that was given; a live one by its link alone, so none can be guessed."""
    is_link = is_link_secret(typed_code)
    known_codes = services.code_store.list_known(user_id)
    candidates = [known for known in known_codes if is_link or not known.is_live]
    return next((known for known in candidates if _matches(services, known, typed_code)), None)


@dataclass(frozen=True, slots=True)
class SetPasswordRequest:
    """The decoded request, not yet checked."""

    user_id: str
    password: str = field(repr=False, default="")
    verification_code: str | None = field(repr=False, default=None)
    current_password: str | None = field(repr=False, default=None)
    change_required: bool = False  # the user must choose another at the next sign-in


@retry_when_rights_change
def set_password(
    services: WebServices, credentials: Credentials, request: SetPasswordRequest
) -> Completed:
    """Change a user's password, use up every live code, and notify the user.

    A user whom the caller may not see takes the same steps as one who does not exist.

    Raises:
        CallerError: the first check that failed; nothing was changed.
    """
    caller = services.auth.authenticate(credentials)
    _check_ranges(request)
    bind_context(user=services.digests.user_place(request.user_id)[1])
    found = services.directory.find_user(request.user_id) if request.user_id.isprintable() else None
    user = services.auth.visible_user(caller, found)
    if request.verification_code is None and request.current_password is None:
        services.auth.authorize_password_change(caller, user)
    guesses = _guess_limits(services, caller, user, request)
    count_change(services, caller, user.org_id if user else None, *guesses)
    is_current = _has_current_password(services, caller, user, request)
    with _errors_of_this_call():
        person = check_may_reset(user, None)
        if request.verification_code is not None:
            return complete_reset(
                services,
                user_id=person.user_id,
                typed_code=request.verification_code,
                new_password=request.password,
                guesser=Guesser(f"token {caller.token_id}", f"token {caller.token_id}"),
                change_required=request.change_required,
            )
    if not is_current:
        raise PasswordMismatchError
    act = Act(by=audit_name(caller), action="password.set", target=person.user_id)
    with services.audit.acting(act) if request.current_password is None else nullcontext():
        check_new_password(services, person, request.password)
        return _change(services, person, request)


def _check_ranges(request: SetPasswordRequest) -> None:
    check_id_length(request.user_id)
    if not request.password:
        raise PasswordMissingError
    if len(normalise_password(request.password)) > MAX_PASSWORD_CHARACTERS:
        raise PasswordTooLongError
    code, current = request.verification_code, request.current_password
    # Hyphens and blanks do not count, for a link's secret alone takes all of them.
    if code is not None and not (code and len(normalise_code(code)) <= MAX_CODE_CHARACTERS):
        raise InvalidRequestError("verificationCode must have 1 to 20 characters")
    if current is not None and not 1 <= len(normalise_password(current)) <= MAX_PASSWORD_CHARACTERS:
        raise InvalidRequestError("currentPassword must have 1 to 200 characters")


@contextmanager
def _errors_of_this_call() -> Iterator[None]:
    try:
        yield
    except (UserUnknownError, MachineUserError) as error:
        raise PasswordUserUnknownError from error
    except UserNotInitialisedError as error:
        raise PasswordUserNotInitialisedError from error


def _guess_limits(
    services: WebServices, caller: Caller, user: User | None, request: SetPasswordRequest
) -> list[Limit]:
    may_write = user is not None and services.auth.may(caller, user.org_id, USER_WRITE)
    if request.current_password is None or may_write:
        return []
    return [Limit("passwords", caller.token_id, MAX_PASSWORD_TRIES, int(WRONG_PASSWORD_SECONDS))]


def _has_current_password(
    services: WebServices, caller: Caller, user: User | None, request: SetPasswordRequest
) -> bool:
    """Return False if the request has a current password, and not the user's.

    Raises:
        TooManyRequestsError: the caller has tried too many at this user, who may not exist.
    """
    if request.current_password is None:
        return True
    services.code_store.begin_password_try(request.user_id, by=caller.token_id)
    try:
        is_right = services.directory.has_password(user, request.current_password)
    except DirectoryUnavailableError:
        services.code_store.refund_password_try(request.user_id, by=caller.token_id)
        raise
    if is_right:
        services.code_store.forget_password_tries(request.user_id, by=caller.token_id)
    return is_right


def _change(services: WebServices, user: User, request: SetPasswordRequest) -> Completed:
    try:
        user = services.directory.set_password(
            user, request.password, change_required=request.change_required
        )
    except UserChangedError as error:  # at this moment; a second try tells what became of it
        raise DirectoryUnavailableError from error
    return conclude_without_code(services, user)


def conclude_without_code(services: WebServices, user: User) -> Completed:
    """End a user's codes, notify the user and tell subscribers, after a change without a code."""
    organisation = services.callers.find_organisation(user.org_id)
    language = services.languages.choose_for(user, organisation)
    notice = make_notice(services, user, language=language)
    done = services.code_store.complete(user.user_id, reset_id="", token="", notice=notice)
    log.info("password.changed")
    if done is None:
        raise RuntimeError("completing without a code cannot lose a claim")
    _hint_at_notices(services, notice, recorded=done[2])
    return Completed(user, language, *done[:2])
