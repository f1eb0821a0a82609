"""Render one reset mail for many recipients: once with markers, and each recipient's values.

What a person gets is, to the byte, the mail shared/messages/rendering.py would make for them alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from markupsafe import escape

from shared.languages import Languages
from shared.messages.rendering import TEMPLATES, MailTemplate, Wording, fill, make_environment
from shared.models import BulkEmail, BulkRecipient, Organisation, Reset, format_marker, make_nonce
from shared.settings import Settings
from worker.outgoing import BulkItem

SPECIAL = re.compile("[&<>\"']")  # what HTML needs to be escaped
OWN = ("greeting", "code", "link", "moment")  # what differs from recipient to recipient


class BulkMessageRenderer:
    """Renders the reset mail for those who share language and organisation."""

    def __init__(
        self, settings: Settings, languages: Languages, *, templates: Path = TEMPLATES
    ) -> None:
        """`templates` is the folder with the files named by message and part."""
        self._settings, self._wording = settings, Wording(settings, languages)
        self._mail = MailTemplate.load(make_environment(templates), "reset")

    def language(self, reset: Reset) -> str:
        """Return the language a reset's mail is written in."""
        return self._wording.language(reset)

    def render(
        self, language: str, organisation: Organisation | None, items: Sequence[BulkItem]
    ) -> BulkEmail:
        """Return the mail with a recipient for each item, in their order.

        Raises:
            RenderError: a template asks for a value or a sentence that does not exist.
        """
        nonce = make_nonce()
        # One value looks different in text and in HTML, so each has a marker for either.
        text = {name: format_marker(nonce, f"{name}.text") for name in OWN}
        html = {name: format_marker(nonce, f"{name}.html") for name in OWN}
        markers = [(text[name], html[name]) for name in OWN]
        common = self._wording.common_values(language, organisation)
        return BulkEmail(
            from_address=self._settings.email_from,
            from_name=self._settings.email_from_name,
            subject=self._mail.fill_subject(common),
            text=fill(self._mail.text, common | text),
            html=fill(self._mail.html, common | html),
            language=language,
            recipients=tuple(self._recipient(language, item, markers) for item in items),
        )

    def _recipient(
        self, language: str, item: BulkItem, markers: list[tuple[str, str]]
    ) -> BulkRecipient:
        wording, reset = self._wording, item.claim.reset
        own = (
            wording.greeting(language, item.user),
            item.code.formatted,
            wording.link(reset, item.code, language),
            wording.moment(language, reset.deadline_at),
        )
        values: dict[str, str] = {}
        for (in_text, in_html), value in zip(markers, own, strict=True):
            values[in_text] = value
            values[in_html] = str(escape(value)) if SPECIAL.search(value) else value
        return BulkRecipient(
            reset.reset_id, item.recipient, wording.message_id(reset.reset_id), values
        )
