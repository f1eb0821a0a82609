"""Posts what a provider stub's messages became: signed, shuffled and repeated as asked for."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

import requests

from tests.support.callback_builders import (
    SendGridKey,
    a_body,
    a_mail_event,
    a_status,
    form_body,
    twilio_headers,
    twilio_query,
)
from tests.support.waiting import HANG_SECONDS


class CallbackPoster:
    """Calls back for the messages in a stub's ledger."""

    def __init__(self, url: str, *, public_url: str, key: SendGridKey, seed: int = 7) -> None:
        """`url` is where the web process listens, `public_url` what Twilio believes it calls."""
        self._url, self._public_url, self._key = url, public_url, key
        self._random = random.Random(seed)

    def mail_events(self, entry: Mapping[str, Any], *words: str, **fields: Any) -> list[Any]:
        """SendGrid's events about one message it took."""
        message_id = f"{entry['id']}.filter0001.16648.5515E0B88.0"
        return [
            a_mail_event(word, entry["resetId"], sg_message_id=message_id, **fields)
            for word in words
        ]

    def post_mail(
        self, events: Iterable[Any], *, times: int = 1, shuffled: bool = False, size: int = 100
    ) -> list[int]:
        """Post events in batches, each event so many times; gives the statuses."""
        listed = [event for event in events for _ in range(times)]
        if shuffled:
            self._random.shuffle(listed)
        answers = []
        for start in range(0, len(listed), size):
            body = a_body(*listed[start : start + size])
            headers = self._key.headers(body)
            answer = requests.post(
                f"{self._url}/callbacks/sendgrid", data=body, headers=headers, timeout=HANG_SECONDS
            )
            answers.append(answer.status_code)
        return answers

    def post_sms(self, entry: Mapping[str, Any], *words: str, **fields: str) -> list[int]:
        """Post Twilio's status of one message it took, word by word; gives the statuses."""
        query = twilio_query(entry["resetId"])
        answers = []
        for word in words:
            form = a_status(word, sid=entry["id"], To=entry["to"], **fields)
            answer = requests.post(
                f"{self._url}/callbacks/twilio?{query}",
                data=form_body(form),
                headers=twilio_headers(query, form, base=self._public_url),
                timeout=HANG_SECONDS,
            )
            answers.append(answer.status_code)
        return answers
