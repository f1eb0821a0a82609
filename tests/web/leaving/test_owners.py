"""Leaving, where the users belong to an application: they stay there, and the receipt says so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.errors import DirectoryUnavailableError, InvalidRequestError
from shared.models import Channel, Recipient
from tests.support.directories import OWN, a_sql_directory, fill, sqlite_url, write_table
from tests.support.wire import Wire
from web.admin.actions import AuditReason
from web.leaving.erasure import ErasureRequest, forget_address, forget_user, remove_organisation
from web.leaving.export import export_user

ALL = ErasureRequest(AuditReason("eve", "they asked"), with_suppressions=True, with_audit=True)
ADDRESS = "ada@example.com"


@pytest.fixture
def wire(fake_client, tmp_path):
    """An installation whose users stand in a database, with a reset of ada, and a suppression."""
    wire = Wire(fake_client, data_dir=tmp_path)
    assert wire.reset().status_code == 200
    wire.services.directory.remove_user("ada")
    wire.services.suppressions.add(
        Recipient(Channel.EMAIL, ADDRESS), reason="bounce", source="sendgrid"
    )
    assert wire.call("/keyturn/v1/forgot", json={"identifier": "ADA"}).status_code == 202
    return wire


def services_of(wire, tmp_path, preset=None):
    url = sqlite_url(tmp_path)
    fill(url)
    directory = a_sql_directory(url, preset or write_table(tmp_path))
    return replace(wire.app.extensions["keyturn"], directory=directory)


def test_the_user_stays_with_its_owner_and_nothing_else_does(wire, tmp_path):
    services = services_of(wire, tmp_path)
    assert len(export_user(services, "ada")["resets"]) == 1

    receipt = forget_user(services, "ada", ALL)

    assert services.directory.find_user("ada") is not None
    erased = receipt["erased"]
    assert (erased["resets"], erased["suppressions"], erased["forgotRequests"]) == (1, 1, 2)
    assert [each["what"] for each in receipt["kept"]] == ["users", "logs"]
    assert "belongs to another directory" in receipt["kept"][0]["reason"]
    assert set(forget_user(services, "ada", ALL)["erased"]) <= {"auditEntries"}


def test_what_went_to_an_address_is_found_by_its_owner(wire, tmp_path):
    services = services_of(wire, tmp_path)

    receipt = forget_address(services, ADDRESS.upper(), ALL)

    assert (receipt["erased"]["resets"], receipt["erased"]["suppressions"]) == (1, 1)
    assert receipt["kept"][0] == {"what": "users", "number": 1} | receipt["kept"][0]


def test_an_owner_who_knows_no_addresses_is_a_clear_error(wire, tmp_path):
    preset = tmp_path / "own.toml"
    preset.write_text(OWN.partition("find_by_identifier")[0])
    services = services_of(wire, tmp_path, preset)

    with pytest.raises(InvalidRequestError, match="find_by_identifier"):
        forget_address(services, ADDRESS, ALL)

    assert services.suppressions.find(Recipient(Channel.EMAIL, ADDRESS))


def test_while_the_owner_is_away_nothing_is_erased(wire, tmp_path):
    services = services_of(wire, tmp_path)
    (tmp_path / "users.db").unlink()

    for forget, about in ((forget_user, "ada"), (forget_address, ADDRESS)):
        with pytest.raises(DirectoryUnavailableError):
            forget(services, about, ALL)

    assert len(wire.records()) == 1


def test_an_organisation_goes_and_the_receipt_names_who_keeps_its_users(wire, tmp_path):
    receipt = remove_organisation(services_of(wire, tmp_path), "acme", ALL)

    assert receipt["erased"]["organisations"] == 1
    assert receipt["kept"][0]["what"] == "users"
