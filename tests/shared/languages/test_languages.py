"""Every language is complete, and the right one is chosen."""

import re
import sys
import unicodedata
from datetime import UTC, datetime

import pytest
from babel import Locale
from hypothesis import given
from hypothesis import strategies as st
from langcodes import Language

from shared import errors
from shared.errors import CallerError, InvalidRequestError, PasswordPolicyError, RenderError
from shared.languages import (
    MISSES_UNTIL_FORGOTTEN,
    Languages,
    Plural,
    direction,
    format_clock_time,
    format_moment,
    isolate,
    join,
)
from shared.models import Organisation, User

LANGUAGES = Languages()
AT = datetime(2026, 11, 23, 14, 5, 59, tzinfo=UTC)

# 3GPP TS 23.038, 6.2.1: the default alphabet, without the signs that count twice.
GSM7 = set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
TAGS = [
    *("ar", "bg", "ca", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "he", "hi"),
    *("hr", "hu", "id", "it", "ja", "ko", "lt", "lv", "nb", "nl", "pl", "pt-BR", "pt-PT", "ro"),
    *("sk", "sl", "sv", "th", "tr", "uk", "vi", "zh-Hans", "zh-Hant"),
]
RIGHT_TO_LEFT = {"ar", "fa", "he"}
# Other scripts, and Vietnamese, whose marks are no letters of that alphabet's.
UCS2 = {"ar", "bg", "el", "fa", "he", "hi", "ja", "ko", "th", "uk", "vi", "zh-Hans", "zh-Hant"}
ALLOWED: dict[str, set[str]] = {}  # what is the same in a language as in English
LONG = {("hu", "mail.greeting_plain")}  # "Tisztelt Felhasználó!" for "Hello,"
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


def texts_of(tag):
    """Every sentence of a language by key, each plural form by its own."""
    for key, sentence in LANGUAGES.sentences(tag).items():
        forms = sentence.forms if isinstance(sentence, Plural) else {}
        yield from ((f"{key}.{name}", form.text) for name, form in forms.items())
        if not forms:
            yield key, sentence.text


def test_the_languages_are_there():
    assert sorted(LANGUAGES.tags) == TAGS


@pytest.mark.parametrize("tag", LANGUAGES.tags)
def test_a_language_has_the_sentences_of_english_with_the_same_placeholders(tag):
    english, other = LANGUAGES.sentences("en"), LANGUAGES.sentences(tag)

    assert {key: each.names for key, each in other.items()} == {
        key: each.names for key, each in english.items()
    }


@pytest.mark.parametrize("tag", LANGUAGES.tags)
def test_no_sentence_is_empty_or_holds_stray_blanks_braces_or_markup(tag):
    for key, text in texts_of(tag):
        words = re.sub(r"\{[a-z_]+\}", "", text)
        assert words.strip(), key
        assert re.sub(" +", " ", text.strip()) == text, key
        assert "\n" not in words or (key == "sms.reset" and text.endswith("{time}\n{link}"))
        assert not set(words) & set("{}<>\t\ufeff\xad\u200b\u2026"), key
        assert not re.search(r" [,.;](\s|$)", text) or (tag == "fr" and " ;" in text), key


@pytest.mark.parametrize("tag", LANGUAGES.tags)
def test_apostrophes_and_quotation_marks_are_those_of_print_but_in_sms(tag):
    for key, text in texts_of(tag):
        if not key.startswith("sms.") and tag != "en":
            assert not set("'\"`´") & set(text), key


@pytest.mark.parametrize("tag", LANGUAGES.tags)
def test_a_sentence_ends_as_its_english_one_does(tag):
    """A colon before what follows, a stop after a sentence, neither after a heading or an error."""
    stops, english = ".。।!?؟;", dict(texts_of("en"))
    for key, text in texts_of(tag):
        model = english[key.rsplit(".", 1)[0] if key not in english else key]
        last = text.rstrip("\u200e\u200f ")[-1]
        if tag != "th" and model.endswith(":"):
            assert last in (":：。." if tag in {"ja", "ko"} else ":："), key
        if key.endswith(("_heading", ".heading", ".title", ".button", ".submit")):
            assert last not in ".。।:", key
        if key.startswith("errors."):
            assert last not in stops, key


