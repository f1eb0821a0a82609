"""The texts of diagnoses, timelines and alerts: reasons, outcomes, times."""

from __future__ import annotations

from datetime import datetime, timedelta

from shared.guard.rules import BLOCK
from shared.models import Attempt, Outcome, Reset
from shared.policies import last_start_seconds
from shared.store.codes import GuessCount

REASONS = {
    "superseded": "a newer reset of the same user overtook it",
    "code_used": "the password was changed with another code first",
    "code_voided": "too many wrong codes voided it",
    "code_displaced": "newer codes of the same user displaced it",
    "code_voided_by_operator": "an operator voided it",
    "code_replaced": "what it rested on changed: the address, the password, or the user",
    "user_changed": "the user's password, state or organisation changed",
    "address_changed": "the address, or its verification, changed",
    "user_gone": "the directory no longer knows the user",
    "user_locked": "the user is locked",
    "user_inactive": "the user is deactivated",
    "user_initial": "the user is not yet initialised",
    "no_recipient": "the user has no verified address on this channel any more",
    "no_provider": "no provider is configured for this channel",
    "poison": "it ended in an error of ours five times in a row; the logs say which",
    "cannot_render": "the message could not be rendered; the logs say why",
    "key_unknown": "KEYTURN_SECRET_KEYS lacks the key that signs its code",
    "in_doubt_held": "a provider may have taken it, and no second copy is sent",
    "in_doubt": "a provider may have taken it and never said so",
    "no_provider_in_time": "no provider took it before its last possible start",
    "not_sent_in_time": "no worker got to it before the code's life ended",
    "paused_queue": "its queue was paused",
    "paused_channel": "its channel was paused",
    "paused_organisation": "its organisation was paused",
    "provider_paused": "every provider of its channel was paused",
    "batch_paused": "its batch is paused",
    "batch_cancelled": "its batch was cancelled before it was sent",
    "held": "an operator held it",
    "paced": "what was paused is released at a limited rate, and its turn had not come",
    "bounce": "mail to this address bounced",
    "opt_out": "the recipient opted out",
    "bad_number": "the number cannot get SMS",
    "complaint": "the recipient complained",
    "blocked": "the receiving server refused this mail, though not the address",
    "quota": "the provider's credits were used up",
    "directory_unavailable": "the user directory does not answer",
    "store_unavailable": "Redis did not answer when it was looked at",
    "circuit_open": "the circuit of every provider of its channel is open",
    "provider_busy": "the organisation's own provider has as many calls as it may have at once",
}
OUTCOMES = {
    Outcome.ACCEPTED: "taken",
    Outcome.TRANSIENT: "not taken",
    Outcome.ACCOUNT: "not taken, because of our account",
    Outcome.PERMANENT: "refused for good",
    Outcome.DOUBT: "in doubt, it may have been taken",
    Outcome.FOUND: "found at the provider: it had been taken",
}
# Why another provider carries a message: the reasons of worker/routing.py.
SWITCH_REASONS = {
    "circuit_open": "circuit open",
    "paused": "paused",
    "asked_to_wait": "asked us to wait",
} | {outcome.value: text for outcome, text in OUTCOMES.items()}
SWITCH_REASONS[Outcome.PERMANENT] = "cannot carry this message"
FAILURES = {
    "connect_refused": "it refuses connections",
    "connect_dns": "its name cannot be resolved",
    "connect_timeout": "no connection in time",
    "connect_tls": "no verified TLS with it",
    "connect_failed": "it cannot be reached",
    "write_timeout": "it reads too slowly",
    "write_cut": "it cuts the connection",
    "lease_over": "the worker stood still before the call",
    "answer_timeout": "no answer in time",
    "answer_cut": "it cuts the connection without an answer",
    "credits_used_up": "our credits are used up",
}
LIMITS = {
    "cooldown": "the pause between two resets of one user",
    "user_hour": "the user's resets in an hour",
    "user_day": "the user's resets in a day",
    "organisation": "the organisation's resets in a minute",
    "caller": "the caller's resets in a minute",
    "sms_budget": "the installation's SMS of a day",
    "sms_slow": "the pause between two SMS to such numbers, which grows while a rule of SMS holds",
    "sms_all": "the installation's budget of SMS",
    "sms_organisation": "the organisation's budget of SMS",
    "sms_country": "the country's budget of SMS",
    "sms_prefix": "the budget of SMS to such numbers",
    "page_user_pause": "the pause between two messages the page sends a user",
    "page_user": "what strangers may ask the page to send a user in an hour",
    "page_holder_pause": "the pause between two messages the page sends a user",
    "page_holder": "what those who hold a code may ask the page for in an hour",
    "page_source": "what one source may ask the page for in an hour",
    "page_organisation": "what the page may send an organisation's users in a minute",
    "newer_reset": "messages to the user already waited to be sent, or still worked",
}


