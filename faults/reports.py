"""The providers call back: signed, late, shuffled, each report twice, again if nobody answers."""

from __future__ import annotations

import base64
import heapq
import http.client
import itertools
import json
import random
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twilio.request_validator import RequestValidator

SHARE = 0.5  # of the messages are reported; the rest is known by its answer or look-up alone
DELAY_SECONDS = (0.3, 5.0)
LOOK_SECONDS = 0.1
AGAIN_SECONDS = 1.0
MAX_IN_A_POST = 100
WORDS = {"sendgrid": ("processed", "delivered"), "twilio": ("sent", "delivered")}
TIMES = 2


class SendGridKey:
    """SendGrid's half of the Event Webhook's key."""

    def __init__(self) -> None:
        self._private = ec.generate_private_key(ec.SECP256R1())

    @property
    def public(self) -> str:
        key = self._private.public_key()
        spelled = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(spelled).decode()

    def sign(self, body: bytes) -> dict[str, str]:
        stamp = str(int(time.time()))
        signature = self._private.sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        return {
            "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
            "X-Twilio-Email-Event-Webhook-Timestamp": stamp,
            "Content-Type": "application/json",
        }


class Reporter(threading.Thread):
    """Follows the ledger and reports what became of its messages."""

    def __init__(
        self, ledger: Path, port: int, *, key: SendGridKey, token: str, account: str, seed: int
    ) -> None:
        """`token` and `account` are Twilio's."""
        super().__init__(name="reports")
        self._ledger, self._port, self._key = ledger, port, key
        self._validator, self._account = RequestValidator(token), account
        self._dice = random.Random(seed + 2)
        self._numbers = itertools.count()
        self._waiting: list[tuple[float, int, dict[str, Any], str]] = []
        self._line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self._is_last = threading.Event()
        self.told: set[str] = set()  # resets of which Keyturn took note that they were delivered
        self.posts = self.posts_repeated = 0

    def finish(self) -> None:
        """Report what is left; comes back when Keyturn has taken note of all of it."""
        self._is_last.set()
        self.join()

    def run(self) -> None:
        with self._ledger.open() as lines:
            rest = ""
            while not (self._is_last.is_set() and not self._waiting):
                rest += lines.read()
                *whole, rest = rest.split("\n")
                for line in whole:
                    self._plan(json.loads(line))
                self._report(time.monotonic())
                time.sleep(LOOK_SECONDS)
        self._line.close()

    def _plan(self, message: dict[str, Any]) -> None:
        if self._dice.random() >= SHARE:
            return
        for word in WORDS[message["provider"]]:
            report = message | {"event_id": uuid.uuid4().hex}
            for _ in range(TIMES):
                self._wait(report, word, self._dice.uniform(*DELAY_SECONDS))

    def _wait(self, report: dict[str, Any], word: str, seconds: float) -> None:
        entry = (time.monotonic() + seconds, next(self._numbers), report, word)
        heapq.heappush(self._waiting, entry)

    def _report(self, now: float) -> None:
        """Everything that is due; when this is the end, in a hurry."""
        mails: list[tuple[dict[str, Any], str]] = []
        while self._waiting and (self._is_last.is_set() or self._waiting[0][0] <= now):
            _, _, report, word = heapq.heappop(self._waiting)
            if report["provider"] == "twilio":
                self._post_sms(report, word)
            else:
                mails.append((report, word))
        self._dice.shuffle(mails)
        for start in range(0, len(mails), MAX_IN_A_POST):
            self._post_mails(mails[start : start + MAX_IN_A_POST])

    def _post_mails(self, some: Any) -> None:
        events = [
            {
                "email": report["to"],
                "timestamp": int(report["at"]),
                "event": word,
                "sg_event_id": f"{report['event_id']}-{word}",
                "sg_message_id": f"{report['id']}.recvd-1-1-6479EA50-9.0",
                "keyturn_reset_id": report["reset_id"],
            }
            for report, word in some
        ]
        body = json.dumps(events).encode()
        is_taken = self._post("/callbacks/sendgrid", body, self._key.sign(body))
        self._note(some, is_taken=is_taken)

    def _post_sms(self, report: dict[str, Any], word: str) -> None:
        form = {
            "MessageSid": report["id"],
            "SmsSid": report["id"],
            "MessageStatus": word,
            "SmsStatus": word,
            "AccountSid": self._account,
            "To": report["to"],
        }
        url = report["callback"].partition("#")[0]
        headers = {
            "X-Twilio-Signature": self._validator.compute_signature(url, form),
            "Content-Type": "application/x-www-form-urlencoded",
        }
        target = f"{urlsplit(url).path}?{urlsplit(url).query}"
        is_taken = self._post(target, urlencode(form).encode(), headers)
        self._note([(report, word)], is_taken=is_taken)

    def _post(self, target: str, body: bytes, headers: Mapping[str, str]) -> bool:
        self.posts += 1
        try:
            self._line.request("POST", target, body, dict(headers))
            answer = self._line.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self._line.close()
            return False
        return answer.status // 100 == 2

    def _note(self, some: Any, *, is_taken: bool) -> None:
        for report, word in some:
            if is_taken and word == "delivered":
                self.told.add(report["reset_id"])
            elif not is_taken:
                self.posts_repeated += 1
                self._wait(report, word, AGAIN_SECONDS)
        if not is_taken:
            time.sleep(LOOK_SECONDS)
