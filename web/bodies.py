"""Request bodies that end: a slow, cut or endless body becomes an error the faces can answer.

granian hands out the body as it arrives, waits for it without a limit, and ends it silently where
a connection broke. Without this file a cut body would be read as an empty one.
"""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol

from shared.errors import InvalidRequestError, TooManyRequestsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

BODY_SECONDS = 10.0
GRACE_SECONDS = 0.25  # a body that takes longer is slow, and only so many may be
MOST_SLOW = 8
MOST_READERS = 256  # threads waiting for slow bodies at a time, beyond that callers get 503
WHOLE_BYTES = 1 << 20  # granian gathers what it is asked for; more is nobody's business


class _Input(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class BodyReaders:
    """Threads that wait for bodies, so that a request can stop waiting for its own.

    A body that stalls keeps its thread until the connection ends; the request does not.
    """

    def __init__(self, *, most: int = MOST_READERS, most_slow: int = MOST_SLOW) -> None:
        """`most_slow` requests may wait long; fewer than there are threads that work on them."""
        self._most = most
        self._slow = threading.BoundedSemaphore(most_slow)
        self._jobs: SimpleQueue[_Read] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._started = 0

    def read(self, source: _Input, size: int, timeout_seconds: float) -> bytes:
        """What `source.read(size)` gives.

        Raises:
            InvalidRequestError: it took longer than the timeout.
            TooManyRequestsError: too many bodies are slow, or being waited for.
        """
        job = _Read(source, size)
        self._take_thread()
        self._jobs.put(job)
        self._wait(job, max(0.0, timeout_seconds))
        if job.error is not None:
            raise InvalidRequestError("the body could not be read") from job.error
        return job.result

    def _wait(self, job: _Read, timeout_seconds: float) -> None:
        grace_seconds = min(GRACE_SECONDS, timeout_seconds)
        if job.done.acquire(timeout=grace_seconds):
            return
        if not self._slow.acquire(blocking=False):
            raise TooManyRequestsError("slow bodies", retry_after_seconds=10)
        try:
            if not job.done.acquire(timeout=timeout_seconds - grace_seconds):
                raise InvalidRequestError("the body did not arrive in time")
        finally:
            self._slow.release()

    def _take_thread(self) -> None:
        with self._lock:
            if self._idle:
                self._idle -= 1
                return
            if self._started >= self._most:
                raise TooManyRequestsError("slow bodies", retry_after_seconds=10)
            self._started += 1
        threading.Thread(target=self._work, name="body-reader", daemon=True).start()

    def _work(self) -> None:
        while True:
            self._jobs.get().run()
            with self._lock:
                self._idle += 1


class _Read:
    def __init__(self, source: _Input, size: int) -> None:
        self.source = source
        self.size = size
        self.result = b""
        self.error: OSError | None = None
        self.done = threading.Lock()
        self.done.acquire()

    def run(self) -> None:
        try:
            self.result = self.source.read(self.size)
        except OSError as error:
            self.error = error
        self.done.release()


class TimedBody:
    """A request's body, a file to read from.

    Raises:
        InvalidRequestError: the whole of it did not arrive within its seconds, or it ended
            before the Content-Length.
    """

    def __init__(
        self, source: _Input, readers: BodyReaders, *, length_bytes: int | None, seconds: float
    ) -> None:
        self._source = source
        self._readers = readers
        self._missing_bytes = length_bytes
        self._deadline = time.monotonic() + seconds

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes, all when it is negative; empty at the end."""
        if self._missing_bytes == 0 or size == 0:
            return b""
        wanted = WHOLE_BYTES + 1 if size is None or size < 0 else size
        data = self._readers.read(self._source, wanted, self._deadline - time.monotonic())
        self._count(len(data), wanted)
        return data

    def give_time(self, seconds: float) -> None:
        """Count the seconds anew: of a body that is read piece by piece."""
        self._deadline = time.monotonic() + seconds

    def readline(self, size: int | None = -1, /) -> bytes:
        """One line; nobody here reads lines, so it is simple and not fast."""
        line = b""
        while not line.endswith(b"\n") and len(line) != size and (byte := self.read(1)):
            line += byte
        return line

    def readlines(self, _hint: int | None = -1, /) -> list[bytes]:
        """All lines."""
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def _count(self, got_bytes: int, wanted_bytes: int) -> None:
        if self._missing_bytes is None:
            return
        self._missing_bytes -= got_bytes
        if self._missing_bytes > 0 and got_bytes < wanted_bytes:
            raise InvalidRequestError("the body is shorter than Content-Length says")


def bodies_that_end(
    app: WSGIApplication, *, seconds: float = BODY_SECONDS, readers: BodyReaders | None = None
) -> WSGIApplication:
    """An application whose requests' bodies arrive whole and in time, or raise when read."""
    waiting = readers or BodyReaders()

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        length = environ.get("CONTENT_LENGTH")
        if length or "HTTP_TRANSFER_ENCODING" in environ:
            environ["wsgi.input"] = TimedBody(
                environ["wsgi.input"],
                waiting,
                length_bytes=int(length) if length else None,
                seconds=seconds,
            )
        return app(environ, start_response)

    return application
