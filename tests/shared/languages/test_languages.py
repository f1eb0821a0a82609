"""Every language is complete, and the right one is chosen."""

import re
from datetime import UTC, datetime

import pytest

from shared import errors
from shared.errors import CallerError, InvalidRequestError, PasswordPolicyError, RenderError
from shared.languages import Languages, format_clock_time, format_moment

LANGUAGES = Languages()
AT = datetime(2026, 11, 23, 14, 5, 59, tzinfo=UTC)

# 3GPP TS 23.038, 6.2.1: the default alphabet, without the signs that count twice.
GSM7 = set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
# Errors of v2 that share a class with one of v1; their ids are ZITADEL's.
SECOND_IDS = {
    "COMMAND-SAF4f": "COMMAND-Hj9ds",
    "COMMAND-G8dh3": "COMMAND-Hj9ds",
    "COMMAND-Sfe4g": "COMMAND-2M9sd",
    "COMMAND-M9dse": "COMMAND-2M9sd",
    "AUTH-AWfge": "AUTH-5mWD2",
}


def caller_errors():
    """Every class a caller may meet that stands for one fact."""
    classes = [each for each in vars(errors).values() if isinstance(each, type)]
    skipped = {CallerError, InvalidRequestError, PasswordPolicyError}
    return [each for each in classes if issubclass(each, CallerError) and each not in skipped]


def test_the_eight_languages_are_there():
    assert set(LANGUAGES.tags) == {"de", "en", "es", "fr", "it", "nl", "pl", "pt"}


@pytest.mark.parametrize("tag", LANGUAGES.tags)
def test_a_language_has_the_sentences_of_english_with_the_same_placeholders(tag):
    english, other = LANGUAGES.sentences("en"), LANGUAGES.sentences(tag)

    assert {key: each.names for key, each in other.items()} == {
        key: each.names for key, each in english.items()
    }


@pytest.mark.parametrize("tag", LANGUAGES.tags)
def test_no_sentence_is_empty_or_holds_stray_blanks_braces_or_markup(tag):
    for key, sentence in LANGUAGES.sentences(tag).items():
        words = re.sub(r"\{[a-z_]+\}", "", sentence.text)
        assert words.strip(), key
        assert re.sub(" +", " ", sentence.text.strip()) == sentence.text, key
        assert not set(words) & set("{}<>\n"), key


@pytest.mark.parametrize("tag", [tag for tag in LANGUAGES.tags if tag != "en"])
def test_a_language_is_translated(tag):
    english, other = LANGUAGES.sentences("en"), LANGUAGES.sentences(tag)

    same = {key for key in english if english[key].text == other[key].text}

    assert same <= {"page.error"}


@pytest.mark.parametrize("tag", LANGUAGES.tags)
def test_sentences_for_sms_use_the_gsm_7_alphabet_only(tag):
    sms = {k: s.text for k, s in LANGUAGES.sentences(tag).items() if k.startswith("sms.")}

    assert sms
    for key, text in sms.items():
        assert set(re.sub(r"[{}]", "", text)) <= GSM7, key


def test_every_error_of_a_caller_has_its_original_words_in_the_english_file():
    sentences = LANGUAGES.sentences("en")

    for error in caller_errors():
        key = error.id or error.__name__
        if key != "KEYTURN-Unavailable":  # one id for two classes
            assert sentences[f"errors.{key}"].text == (error.__doc__ or "").strip()
    for rule, public_id in PasswordPolicyError.IDS.items():
        assert sentences[f"errors.{public_id}"].text == PasswordPolicyError.MESSAGES[rule]


def test_the_english_file_has_no_error_that_nobody_raises():
    known = {error.id or error.__name__ for error in caller_errors()}
    known |= {*PasswordPolicyError.IDS.values(), *SECOND_IDS, "COMMAND-3M0fs"}

    keys = {key for key in LANGUAGES.sentences("en") if key.startswith("errors.")}

    assert keys <= {f"errors.{key}" for key in known}


@pytest.mark.parametrize("tag", LANGUAGES.tags)
def test_errors_of_one_fact_say_the_same_under_every_id(tag):
    sentences = LANGUAGES.sentences(tag)

    for second, first in SECOND_IDS.items():
        assert sentences[f"errors.{second}"].text == sentences[f"errors.{first}"].text


@pytest.mark.parametrize(
    ("tags", "chosen"),
    [
        (("de",), "de"),
        (("de-CH",), "de"),
        (("de-CH-1996",), "de"),
        (("DE_ch",), "de"),
        ((None, "fr"), "fr"),
        (("", "fr"), "fr"),
        (("tlh", "it-IT", "fr"), "it"),
        (("deu",), "en"),
        (("*",), "en"),
        (("-",), "en"),
        (("../de",), "en"),
        ((), "en"),
    ],
)
def test_the_first_language_we_have_is_chosen(tags, chosen):
    assert LANGUAGES.choose(*tags) == chosen


def test_a_value_is_put_in_once_and_never_read_again():
    said = LANGUAGES.translate("en", "mail.greeting", name="{name} {0.__class__} {{7*7}}")

    assert said == "Hello {name} {0.__class__} {{7*7}},"


@pytest.mark.parametrize(
    ("language", "key"),
    [("en", "mail.greeting"), ("en", "mail.nothing"), ("tlh", "mail.greeting")],
    ids=["value", "sentence", "language"],
)
def test_a_missing_part_is_a_render_error(language, key):
    with pytest.raises(RenderError, match="lacks"):
        LANGUAGES.translate(language, key)


def test_an_error_is_translated_by_its_id_or_its_class():
    assert LANGUAGES.error("de", "CODE-QvUQ4P") == "Der Code ist abgelaufen"
    assert LANGUAGES.error("fr", "NotFoundError") == "Introuvable"


@pytest.mark.parametrize(
    ("language", "key"),
    [("en", "CODE-QvUQ4P"), ("de", "InvalidRequestError"), ("tlh", "CODE-QvUQ4P")],
)
def test_the_original_words_of_an_error_stand_where_there_is_no_translation(language, key):
    assert LANGUAGES.error(language, key) is None


@pytest.mark.parametrize(
    ("language", "time_zone", "spelled"),
    [
        ("de", "Europe/Zurich", "Montag, 23. November 2026, 15:05 MEZ"),
        ("en", "UTC", "Monday, November 23, 2026, 2:05\u00a0PM UTC"),
        ("fr", "UTC", "lundi 23 novembre 2026, 14:05 UTC"),
        ("pl", "Asia/Kathmandu", "poniedziałek, 23 listopada 2026, 19:50 UTC+5:45"),
        ("it", "Pacific/Chatham", "martedì 24 novembre 2026, 03:50 UTC+13:45"),
        ("es", "America/St_Johns", "lunes, 23 de noviembre de 2026, 10:35 UTC-3:30"),
    ],
)
def test_a_moment_is_spelled_in_the_reader_s_words(language, time_zone, spelled):
    assert format_moment(language, AT, time_zone) == spelled


@pytest.mark.parametrize("language", LANGUAGES.tags)
@pytest.mark.parametrize(
    "time_zone", ["UTC", "Europe/Lisbon", "Pacific/Chatham", "America/New_York", "Asia/Kolkata"]
)
def test_a_time_is_short_ascii(language, time_zone):
    spelled = format_clock_time(language, AT, time_zone)

    assert re.fullmatch(r"\d\d:\d\d [\x21-\x7e]{1,9}", spelled)
