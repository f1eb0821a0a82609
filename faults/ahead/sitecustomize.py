"""A Python whose clock is an hour ahead; first in PYTHONPATH of one worker of the fault run.

Only the wall clock is wrong, as on a machine whose time was set by hand; the monotonic one runs on.
"""

import datetime as dt
import time

AHEAD_SECONDS = 3600

_real_time, _real_time_ns = time.time, time.time_ns
_RealDatetime = dt.datetime


class _Kind(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _RealDatetime)


class AheadDatetime(_RealDatetime, metaclass=_Kind):
    """datetime, an hour ahead wherever it asks the clock itself."""

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> _RealDatetime:  # type: ignore[override]
        return _RealDatetime.now(tz) + dt.timedelta(seconds=AHEAD_SECONDS)

    @classmethod
    def utcnow(cls) -> _RealDatetime:  # type: ignore[override]
        return cls.now(dt.UTC).replace(tzinfo=None)


time.time = lambda: _real_time() + AHEAD_SECONDS
time.time_ns = lambda: _real_time_ns() + AHEAD_SECONDS * 1_000_000_000
dt.datetime = AheadDatetime  # type: ignore[misc]
