"""Every mail in every language says what it must, and nothing typed by others does harm."""

import re
from datetime import timedelta
from html.parser import HTMLParser

import pytest

from shared.errors import RenderError
from shared.languages import format_moment
from shared.messages.rendering import TEMPLATES, MessageRenderer
from shared.models import Kind
from shared.settings import Settings
from tests.support.message_builders import (
    EMAIL,
    ID,
    LANGUAGES,
    LINK,
    NOW,
    a_renderer,
    a_reset,
    a_user,
    an_organisation,
    every_language,
    mail_of,
    sms_of,
)

VOID = {"meta", "br", "img", "hr", "link", "input"}


class Page(HTMLParser):
    """Reads a mail as a mail program would: words, links, and whether every tag is closed."""

    def __init__(self, html):
        super().__init__()
        self.open, self.links, self.loads, self.words, self.lang = [], [], [], [], None
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        fields = dict(attrs)
        self.lang = fields["lang"] if tag == "html" else self.lang
        self.links += [fields["href"]] if tag == "a" else []
        self.loads += [fields[name] for name in ("src", "background") if name in fields]
        self.open += [] if tag in VOID else [tag]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)


@every_language
def test_a_mail_has_the_link_the_code_the_moment_and_the_name_in_both_parts(language):
    renderer = a_renderer(time_zone="Europe/Zurich")

    mail = mail_of(renderer, language=language, organisation=an_organisation())

    page = Page(mail.html)
    words = "".join(page.words)
    moment = format_moment(language, NOW + timedelta(hours=1), "Europe/Zurich")
    for part in (mail.text, words):
        assert f"{LINK}&lang={language}" in part
        assert "WMWM-WMWM" in part
        assert moment in part
        assert "Ada Lovelace" in part
        assert "Analytical Engines" in part
    assert page.links == [f"{LINK}&lang={language}"] * 2
    assert (page.lang, mail.language) == (language, language)


@every_language
def test_a_mail_runs_as_its_language_is_written(language):
    mail = mail_of(a_renderer(), language=language, organisation=an_organisation("Acme (Ltd.)"))
    is_rtl = language in {"ar", "fa", "he"}

    side = "right" if is_rtl else "left"
    assert f'<html lang="{language}" dir="{"rtl" if is_rtl else "ltr"}">' in mail.html
    assert f"text-align:{side}" in mail.html
    assert re.search(r'<td class="code"[^>]* dir="ltr"[^>]*>WMWM-WMWM</td>', mail.html)
    assert re.search(r'<a [^>]*dir="ltr"[^>]*>https://id\.example/[^<]+</a>', mail.html)
    assert ("\u2068Acme (Ltd.)\u2069" in mail.text) is is_rtl
    assert ("\u2068Ada Lovelace\u2069" in mail.text) is is_rtl
    assert "Acme (Ltd.)" in mail.subject
    assert mail.subject.isprintable()
    assert f"\n{LINK}&lang={language}\n" in mail.text
    assert re.search(r"^\u200e?    WMWM-WMWM$", mail.text, re.MULTILINE)


@every_language
def test_a_notice_says_when_and_carries_no_code_and_no_link(language):
    reset = a_reset(kind=Kind.NOTICE, language=language, completed_at=NOW + timedelta(minutes=9))

    mail = a_renderer().render_notice(reset, a_user(), EMAIL, an_organisation())

    page = Page(mail.html)
    moment = format_moment(language, NOW + timedelta(minutes=9), "UTC")
    for part in (mail.text, "".join(page.words)):
        assert moment in part
        assert "Ada Lovelace" in part
        assert "http" not in part
        assert "WMWM" not in part
    assert page.links == []


@every_language
def test_a_mail_loads_nothing_from_outside_and_follows_the_reader_s_colours(language):
    mail = mail_of(a_renderer(), language=language)

    assert Page(mail.html).loads == []
    assert "@import" not in mail.html
    assert "url(" not in mail.html
    assert '<meta name="color-scheme" content="light dark">' in mail.html
    assert "prefers-color-scheme: dark" in mail.html


