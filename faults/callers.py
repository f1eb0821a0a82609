"""The callers: a reset is one call, repeated with its Idempotency-Key until there is an answer."""

from __future__ import annotations

import http.client
import json
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from faults.people import ORG, Person

CALLERS = 8
ANSWER_SECONDS = 8.0
PAUSE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Accepted:
    """A 200: from here on Keyturn owes a message."""

    reset_id: str
    person: Person
    at: float
    took_ms: float  # of the call that was answered
    calls: int


class Callers:
    """Asks for one reset per person at a rate; only a 200 counts as accepted."""

    def __init__(
        self, port: int, token: str, *, rate: float, must_wait: Callable[[], bool]
    ) -> None:
        self._port, self._rate, self._must_wait = port, rate, must_wait
        self._headers = {
            "Authorization": f"Bearer {token}",
            "x-zitadel-orgid": ORG,
            "Content-Type": "application/json",
        }
        self.accepted: list[Accepted] = []
        self.refused: list[tuple[Person, int, str]] = []
        self.retries: Counter[str] = Counter()
        self.asked = 0

    def ask_for(self, people: Sequence[Person]) -> None:
        """Ask for all of them; comes back when each has its yes or no."""
        waiting: queue.SimpleQueue[Person] = queue.SimpleQueue()
        threads = [threading.Thread(target=self._run, args=(waiting,)) for _ in range(CALLERS)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for number, person in enumerate(people):
            time.sleep(max(0.0, began + number / self._rate - time.monotonic()))
            while self._must_wait() or waiting.qsize() > CALLERS:
                time.sleep(0.005)
            waiting.put(person)
        for _ in threads:
            waiting.put(None)  # type: ignore[arg-type]
        for thread in threads:
            thread.join()

    def _run(self, waiting: queue.SimpleQueue[Person]) -> None:
        line = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_SECONDS)
        while (person := waiting.get()) is not None:
            self._ask_until_answered(line, person)
            self.asked += 1
        line.close()

    def _ask_until_answered(self, line: http.client.HTTPConnection, person: Person) -> None:
        calls = 0
        while True:
            calls += 1
            began = time.monotonic()
            status, reset_id, body = self._ask(line, person)
            if status == 200:
                took_ms = (time.monotonic() - began) * 1000
                self.accepted.append(Accepted(reset_id, person, time.time(), took_ms, calls))
                return
            if 400 <= status < 500:
                self.refused.append((person, status, body))
                return
            self.retries[str(status) if status else "no answer"] += 1
            time.sleep(PAUSE_SECONDS)

    def _ask(self, line: http.client.HTTPConnection, person: Person) -> tuple[int, str, str]:
        kind = "TYPE_SMS" if person.channel == "sms" else "TYPE_EMAIL"
        headers = self._headers | {"Idempotency-Key": f"faults-{person.number}"}
        path = f"/management/v1/users/{person.user_id}/password/_reset"
        try:
            line.request("POST", path, json.dumps({"type": kind}), headers)
            answer = line.getresponse()
            body = answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException):
            line.close()
            return 0, "", ""
        return answer.status, answer.headers.get("Keyturn-Reset-Id", ""), body

    def write(self, path: Path) -> None:
        """The list of what was accepted, a line each."""
        path.write_text("".join(json.dumps(asdict(each)) + "\n" for each in self.accepted))
