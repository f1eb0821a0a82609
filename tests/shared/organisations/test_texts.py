"""Which sentences an organisation may use: each refusal names the sentence and the reason."""

from __future__ import annotations

import pytest

from shared.errors import ProfileError
from shared.languages import Languages
from shared.organisations.texts import MAX_OTHER_CHARACTERS, SECTIONS, check_texts, replaceable
from tests.support.builders import a_settings

LANGUAGES = Languages()
SMS = "Code {code}, {time}: {link}"


def check(sentences, language="de", *, organisation="Acme", **settings):
    check_texts(
        sentences,
        language,
        organisation=organisation,
        languages=LANGUAGES,
        settings=a_settings(**settings),
    )


def refusal(sentences, **options):
    with pytest.raises(ProfileError) as refused:
        check(sentences, **options)
    return refused.value.message


@pytest.mark.parametrize("language", LANGUAGES.tags)
def test_every_built_in_sentence_may_stand_for_itself(language):
    sentences = LANGUAGES.sentences(language)

    check({key: sentences[key].text for key in replaceable(LANGUAGES)}, language)


def test_the_sentences_of_mail_sms_and_page_may_be_replaced_and_no_others():
    english = LANGUAGES.sentences("en")

    assert {key.partition(".")[0] for key in replaceable(LANGUAGES)} == set(SECTIONS)
    assert set(english) - set(replaceable(LANGUAGES)) == {
        key for key in english if key.startswith(("errors.", "provider_test."))
    }


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("reset.subjekt", "reset.subject"),
        ("subject", "reset.subject"),
        ("errors.NotFoundError", ""),
        ("provider_test.text", ""),
        ("", ""),
        ("x" * 5000, ""),
    ],
)
def test_an_unknown_sentence_is_refused_with_the_nearest(key, near):
    told = refusal({key: "x"})

    assert told.startswith(f"{key[:60]}: there is no such sentence; the nearest is {near}")
    assert len(told) < 200


