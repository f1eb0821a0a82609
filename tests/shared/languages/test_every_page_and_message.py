"""Mail, SMS and page in every language; and none of their words stands outside the files."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from shared.languages import ENGLISH, Languages, Plural
from shared.models import Kind
from shared.passwords.policy import PasswordPolicy
from tests.support.fakes import FakeRedis
from tests.support.message_builders import (
    CODE,
    EMAIL,
    LANGUAGES,
    PHONE,
    a_renderer,
    a_reset,
    a_user,
    an_organisation,
)
from tests.support.pages import Visit
from web.http import current_services
from web.pages import errors, routes
from web.pages.forms import Filled
from web.pages.rendering import Complaint, PageNotice, show_form, show_notice
from web.services import build_web_services

RIGHT_TO_LEFT = {"ar", "fa", "he"}
OPEN, CLOSE = "⟦", "⟧"
NAMES = ("Analytical Engines", "Ada Lovelace", "Keyturn")
READ = ("title", "alt", "placeholder", "aria-label", "data-show", "data-hide", "content")
POLICY = PasswordPolicy(8, ("lower", "upper", "number", "symbol"))


def states_of(kind):
    """Every complaint or notice the pages have, wherever it is kept."""
    kept = [value for module in (errors, routes) for value in vars(module).values()]
    kept += [value for each in kept if isinstance(each, dict) for value in each.values()]
    return {repr(value): value for value in kept if isinstance(value, kind)}.values()


COMPLAINTS, NOTICES = [None, *states_of(Complaint)], states_of(PageNotice)


class Seen(HTMLParser):
    """What is read of a page: its words, the attributes that are shown or spoken, the root."""

    def __init__(self, html):
        super().__init__()
        self.texts, self.root, self._skipped = [], {}, False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        fields = dict(attrs)
        self._skipped = tag in {"style", "script"}
        self.root = fields if tag == "html" else self.root
        if tag != "meta":
            self.texts += [fields[name] or "" for name in READ if name in fields]

    def handle_endtag(self, tag):
        self._skipped = False

    def handle_data(self, data):
        if not self._skipped and data.strip():
            self.texts.append(data)


@pytest.fixture(scope="module")
def visit():
    with FakeRedis() as client:
        yield Visit(client)


def pages_in(visit, language, languages=LANGUAGES):
    """Every state of the pages in a language."""
    services = replace(build_web_services(visit.services), languages=languages)
    with visit.app.test_request_context("/ui/password/reset"):
        assert current_services()
        for complaint in COMPLAINTS:
            for code in ("", "ABCD-EFGH"):
                filled = Filled(handle="ada", org_id="acme", code=code, language=language)
                yield show_form(services, filled, complaint, policy=POLICY)
        for notice in NOTICES:
            yield show_notice(services, Filled(handle="ada", language=language), notice)


def messages_in(language, languages=LANGUAGES):
    """The texts of every message in a language: subjects, text parts, HTML parts, SMS."""
    renderer = a_renderer()
    if languages is not LANGUAGES:
        renderer = type(renderer)(renderer._settings, languages)
    organisation, reset = an_organisation(), a_reset(language=language)
    mail = renderer.render_reset(reset, a_user(), EMAIL, organisation, CODE, seconds_left=60)
    notice = renderer.render_notice(
        replace(reset, kind=Kind.NOTICE), a_user(""), EMAIL, organisation
    )
    sms = renderer.render_sms(reset, PHONE, organisation, CODE, seconds_left=60)
    return [mail, notice], sms


@pytest.mark.parametrize("language", LANGUAGES.tags)
def test_a_language_is_shown_on_every_page(visit, language):
    english = LANGUAGES.sentences(ENGLISH)
    foreign = [
        sentence.text
        for key, sentence in english.items()
        if key.startswith("page.") and not sentence.names and len(sentence.text) > 20
    ]
    for response in pages_in(visit, language):
        page = response.get_data(as_text=True)
        root = Seen(page).root
        assert root == {"lang": language, "dir": "rtl" if language in RIGHT_TO_LEFT else "ltr"}
        assert response.headers["Content-Language"] == language
        if language != ENGLISH:
            assert not [text for text in foreign if text in page]


@pytest.mark.parametrize("language", LANGUAGES.tags)
def test_a_language_is_written_in_every_message(language):
    foreign = [
        sentence.text
        for key, sentence in LANGUAGES.sentences(ENGLISH).items()
        if key.startswith(("mail.", "reset.", "notice.")) and len(sentence.text) > 20
    ]
    mails, sms = messages_in(language)

    for mail in mails:
        assert "{" not in mail.subject + mail.text
        if language != ENGLISH:
            assert not [text for text in foreign if text in mail.text + mail.html]
    assert "{" not in sms.body


@pytest.fixture(scope="module")
def pseudo(tmp_path_factory):
    """English between brackets, under the tags of a language of either direction."""
    folder, lines = tmp_path_factory.mktemp("pseudo"), []
    section = None
    for key, sentence in LANGUAGES.sentences(ENGLISH).items():
        heading, name = key.split(".", 1)
        lines += [f"[{heading}]"] if heading != section else []
        section = heading
        assert not isinstance(sentence, Plural)
        lines.append(f"{name} = '''{OPEN}{sentence.text}{CLOSE}'''")
    for tag in (ENGLISH, "ar"):
        (folder / f"{tag}.toml").write_text("\n".join(lines), encoding="utf-8")
    return Languages(folder)


def outside(text):
    """What of a text is between no brackets, but names, codes, links and moments."""
    for name in NAMES:
        text = text.replace(name, "")
    while OPEN in text:
        shorter = re.sub(rf"{OPEN}[^{OPEN}{CLOSE}]*{CLOSE}", "", text)
        assert shorter != text
        text = shorter
    text = re.sub(r"https?://\S+|[A-Z2-9]{4}-[A-Z2-9]{4}", "", text)
    return "".join(char for char in text if char.isalpha())


@pytest.mark.parametrize("language", [ENGLISH, "ar"])
def test_no_sentence_of_a_page_stands_outside_the_files(visit, pseudo, language):
    for response in pages_in(visit, language, pseudo):
        texts = Seen(response.get_data(as_text=True)).texts
        assert len(texts) > 3
        page = "\n".join(texts).replace(", and ", "").replace(" و", "")  # of a list, by CLDR
        assert outside(page) == "", texts


@pytest.mark.parametrize("language", [ENGLISH, "ar"])
def test_no_sentence_of_a_message_stands_outside_the_files(pseudo, language):
    mails, sms = messages_in(language, pseudo)

    for mail in mails:
        assert outside(mail.subject) == ""
        assert outside(mail.text) == ""
        assert outside("\n".join(Seen(mail.html).texts)) == ""
    assert outside(sms.body) == ""


def test_a_word_outside_the_files_would_be_found(pseudo):
    assert outside("⟦a ⟦b⟧⟧ Save https://id.example/r/1") == "Save"
