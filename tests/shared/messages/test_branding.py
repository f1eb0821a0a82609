"""A mail shows its organisation: name, logo, colours, help, postal line; never the installation."""

import pytest

from shared.models import Kind
from shared.organisations.profile import DARK, LIGHT, Logo, Palette
from shared.organisations.texts import replaceable
from shared.providers.sendgrid import build_payload, shared_payload
from shared.providers.sendgrid_bulk import BulkRequest
from tests.shared.messages.test_mails import Page
from tests.support.message_builders import (
    EMAIL,
    LANGUAGES,
    a_renderer,
    a_reset,
    a_user,
    an_organisation,
    every_language,
    mail_of,
    sms_of,
)
from tests.support.pictures import a_png
from tests.support.provider_stub_mail import mail_of as bulk_mail_of
from tests.worker.bulk.test_bulk_messages import an_item
from worker.bulk.messages import BulkMessageRenderer

MAX_HTML_BYTES, GMAIL_BYTES = 30_000, 102 * 1024  # Gmail cuts here
PNG = Logo("image/png", a_png(300, 90), 300, 90)
SVG = Logo("image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg'/>", 300, 90)
BRANDING = {
    "logo": PNG,
    "light": Palette("#8c145a", "#fffffe", "#8c145b"),
    "dark": Palette("#f08cc0", "#12161c", "#f08cc1"),
    "help_url": "https://help.example/reset?a=1&b=2",
    "postal_line": "Engines AG, Seestrasse 1, 8002 Zürich",
    "reply_to": "help@engines.example",
}
INSTALLATION = "Keyturn of Example Inc"
HOSTILE = '"><img src=x onerror=alert(1)></style><script>&amp;'


def both(organisation, **settings):
    """The mail with the code, and the one of a changed password."""
    renderer = a_renderer(email_from_name=INSTALLATION, **settings)
    notice = a_reset(kind=Kind.NOTICE)
    return [
        mail_of(renderer, organisation=organisation),
        renderer.render_notice(notice, a_user(), EMAIL, organisation),
    ]


@pytest.mark.parametrize("mail", both(an_organisation(**BRANDING)), ids=["reset", "notice"])
def test_a_mail_shows_all_of_the_branding(mail):
    page = Page(mail.html)
    assert page.loads == [mail.logo.url] == ["cid:logo@keyturn"]
    assert 'alt="Analytical Engines" width="133" height="40"' in mail.html
    assert mail.logo.content == PNG.content
    assert BRANDING["help_url"] in page.links
    for part in (mail.text, "".join(page.words)):
        assert BRANDING["postal_line"] in part
        assert "Replies to it go to Analytical Engines." in part
    assert f"Help: {BRANDING['help_url']}" in mail.text
    assert mail.reply_to == "help@engines.example"


def test_the_colours_stand_in_all_three_places_a_client_reads():
    mail = mail_of(a_renderer(), organisation=an_organisation(**BRANDING))

    assert 'bgcolor="#8c145a" style="background-color:#8c145a;' in mail.html
    assert "font-weight:600;color:#fffffe" in mail.html
    media, inverted = mail.html.split("@media (prefers-color-scheme: dark)")[1].split("[data-og", 1)
    for rules, text, ground in ((media, "", ""), (f"[data-og{inverted}", "sc] ", "sb] ")):
        assert f"{ground}.button {{ background-color: #f08cc0 !important" in rules
        assert f"{text}.button a {{ color: #12161c !important" in rules
        assert f"{text}.link {{ color: #f08cc1 !important" in rules


@pytest.mark.parametrize("branding", [{}, BRANDING], ids=["plain", "branded"])
def test_the_name_of_the_installation_stands_nowhere(branding):
    for mail in both(an_organisation(**branding)):
        assert INSTALLATION not in mail.subject + mail.text + mail.html + mail.from_name
        assert mail.from_name == "Analytical Engines"
    renderer = a_renderer(email_from_name=INSTALLATION)
    assert INSTALLATION not in sms_of(renderer, organisation=an_organisation(**branding)).body