@every_language
def test_subjects_are_one_line_and_name_the_organisation(language):
    renderer, organisation = a_renderer(), an_organisation()

    reset = mail_of(renderer, language=language, organisation=organisation)
    notice = renderer.render_notice(a_reset(language=language), a_user(), EMAIL, organisation)

    for subject in (reset.subject, notice.subject):
        assert subject.isprintable()
        assert "Analytical Engines" in subject
    assert reset.subject != notice.subject


def test_the_envelope_comes_from_the_settings_and_is_the_same_on_every_attempt():
    renderer = a_renderer(email_from_name="Engines")

    first, second = mail_of(renderer), mail_of(renderer)

    assert first == second
    assert first.message_id == f"<{ID}@mail.example>"
    assert (first.from_address, first.from_name) == ("no-reply@mail.example", "Engines")
    assert (first.reset_id, first.recipient) == (ID, EMAIL)


def test_a_message_id_is_ascii_also_for_a_domain_that_is_not():
    assert mail_of(a_renderer(email_from="a@bücher.example")).message_id.isascii()


@pytest.mark.parametrize("organisation", [None, an_organisation("Log in at https://evil.example")])
def test_the_sender_is_named_where_the_organisation_cannot_be(organisation):
    mail = mail_of(a_renderer(email_from_name="Engines"), organisation=organisation)

    assert mail.subject == "Reset your password for Engines"
    assert "evil" not in mail.text + mail.html


def test_an_unknown_language_is_read_in_english():
    assert mail_of(a_renderer(), language="tlh").language == "en"


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "</td></table></body>",
        "{{7*7}} {% raw %} {moment} {0}",
        "${code} -code- %recipient% *|NAME|*",
        "Ada\r\nBcc: eve@",
        "<!-- ",
        "&lt;b&gt;",
    ],
)
def test_a_hostile_name_is_only_words(name):
    renderer = a_renderer()

    mail = mail_of(renderer, user=a_user(name), organisation=an_organisation(name))

    shown = " ".join(name.split())
    page = Page(mail.html)
    assert f"Hello {shown}," in "".join(page.words)
    assert f"Hello {shown}," in mail.text
    assert "49" not in mail.text
    assert page.links == [f"{LINK}&lang=en"] * 2
    assert page.loads == []
    assert mail.subject == f"Reset your password for {shown}"


@pytest.mark.parametrize("name", ["", "Win at https://evil.example", "www.evil.example", "a.evil"])
def test_a_name_with_an_address_is_not_used(name):
    mail = mail_of(a_renderer(), user=a_user(name))

    assert "Hello," in mail.text
    assert "evil" not in mail.text + mail.html


def test_a_caller_s_template_makes_the_link_on_both_channels():
    template = "https://app.example/{{.OrgID}}/{{ .UserID }}?c={{.Code}}&x=1"

    mail = mail_of(a_renderer(), url_template=template, user_id="u 1")
    sms = sms_of(a_renderer(), url_template=template)

    assert Page(mail.html).links[0] == "https://app.example/o1/u%201?c=WWWWWWWWWWWWWWWWWWWW&x=1"
    assert "https://app.example/o1/u%201?c=WWWWWWWWWWWWWWWWWWWW&x=1" in mail.text
    assert sms.body.endswith("https://app.example/o1/u1?c=WWWWWWWWWWWWWWWWWWWW&x=1")


@pytest.mark.parametrize("part", ["subject.txt", "txt", "html"])
def test_a_value_a_template_lacks_is_a_render_error(tmp_path, part):
    for file in TEMPLATES.iterdir():
        (tmp_path / file.name).write_text(file.read_text())
    broken = (TEMPLATES / f"reset.{part}").read_text().replace("=organisation", "=nobody_gave_this")
    (tmp_path / f"reset.{part}").write_text(broken)
    renderer = MessageRenderer(Settings(), LANGUAGES, templates=tmp_path)

    with pytest.raises(RenderError, match=re.escape(f"reset.{part}: 'nobody_gave_this'")):
        mail_of(renderer)


def test_messages_show_nothing_secret_in_their_repr():
    shown = repr(mail_of(a_renderer())) + repr(sms_of(a_renderer()))

    assert "WMWM" not in shown
    assert "ada@example.com" not in shown
