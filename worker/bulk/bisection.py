"""Handing a circular over: whoever spoils a request is found, and the others go without them."""

from __future__ import annotations

from collections.abc import Callable

from shared.errors import RefusedTogetherError
from shared.models import BulkEmail, BulkRecipient
from shared.providers import BulkOutcome, BulkProvider

MAX_CALLS = 40  # for one circular; then the rest goes out singly
MAX_IN_A_ROW = 8  # that each find somebody; then the rest is parted, which finds them sooner

NOT_CALLED = RefusedTogetherError("refused_together", "others in the same request were refused")


def send_splitting(
    provider: BulkProvider, circular: BulkEmail, *, may_call: Callable[[], bool]
) -> list[BulkOutcome]:
    """What became of each copy, in their order; `may_call` is asked before every repeated call.

    A RefusedTogetherError is left to those for whom there was no call any more, or who were
    refused without a word while they stood alone: they go out as single mails.
    """
    found: dict[int, BulkOutcome] = {}
    places = list(range(len(circular.recipients)))
    waiting = [(places, 0)]
    calls = 0
    while waiting:
        some, in_a_row = waiting.pop()
        if calls and (calls >= MAX_CALLS or not may_call()):
            found.update(dict.fromkeys(some, NOT_CALLED))
            continue
        calls += 1
        again = _call(provider, circular, some, found)
        if len(again) == 1 and len(some) == 1:
            continue  # what was told stands
        if len(again) == len(some) or in_a_row >= MAX_IN_A_ROW:
            half = (len(again) + 1) // 2
            waiting += [(part, 0) for part in (again[half:], again[:half]) if part]
        elif again:
            waiting.append((again, in_a_row + 1))
    return [found[place] for place in places]


def _call(
    provider: BulkProvider, circular: BulkEmail, places: list[int], found: dict[int, BulkOutcome]
) -> list[int]:
    """One request; gives those who may go out with others, or without them, at once."""
    copies: tuple[BulkRecipient, ...] = tuple(circular.recipients[place] for place in places)
    told = provider.send_bulk(circular.with_recipients(copies))
    found.update(zip(places, told, strict=True))
    return [
        place
        for place, outcome in zip(places, told, strict=True)
        if isinstance(outcome, RefusedTogetherError)
    ]
