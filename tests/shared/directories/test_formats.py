"""Hashes as applications keep them; their own checks run in tests/journeys."""

from __future__ import annotations

import pytest
from django.conf import settings as django_settings
from django.contrib.auth import hashers

from shared.directories.formats import FORMATS, ApplicationHasher, is_known
from shared.errors import PasswordPolicyError, StoreUnavailableError
from tests.support.directories import CHEAP, cheap_hasher

LARAVEL = "$2y$04$eR3KG55rIswF0KJBGfZlTuCkV9QquRiA6ZopZN2MPqkoWoUZsljkq"  # password_hash("x")
UNKNOWN = [
    "plain", "{SSHA}c2hh", "md5$salt$5f4d", "$1$salt$hash", "$2y$31$" + "." * 53, "$2y$04$short",
    "$2b$04$" + "." * 53 + "\n", "pbkdf2_sha256$99999999$salt$" + "A" * 43 + "=",
    "pbkdf2_sha256$0$salt$" + "A" * 43 + "=", "$argon2i$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaA",
    "$argon2id$v=19$m=9999999,t=1,p=1$c2FsdHNhbHQ$aGFzaA",
]  # fmt: skip

if not django_settings.configured:
    django_settings.configure()


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_written_is_read_and_as_long_as_the_check_says(form):
    made = cheap_hasher(form).hash("pässwörd 🙂")

    assert is_known(made)
    assert len(made) <= FORMATS[form].characters
    assert cheap_hasher("bcrypt_2y").matches(made, "pässwörd 🙂")
    assert not cheap_hasher("bcrypt_2y").matches(made, "passwörd 🙂")


def test_djangos_own_check_takes_it():
    made = cheap_hasher("pbkdf2_sha256").hash("New-password-2")

    assert hashers.identify_hasher(made).algorithm == "pbkdf2_sha256"
    assert hashers.PBKDF2PasswordHasher().verify("New-password-2", made)
    assert not hashers.PBKDF2PasswordHasher().verify("new-password-2", made)
    argon2 = hashers.Argon2PasswordHasher()
    assert argon2.verify("New-password-2", cheap_hasher("django_argon2").hash("New-password-2"))


def test_what_django_and_php_wrote_is_read():
    django = hashers.PBKDF2PasswordHasher().encode("x", "salt", iterations=20)

    assert cheap_hasher("pbkdf2_sha256").matches(django, "x")
    assert cheap_hasher("pbkdf2_sha256").matches(LARAVEL, "x")
    assert not cheap_hasher("pbkdf2_sha256").matches(LARAVEL, "y")


@pytest.mark.parametrize("password_hash", UNKNOWN)
def test_an_unknown_format_is_a_wrong_password_and_is_counted(password_hash):
    counted = []
    hasher = ApplicationHasher("bcrypt_2a", cost=4, count_unknown=lambda: counted.append(1))

    assert not hasher.matches(password_hash, "plain")
    assert counted == [1]


def test_a_store_that_does_not_count_makes_no_error():
    def fail():
        raise StoreUnavailableError

    assert not ApplicationHasher("bcrypt_2a", cost=4, count_unknown=fail).matches("plain", "plain")


@pytest.mark.parametrize("nothing", [None, "", "!", "!a1b2"])
def test_no_password_is_no_unknown_format(nothing):
    counted = []
    hasher = ApplicationHasher("bcrypt_2a", cost=4, count_unknown=lambda: counted.append(1))

    assert not hasher.matches(nothing, "")
    assert counted == []


@pytest.mark.parametrize("form", FORMATS)
def test_users_who_do_not_exist_cost_what_the_format_does(form):
    decoy = FORMATS[form].decoy.format(FORMATS[form].default_cost)

    assert is_known(decoy)
    assert not ApplicationHasher(form, cost=CHEAP[form]).matches(None, "anything")


def test_a_pepper_is_appended_for_bcrypt_and_cut_with_the_password():
    peppered = ApplicationHasher("bcrypt_2a", cost=4, pepper="p" * 64)
    made = peppered.hash("New-password-2")

    assert peppered.matches(made, "New-password-2")
    assert not cheap_hasher("bcrypt_2a").matches(made, "New-password-2")
    assert cheap_hasher("bcrypt_2a").matches(made, "New-password-2" + "p" * 58)


@pytest.mark.parametrize("form", FORMATS)
def test_a_password_that_no_application_takes_is_refused(form):
    with pytest.raises(PasswordPolicyError):
        cheap_hasher(form).hash("Correct\0horse-1")

    assert not cheap_hasher("bcrypt_2a").matches(LARAVEL, "x\0")
