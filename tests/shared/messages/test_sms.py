"""An SMS has the code, the short link and the time, in one segment wherever that is possible."""

from datetime import timedelta

import pytest

from shared.languages import format_clock_time
from tests.support.message_builders import (
    ID,
    NOW,
    a_renderer,
    an_organisation,
    every_language,
    sms_of,
)

HOST_OF_40 = "login.identity.accounts.example.com:32000"[1:]
GSM7 = set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)


@every_language
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


@every_language
def test_an_sms_is_two_segments_where_the_host_is_longer(language):
    renderer = a_renderer(public_url="https://" + "a" * 100 + ".example")

    sms = sms_of(renderer, language=language, organisation=an_organisation())

    assert set(sms.body) <= GSM7
    assert 160 < len(sms.body) <= 2 * 153


@every_language
def test_an_sms_names_the_organisation_where_that_costs_nothing(language):
    sms = sms_of(a_renderer(), language=language, organisation=an_organisation())

    assert sms.body.startswith("Analytical Engines: ")


def test_an_sms_brings_its_callback_and_never_outlives_the_code():
    sms = sms_of(a_renderer(), seconds_left=599.99)

    assert sms.callback_url == f"https://id.example/callbacks/twilio?resetId={ID}#rc=5&rp=all"
    assert sms.validity_seconds == 599
    assert sms_of(a_renderer(), seconds_left=0.2).validity_seconds == 1
