"""Hands mails to an SMTP relay; one connection for each mail.

`smtplib` speaks; the line under it ends every wait at the call's one deadline.
"""

from __future__ import annotations

from datetime import UTC, datetime
from time import time
from typing import TYPE_CHECKING

from shared.errors import AccountProviderError
from shared.models import Channel, Email, Receipt
from shared.providers.dialing import Deadline, dial, tls_context
from shared.providers.mail import ascii_domain
from shared.providers.mime import spell_mime
from shared.providers.smtp_conversation import Conversation
from shared.providers.smtp_relay import parse_relay
from shared.providers.soundness import checked_address

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from shared.settings import Settings


class Smtp:
    """One SMTP relay; a connection for each mail."""

    name = "smtp"
    channel = Channel.EMAIL

    def __init__(
        self,
        settings: Settings,
        *,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time,
    ) -> None:
        """`tls` and `clock` (epoch seconds) are for tests."""
        self._relay = parse_relay(settings.smtp_url)
        self._tls = tls or tls_context()
        self._timeout_seconds = settings.provider_timeout_seconds
        self._clock = clock

    def send(self, message: Email) -> Receipt:
        """See Provider."""
        address = ascii_domain(checked_address(message))
        sender = ascii_domain(message.from_address)
        relay = self._relay
        line = dial(
            relay.host,
            relay.port,
            deadline=Deadline(self._timeout_seconds),
            tls=self._tls if relay.is_tls else None,
        )
        conversation = Conversation(line, relay.host)
        try:
            conversation.greet()
            is_tls = relay.is_tls or self._encrypt(conversation)
            self._log_in(conversation, is_tls=is_tls)
            is_utf8 = conversation.address(sender, address)
            at = datetime.fromtimestamp(self._clock(), UTC)
            content = spell_mime(message, recipient=address, at=at, is_utf8=is_utf8)
            queued_as = conversation.hand_over(content)
        finally:
            conversation.close()
        return Receipt(queued_as)

    def close(self) -> None:
        """Nothing is held open."""

    def _encrypt(self, conversation: Conversation) -> bool:
        """STARTTLS when it is offered."""
        if conversation.offers("starttls"):
            conversation.start_tls(self._tls)
            return True
        if self._relay.needs_starttls:
            raise AccountProviderError("smtp_no_tls", "the relay does not offer STARTTLS")
        return False

    def _log_in(self, conversation: Conversation, *, is_tls: bool) -> None:
        if not self._relay.user:
            return
        if not is_tls and not self._relay.is_loopback:
            raise AccountProviderError(
                "smtp_no_tls", "the relay offers no TLS, and the password is not told without"
            )
        conversation.log_in(self._relay.user, self._relay.password)
