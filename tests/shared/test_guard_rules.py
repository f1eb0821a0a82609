"""Prefixes, levels, budgets, kinds of lines: what is taken, what is refused with its remedy."""

import pytest

from shared.errors import LineTypeError, SettingsError
from shared.guard import rules
from shared.models import Channel, Recipient
from shared.policies import check_line
from shared.settings import load_settings


@pytest.mark.parametrize(
    ("phone", "counted"),
    [
        ("+41791234567", ("+41", "+4179", "+417912")),
        ("+8801712345678", ("+880", "+88017", "+8801712")),
        ("+18765551234", ("+1", "+1876", "+18765")),
        ("+393281234567", ("+39", "+3932", "+393281")),
        ("nonsense", ()),
    ],
)
def test_the_counted_prefixes_of_a_number(phone, counted):
    assert rules.counted_of(rules.prefixes_of(phone)) == counted


@pytest.mark.parametrize(
    ("text", "prefix"),
    [("+41", "+41"), ("+41 79", "+4179"), ("+1-876", "+1876"), ("+8801712", "+8801712")],
)
def test_a_prefix_is_taken(text, prefix):
    assert rules.check_prefix(text) == prefix


@pytest.mark.parametrize(
    "text",
    ["", "+", "41", "+41abc", "+41x", "+4", "+999", "+0", "+4179123456", "+41791234567", "+٤١", "*",
     "+41\n79", "+" + "4" * 5000, "source x"],
)  # fmt: skip
def test_what_is_no_prefix_is_refused(text):
    with pytest.raises(ValueError, match=r"^must "):
        rules.check_prefix(text)


@pytest.mark.parametrize(
    ("raw", "levels"),
    [
        ("", {"velocity": "stop", "source": "watch", "conversion": "watch"}),
        ("conversion=slow", {"velocity": "stop", "source": "watch", "conversion": "slow"}),
        (
            " Velocity = Watch ,source=off",
            {"velocity": "watch", "source": "off", "conversion": "watch"},
        ),
        ("off", {"velocity": "off", "source": "off", "conversion": "off"}),
    ],
)
def test_levels(raw, levels):
    assert dict(rules.parse_levels(raw)) == levels


@pytest.mark.parametrize(
    ("raw", "hint"),
    [
        ("velocty=stop", "velocty is no rule; the nearest is velocity"),
        ("velocity=stopp", "stopp is no level of velocity; the nearest is stop"),
        ("velocity", "write velocity=stop"),
        ("velocity=stop,velocity=watch", "names velocity twice"),
        ("conversions=watch", "the nearest is conversion"),
    ],
)
def test_wrong_levels_name_the_nearest(raw, hint):
    with pytest.raises(SettingsError) as caught:
        load_settings({"KEYTURN_SMS_GUARD": raw})

    assert "KEYTURN_SMS_GUARD" in str(caught.value)
    assert hint in str(caught.value)


def test_budgets():
    found = rules.parse_budgets("organisation=1000/day, country=50.5EUR/day,prefix=0/hour")

    assert found == (
        rules.Budget("organisation", 1000, "", "day"),
        rules.Budget("country", 50.5, "EUR", "day"),
    )


@pytest.mark.parametrize(
    ("raw", "hint"),
    [
        ("country=-5/day", "amounts of 0 or more"),
        ("country=5", "must look like"),
        ("country=many/day", "must look like"),
        ("contry=5/day", "contry is not known; the nearest is country"),
        ("country=5/dya", "dya is not known; the nearest is day"),
        ("country=1.5/day", "no whole number"),
        ("country=5/day,country=6/day", "twice"),
        ("country=nan/day", "must look like"),
        ("country=1e9/day", "must look like"),
    ],
)
def test_wrong_budgets_are_refused(raw, hint):
    with pytest.raises(SettingsError) as caught:
        load_settings({"KEYTURN_SMS_BUDGETS": raw})

    assert "KEYTURN_SMS_BUDGETS" in str(caught.value)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("more", "hint"),
    [
        ({}, "a price for every country"),
        ({"KEYTURN_SMS_PRICES": "CH=0.07"}, "a price for every country"),
        ({"KEYTURN_SMS_PRICES": "CH=0.07", "KEYTURN_SMS_COUNTRIES": "CH,DE"}, "a price for every"),
        ({"KEYTURN_SMS_PRICES": "*=0.07", "KEYTURN_SMS_CURRENCY": "CHF"}, "KEYTURN_SMS_CURRENCY"),
    ],
)
def test_a_budget_in_money_needs_prices(more, hint):
    with pytest.raises(SettingsError, match=hint):
        load_settings({"KEYTURN_SMS_BUDGETS": "country=50EUR/day"} | more)


@pytest.mark.parametrize(
    "more",
    [
        {"KEYTURN_SMS_PRICES": "*=0.1"},
        {"KEYTURN_SMS_PRICES": "CH=0.07,DE=0.1", "KEYTURN_SMS_COUNTRIES": "CH,DE"},
    ],
)
def test_a_budget_in_money_with_prices_is_taken(more):
    assert load_settings({"KEYTURN_SMS_BUDGETS": "country=50EUR/day"} | more).sms_budgets


@pytest.mark.parametrize("raw", ["0", "-1", "twelve", "1.5"])
def test_wrong_numbers_are_refused(raw):
    with pytest.raises(SettingsError, match="KEYTURN_SMS_GUARD_NUMBERS"):
        load_settings({"KEYTURN_SMS_GUARD_NUMBERS": raw})


@pytest.mark.parametrize(
    ("variable", "raw"),
    [("RISK_CHECK", "maybe"), ("MAX_PRICE", "-1"), ("MAX_PRICE", "cheap")],
)
def test_wrong_words_for_twilio_are_refused(variable, raw):
    with pytest.raises(SettingsError, match=f"KEYTURN_TWILIO_{variable}"):
        load_settings({f"KEYTURN_TWILIO_{variable}": raw})


LINES = {
    "premium_rate": "+41900123456",
    "shared_cost": "+41840123456",
    "toll_free": "+41800123456",
    "uan": "+41581234567",
    "pager": "+41740123456",
    "voicemail": "+41860123456789",
    "fixed_line": "+41442345678",
}


@pytest.mark.parametrize(("line", "phone"), LINES.items())
def test_a_line_that_is_no_persons_is_refused_unless_it_is_allowed(line, phone):
    recipient = Recipient(Channel.SMS, phone)

    with pytest.raises(LineTypeError):
        check_line(recipient, ())

    check_line(recipient, (line,))


@pytest.mark.parametrize(
    "phone", ["+41791234567", "+12025550123", "+447700900123", "+5511961234567", "+4932123456"]
)
def test_a_mobile_number_or_one_that_may_be_passes(phone):
    check_line(Recipient(Channel.SMS, phone), ())


def test_mails_have_no_line():
    check_line(Recipient(Channel.EMAIL, "ada@example.com"), ())
