"""Bisect a rejected bulk request to isolate the bad recipients; the others go out without them."""

from __future__ import annotations

from collections.abc import Callable

from shared.errors import RefusedTogetherError
from shared.models import Circular
from shared.providers import CopyOutcome, ManyProvider

MAX_CALLS = 40  # for one bulk e-mail; then the rest goes out singly
MAX_IN_A_ROW = 8  # that each name bad recipients; then the rest is halved, which is sooner done

NOT_CALLED = RefusedTogetherError("refused_together", "others in the same request were refused")


def send_splitting(
    provider: ManyProvider, bulk_email: Circular, *, may_call: Callable[[], bool]
) -> list[CopyOutcome]:
    """Return the outcome of each recipient, in their order.

    `may_call` is asked before every repeated call. A RefusedTogetherError is left for those who
    were not called for again, or were refused alone without a reason: they go out as single mails.
    """
    outcomes: dict[int, CopyOutcome] = {}
    waiting = [(list(range(len(bulk_email.copies))), 0)]
    calls = 0
    while waiting:
        indexes, in_a_row = waiting.pop()
        if calls and (calls >= MAX_CALLS or not may_call()):
            outcomes.update(dict.fromkeys(indexes, NOT_CALLED))
            continue
        calls += 1
        recipients = tuple(bulk_email.copies[index] for index in indexes)
        answers = provider.send_many(bulk_email.of(recipients))
        outcomes.update(zip(indexes, answers, strict=True))
        again = [i for i in indexes if isinstance(outcomes[i], RefusedTogetherError)]
        if len(again) == 1 and len(indexes) == 1:
            continue  # its answer stands
        if len(again) == len(indexes) or in_a_row >= MAX_IN_A_ROW:
            half = (len(again) + 1) // 2
            waiting += [(part, 0) for part in (again[half:], again[:half]) if part]
        elif again:
            waiting.append((again, in_a_row + 1))
    return [outcomes[index] for index in range(len(bulk_email.copies))]
