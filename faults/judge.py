"""The verdict, from the ledger, the list of accepted calls and the final records alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from faults.evidence import FINAL, Evidence, Line
from faults.people import Group

MAX_COPIES = 2
# How these have to end. The suppression of a refused recipient is written before the reset's end:
# when the worker dies in between, the next attempt finds the suppression.
ENDS = {Group.REFUSED: {"failed", "suppressed"}, Group.STUBBORN: {"expired"}}


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise: how many resets broke it, and which."""

    name: str
    meaning: str
    resets: tuple[str, ...]

    @property
    def number(self) -> int:
        return len(self.resets)


def judge(evidence: Evidence) -> list[Finding]:
    """One finding per promise; each of them must be empty."""
    promises: tuple[tuple[Callable[[Evidence], Iterator[str]], str], ...] = (
        (lost, "told yes, never reached the provider, and not told as in doubt twice"),
        (wrong, "at the provider, though nobody asked, a rule forbade it, or to somebody else"),
        (late, "at the provider after the code's deadline"),
        (doubled_sms, "sent twice though the provider could be asked"),
        (doubled_email, "sent twice though no answer was cut short and no worker died in the call"),
        (changed, "copies that differ in code or Message-ID, or carry a code that does not work"),
        (thrice, f"sent more than {MAX_COPIES} times"),
        (unfinished, "neither final nor held in doubt, or the due set disagrees"),
        (untrue, "the record says something else than the ledger"),
        (unheard, "reported as delivered, noted with a 2xx, and the record does not say so"),
        (spared, "poison that was not failed as such"),
        (turned_away, "good ones that were refused, or bad ones that were not"),
    )
    return [
        Finding(found.__name__, meaning, tuple(dict.fromkeys(found(evidence))))
        for found, meaning in promises
    ]


def lost(evidence: Evidence) -> Iterator[str]:
    return (id_ for id_ in unsent(evidence) if not evidence.is_told_as_doubt(id_))


def unsent(evidence: Evidence) -> Iterator[str]:
    """Good ones the provider has not; of some nobody but the ledger can know."""
    for reset_id, call in evidence.owed.items():
        if call.person.group is Group.GOOD and reset_id not in evidence.copies:
            yield reset_id


def wrong(evidence: Evidence) -> Iterator[str]:
    for line in evidence.lines:
        call = evidence.owed.get(line.reset_id)
        if call is None or call.person.group is not Group.GOOD or line.to != call.person.address:
            yield line.reset_id


def late(evidence: Evidence) -> Iterator[str]:
    for line in evidence.lines:
        record = evidence.records.get(line.reset_id)
        if record is not None and line.at * 1000 > float(record["x"]):
            yield line.reset_id


def doubled_sms(evidence: Evidence) -> Iterator[str]:
    for reset_id, lines in _doubled(evidence):
        if lines[0].provider == "twilio":
            yield reset_id


def doubled_email(evidence: Evidence) -> Iterator[str]:
    for reset_id, lines in _doubled(evidence):
        excuses = evidence.cut_short(reset_id) + evidence.deaths(reset_id)
        excuses *= evidence.may_double
        if lines[0].provider != "twilio" and len(lines) - 1 > excuses:
            yield reset_id


def changed(evidence: Evidence) -> Iterator[str]:
    for reset_id, lines in evidence.copies.items():
        right = evidence.codes.get(reset_id)
        if len({(line.code, line.message_id) for line in lines}) > 1 or lines[0].code != right:
            yield reset_id


def thrice(evidence: Evidence) -> Iterator[str]:
    return (id_ for id_, lines in evidence.copies.items() if len(lines) > MAX_COPIES)


def unfinished(evidence: Evidence) -> Iterator[str]:
    for reset_id in evidence.records.keys() | evidence.owed.keys() | evidence.due:
        is_final, is_due = evidence.status(reset_id) in FINAL, reset_id in evidence.due
        is_in_order = not is_due if is_final else is_due and evidence.is_held(reset_id)
        if not is_in_order:
            yield reset_id


def untrue(evidence: Evidence) -> Iterator[str]:
    for reset_id, call in evidence.owed.items():
        record = evidence.records.get(reset_id, {})
        status, group = record.get("st"), call.person.group
        is_known = status != "unknown" and record.get("rs") != "in_doubt"
        says_sent = status in {"accepted", "delivered", "undelivered"}
        lies = is_known and says_sent != (reset_id in evidence.copies)
        is_out_of_order = int(record.get("f", "0")) < int(record.get("at", "0"))
        if lies or is_out_of_order or status not in ENDS.get(group, {status}):
            yield reset_id


def unheard(evidence: Evidence) -> Iterator[str]:
    return (reset_id for reset_id in evidence.told if evidence.status(reset_id) != "delivered")


def spared(evidence: Evidence) -> Iterator[str]:
    for reset_id, call in evidence.owed.items():
        record = evidence.records.get(reset_id, {})
        facts = (record.get("st"), record.get("rs"))
        if call.person.group is Group.POISON and facts != ("failed", "poison"):
            yield reset_id


def turned_away(evidence: Evidence) -> Iterator[str]:
    """These have no reset id: the user's stands in its place."""
    for person, _, _ in evidence.refused:
        if person.group is not Group.UNASKABLE:
            yield person.user_id
    for call in evidence.accepted:
        if call.person.group is Group.UNASKABLE:
            yield call.person.user_id


def _doubled(evidence: Evidence) -> Iterator[tuple[str, list[Line]]]:
    return ((id_, lines) for id_, lines in evidence.copies.items() if len(lines) > 1)
