"""One reset mail for many people: rendered once with markers, and the values of every copy.

What a person gets is, to the byte, the mail worker/messages.py would make for them alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from markupsafe import escape

from shared.models import BulkEmail, BulkRecipient, format_marker, make_nonce
from worker.messages import TEMPLATES, Wording, fill, load_mail, make_environment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shared.languages import Languages
    from shared.models import Organisation, Reset
    from shared.settings import Settings
    from worker.messages import BulkItem

_SPECIAL = re.compile("[&<>\"']")  # what HTML needs to be escaped
OWN = ("greeting", "code", "link", "moment")  # what differs from copy to copy


class BulkMessageRenderer:
    """Renders the reset mail for those who share language and organisation."""

    def __init__(
        self, settings: Settings, languages: Languages, *, templates: Path = TEMPLATES
    ) -> None:
        """`templates` is the folder with the files named by message and part."""
        self._settings, self._words = settings, Wording(settings, languages)
        self._mail = load_mail(make_environment(templates), "reset")

    def language(self, reset: Reset) -> str:
        """The language a reset's mail is written in."""
        return self._words.language(reset)

    def render(
        self, language: str, organisation: Organisation | None, drafts: Sequence[BulkItem]
    ) -> BulkEmail:
        """The mail and a copy for each draft, in their order.

        Raises:
            RenderError: a template asks for a value or a sentence that is not there.
        """
        nonce = make_nonce()
        # One value looks different in text and in HTML, so each has a marker for either.
        text = {name: format_marker(nonce, f"{name}.text") for name in OWN}
        html = {name: format_marker(nonce, f"{name}.html") for name in OWN}
        markers = [(text[name], html[name]) for name in OWN]
        common = {
            "say": self._words.say(language),
            "language": language,
            "organisation": self._words.name_of(organisation),
        }
        return BulkEmail(
            from_address=self._settings.email_from,
            from_name=self._settings.email_from_name,
            subject=" ".join(fill(self._mail.subject, common).split()),
            text=fill(self._mail.text, common | text),
            html=fill(self._mail.html, common | html),
            language=language,
            recipients=tuple(self._copy(language, draft, markers) for draft in drafts),
        )

    def _copy(
        self, language: str, draft: BulkItem, markers: list[tuple[str, str]]
    ) -> BulkRecipient:
        words, reset = self._words, draft.claim.reset
        own = (
            words.greeting(language, draft.user),
            draft.code.spelled,
            words.link(reset, draft.code, language),
            words.moment(language, reset.deadline_at),
        )
        values: dict[str, str] = {}
        for (in_text, in_html), value in zip(markers, own, strict=True):
            values[in_text] = value
            values[in_html] = str(escape(value)) if _SPECIAL.search(value) else value
        return BulkRecipient(
            reset.reset_id, draft.recipient, words.message_id(reset.reset_id), values
        )
