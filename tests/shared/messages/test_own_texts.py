"""An organisation's own sentences go out; one that cannot be filled costs nobody the message."""

import re

import pytest

from shared.languages import format_moment
from shared.messages.rendering import MessageRenderer
from shared.models import Kind
from shared.settings import Settings
from tests.shared.messages.test_mails import Page
from tests.support.message_builders import (
    EMAIL,
    LANGUAGES,
    LINK,
    NOW,
    a_renderer,
    a_reset,
    a_user,
    an_organisation,
    mail_of,
    sms_of,
)
from tests.worker.bulk.test_bulk_messages import alone, an_item, together

OWN = {
    "reset.subject": "Ihr Zugang bei {organisation}",
    "reset.intro": "Jemand hat für {organisation} ein neues Passwort bestellt.",
    "reset.until": "Gilt bis {until}.",
    "mail.greeting": "Grüezi {name}",
    "notice.intro": "Neu seit {moment} bei {organisation}.",
    "sms.reset": "Ihr Code {code} gilt bis {until}. {link}",
}


@pytest.fixture
def unfilled():
    return []


@pytest.fixture
def renderer(unfilled):
    settings = Settings(public_url="https://id.example", email_from="no-reply@mail.example")
    return MessageRenderer(settings, LANGUAGES, lambda *place: unfilled.append(place))


def own(texts, language="de"):
    return an_organisation(texts=texts, language=language)


def test_own_sentences_stand_in_mail_notice_and_sms(renderer, unfilled):
    mail = mail_of(renderer, language="de", organisation=own(OWN))
    notice = renderer.render_notice(
        a_reset(kind=Kind.NOTICE, language="de"), a_user(), EMAIL, own(OWN)
    )
    sms = sms_of(renderer, language="de", organisation=own(OWN))

    assert mail.subject == "Ihr Zugang bei Analytical Engines"
    for part in (mail.text, "".join(Page(mail.html).words)):
        assert "Grüezi Ada Lovelace" in part
        assert "Jemand hat für Analytical Engines ein neues Passwort bestellt." in part
        assert LANGUAGES.translate("de", "reset.not_you") in part  # not replaced
    assert f"Neu seit {format_moment('de', NOW, 'UTC')} bei Analytical Engines." in notice.text
    assert sms.body.startswith("Analytical Engines: Ihr Code WMWM-WMWM gilt bis ")
    assert unfilled == []


def test_other_languages_keep_the_built_in_sentences(renderer):
    assert mail_of(renderer, language="en", organisation=own(OWN)) == mail_of(
        renderer, language="en", organisation=an_organisation()
    )


@pytest.mark.parametrize(
    "key", ["reset.subject", "reset.intro", "reset.until", "mail.greeting", "mail.automatic"]
)
@pytest.mark.parametrize("text", ["Kauft {nothing}!", 7, None])
def test_what_cannot_be_filled_goes_out_as_built_in_and_is_told(renderer, unfilled, key, text):
    mail = mail_of(renderer, language="de", organisation=own({key: text}))

    usual = mail_of(renderer, language="de", organisation=an_organisation())
    assert mail == usual
    assert unfilled == [("o1", "de", key)]  # once for text, HTML and title


def test_an_sms_that_cannot_be_filled_goes_out_as_built_in(renderer, unfilled):
    broken = own({"sms.reset": "Code {kode}: {link}"})

    assert sms_of(renderer, language="de", organisation=broken) == sms_of(
        renderer, language="de", organisation=an_organisation()
    )
    assert unfilled == [("o1", "de", "sms.reset")]


@pytest.mark.parametrize("text", ["Ihr Code {code}", "Hier: {link}", ""])
def test_an_sms_without_code_or_link_is_none(renderer, unfilled, text):
    sms = sms_of(renderer, language="de", organisation=own({"sms.reset": text}))

    assert "WMWM-WMWM" in sms.body
    assert "https://id.example/r/" in sms.body
    assert unfilled == [("o1", "de", "sms.reset")]


def test_an_empty_subject_is_none(renderer, unfilled):
    mail = mail_of(renderer, language="de", organisation=own({"reset.subject": " \n "}))

    assert mail.subject == "Ihr Passwort für Analytical Engines zurücksetzen"
    assert unfilled == [("o1", "de", "reset.subject")]


def test_own_sentences_are_words_and_no_markup_and_no_template(renderer):
    text = "<b>{{ code }}</b> {% raw %} & {organisation}\nBcc: x"

    mail = mail_of(
        renderer, language="de", organisation=own({"reset.intro": text, "reset.subject": text})
    )

    shown = text.replace("{organisation}", "Analytical Engines")
    assert shown in "".join(Page(mail.html).words)
    assert shown in mail.text
    assert mail.subject.isprintable()


def test_an_sms_whose_own_text_names_the_organisation_does_not_say_it_twice(renderer):
    text = "{organisation}: {code}, {link}"

    sms = sms_of(renderer, language="de", organisation=own({"sms.reset": text}))

    assert sms.body.count("Analytical Engines") == 1


def test_own_sentences_may_greet_and_name_the_code_anywhere(renderer, unfilled):
    texts = {
        "reset.heading": "Hallo, {code}",
        "reset.intro": "{link}",
        "reset.subject": "{organisation} {moment}",
    }
    mail = mail_of(renderer, language="de", organisation=own(texts))

    assert "Hallo, WMWM-WMWM" in mail.html
    assert mail.text.count(f"{LINK}&lang=de") == 2
    assert unfilled == []


def test_a_copy_of_a_bulk_email_has_the_same_own_sentences():
    texts = OWN | {"reset.intro": "{code} {link} {organisation}", "reset.subject": "{until}"}
    organisation = own(texts)
    items = [an_item("Ada", language="de"), an_item("", language="de")]

    found = together(items, organisation)

    assert found == [alone(a_renderer(), item, organisation) for item in items]


def test_the_version_that_went_out_is_known(renderer):
    texts = own(OWN)

    assert renderer.text_version(a_reset(language="de"), texts) == "7"
    assert renderer.text_version(a_reset(language="en"), texts) == ""
    assert renderer.text_version(a_reset(language="de"), None) == ""
    assert re.fullmatch(r"\d+", renderer.text_version(a_reset(language="de"), texts))
