"""A copy of a circular is, to the byte, the mail its recipient would get alone."""

from __future__ import annotations

from datetime import timedelta
from itertools import count

import pytest
from message_builders import (
    CODE,
    EMAIL,
    NOW,
    a_renderer,
    a_reset,
    an_organisation,
    every_language,
)

from shared.codes import Code
from shared.models import User
from shared.providers.sendgrid import build_payload, shared_payload
from shared.providers.sendgrid_bulk import BulkRequest
from shared.store.resets import Claim
from tests.provider_stub_mail import complaints_about, mail_of
from worker.bulk.messages import BulkMessageRenderer
from worker.messages import BulkItem

HOSTILE_NAMES = (
    "Ada Lovelace", "", "   ", "<b>&amp;\"Zoë's\"</b>", "-code.text-", "{{ code }} {% x %}",
    "%s {0}", "Anna-Maria O'Neill",
    "O'Brien & Söhne <ada>", "\\1\\g<0> $& ${code}", "--", "🙂🙂", "a\u200db", "\ud800x",
    "{moment}",
    "x" * 300, "www.evil.example", "[%code%]", "-5eed.greeting.text-", "\r\nBcc: x",
)  # fmt: skip
_numbers = count()


def a_draft(name="Ada Lovelace", *, code=CODE, user_id="u1", **facts):
    reset = a_reset(reset_id=f"0reset{next(_numbers)}", user_id=user_id, **facts)
    claim = Claim(reset, 1, False, NOW, 0.0)
    user = User(user_id, "o1", display_name=name, email=EMAIL)
    return BulkItem(claim, user, EMAIL, code, provider=None)


def alone(renderer, draft, organisation):
    return build_payload(
        renderer.render_reset(
            draft.claim.reset, draft.user, draft.recipient, organisation, draft.code,
            seconds_left=3600,
        )
    )  # fmt: skip


def together(drafts, organisation, **settings):
    """What each would find in their mailbox, the provider having put their values in."""
    language = drafts[0].claim.reset.language
    renderer = a_renderer(BulkMessageRenderer, **settings)
    circular = renderer.render(language, organisation, drafts)
    found = []
    for copy in circular.recipients:  # one address stands in all drafts, so one request each
        request = BulkRequest(circular.with_recipients((copy,)), shared_payload(circular)).payload
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
    drafts = [
        a_draft("Ada Lovelace", language=language),
        a_draft("Zoë", code=Code("22223333"), user_id="ö/ä?&", language=language),
        a_draft(language=language, deadline_at=NOW + timedelta(hours=5, minutes=3)),
        a_draft(language=language, url_template="https://id.example/r?u={{.UserID}}&c={{.Code}}"),
    ]

    found = together(drafts, organisation, **place)

    assert found == [alone(renderer, draft, organisation) for draft in drafts]


@pytest.mark.parametrize("organisation", ["Tom & <Jerry>", "-code.text-", "{{x}}", "", "\ud800"])
def test_a_strange_name_stands_in_its_own_copy_alone(organisation):
    renderer, organisation = a_renderer(), an_organisation(organisation)
    drafts = [a_draft(name) for name in HOSTILE_NAMES]

    found = together(drafts, organisation)

    assert found == [alone(renderer, draft, organisation) for draft in drafts]


def test_a_name_with_the_markers_of_another_circular_changes_nothing():
    seen = a_renderer(BulkMessageRenderer).render("en", None, [a_draft()])
    spying = a_draft(" ".join(seen.recipients[0].values)[:55])

    (found,) = together([spying], None)

    assert found == alone(a_renderer(), spying, None)


def test_no_two_circulars_share_a_marker():
    renderer = a_renderer(BulkMessageRenderer)

    first, second = (renderer.render("en", None, [a_draft()]) for _ in range(2))

    assert not set(first.recipients[0].values) & set(second.recipients[0].values)


def test_every_marker_is_asked_for_where_it_belongs():
    circular = a_renderer(BulkMessageRenderer).render("en", an_organisation(), [a_draft()])

    for marker in circular.recipients[0].values:
        is_text = ".text-" in marker
        assert (marker in circular.text) == is_text
        assert (marker in circular.html) == (not is_text)
        assert marker not in circular.subject


def test_nothing_of_a_person_stands_in_what_all_share():
    circular = a_renderer(BulkMessageRenderer).render("en", None, [a_draft("Ada"), a_draft("Bob")])

    shared = circular.subject + circular.text + circular.html
    assert not any(word in shared for word in ("Ada", "Bob", CODE.formatted, "userID"))
    assert not any(
        word in repr(circular) for word in ("Ada", "Bob", CODE.formatted, "userID", "ada@")
    )
