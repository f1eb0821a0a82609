"""Branding and texts of an organisation: read, changed only in the version that was read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.errors import StoreUnavailableError, VersionConflictError
from shared.organisations.profile import DARK, LIGHT, Branding, Logo, Palette
from shared.store.organisations.profiles import MAX_VERSIONS, remember_profiles
from tests.support.builders import an_organisation, some_services

LOGO = Logo("image/png", b"\x89PNG\x00\xff", 20, 10)


@pytest.fixture
def services(client):
    services = some_services(client)
    an_organisation(services, language="de", link_hosts=("app.acme.example",))
    return services


def save_text(services, sentences, *, version, language="de", **why):
    fields = {"by": "eve", "reason": "a test"} | why
    return services.profiles.save_text("acme", language, sentences, version=version, **fields)


def test_an_organisation_without_a_profile_has_defaults(services):
    profile = services.profiles.find("acme")

    branding = profile.branding
    assert (branding.display_name, branding.language) == ("Acme", "de")
    assert branding.link_hosts == ("app.acme.example",)
    assert (branding.light, branding.dark, branding.logo) == (LIGHT, DARK, None)
    assert profile.texts == {}


def test_an_organisation_that_does_not_exist_has_no_profile(services):
    assert services.profiles.find("nowhere") is None


def test_a_branding_comes_back_as_it_was_saved(services):
    version = services.profiles.find("acme").branding.version
    branding = Branding(
        display_name="Acme & Söhne",
        language="fr",
        languages=("de", "fr"),
        link_hosts=("a.example", "b.example:8443"),
        logo=LOGO,
        light=Palette("#102030", "#ffffff", "#102030"),
        help_url="https://acme.example/help",
        postal_line="Acme AG, Weg 1, 8000 Zürich",
        reply_to="help@acme.example",
    )

    new = services.profiles.save_branding("acme", branding, version=version, is_logo_new=True)

    assert services.profiles.find("acme").branding == replace(branding, version=new, is_set=True)
    organisation = services.callers.find_organisation("acme")
    assert (organisation.name, organisation.languages) == ("Acme & Söhne", ("de", "fr"))


def test_a_logo_stays_unless_it_is_changed(services):
    first = services.profiles.find("acme").branding
    second = services.profiles.save_branding(
        "acme", replace(first, logo=LOGO), version=first.version, is_logo_new=True
    )
    third = services.profiles.save_branding("acme", first, version=second)
    assert services.profiles.find("acme").branding.logo == LOGO

    services.profiles.save_branding("acme", first, version=third, is_logo_new=True)
    assert services.profiles.find("acme").branding.logo is None


def test_two_editors_of_a_branding_do_not_overwrite_each_other(services):
    read = services.profiles.find("acme").branding
    services.profiles.save_branding("acme", read, version=read.version)

    with pytest.raises(VersionConflictError):
        services.profiles.save_branding("acme", read, version=read.version)


def test_a_name_that_was_changed_by_another_way_is_another_version(services):
    read = services.profiles.find("acme").branding
    an_organisation(services, name="Acme Two")

    with pytest.raises(VersionConflictError):
        services.profiles.save_branding("acme", read, version=read.version)
    assert services.profiles.find("acme").branding.display_name == "Acme Two"


def test_a_branding_of_no_organisation_is_not_saved(services, client):
    before = client.keys("*")
    with pytest.raises(VersionConflictError):
        services.profiles.save_branding("nowhere", Branding(display_name="X"), version=0)
    assert client.keys("*") == before


def test_callers_are_read_again_after_a_change(services, client):
    before = client.get("{kt:gate}:version")
    read = services.profiles.find("acme").branding
    services.profiles.save_branding("acme", read, version=read.version)

    assert client.get("{kt:gate}:version") != before


def test_texts_have_versions_of_their_own(services):
    german = save_text(services, {"reset.heading": "Neu"}, version=0)
    french = save_text(services, {"reset.heading": "Nouveau"}, version=0, language="fr")
    assert german != french

    texts = services.profiles.find("acme").texts
    assert texts["de"].sentences == {"reset.heading": "Neu"}
    assert (texts["de"].version, texts["fr"].version) == (german, french)


@pytest.mark.parametrize("stale", [0, 7])
def test_two_editors_of_a_text_do_not_overwrite_each_other(services, stale):
    save_text(services, {"reset.heading": "Neu"}, version=0)

    with pytest.raises(VersionConflictError):
        save_text(services, {"reset.heading": "Anders"}, version=stale)
    assert services.profiles.find("acme").texts["de"].sentences == {"reset.heading": "Neu"}


def test_removed_texts_may_be_written_again(services):
    first = save_text(services, {"reset.heading": "Neu"}, version=0)
    save_text(services, {}, version=first, reason="not good")
    assert services.profiles.find("acme").texts == {}

    third = save_text(services, {"reset.heading": "Besser"}, version=0)

    assert [change.version for change in services.profiles.history("acme")] == [third, 2, 1]
    removed = services.profiles.history("acme")[1]
    assert (removed.sentences, removed.by, removed.reason) == ({}, "eve", "not good")


def test_the_history_has_an_end(services):
    version = 0
    for number in range(MAX_VERSIONS + 2):
        version = save_text(services, {"reset.heading": f"Neu {number}"}, version=version)

    history = services.profiles.history("acme")

    assert len(history) == MAX_VERSIONS
    assert history[0].version == version


def test_the_version_of_a_profile_is_another_after_every_change(services):
    versions = [services.profiles.find("acme").version]
    save_text(services, {"reset.heading": "Neu"}, version=0)
    versions.append(services.profiles.find("acme").version)
    an_organisation(services, name="Acme Two")
    versions.append(services.profiles.find("acme").version)

    assert len(set(versions)) == 3


def test_a_remembered_profile_costs_one_reading(services):
    find_profile = remember_profiles(services.profiles)
    before = find_profile("acme")
    an_organisation(services, name="Acme Two")

    assert find_profile("acme") is before
    assert remember_profiles(services.profiles)("acme").branding.display_name == "Acme Two"


def test_a_store_that_is_away_is_told(own_server, tmp_path):
    from shared.store.connection import connect

    server = own_server()
    with connect(f"unix://{tmp_path / 'own.sock'}") as client:
        services = some_services(client)
        an_organisation(services)
        server.kill()
        server.wait(10)
        with pytest.raises(StoreUnavailableError):
            remember_profiles(services.profiles)("acme")
