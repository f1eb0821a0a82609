"""A reset, a user, an organisation and their messages, with defaults for the tests beside."""

from datetime import UTC, datetime, timedelta
from functools import cache

import pytest

from shared.codes import Code
from shared.languages import Languages
from shared.messages.rendering import MessageRenderer
from shared.models import (
    Channel,
    Email,
    Kind,
    Organisation,
    Queue,
    Recipient,
    Reset,
    Sms,
    Status,
    User,
)
from shared.settings import Settings

LANGUAGES = Languages()
NOW = datetime(2026, 11, 23, 14, 5, tzinfo=UTC)
ID = "0123456789abcdefghjkmnpqrst"
CODE = Code("WMWMWMWM", "W" * 20)
LINK = "https://id.example/ui/password/reset?userID=u1&code=WWWWWWWWWWWWWWWWWWWW&orgID=o1"
EMAIL = Recipient(Channel.EMAIL, "ada@example.com")
PHONE = Recipient(Channel.SMS, "+41790000000")
every_language = pytest.mark.parametrize("language", LANGUAGES.tags)


@cache  # it compiles its templates
def a_renderer(kind=MessageRenderer, **settings):
    fields = {"public_url": "https://id.example", "email_from": "no-reply@mail.example"}
    return kind(Settings(**fields | settings), LANGUAGES)


def a_reset(channel=Channel.EMAIL, **fields):
    values = {
        "reset_id": ID, "kind": Kind.RESET, "user_id": "u1", "org_id": "o1", "channel": channel,
        "queue": Queue.URGENT, "status": Status.SENDING, "reason": None, "language": "en",
        "key_id": "k", "sequence": 1, "created_at": NOW, "deadline_at": NOW + timedelta(hours=1),
        "request_id": None,
    }  # fmt: skip
    return Reset(**values | fields)


def a_user(display_name="Ada Lovelace"):
    return User("u1", "o1", display_name=display_name, email=EMAIL, phone=PHONE)


def an_organisation(name="Analytical Engines"):
    return Organisation("o1", name)


def mail_of(renderer, *, user=None, organisation=None, **fields):
    message = renderer.render_reset(
        a_reset(**fields), user or a_user(), EMAIL, organisation, CODE, seconds_left=3600
    )
    assert isinstance(message, Email)
    return message


def sms_of(renderer, *, organisation=None, seconds_left=600.0, **fields):
    message = renderer.render_reset(
        a_reset(Channel.SMS, **fields), a_user(), PHONE, organisation, CODE,
        seconds_left=seconds_left,
    )  # fmt: skip
    assert isinstance(message, Sms)
    return message