@pytest.mark.parametrize("tag", LANGUAGES.tags)
def test_no_sentence_is_much_longer_than_its_english_one(tag):
    english = dict(texts_of("en"))
    for key, text in texts_of(tag):
        model = english[key.rsplit(".", 1)[0] if key not in english else key]
        assert len(text) <= 2.2 * len(model) or (tag, key) in LONG, (key, text)


@pytest.mark.parametrize("tag", LANGUAGES.tags)
def test_a_sentence_is_written_in_the_script_of_its_language(tag):
    """Most of its letters are; a look-alike of another alphabet inside a word is a slip."""
    script = {
        "ar": "ARABIC", "fa": "ARABIC", "he": "HEBREW", "hi": "DEVANAGARI", "th": "THAI",
        "el": "GREEK", "bg": "CYRILLIC", "uk": "CYRILLIC", "ja": "CJK|HIRAGANA|KATAKANA",
        "ko": "HANGUL", "zh-Hans": "CJK", "zh-Hant": "CJK",
    }.get(tag, "LATIN")  # fmt: skip
    for key, text in texts_of(tag):
        for word in re.findall(r"[^\W\d_]+", re.sub(r"\{[a-z_]+\}", " ", text)):
            names = {unicodedata.name(letter).split()[0] for letter in word}
            if script in {"GREEK", "CYRILLIC", "LATIN"}:
                assert len(names - {"COMBINING"}) == 1, (key, word)
        letters = [each for each in re.sub(r"\{[a-z_]+\}", "", text) if each.isalpha()]
        own = [each for each in letters if re.match(script, unicodedata.name(each))]
        assert own, (key, text)


@pytest.mark.parametrize("tag", LANGUAGES.tags)
def test_a_sentence_about_a_number_has_every_form_its_language_tells_apart(tag):
    rule = Locale.parse(tag, sep="-").plural_form
    needed = {rule(number) for number in range(1, 201)}
    for key, sentence in LANGUAGES.sentences(tag).items():
        if not isinstance(sentence, Plural):
            continue
        assert (
            needed
            <= set(sentence.forms)
            <= set(Locale.parse(tag, sep="-").plural_form.tags) | {"other"}
        ), key
        assert {form.names for form in sentence.forms.values()} == {sentence.names}, key


@pytest.mark.parametrize(
    ("tag", "number", "said"),
    [
        ("cs", 1, "Nejméně 1 znak."),
        ("cs", 2, "Nejméně 2 znaky."),
        ("cs", 8, "Nejméně 8 znaků."),
        ("uk", 21, "Щонайменше 21 символ."),
        ("uk", 12, "Щонайменше 12 символів."),
        ("ro", 8, "Cel puțin 8 caractere."),
        ("ro", 20, "Cel puțin 20 de caractere."),
        ("sl", 2, "Vsaj 2 znaka."),
        ("sl", 104, "Vsaj 104 znaki."),
        ("ar", 8, "8 أحرف على الأقل."),
        ("de", 8, "Mindestens 8 Zeichen."),
    ],
)
def test_a_number_stands_with_the_form_it_needs(tag, number, said):
    assert LANGUAGES.translate(tag, "page.rules", characters=number) == said


def test_a_sentence_about_a_number_lacks_it():
    with pytest.raises(RenderError, match="lacks characters"):
        LANGUAGES.translate("cs", "page.rules")


@pytest.mark.parametrize("tag", LANGUAGES.tags)
def test_three_languages_are_written_from_right_to_left(tag):
    assert direction(tag) == ("rtl" if tag in RIGHT_TO_LEFT else "ltr")
    name = isolate(tag, "Acme (Ltd.)")
    assert name == ("\u2068Acme (Ltd.)\u2069" if tag in RIGHT_TO_LEFT else "Acme (Ltd.)")


