"""What a recipient of a bulk e-mail gets is, to the byte, the mail of one sent alone."""

from __future__ import annotations

from datetime import timedelta
from itertools import count

import pytest

from shared.codes import Code
from shared.models import User
from shared.providers.sendgrid import build_payload, shared_payload
from shared.providers.sendgrid_bulk import BulkRequest
from shared.store.resets import Claim
from tests.support.message_builders import (
    CODE,
    EMAIL,
    NOW,
    a_renderer,
    a_reset,
    an_organisation,
    every_language,
)
from tests.support.provider_stub_mail import complaints_about, mail_of
from worker.bulk.messages import BulkMessageRenderer
from worker.outgoing import BulkItem

HOSTILE_NAMES = (
    "Ada Lovelace", "", "   ", "<b>&amp;\"Zoë's\"</b>", "-code.text-", "{{ code }} {% x %}",
    "%s {0}", "Anna-Maria O'Neill",
    "O'Brien & Söhne <ada>", "\\1\\g<0> $& ${code}", "--", "🙂🙂", "a\u200db", "\ud800x",
    "{moment}",
    "x" * 300, "www.evil.example", "[%code%]", "-5eed.greeting.text-", "\r\nBcc: x",
)  # fmt: skip
_numbers = count()


def an_item(name="Ada Lovelace", *, code=CODE, user_id="u1", **fields):
    reset = a_reset(reset_id=f"0reset{next(_numbers)}", user_id=user_id, **fields)
    claim = Claim(reset, 1, False, NOW, 0.0)
    user = User(user_id, "o1", display_name=name, email=EMAIL)
    return BulkItem(claim, user, EMAIL, code, provider=None)


def alone(renderer, item, organisation):
    return build_payload(
        renderer.render_reset(
            item.claim.reset, item.user, item.recipient, organisation, item.code,
            seconds_left=3600,
        )
    )  # fmt: skip


def together(items, organisation, **settings):
    """What each would find in their mailbox, the provider having put their values in."""
    language = items[0].claim.reset.language
    renderer = a_renderer(BulkMessageRenderer, **settings)
    bulk_email = renderer.render(language, organisation, items)
    found = []
    for copy in bulk_email.recipients:  # one address stands in all drafts, so one request each
        request = BulkRequest(
            bulk_email.with_recipients((copy,)), shared_payload(bulk_email)
        ).payload
        assert complaints_about(request) == []
        mail = mail_of(request, request["personalizations"][0])
        for part in ("substitutions", "headers"):
            del mail["personalizations"][0][part]
        found.append(mail)
    return found


@every_language
def test_a_copy_is_the_mail_one_would_get_alone(language):
    place = {"time_zone": "Europe/Zurich"}
    renderer, organisation = a_renderer(**place), an_organisation()
    items = [
        an_item("Ada Lovelace", language=language),
        an_item(
            "Zoë", code=Code("22223333", "22223333444455556666"), user_id="ö/ä?&", language=language
        ),
        an_item(language=language, deadline_at=NOW + timedelta(hours=5, minutes=3)),
        an_item(language=language, url_template="https://id.example/r?u={{.UserID}}&c={{.Code}}"),
    ]

    found = together(items, organisation, **place)

    assert found == [alone(renderer, item, organisation) for item in items]


@pytest.mark.parametrize("organisation", ["Tom & <Jerry>", "-code.text-", "{{x}}", "", "\ud800"])
def test_a_strange_name_stands_in_its_own_copy_alone(organisation):
    renderer, organisation = a_renderer(), an_organisation(organisation)
    items = [an_item(name) for name in HOSTILE_NAMES]

    found = together(items, organisation)

    assert found == [alone(renderer, item, organisation) for item in items]


def test_a_name_with_the_markers_of_another_bulk_email_changes_nothing():
    seen = a_renderer(BulkMessageRenderer).render("en", None, [an_item()])
    spying = an_item(" ".join(seen.recipients[0].values)[:55])

    (found,) = together([spying], None)

    assert found == alone(a_renderer(), spying, None)


def test_no_two_bulk_emails_share_a_marker():
    renderer = a_renderer(BulkMessageRenderer)

    first, second = (renderer.render("en", None, [an_item()]) for _ in range(2))

    assert not set(first.recipients[0].values) & set(second.recipients[0].values)


def test_every_marker_is_asked_for_where_it_belongs():
    bulk_email = a_renderer(BulkMessageRenderer).render("en", an_organisation(), [an_item()])

    for marker in bulk_email.recipients[0].values:
        is_text = ".text-" in marker
        assert (marker in bulk_email.text) == is_text
        assert (marker in bulk_email.html) == (not is_text)
        assert marker not in bulk_email.subject


def test_nothing_of_a_person_stands_in_what_all_share():
    bulk_email = a_renderer(BulkMessageRenderer).render(
        "en", None, [an_item("Ada"), an_item("Bob")]
    )

    shared = bulk_email.subject + bulk_email.text + bulk_email.html
    assert not any(word in shared for word in ("Ada", "Bob", CODE.formatted, "userID"))
    assert not any(
        word in repr(bulk_email) for word in ("Ada", "Bob", CODE.formatted, "userID", "ada@")
    )
