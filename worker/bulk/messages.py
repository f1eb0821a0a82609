"""Render one reset mail for many recipients: once with markers, and each recipient's values.

What a person gets is, to the byte, the mail shared/messages/rendering.py would make for them alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from markupsafe import escape

from shared.languages import Languages
from shared.messages.rendering import (
    TEMPLATES,
    MailTemplate,
    NoteUnfilled,
    Translate,
    Wording,
    fill,
    ignore,
    make_environment,
)
from shared.models import BulkEmail, BulkRecipient, format_marker, make_nonce
from shared.organisations.profile import Profile
from shared.settings import Settings
from worker.outgoing import BulkItem

SPECIAL = re.compile("[&<>\"']")  # what HTML needs to be escaped
OWN = ("greeting", "code", "link", "moment")  # what differs from recipient to recipient


class BulkMessageRenderer:
    """Renders the reset mail for those who share language and organisation."""

    def __init__(
        self,
        settings: Settings,
        languages: Languages,
        note_unfilled: NoteUnfilled = ignore,
        *,
        templates: Path = TEMPLATES,
    ) -> None:
        """`templates` is the folder with the files named by message and part."""
        self._settings, self._wording = settings, Wording(settings, languages, note_unfilled)
        self.language, self.text_version = self._wording.language, self._wording.text_version
        self._mail = MailTemplate.load(make_environment(templates), "reset")

    def render(
        self, language: str, profile: Profile | None, items: Sequence[BulkItem]
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
        in_text = self._wording.common_values(language, profile, text)
        in_html = self._wording.common_values(language, profile, html)
        attempts = [attempt for item in items for attempt in item.claim.reset.attempts]
        from_address, from_name = self._wording.sender(profile, attempts)
        return BulkEmail(
            from_address=from_address,
            from_name=from_name,
            subject=self._mail.fill_subject(in_text),
            text=fill(self._mail.text, in_text),
            html=fill(self._mail.html, in_html),
            language=language,
            recipients=tuple(
                self._recipient(language, in_text["translate"], item, markers) for item in items
            ),
            reply_to=in_text["brand"].reply_to or "",
            logo=in_text["logo"],
        )

    def _recipient(
        self, language: str, translate: Translate, item: BulkItem, markers: list[tuple[str, str]]
    ) -> BulkRecipient:
        wording, reset = self._wording, item.claim.reset
        own = (
            wording.greeting(language, translate, item.user),
            item.code.formatted,
            wording.link(reset, item.code, language),
            wording.moment(language, reset.deadline_at),
        )
        values: dict[str, str] = {}
        for (in_text, in_html), value in zip(markers, own, strict=True):
            values[in_text] = value
            values[in_html] = str(escape(value)) if SPECIAL.search(value) else value
        return BulkRecipient(
            reset.reset_id,
            item.recipient,
            wording.message_id(reset.reset_id),
            values,
            wording.feedback_id(reset, language),
        )
