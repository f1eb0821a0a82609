"""The words of verdicts: reasons, moments, attempts."""

from __future__ import annotations

from datetime import datetime, timedelta

from shared.models import Attempt, Outcome, Reset
from shared.policies import last_start_seconds

REASONS = {
    "superseded": "a newer reset of the same user overtook it",
    "code_used": "the password was changed with another code first",
    "code_voided": "too many wrong codes voided it",
    "code_displaced": "newer codes of the same user displaced it",
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
    "paced": "what was paused is let go at a pace, and its turn had not come",
    "bounce": "mail to this address bounced",
    "opt_out": "the recipient opted out",
    "bad_number": "the number cannot get SMS",
    "complaint": "the recipient complained",
    "blocked": "the receiving server refused this mail, though not the address",
    "quota": "the provider's credits were used up",
    "directory_unavailable": "the user directory does not answer",
    "store_unavailable": "Redis did not answer when it was looked at",
    "circuit_open": "every provider of its channel fails and is left alone for the moment",
}
OUTCOMES = {
    Outcome.ACCEPTED: "taken",
    Outcome.TRANSIENT: "not taken",
    Outcome.ACCOUNT: "not taken, because of our account",
    Outcome.PERMANENT: "refused for good",
    Outcome.DOUBT: "in doubt, it may have been taken",
    Outcome.FOUND: "found at the provider: it had been taken",
}
# Why another provider carries a message: a word of worker/choice.py.
SWITCHES = {
    "circuit_open": "left alone",
    "paused": "paused",
    "asked_to_wait": "asked us to wait",
} | {outcome.value: words for outcome, words in OUTCOMES.items()}
TROUBLES = {
    "connect_refused": "it refuses connections",
    "connect_dns": "its name cannot be resolved",
    "connect_timeout": "no connection in time",
    "connect_tls": "no verified TLS with it",
    "connect_failed": "it cannot be reached",
    "write_timeout": "it reads too slowly",
    "write_cut": "it cuts the connection",
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
}


def why(reset: Reset) -> str:
    """The reason of a reset, in words."""
    if reset.reason in REASONS:
        return REASONS[reset.reason]
    told = [event.detail for event in reversed(reset.events) if event.provider and event.detail]
    tried = [attempt.detail for attempt in reversed(reset.attempts) if attempt.detail]
    return next(iter((*told, *tried)), None) or reset.reason or "no reason was noted"


def last_attempt(reset: Reset) -> str:
    """How the last attempt ended."""
    if not reset.attempts:
        return "No attempt was made yet"
    last = reset.attempts[-1]
    detail = f" ({last.detail})" if last.detail else ""
    return f"Attempt {last.number} at {last.provider}: {ending(last)}{detail}"


def ending(attempt: Attempt) -> str:
    """How an attempt ended, or that it has not."""
    return OUTCOMES[attempt.outcome] if attempt.outcome else "under way"


def trouble(reason: str | None) -> str:
    """What is the matter with a provider."""
    if reason and reason.startswith("http_"):
        return f"it answers with {reason.replace('_', ' ').upper()}"
    return TROUBLES.get(reason or "", reason or "it fails")


def last_start(reset: Reset) -> datetime:
    """Until when attempts are begun: a code needs time to be used."""
    lifetime_seconds = (reset.deadline_at - reset.created_at).total_seconds()
    return reset.deadline_at - timedelta(
        seconds=last_start_seconds(reset.channel, lifetime_seconds)
    )


def at(moment: datetime | None) -> str:
    """A moment as people read it."""
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC") if moment else "an unknown time"


def length(span: timedelta) -> str:
    """A length of time in its largest fitting unit, or two."""
    return length_of(span.total_seconds())


def length_of(exact_seconds: float) -> str:
    """The same, of seconds."""
    seconds = max(0, round(exact_seconds))
    if seconds < 120:  # noqa: PLR2004
        return f"{seconds} s"
    minutes, hours = seconds // 60, seconds // 3600
    return f"{minutes} min" if minutes < 120 else f"{hours} h {minutes % 60} min"  # noqa: PLR2004
