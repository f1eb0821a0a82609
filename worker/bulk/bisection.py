"""Bisect a rejected bulk request to isolate the bad recipients; the others go out without them."""

from __future__ import annotations

from collections.abc import Callable

from shared.errors import RefusedTogetherError
from shared.models import BulkEmail
from shared.providers import BulkOutcome, BulkProvider

MAX_CALLS = 40  # for one bulk e-mail; then the rest goes out singly
MAX_IN_A_ROW = 8  # that each name bad recipients; then the rest is halved, which is sooner done

NOT_CALLED = RefusedTogetherError("refused_together", "others in the same request were refused")


def send_splitting(
    provider: BulkProvider, bulk_email: BulkEmail, *, may_call: Callable[[], bool]
) -> list[BulkOutcome]:
    """Return the outcome of each recipient, in their order.

    `may_call` is asked before every repeated call. A RefusedTogetherError is left for those who
    were not called for again, or were refused alone without a reason: they go out as single mails.
    """
    outcomes: dict[int, BulkOutcome] = {}
    waiting = [(list(range(len(bulk_email.recipients))), 0)]
    calls = 0
    while waiting:
        indexes, in_a_row = waiting.pop()
        if calls and (calls >= MAX_CALLS or not may_call()):
            outcomes.update(dict.fromkeys(indexes, NOT_CALLED))
            continue
        calls += 1
        recipients = tuple(bulk_email.recipients[index] for index in indexes)
        answers = provider.send_bulk(bulk_email.with_recipients(recipients))
        outcomes.update(zip(indexes, answers, strict=True))
        again = [i for i in indexes if isinstance(outcomes[i], RefusedTogetherError)]
        if len(again) == 1 and len(indexes) == 1:
            continue  # its answer stands
        if len(again) == len(indexes) or in_a_row >= MAX_IN_A_ROW:
            half = (len(again) + 1) // 2
            waiting += [(part, 0) for part in (again[half:], again[:half]) if part]
        elif again:
            waiting.append((again, in_a_row + 1))
    return [outcomes[index] for index in range(len(bulk_email.recipients))]