def test_without_an_organisation_it_is_the_installation_s():
    for mail in both(None):
        assert mail.from_name == INSTALLATION
        assert INSTALLATION in mail.text
        assert (mail.reply_to, mail.logo) == ("", None)
        assert "Replies to it are not read." in mail.text
        assert DARK.accent in mail.html
    assert LIGHT.accent in mail_of(a_renderer()).html


def test_an_svg_is_not_for_mails():
    (mail, _) = both(an_organisation(**BRANDING | {"logo": SVG}))

    assert mail.logo is None
    assert Page(mail.html).loads == []
    assert "Analytical Engines" in mail.html


@pytest.mark.parametrize(
    ("size", "shown"),
    [((16, 16), (16, 16)), ((4000, 40), (200, 2)), ((1, 5000), (1, 40)), ((80, 80), (40, 40))],
)
def test_a_logo_keeps_its_proportions_and_is_never_enlarged(size, shown):
    logo = Logo("image/png", b"png", *size)

    mail = mail_of(a_renderer(), organisation=an_organisation(logo=logo))

    assert (mail.logo.width, mail.logo.height) == shown


def test_no_field_of_the_branding_is_more_than_words():
    branding = BRANDING | {"help_url": f"https://help.example/{HOSTILE}", "postal_line": HOSTILE}
    organisation = an_organisation(HOSTILE, **branding)

    for mail in both(organisation):
        page = Page(mail.html)
        assert page.loads == [mail.logo.url]
        assert "<script" not in mail.html
        assert mail.html.count("</style>") == 1
        assert HOSTILE in "".join(page.words)
        assert f"https://help.example/{HOSTILE}" in page.links


@every_language
@pytest.mark.parametrize("branding", [{}, BRANDING], ids=["plain", "branded"])
def test_a_mail_is_far_below_what_gmail_cuts(language, branding):
    organisation = an_organisation("W" * 60, **branding)
    link = "https://id.example/" + "x" * 1900

    mail = mail_of(a_renderer(), language=language, organisation=organisation, url_template=link)

    assert len(mail.html.encode()) < MAX_HTML_BYTES


def test_the_longest_own_sentences_are_below_what_gmail_cuts():
    sentences = {key: "&'" * 500 for key in replaceable(LANGUAGES) if key[:4] in ("rese", "mail")}
    organisation = an_organisation(texts=sentences, language="en", **BRANDING)

    mail = mail_of(a_renderer(), organisation=organisation)

    assert 60_000 < len(mail.html.encode()) < GMAIL_BYTES


@pytest.mark.parametrize(
    ("org_id", "kind", "feedback_id"),
    [
        ("o1", Kind.RESET, "reset:o1:de:keyturn"),
        ("a:b\r\nc ü", Kind.RESET, "reset:a-b--c--:de:keyturn"),
        ("1234567890", Kind.NOTICE, "notice:1234567890:de:keyturn"),
    ],
)
def test_gmail_can_count_complaints_by_organisation_and_sees_no_person(org_id, kind, feedback_id):
    reset = a_reset(kind=kind, org_id=org_id, language="de", user_id="ada")

    mail = a_renderer().render_notice(reset, a_user(), EMAIL, an_organisation())

    assert mail.feedback_id == feedback_id


def test_webmail_that_drops_the_html_tag_still_knows_the_language():
    mail = mail_of(a_renderer(), language="de", organisation=an_organisation())

    assert '<div role="main" lang="de" dir="ltr">' in mail.html


def test_a_bulk_email_shows_the_same():
    organisation = an_organisation(**BRANDING)
    item = an_item()
    alone = build_payload(
        a_renderer().render_reset(
            item.claim.reset, item.user, EMAIL, organisation, item.code, seconds_left=3600
        )
    )

    bulk = a_renderer(BulkMessageRenderer).render("en", organisation, [item])

    request = BulkRequest(bulk, shared_payload(bulk)).payload
    got = bulk_mail_of(request, request["personalizations"][0])
    for field in ("from", "subject", "content", "headers", "reply_to", "attachments"):
        assert got[field] == alone[field]