@pytest.mark.parametrize(
    ("tag", "said"),
    [("en", "a, b, and c"), ("de", "a, b und c"), ("ja", "a、b、c"), ("ar", "a وb وc")],
)
def test_items_are_joined_as_a_language_joins_them(tag, said):
    assert join(tag, ["a", "b", "c"]) == said
    assert (join(tag, ["a"]), join(tag, [])) == ("a", "")


@pytest.mark.parametrize("tag", [tag for tag in LANGUAGES.tags if tag != "en"])
def test_a_language_is_translated(tag):
    english, other = LANGUAGES.sentences("en"), LANGUAGES.sentences(tag)

    same = {key for key in english if english[key].text == other[key].text}

    assert same <= {"page.error"} | ALLOWED.get(tag, set())


@pytest.mark.parametrize("tag", LANGUAGES.tags)
def test_sentences_for_sms_use_the_gsm_7_alphabet_where_the_script_has_it(tag):
    sms = {key: text for key, text in texts_of(tag) if key.startswith("sms.")}

    assert sms
    for key, text in sms.items():
        assert (set(re.sub(r"[{}]", "", text)) <= GSM7) is (tag not in UCS2), key
        assert tag in UCS2 or len(text) <= 160, key
        assert tag not in UCS2 or key != "sms.test" or len(text) <= 70, key


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
        (("deu",), "de"),
        (("zh-TW",), "zh-Hant"),
        (("zh-HK",), "zh-Hant"),
        (("zh_Hant_MO",), "zh-Hant"),
        (("yue-HK",), "zh-Hant"),
        (("zh",), "zh-Hans"),
        (("zh-CN",), "zh-Hans"),
        (("zh-SG",), "zh-Hans"),
        (("zh-Hans-TW",), "zh-Hans"),
        (("zh-Hant-CN",), "zh-Hant"),
        (("pt",), "pt-BR"),
        (("PT-br",), "pt-BR"),
        (("pt-AO",), "pt-PT"),
        (("pt-MZ",), "pt-PT"),
        (("no",), "nb"),
        (("nn",), "nb"),
        (("nn-NO", "de"), "nb"),
        (("nb_NO",), "nb"),
        (("iw",), "he"),
        (("in-ID",), "id"),
        (("mo",), "ro"),
        (("en-GB",), "en"),
        (("gsw", "fr"), "de"),
        (("bs",), "hr"),
        (("sr",), "en"),
        (("sr-Cyrl", "bg"), "bg"),
        (("eu", "fr"), "fr"),
        (("cs-CZ",), "cs"),
        (("ca-valencia",), "ca"),
        (("de-u-co-phonebk",), "de"),
        (("en-x-secret",), "en"),
        (("und",), "en"),
        (("mul", "it"), "it"),
        (("nnn", "it"), "it"),
        (("de\0",), "en"),
        (("de\n", "it"), "it"),
        (("中文", "it"), "it"),
        (("de-" + "x" * 5000, "it"), "it"),
        (("i-klingon", "uk"), "uk"),
        (("*",), "en"),
        (("-",), "en"),
        (("../de",), "en"),
        ((), "en"),
    ],
)
def test_the_first_language_we_have_is_chosen(tags, chosen):
    assert LANGUAGES.choose(*tags) == chosen


@given(st.text(max_size=40) | st.from_regex(r"\A[A-Za-z0-9_-]{1,40}\Z"))
def test_no_tag_is_too_odd_to_ask_for(tag):
    assert LANGUAGES.choose(tag) in LANGUAGES.tags
    assert LANGUAGES.choose(tag, allowed=[tag], default=tag) in LANGUAGES.tags