SMS_RULES = {
    "velocity": "many different numbers were written to, and few of their codes were used",
    "source": "one source asked for many numbers, and few of their codes were used",
    "conversion": "far fewer codes are used than before",
    BLOCK: "`keyturn audit` says who and why",
}


def describe_reason(reset: Reset) -> str:
    """Return why the reset has its status."""
    if reset.reason in REASONS:
        return REASONS[reset.reason]
    refusals = [each for each in reset.attempts if each.outcome is Outcome.PERMANENT]
    if len(refusals) > 1:  # each provider but the last was unfit for the message
        return "; ".join(f"{each.provider}: {each.detail or 'unfit'}" for each in refusals)
    details = [event.detail for event in reversed(reset.events) if event.provider]
    details += [attempt.detail for attempt in reversed(reset.attempts)]
    return next(filter(None, details), None) or reset.reason or "no reason was recorded"


def describe_guesses(count: GuessCount) -> str:
    """Return who typed wrong codes, how many, and whether the source must wait."""
    end = f"; it waits until {format_time(count.until)}" if count.is_locked else ""
    return f"{count.tries} wrong codes from {count.source}{end}"


def describe_last_attempt(reset: Reset) -> str:
    """Return how the last attempt ended."""
    if not reset.attempts:
        return "No attempt was made yet"
    last = reset.attempts[-1]
    detail = f" ({last.detail})" if last.detail else ""
    return f"Attempt {last.number} at {last.provider}: {describe_outcome(last)}{detail}"


def describe_outcome(attempt: Attempt) -> str:
    """Return how an attempt ended, or that it is under way."""
    return OUTCOMES[attempt.outcome] if attempt.outcome else "under way"


def describe_failure(reason: str | None) -> str:
    """Return why the calls to a provider fail."""
    if reason and reason.startswith("http_"):
        return f"it answers with {reason.replace('_', ' ').upper()}"
    return FAILURES.get(reason or "", reason or "it fails")


def format_last_start(reset: Reset) -> str:
    """Return until when attempts may start: a code needs time to be used."""
    lifetime_seconds = (reset.deadline_at - reset.created_at).total_seconds()
    seconds = last_start_seconds(reset.channel, lifetime_seconds)
    return format_time(reset.deadline_at - timedelta(seconds=seconds))


def format_time(moment: datetime | None) -> str:
    """Return a time in UTC, to the second."""
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC") if moment else "an unknown time"


def format_duration(exact_seconds: float) -> str:
    """Return a duration in seconds, minutes, or hours and minutes."""
    seconds = max(0, round(exact_seconds))
    if seconds < 120:  # noqa: PLR2004
        return f"{seconds} s"
    minutes, hours = seconds // 60, seconds // 3600
    return f"{minutes} min" if minutes < 120 else f"{hours} h {minutes % 60} min"  # noqa: PLR2004


def describe_unset_channel(channel: str) -> str:
    """Return the sentence about a channel that was left without a provider."""
    name = {"email": "E-mail", "sms": "SMS"}[channel]
    return (
        f"{name}: no provider is set up, so calls for it are answered 503: set "
        f"KEYTURN_{channel.upper()}_PROVIDERS (to nothing, if that is meant)"
    )
