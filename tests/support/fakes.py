"""What tests pass in for the real things; each fulfils the same protocol."""

from __future__ import annotations

import hashlib
from typing import Any

import fakeredis
from redis.client import Pipeline

from shared.models import Queue
from shared.queue import Hint


class FakeHints:
    """Hints that go nowhere and are remembered."""

    def __init__(self) -> None:
        self.published: list[Hint] = []

    def publish(self, hint: Hint) -> bool:
        self.published.append(hint)
        return True

    def is_connected(self) -> bool:
        return True

    def call(self, _hint: Hint) -> None:
        """The broker is elsewhere."""

    def is_failing(self) -> bool:
        return False

    def waiting(self, queue: Queue) -> int:
        return sum(hint.queue == queue for hint in self.published)

    def close(self) -> None:
        self.published.clear()


class _PlainLua:
    """Runs scripts without the line of flags before them, which fakeredis cannot read."""

    _digests: dict[str, str]

    def execute_command(self, *args: Any, **options: Any) -> Any:
        name, text, *rest = (*args, "")
        if name in ("EVAL", "SCRIPT LOAD"):
            text = self._stripped(text)
        elif name == "EVALSHA":
            text = self._digests.get(text, text)
        else:
            return super().execute_command(*args, **options)  # type: ignore[misc]
        return super().execute_command(name, text, *rest[:-1], **options)  # type: ignore[misc]

    def _stripped(self, text: str) -> str:
        if not text.startswith("#!"):
            return text
        plain = text.partition("\n")[2]
        self._digests[_sha1(text)] = _sha1(plain)
        return plain


def _sha1(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()  # noqa: S324 - Redis names scripts so


class _FakePipeline(_PlainLua, Pipeline):
    """Of FakeRedis."""


class FakeRedis(_PlainLua, fakeredis.FakeRedis):
    """A server of its own in the process; it is never full, for it does not count its memory."""

    def __init__(self, **options: Any) -> None:
        self._digests = {}
        super().__init__(server=fakeredis.FakeServer(), decode_responses=True, **options)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        made = _FakePipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        made._digests = self._digests
        return made