def test_what_strangers_ask_for_is_forgotten():
    for number in range(2 * MISSES_UNTIL_FORGOTTEN + 2):
        LANGUAGES.choose(f"q{chr(97 + number % 26)}{chr(97 + number // 26 % 26)}-{number:03}")

    assert sys.getsizeof(Language._PARSE_CACHE) < 200_000
    assert len(Language._PARSE_CACHE) <= 2 * MISSES_UNTIL_FORGOTTEN


@pytest.mark.parametrize(
    ("tags", "allowed", "default", "chosen"),
    [
        (("fr",), ("de", "fr"), "de", "fr"),
        (("it",), ("de", "fr"), "de", "de"),
        (("fr-CH",), ("de", "fr"), "de", "fr"),
        (("it",), ("de", "fr"), None, "de"),
        (("it",), ("de", "en"), None, "en"),
        (("it",), ("de", "fr"), "it", "de"),
        (("it",), (), "fr", "it"),
        (("tlh",), (), "fr", "fr"),
        ((None,), (), "pt", "pt-BR"),
        ((), ("pt",), None, "pt-BR"),
        (("zh-TW",), ("zh-Hans",), None, "zh-Hans"),
        (("da",), ("nb",), None, "nb"),
        (("de",), ("tlh", "*"), "fr", "de"),
    ],
)
def test_an_organisation_s_languages_are_all_that_is_chosen_from(tags, allowed, default, chosen):
    assert LANGUAGES.choose(*tags, allowed=allowed, default=default) == chosen


@pytest.mark.parametrize(
    ("of_user", "of_organisation", "allowed", "chosen"),
    [
        ("de", "fr", (), "de"),
        (None, "fr", (), "fr"),
        ("pt", None, (), "pt-BR"),
        ("de", "fr", ("fr", "it"), "fr"),
        ("it", "fr", ("fr", "it"), "it"),
    ],
)
def test_a_user_gets_one_language(of_user, of_organisation, allowed, chosen):
    user = User("u1", "o1", language=of_user)
    organisation = Organisation("o1", "Acme", of_organisation, languages=allowed)

    assert LANGUAGES.choose_for(user, organisation) == chosen
    assert LANGUAGES.choose_for(user, None) == LANGUAGES.choose(of_user)


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
        ("ar", "UTC", "الاثنين، 23 نوفمبر 2026، 2:05 م UTC"),
        ("he", "UTC", "יום שני, 23 בנובמבר 2026, 14:05 UTC"),
        ("th", "UTC", "วันจันทร์ที่ 23 พฤศจิกายน ค.ศ. 2026 14:05 UTC"),
        ("ja", "Asia/Tokyo", "2026年11月23日月曜日 23:05 JST"),
        ("ko", "UTC", "2026년 11월 23일 월요일 오후 2:05 UTC"),
        ("zh-Hant", "UTC", "2026年11月23日 星期一 下午2:05 UTC"),
        ("vi", "UTC", "14:05 UTC Thứ Hai, 23 tháng 11, 2026"),
        ("nb", "UTC", "mandag 23. november 2026, 14:05 UTC"),
        ("pt-BR", "UTC", "segunda-feira, 23 de novembro de 2026 14:05 UTC"),
    ],
)
def test_a_moment_is_spelled_in_the_reader_s_words(language, time_zone, spelled):
    assert format_moment(language, AT, time_zone) == spelled


@pytest.mark.parametrize("language", LANGUAGES.tags)
def test_the_digits_of_a_moment_are_those_of_code_and_clock(language):
    spelled = format_moment(language, AT, "UTC")

    assert "2026" in spelled
    assert all(char.isascii() for char in spelled if char.isdigit())


@pytest.mark.parametrize("language", LANGUAGES.tags)
@pytest.mark.parametrize(
    "time_zone", ["UTC", "Europe/Lisbon", "Pacific/Chatham", "America/New_York", "Asia/Kolkata"]
)
def test_a_time_is_short_ascii(language, time_zone):
    spelled = format_clock_time(language, AT, time_zone)

    assert re.fullmatch(r"\d\d:\d\d [\x21-\x7e]{1,9}", spelled)
