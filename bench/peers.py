"""The workers that ours is measured beside; bench/naive_worker.py is what they do."""

from __future__ import annotations

from enum import StrEnum

NAIVE_SHARE = 10  # it gets so much less to do, or a run would last minutes


class Peer(StrEnum):
    """A kind of worker: its task and its queue."""

    LIMIT = "limit"
    EMPTY = "empty"
    POOLED = "pooled"
    NAIVE = "naive"
