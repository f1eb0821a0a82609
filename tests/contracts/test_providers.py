"""The contract every registered provider keeps."""

from __future__ import annotations

import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from shared.errors import (
    AccountProviderError,
    DoubtfulProviderError,
    PermanentProviderError,
    TransientProviderError,
    UnsendableError,
)
from shared.models import Channel, Receipt, Recipient
from shared.providers.outbox import Outbox
from shared.providers.registry import PROVIDERS, build_providers
from shared.settings import EMAIL_PROVIDERS, HTTP_PROVIDERS, SMS_PROVIDERS, TWILIO_PROVIDERS
from tests.contracts.provider_scenarios import SLOW_CASES, scenarios
from tests.support.provider_builders import (
    AMPLE_SECONDS,
    SECRETS,
    TIMEOUT_SECONDS,
    outcome_of,
    some_settings,
)
from tests.support.waiting import SLACK_SECONDS

EXPECTED = {
    "taken": Receipt,
    "transient": TransientProviderError,
    "account": AccountProviderError,
    "permanent": PermanentProviderError,
    "suppressing": PermanentProviderError,
    "doubt": DoubtfulProviderError,
    "hang": DoubtfulProviderError,
    "drip": DoubtfulProviderError,
    "endless": DoubtfulProviderError,
    "cut": DoubtfulProviderError,
    "garbage": DoubtfulProviderError,
    "odd_status": DoubtfulProviderError,
    "refused_connection": TransientProviderError,
}
ALL = [
    pytest.param(key, case, id=f"{key[0]}-{key[1]}-{case}")
    for key, cases in scenarios(Path("/nonexistent")).items()
    for case in cases
]


# Further accounts and gateways are built by the same line: the second stands for all.
FURTHER = {(Channel.EMAIL, "http-2")} | {
    (channel, name) for channel in Channel for name in (*TWILIO_PROVIDERS[2:], *HTTP_PROVIDERS[2:])
}
CHECKED = [key for key in PROVIDERS if key not in FURTHER]


def test_every_registered_provider_has_its_scenarios(tmp_path):
    assert set(scenarios(tmp_path)) == set(CHECKED)


def test_the_settings_know_the_registered_providers():
    assert {name for channel, name in PROVIDERS if channel is Channel.EMAIL} == set(EMAIL_PROVIDERS)
    assert {name for channel, name in PROVIDERS if channel is Channel.SMS} == set(SMS_PROVIDERS)


@pytest.mark.parametrize(("key", "case"), ALL)
def test_a_provider_tells_each_outcome_in_our_words(key, case, tmp_path):
    with scenarios(tmp_path)[key][case]() as (provider, message):
        result, took_seconds = outcome_of(lambda: provider.send(message))

    assert type(result) is EXPECTED[case]
    max_seconds = TIMEOUT_SECONDS if case in SLOW_CASES else AMPLE_SECONDS
    assert took_seconds < max_seconds + SLACK_SECONDS
    if case == "taken":
        assert result.provider_message_id
    if isinstance(result, PermanentProviderError):
        assert bool(result.suppression) == (case == "suppressing")


@pytest.mark.parametrize(("key", "case"), [row for row in ALL if row.values[1] != "taken"])
def test_a_failure_tells_no_secret(key, case, tmp_path):
    with scenarios(tmp_path)[key][case]() as (provider, message):
        error, _ = outcome_of(lambda: provider.send(message))

    told = "".join(traceback.format_exception(error)) + error.reason + error.detail + repr(error)
    assert not [secret for secret in SECRETS if secret in told]
    assert error.reason.replace("_", "").isalnum()


@pytest.mark.parametrize("key", CHECKED, ids=str)
def test_a_provider_carries_its_name(key, tmp_path):
    with scenarios(tmp_path)[key]["taken"]() as (provider, _):
        assert (provider.channel, provider.name) == key


@pytest.mark.parametrize("key", CHECKED, ids=str)
def test_text_that_is_not_quite_unicode_does_no_harm(key, tmp_path):
    odd = "half \ud800 a pair"
    changes = {"text": odd, "html": odd, "subject": odd, "from_name": odd}
    with scenarios(tmp_path)[key]["taken"]() as (provider, message):
        is_mail = provider.channel is Channel.EMAIL
        odd_message = replace(message, **(changes if is_mail else {"body": odd}))

        receipt = provider.send(odd_message)

    assert type(receipt) is Receipt


@pytest.mark.parametrize("key", CHECKED, ids=str)
@pytest.mark.parametrize("address", ["", "a\nb", "\ud800@example.com"])
def test_an_address_that_is_none_is_no_crash(key, address, tmp_path):
    with scenarios(tmp_path)[key]["taken"]() as (provider, message):
        nowhere = replace(message, recipient=Recipient(message.recipient.channel, address))

        result, _ = outcome_of(lambda: provider.send(nowhere))

    assert type(result) is UnsendableError


@pytest.mark.parametrize("key", CHECKED, ids=str)
def test_a_provider_serves_many_threads(key, tmp_path):
    with scenarios(tmp_path)[key]["taken"]() as (provider, message), ThreadPoolExecutor(8) as pool:
        receipts = list(pool.map(lambda _: provider.send(message), range(24)))

    assert all(type(receipt) is Receipt for receipt in receipts)


def test_the_settings_choose_the_providers_in_their_order(tmp_path):
    settings = some_settings(
        data_dir=tmp_path,
        smtp_url="smtp://127.0.0.1:2525",
        email_providers=("smtp", "sendgrid", "outbox"),
        sms_providers=(),
    )

    providers = build_providers(settings)

    assert [each.name for each in providers[Channel.EMAIL]] == ["smtp", "sendgrid", "outbox"]
    assert providers[Channel.SMS] == []


def test_messages_go_to_the_outbox_without_settings(tmp_path):
    providers = build_providers(some_settings(data_dir=tmp_path))

    assert all(isinstance(each, Outbox) for channel in Channel for each in providers[channel])
