"""An SMS has the code, the short link and the time, in one segment wherever that is possible."""

import re
from datetime import timedelta

import pytest

from shared.gsm7 import UCS_2, segments, split_into_parts
from shared.languages import format_clock_time
from shared.models import Channel, Kind
from tests.support.message_builders import (
    ID,
    LANGUAGES,
    NOW,
    PHONE,
    a_renderer,
    a_reset,
    a_user,
    an_organisation,
    every_language,
    sms_of,
)

HOST_OF_40 = "login.identity.accounts.example.com:32000"[1:]
HOST_OF_20 = "id.accounts.example."[:-1] + "x"
GSM7 = set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
# Languages whose script is not in that alphabet: their SMS are in UCS-2.
UCS2 = {"ar", "bg", "el", "fa", "he", "hi", "ja", "ko", "th", "uk", "vi", "zh-Hans", "zh-Hant"}
in_gsm_7 = pytest.mark.parametrize("language", [tag for tag in LANGUAGES.tags if tag not in UCS2])
in_ucs_2 = pytest.mark.parametrize("language", sorted(UCS2))


@in_gsm_7
@pytest.mark.parametrize("time_zone", ["UTC", "Pacific/Chatham", "Europe/Zurich"])
@pytest.mark.parametrize("organisation", [None, an_organisation("Żółć {} Corp"), an_organisation()])
def test_an_sms_is_one_gsm_7_segment_at_a_host_of_40_characters(language, time_zone, organisation):
    assert len(HOST_OF_40) == 40
    renderer = a_renderer(public_url=f"https://{HOST_OF_40}", time_zone=time_zone)

    sms = sms_of(renderer, language=language, organisation=organisation)

    assert set(sms.body) <= GSM7
    assert len(sms.body) <= 160
    assert "WMWM-WMWM" in sms.body
    assert f"https://{HOST_OF_40}/r/{ID}/WWWWWWWWWWWWWWWWWWWW" in sms.body
    assert format_clock_time(language, NOW + timedelta(hours=1), time_zone) in sms.body


@in_gsm_7
def test_an_sms_is_two_segments_where_the_host_is_longer(language):
    renderer = a_renderer(public_url="https://" + "a" * 100 + ".example")

    sms = sms_of(renderer, language=language, organisation=an_organisation())

    assert set(sms.body) <= GSM7
    assert 160 < len(sms.body) <= 2 * 153


@in_ucs_2
@pytest.mark.parametrize("time_zone", ["UTC", "Pacific/Chatham"])
def test_an_sms_in_another_script_is_two_segments_at_a_host_of_20_characters(language, time_zone):
    renderer = a_renderer(public_url=f"https://{HOST_OF_20}", time_zone=time_zone)

    sms = sms_of(renderer, language=language, organisation=an_organisation("Żółć Łódź"))

    assert len(HOST_OF_20) == 20
    assert (segments(sms.body)[1], 70 < len(sms.body) <= 2 * 67) == (UCS_2, True)
    assert f"https://{HOST_OF_20}/r/{ID}/WWWWWWWWWWWWWWWWWWWW" in sms.body


@every_language
def test_a_code_is_whole_in_the_first_segment_and_the_link_is_the_end(language):
    for host in ("id.example", HOST_OF_20, HOST_OF_40, "a" * 55 + ".example"):
        renderer = a_renderer(public_url=f"https://{host}", time_zone="Pacific/Chatham")
        for name in ("Analytical Engines", "Ω" * 20, "n" * 60, "木" * 60):
            sms = sms_of(renderer, language=language, organisation=an_organisation(name))

            parts, _ = split_into_parts(sms.body)
            assert "WMWM-WMWM" in parts[0]
            assert "".join(parts) == sms.body
            assert re.search(rf"\shttps://{host}/r/{ID}/W{{20}}$", sms.body)


@every_language
def test_only_a_name_and_a_code_in_right_to_left_text_are_marked(language):
    body = sms_of(a_renderer(), language=language).body

    signs = [each for each in body if not each.isprintable()]
    is_rtl = language in {"ar", "fa", "he"}
    assert signs == (["\u2068", "\u2069", "\u200e", "\n"] if is_rtl else [])


@every_language
@pytest.mark.parametrize("time_zone", ["Europe/Zurich", "Asia/Kathmandu"])
def test_a_notice_by_sms_is_one_segment(language, time_zone):
    reset = a_reset(Channel.SMS, kind=Kind.NOTICE, language=language)
    long_name = an_organisation("Ω" * 60)

    sms = a_renderer(time_zone=time_zone).render_notice(reset, a_user(), PHONE, long_name)

    assert segments(sms.body)[0] == 1


@in_gsm_7
def test_an_sms_names_the_organisation_where_that_costs_nothing(language):
    sms = sms_of(a_renderer(), language=language, organisation=an_organisation())

    assert sms.body.startswith("Analytical Engines: ")


def test_an_sms_brings_its_callback_and_never_outlives_the_code():
    sms = sms_of(a_renderer(), seconds_left=599.99)

    assert sms.callback_url == f"https://id.example/callbacks/twilio?resetId={ID}#rc=5&rp=all"
    assert sms.validity_seconds == 599
    assert sms_of(a_renderer(), seconds_left=0.2).validity_seconds == 1