@pytest.mark.parametrize(
    ("key", "text", "why"),
    [
        ("reset.heading", "", "it is empty"),
        ("reset.heading", " \t", "it is empty"),
        ("reset.subject", "\u200b\u2060\u00a0", "it is empty"),
        ("reset.subject", "a\nb", "it must be one line"),
        ("reset.subject", "a\r\n", "it must be one line"),
        ("reset.subject", "a\u2028b", "it must be one line"),
        ("reset.intro", "a\x85b", "it must be one line"),
        ("reset.subject", "x" * 151, "it has 151 characters, and may have 150"),
        ("reset.button", "x" * 61, "it has 61 characters, and may have 60"),
        ("page.submit", "x" * 61, "may have 60"),
        ("page.done", "x" * (MAX_OTHER_CHARACTERS + 1), f"may have {MAX_OTHER_CHARACTERS}"),
        ("reset.intro", "a\x00b", "control character (U+0000)"),
        ("reset.intro", "a\tb", "control character (U+0009)"),
        ("reset.intro", "a\x1b[31m", "control character (U+001B)"),
        ("reset.intro", "a\u202eb", "control character (U+202E)"),
        ("reset.intro", "a\u2066b", "control character (U+2066)"),
        ("reset.intro", "a\u061cb", "control character (U+061C)"),
        ("reset.intro", "a\U000e0041b", "control character (U+E0041)"),
        ("reset.intro", "a\ud800b", "control character (U+D800)"),
        ("reset.intro", "<b>now</b>", "it holds markup (<)"),
        ("reset.intro", "a > b", "it holds markup (>)"),
        ("reset.intro", "a &amp; b", "it holds markup (&amp;)"),
        ("reset.intro", "a &#106; b", "it holds markup (&#106;)"),
        ("reset.intro", "javascript:alert(1)", "it holds javascript:"),
        ("reset.intro", "see JavaScript : x", "it holds javascript:"),
        ("reset.intro", "{organisation", "a brace has no partner"),
        ("reset.intro", "organisation}", "a brace has no partner"),
        ("reset.intro", "{{organisation}}", "a brace has no partner"),
        ("reset.intro", "{{.Code}}", "a brace has no partner"),
        ("reset.intro", "{}", "there is no field {} here"),
        ("reset.intro", "{Code}", "there is no field {Code} here"),
        ("reset.intro", "{ code }", "there is no field { code } here"),
        ("reset.intro", "{code!r}", "there is no field {code!r} here"),
        ("reset.intro", "{code.__class__}", "there is no field {code.__class__} here"),
        ("reset.intro", "{link} " * 4, "it holds {link} more than 3 times"),
        ("reset.intro", "{name}", "there are: {code}, {link}, {moment}, {organisation}, {until}"),
        ("notice.intro", "{code}", "there are: {moment}, {organisation}"),
        ("mail.automatic", "{link}", "there are: {organisation}"),
        ("mail.greeting", "{code}", "there are: {name}, {organisation}"),
        ("page.rules", "{code}", "there are: {characters}, {organisation}"),
        ("sms.reset", "{moment}: {link} {code}", "{code}, {link}, {organisation}, {time}, {until}"),
        ("sms.reset", "Code {code}", "it must hold {link}"),
        ("sms.reset", "Code {link}", "it must hold {code}"),
        ("sms.reset", "hello", "it must hold {code}"),
        ("sms.reset", "{code}{link}", "a blank must stand around '}{link}'"),
        ("sms.reset", "{link}, {code}", "a blank must stand around '{link}'"),
        ("sms.reset", "Code{code} {link}", "a blank must stand around 'e{code}'"),
        ("sms.reset", "{code}x {link}", "a blank must stand around '{code}'"),
    ],
)
def test_each_refusal_says_what_is_wrong(key, text, why):
    told = refusal({key: text})

    assert told.startswith(f"{key}: ")
    assert why in told


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("reset.intro", "Hallo, {code} & {link} bis {until} ({moment}) bei {organisation}"),
        ("reset.intro", "R&D; 100 % sicher, « oui »\u00a0! 😀 \u200fשלום\u200f"),
        ("reset.subject", "{organisation}: {code}"),
        ("mail.greeting", "Hallo!"),
        ("reset.not_you", "Frag nach unter https://help.example.com/x?y=1#z"),
        ("sms.reset", "{organisation}: {code} {until} {link}"),
        ("sms.reset", "({code}, {until})\n{link}"),
    ],
)
def test_what_is_sound_is_taken(key, text):
    check({key: text})


def test_all_sentences_that_are_wrong_are_named():
    told = refusal({"reset.intro": "<", "reset.heading": "Neu", "sms.reset": "x", "z.y": "x"})

    assert [part.partition(":")[0] for part in told.split("; ") if ":" in part] == [
        "reset.intro", "sms.reset", "z.y"]  # fmt: skip


def test_an_sms_over_its_segments_says_how_many_and_what_they_cost():
    long = "Ihr neuer Code ist da. " * 4 + SMS
    prices = (("CH", 0.07), ("*", 0.1))

    told = refusal({"sms.reset": long}, sms_prices=prices, sms_currency="CHF")

    assert "it takes 2 segments" in told
    assert "0.14 to 0.2 CHF each; 1 may be used" in told
    assert "EUR" not in refusal({"sms.reset": long})
    assert "0.2 EUR each" in refusal({"sms.reset": long}, sms_prices=(("CH", 0.1),))


def test_one_sign_of_another_alphabet_costs_a_segment_and_is_named():
    told = refusal({"sms.reset": "Cod\u0103 {code}, {time}: {link}"})

    assert "2 segments" in told
    assert "UCS-2 because of 'ă'" in told


def test_an_installation_may_allow_more_segments():
    long = "Ihr neuer Code ist da. " * 4 + SMS

    check({"sms.reset": long}, sms_max_segments=2)
    assert "3 segments" in refusal({"sms.reset": f"{long} {long}"}, sms_max_segments=2)


def test_the_longest_values_are_counted():
    """A name, and a public address so long that the built-in sentence takes two as well."""
    fits = "{organisation} " + SMS
    check({"sms.reset": fits})
    assert "2 segments" in refusal({"sms.reset": fits}, organisation="A" * 60)

    check({"sms.reset": fits}, public_url="https://" + "a" * 60 + ".example.com")
