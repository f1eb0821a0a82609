"""Diagnose why a user got, or did not get, a message, and say what to do next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from shared.guard.rules import BLOCK
from shared.models import Channel, EventType, Kind, Outcome, Queue, Reset, Status
from shared.store.admin.pauses import Pause, Scope
from shared.store.admin.refusals import Refusal
from shared.store.codes import MAX_WRONG_OF_A_RESET
from shared.store.due_sets import PROVIDER_PAUSED
from shared.store.suppressions import Suppression
from shared.validation import parse_timestamp
from web.explain.model import Diagnosis, DiagnosisKind, Evidence
from web.explain.wording import (
    LIMITS,
    REASONS,
    SMS_RULES,
    describe_guesses,
    describe_last_attempt,
    describe_reason,
    format_duration,
    format_last_start,
    format_time,
)

# The errors that refuse a request, limits apart: kind, text, next step.
REFUSALS = {
    "RecipientMissing": (
        DiagnosisKind.NO_ADDRESS,
        "the user has no verified address there",
        "Give the user a verified address in the directory, or ask on the other channel.",
    ),
    "CountryNotAllowed": (
        DiagnosisKind.BLOCKED,
        "SMS to the country of that number are not allowed",
        "Ask by e-mail, or add the country to KEYTURN_SMS_COUNTRIES.",
    ),
    "LineType": (
        DiagnosisKind.BLOCKED,
        "that kind of phone number takes no SMS (a premium or fixed line, say)",
        "Ask by e-mail, correct the number, or name the kind in KEYTURN_SMS_ALLOW_LINES.",
    ),
    "SmsSuspicious": (
        DiagnosisKind.BLOCKED,
        "SMS to such numbers are stopped",
        (
            "Ask by e-mail where there is an address. `keyturn sms list` has the figures; are they "
            "people, `keyturn sms lift"
        ),
    ),
    "RecipientSuppressed": (
        DiagnosisKind.BOUNCED,
        "the address is suppressed",
        (
            "Check the address with the user and correct it in the directory; is it right, "
            "`keyturn suppression lift ADDRESS --reason …`."
        ),
    ),
    "ProviderMissing": (
        DiagnosisKind.REFUSED,
        "no provider is configured for that channel",
        "Set KEYTURN_EMAIL_PROVIDERS or KEYTURN_SMS_PROVIDERS, or ask on the other channel.",
    ),
    "UserInactive": (
        DiagnosisKind.REFUSED,
        "the user is locked or deactivated",
        "Activate the user in the directory, then ask again.",
    ),
    "UserNotInitialised": (
        DiagnosisKind.REFUSED,
        "the user is not yet initialised",
        "The user finishes signing up first.",
    ),
    "ResetUserNotInitialised": (
        DiagnosisKind.REFUSED,
        "the user is not yet initialised",
        "The user finishes signing up first.",
    ),
    "MachineUser": (
        DiagnosisKind.REFUSED,
        "the user is a machine",
        "A machine has no password; give it a token instead.",
    ),
    "UrlNotAllowed": (
        DiagnosisKind.REFUSED,
        "the caller's link leads to a host that is not allowed, or to such a port, or by http://",
        (
            "Use https://; or add the host, with its port if it has one, to the organisation "
            "(`keyturn org add … --link-host`) or to KEYTURN_LINK_HOSTS."
        ),
    ),
}
CHANNELS = {Channel.EMAIL: " by e-mail", Channel.SMS: " by SMS", None: ""}
OTHER_CHANNEL = {Channel.EMAIL: "sms", Channel.SMS: "email"}
# Statuses in which a reset can still help the user.
ALIVE = {
    *(Status.QUEUED, Status.SENDING, Status.RETRYING, Status.UNKNOWN),
    *(Status.ACCEPTED, Status.DELIVERED),
}
HANDED_OVER = {Status.ACCEPTED, Status.DELIVERED, Status.UNKNOWN}
CIRCUIT_OPEN = "circuit_open"
MAX_GUESSES_SHOWN = 3
OVERDUE = timedelta(seconds=2)
# Most receipts of a channel are there by then.
RECEIPT_AFTER = {Channel.EMAIL: timedelta(minutes=5), Channel.SMS: timedelta(minutes=2)}
BLOCKED = {"twilio_21408", "twilio_30004", "twilio_30007"}
NOT_DELIVERED = {
    Status.SUPPRESSED: "Nothing was sent",
    Status.UNDELIVERED: "It came back",
    Status.FAILED: "It failed for good",
}
TWO_COPIES = (
    "It may have come twice, for an attempt ended in doubt; both copies carry the same code."
)


def diagnose(evidence: Evidence) -> Diagnosis:
    """Return what happened to the reset, or to the last request, and what to do next."""
    found = _diagnose(evidence)
    if not evidence.guesses and not evidence.is_void:
        return found
    guesses = [describe_guesses(each) for each in evidence.guesses[:MAX_GUESSES_SHOWN]]
    if evidence.is_void:
        guesses.insert(0, f"after {MAX_WRONG_OF_A_RESET} wrong tries its code cannot be typed")
    text = f"{found.text} Guesses: {'; '.join(guesses)}. No link ends by them."
    next_step = f"{found.next_step} To let the code be typed again: "
    next_step += f"`keyturn limit clear --user {evidence.user_id} --reason …`."
    return replace(found, text=text, next_step=next_step)


def _diagnose(evidence: Evidence) -> Diagnosis:
    reset = evidence.reset
    if _is_about_refusal(evidence):
        return _refused(evidence)
    if reset is None:
        return _no_request(evidence)
    if reset.completed_at:
        diagnosis = Diagnosis(
            DiagnosisKind.OVER,
            f"The code was used and the password changed at {format_time(reset.completed_at)}.",
            "Nothing; if it was not the user, lock the user and look at the callers.",
        )
    else:
        diagnosis = _ended(evidence, reset) or BY_STATUS[reset.status](evidence, reset)
    outcomes = [attempt.outcome for attempt in reset.attempts]
    if outcomes.count(Outcome.DOUBT) > 1 or {Outcome.DOUBT, Outcome.ACCEPTED} <= set(outcomes):
        return replace(diagnosis, text=f"{diagnosis.text} {TWO_COPIES}")
    return diagnosis


def _ended(evidence: Evidence, reset: Reset) -> Diagnosis | None:
    """Say why a code ended before its time; None if it did not, or was never sent."""
    voided = next((event for event in reset.events if event.type == "voided"), None)
    if voided:
        reason = f"an operator voided it at {format_time(voided.at)}, {voided.detail}"
    elif reset.status not in HANDED_OVER or evidence.now >= reset.deadline_at:
        return None
    elif evidence.code_change and reset.code_end in (None, "replaced"):
        reason = f"{REASONS[evidence.code_change]} after it was sent"
    elif reset.code_end:
        reason = REASONS[f"code_{reset.code_end}"]
    else:
        return None
    next_step = "Nothing; the user asks for a new one when one is needed."
    return Diagnosis(DiagnosisKind.OVER, f"The code ended: {reason}.", next_step)


def _is_about_refusal(evidence: Evidence) -> bool:
    """Return whether a request was refused since the last reset, which can no longer help."""
    reset = evidence.reset
    if reset is None or not evidence.refusals:
        return bool(evidence.refusals)
    is_usable = evidence.now < reset.deadline_at and not reset.completed_at
    is_later = evidence.refusals[0].at >= reset.created_at
    return is_later and not (is_usable and reset.status in ALIVE)


def _no_request(evidence: Evidence) -> Diagnosis:
    text = "No request for this user reached Keyturn, or it is older than finished resets are kept."
    if evidence.obstacle in REFUSALS:
        text += f" By the way, one would be refused now: {REFUSALS[evidence.obstacle][1]}."
    next_step = "Look in the calling system: did it call, and what was answered (X-Request-Id)?"
    return Diagnosis(DiagnosisKind.NO_REQUEST, text, next_step)


def _refused(evidence: Evidence) -> Diagnosis:
    refusal = evidence.refusals[0]
    times = f" ({refusal.times} times since {format_time(refusal.since)})"
    request = (
        f"The request{CHANNELS[refusal.channel]} at {format_time(refusal.at)}"
        f"{times if refusal.times > 1 else ''}"
        f"{f', request {refusal.request_id},' if refusal.request_id else ''}"
    )
    if refusal.error == "TooManyRequests":
        return _limited(evidence, refusal, request)
    if refusal.error == "SmsSuspicious":
        return _suspicious(refusal, request)
    kind, reason, next_step = REFUSALS[refusal.error]
    if refusal.error == "RecipientSuppressed" and evidence.suppression:
        reason = _describe_suppression(evidence.recipient or "the address", evidence.suppression)
    if evidence.obstacle is None and refusal.error != "UrlNotAllowed":
        next_step = f"That has been mended: ask again now. ({next_step})"
    return Diagnosis(kind, f"{request} was refused: {reason}.", next_step)


def _limited(evidence: Evidence, refusal: Refusal, request: str) -> Diagnosis:
    limit = LIMITS.get(refusal.limit, refusal.limit)
    text = f"{request} was refused by a limit: {limit}, until {format_time(refusal.until)}."
    if evidence.now >= refusal.until:
        return Diagnosis(DiagnosisKind.LIMITED, text, "That is over: ask again.")
    options = {
        "organisation": f"--org {evidence.org_id}",
        "caller": f"--caller {refusal.caller_id}",
        "sms_budget": "--sms-budget",
    }
    if refusal.limit.startswith("sms_") and refusal.limit not in options:
        is_slow = refusal.limit == "sms_slow"
        more = "look why in `keyturn sms list`" if is_slow else "raise KEYTURN_SMS_BUDGETS"
        next_step = f"Wait until then, ask by e-mail, or {more}."
        return Diagnosis(DiagnosisKind.LIMITED, text, next_step)
    if refusal.limit == "page_source":  # others are not kept waiting
        return Diagnosis(DiagnosisKind.LIMITED, text, "Wait until then, or ask by the API.")
    option = options.get(refusal.limit, f"--user {evidence.user_id}")
    next_step = f"Wait until then, or `keyturn limit clear {option} --reason …`."
    return Diagnosis(DiagnosisKind.LIMITED, text, next_step)


def _suspicious(refusal: Refusal, request: str) -> Diagnosis:
    rule, about, until = refusal.limit.split("|")
    end = f"until {format_time(parse_timestamp(until))}" if until else "until that is lifted"
    who = "an operator" if rule == BLOCK else f"the rule {rule}"
    text = f"{request} was refused: {who} stopped SMS ({about}) {end}; {SMS_RULES[rule]}."
    kind, _, next_step = REFUSALS[refusal.error]
    return Diagnosis(kind, text, f"{next_step} '{about}' --reason …`.")


def _describe_suppression(address: str, found: Suppression) -> str:
    since, reason = format_time(found.since), REASONS.get(found.reason, found.reason)
    return f"{address} has been suppressed since {since} ({reason}, says {found.source})"


def _waiting(evidence: Evidence, reset: Reset) -> Diagnosis:
    """Say where a reset waits, how long, for what, and what ends the waiting."""
    if reset.status is Status.SENDING:
        text = "A worker is handing it to a provider right now."
        return Diagnosis(DiagnosisKind.WAITING, text, "Look again in a moment.")
    age = format_duration((evidence.now - reset.created_at).total_seconds())
    where = f"It has been waiting in the {reset.queue.value} queue for {age}"
    expires = format_time(reset.deadline_at)
    if reset.is_held:
        held = next((event for event in reversed(reset.events) if event.type == "held"), None)
        by = f" at {format_time(held.at)}, {held.detail}" if held else ""
        text = f"{where}: it is held{by}."
        next_step = f"`keyturn reset release {reset.reset_id} --reason …`, before {expires}."
    elif pause := _pause_of(evidence, reset):
        text = f"{where}: the {pause.scope} {pause.name} has been paused by {pause.by} "
        text += f"since {format_time(pause.since)} ({pause.reason})."
        next_step = f"`keyturn resume {pause.scope} {pause.name} --reason …`; its code ends at "
        next_step += f"{expires} all the same."
    elif reset.reason == "paced":
        text = f"{where}: what was paused is released at a limited rate."
        next_step = f"Wait: retry at {format_time(reset.next_look_at)}; another "
        next_step += "`keyturn resume … --rate N` changes the rate."
    elif reset.reason == "batch_paused":
        text = f"{where}: {REASONS['batch_paused']}."
        next_step = f"`keyturn batch resume {reset.batch_id}`; its code ends at {expires} all the "
        next_step += "same."
    elif reset.status is Status.RETRYING:
        return _retrying(reset)
    else:
        return _queued(evidence, reset, where)
    return Diagnosis(DiagnosisKind.WAITING, text, next_step)


def _pause_of(evidence: Evidence, reset: Reset) -> Pause | None:
    candidates = evidence.providers if reset.reason == PROVIDER_PAUSED else ()
    return next((each for each in evidence.pauses if each.covers(reset, candidates)), None)


def _retrying(reset: Reset) -> Diagnosis:
    if reset.next_look_at and reset.next_look_at >= reset.deadline_at:
        next_step = f"No further attempt fits in; it expires at {format_time(reset.deadline_at)}. "
        next_step += "Ask for a new one, on the other channel perhaps."
    else:
        next_step = f"Nothing: retry at {format_time(reset.next_look_at)} by itself."
    until = f"It is retried until {format_last_start(reset)}."
    if reset.attempts and reset.attempts[-1].outcome is Outcome.PERMANENT:
        until = f"Another provider is next. {until}"
    if reset.reason == CIRCUIT_OPEN:
        until = f"Now {REASONS[CIRCUIT_OPEN]} (`keyturn provider list`). {until}"
    return Diagnosis(DiagnosisKind.RETRYING, f"{describe_last_attempt(reset)}. {until}", next_step)


def _queued(evidence: Evidence, reset: Reset, where: str) -> Diagnosis:
    reason = f": {REASONS[reset.reason]}" if reset.reason in REASONS else ""
    if not evidence.workers:
        text = f"{where}, and no worker of that queue was seen lately."
        queues = "urgent,receipts" if reset.queue is Queue.URGENT else "bulk,webhooks"
        next_step = f"Start one: `python -m worker --queues {queues}`."
    elif reset.reason == CIRCUIT_OPEN:
        paused = {each.name for each in evidence.pauses if each.scope is Scope.PROVIDER}
        rest = [name for name in evidence.providers if name not in paused]
        text = f"{where}{reason} ({', '.join(evidence.providers)})."
        which = "one" if len(rest) == len(evidence.providers) else " or ".join(rest)
        next_step = f"Nothing: it goes out by itself once {which} works again, until "
        if not rest:
            next_step = f"`keyturn provider resume {evidence.providers[0]} --reason …`: all are "
            next_step += "paused, and it goes out once one is resumed, until "
        next_step += f"{format_last_start(reset)}; `keyturn provider list` says how they are."
    elif reset.next_look_at and evidence.now - reset.next_look_at > OVERDUE:
        text = f"{where}, and no worker has come to it yet."
        next_step = "The queue is behind: `keyturn status` says how far and why. It goes out by "
        next_step += f"itself, until {format_last_start(reset)}."
    else:
        text = f"{where}{reason}."
        next_step = f"Retry at {format_time(reset.next_look_at)}; `keyturn status` says what holds "
        next_step += "the queue up."
    return Diagnosis(DiagnosisKind.WAITING, text, next_step)


def _in_doubt(_: Evidence, reset: Reset) -> Diagnosis:
    if reset.next_look_at and reset.next_look_at < reset.deadline_at:
        next_step = (
            f"Wait: retry at {format_time(reset.next_look_at)}, perhaps with a second copy; "
        )
        next_step += "both copies carry the same code."
    else:
        next_step = "No further copy goes out by itself: the provider's report settles it, or it "
        next_step += f"ends at {format_time(reset.deadline_at)}. Did nothing arrive: "
        next_step += f"`keyturn reset resend {reset.reset_id} --reason …`."
    return Diagnosis(DiagnosisKind.RETRYING, f"{describe_last_attempt(reset)}.", next_step)


def _accepted(evidence: Evidence, reset: Reset) -> Diagnosis:
    """Say what the provider reported since it took the message, and what the user did."""
    if reset.kind is Kind.RETURNED and reset.recipient_digest:
        return Diagnosis(
            DiagnosisKind.ACCEPTED,
            "The code's link stands in a mail that lists all users with this address.",
            f"Look for the mail of request {reset.request_id}.",
        )
    if reset.kind is Kind.RETURNED:
        return Diagnosis(
            DiagnosisKind.ACCEPTED,
            "The code was returned to the caller; Keyturn sent nothing.",
            "Ask the calling system what it did with the code.",
        )
    if reset.opened_at:
        return _opened(evidence, reset)
    if reset.status is Status.DELIVERED:
        return _delivered(evidence, reset)
    last = reset.events[-1] if reset.events else None
    if last and last.type == EventType.DEFERRED:
        return Diagnosis(
            DiagnosisKind.DEFERRED,
            f"{last.provider} has it and has been waiting since {format_time(last.at)}: "
            f"{last.detail or 'the receiving server does not take it yet'}.",
            _look_for_it(evidence, reset, "Wait: the provider goes on trying by itself"),
        )
    return _taken(evidence, reset)


def _opened(evidence: Evidence, reset: Reset) -> Diagnosis:
    expires = format_time(reset.deadline_at)
    opened = format_time(reset.opened_at)
    text = f"The right code was entered at {opened}, and no new password was set."
    if evidence.now >= reset.deadline_at:
        next_step = f"The code expired at {expires}; the user asks for a new one."
    else:
        next_step = f"The user goes on with the same link; it works until {expires}."
    return Diagnosis(DiagnosisKind.OVER, text, next_step)


def _delivered(evidence: Evidence, reset: Reset) -> Diagnosis:
    event = next((e for e in reversed(reset.events) if e.type == EventType.DELIVERED), None)
    provider = event.provider if event else "The provider"
    text = f"{provider} says it arrived at {format_time(event.at if event else None)}, "
    text += f"at {evidence.recipient or 'a former address'}."
    if evidence.now < reset.deadline_at:
        next_step = _look_for_it(evidence, reset, "It is there")
        return Diagnosis(DiagnosisKind.DELIVERED, text, next_step)
    text += f" The code expired at {format_time(reset.deadline_at)} unused."
    return Diagnosis(DiagnosisKind.OVER, text, "The user asks for a new one.")


def _taken(evidence: Evidence, reset: Reset) -> Diagnosis:
    last = reset.attempts[-1] if reset.attempts else None
    provider, number = (last.provider, last.provider_message_id) if last else ("a provider", None)
    taken_at = last.finished_at if last else None
    text = (
        f"{provider} took it at {format_time(taken_at)} (its message id: {number or 'none given'})"
    )
    age = evidence.now - taken_at if taken_at else timedelta()
    if not evidence.has_callbacks:
        text += "; it reports no more."
        begin = "Whether it arrived stands in the provider's own log"
    elif age > RECEIPT_AFTER[reset.channel]:
        text += " and has reported nothing since; that is late, after "
        text += f"{format_duration(age.total_seconds())}."
        begin = "Look that id up at the provider; are callbacks coming in (`keyturn status`)?"
    else:
        text += " and has reported nothing since; that is normal so early."
        begin = "Wait a few minutes"
    return Diagnosis(DiagnosisKind.ACCEPTED, text, _look_for_it(evidence, reset, begin))


def _look_for_it(evidence: Evidence, reset: Reset, begin: str) -> str:
    expires = format_time(reset.deadline_at)
    if evidence.now >= reset.deadline_at:
        return f"The code expired at {expires}; the user asks for a new one."
    stop = "" if begin.endswith("?") else "."
    place = "looks in the spam folder too" if reset.channel is Channel.EMAIL else "looks again"
    what = "link" if evidence.is_void else "code"
    return f"{begin}{stop} The user {place}; the {what} works until {expires}."


def _failed(evidence: Evidence, reset: Reset) -> Diagnosis:
    """Say why it will not arrive: the address, the number, or something else."""
    reason, suppression = describe_reason(reset), evidence.suppression
    resend = f"`keyturn reset resend {reset.reset_id}"
    other_channel = f"{resend} --channel {OTHER_CHANNEL[reset.channel]} --reason …`"
    if reset.reason == "no_recipient":
        kind, text = DiagnosisKind.NO_ADDRESS, f"Nothing was sent: {reason}."
        address = "an e-mail address" if reset.channel is Channel.EMAIL else "a phone number"
        next_step = f"Give the user {address} in the directory and verify it; or {other_channel}."
    elif reset.reason in BLOCKED or (suppression and suppression.reason == "bad_number"):
        kind, text = DiagnosisKind.BLOCKED, f"The SMS did not go through: {reason}."
        next_step = "Check the number with the user, and the country at the provider and in "
        next_step += f"KEYTURN_SMS_COUNTRIES; {other_channel}."
    elif suppression or reset.status in (Status.UNDELIVERED, Status.SUPPRESSED):
        kind, text = DiagnosisKind.BOUNCED, f"{NOT_DELIVERED[reset.status]}: {reason}."
        if any(event.type == EventType.DELIVERED for event in reset.events):
            text += " Before that it was reported as delivered."
        next_step = "Check the address with the user"
        if suppression:
            address = evidence.recipient or "The address"
            text += f" {_describe_suppression(address, suppression)}."
            next_step += " and correct it in the directory; is it right, `keyturn suppression lift "
            next_step += "ADDRESS --reason …`"
        next_step += f"; or {other_channel}."
    else:
        kind, text = DiagnosisKind.FAILED, f"It failed for good: {reason}."
        attempt = f"{describe_last_attempt(reset)}. " if reset.attempts else ""
        next_step = f"{attempt}Mend that, then {resend} --reason …`."
    return Diagnosis(kind, text, next_step)


def _expired(_: Evidence, reset: Reset) -> Diagnosis:
    expired, reason = format_time(reset.deadline_at), describe_reason(reset)
    return Diagnosis(
        DiagnosisKind.OVER,
        f"The code expired first, at {expired}: {reason}.",
        "Ask for a new reset; look at `keyturn status` if many expired.",
    )


def _cancelled(_: Evidence, reset: Reset) -> Diagnosis:
    next_step = "Explain the user's newest reset instead: `keyturn explain --user ID`."
    if reset.reason == "batch_cancelled":
        next_step = f"`keyturn audit` says who cancelled batch {reset.batch_id}; ask for a new "
        next_step += "reset."
    return Diagnosis(DiagnosisKind.OVER, f"It was cancelled: {describe_reason(reset)}.", next_step)


BY_STATUS: dict[Status, Callable[[Evidence, Reset], Diagnosis]] = {
    Status.QUEUED: _waiting,
    Status.SENDING: _waiting,
    Status.RETRYING: _waiting,
    Status.UNKNOWN: _in_doubt,
    Status.ACCEPTED: _accepted,
    Status.DELIVERED: _accepted,
    Status.UNDELIVERED: _failed,
    Status.FAILED: _failed,
    Status.SUPPRESSED: _failed,
    Status.EXPIRED: _expired,
    Status.CANCELLED: _cancelled,
}
