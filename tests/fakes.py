"""What tests pass in for the real things; each fulfils the same protocol."""

from __future__ import annotations

from shared.hints import Hint
from shared.models import Queue


class FakeHints:
    """Hints that go nowhere and are remembered."""

    def __init__(self) -> None:
        self.published: list[Hint] = []

    def publish(self, hint: Hint) -> None:
        self.published.append(hint)

    def is_connected(self) -> bool:
        return True

    def waiting(self, queue: Queue) -> int:
        return sum(hint.queue == queue for hint in self.published)

    def close(self) -> None:
        self.published.clear()
