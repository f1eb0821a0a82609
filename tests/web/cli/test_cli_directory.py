"""`keyturn directory check`, and the other commands over users who stand elsewhere."""

from __future__ import annotations

import json

import pytest

from tests.support.directories import HTTP_SECRET, fill, sqlite_url, write_table

pytestmark = pytest.mark.real_server


@pytest.fixture
def elsewhere(tmp_path):
    url = sqlite_url(tmp_path)
    fill(url)
    return {"KEYTURN_DIRECTORY": "sql", "KEYTURN_DIRECTORY_URL": url,
            "KEYTURN_DIRECTORY_PRESET": str(write_table(tmp_path))}  # fmt: skip


def test_the_built_in_directory_needs_no_check(run):
    done = run("directory", "check")

    assert (done.returncode, done.stderr) == (0, "")
    assert "built-in" in done.stdout


def test_a_check_prints_what_is_right_and_what_could_be_better(run, elsewhere):
    done = run("directory", "check", "--json", **elsewhere)

    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert {each["level"] for each in found} == {"ok", "warning"}
    assert "ada@example.com" not in done.stdout


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"KEYTURN_DIRECTORY_PRESET": "django", "KEYTURN_DIRECTORY_ORG": "a"}, "no table auth_user"),
     ({"KEYTURN_DIRECTORY_PRESET": "rails"}, "must be one of devise, django, laravel"),
     ({"KEYTURN_DIRECTORY_PRESET": "laravel"}, "KEYTURN_DIRECTORY_ORG must name"),
     ({"KEYTURN_DIRECTORY_URL": "mysql://u:secret@127.0.0.1:1/d"}, "does not answer in time"),
     ({"KEYTURN_DIRECTORY": "http", "KEYTURN_DIRECTORY_SECRET": HTTP_SECRET,
       "KEYTURN_DIRECTORY_URL": "http://127.0.0.1:1"}, "directory-http.md")],
)  # fmt: skip
def test_a_check_that_fails_says_what_mends_it(run, elsewhere, changes, said):
    done = run("directory", "check", **{**elsewhere, **changes})

    assert done.returncode == 1
    assert said in done.stderr
    assert "secret" not in (done.stdout + done.stderr).replace("secret_keys", "")


def test_an_organisation_that_does_not_exist_is_told(run, elsewhere):
    done = run("directory", "check", **elsewhere, KEYTURN_DIRECTORY_ORG="nobodys")

    assert "`keyturn org add nobodys`" in done.stdout


def test_users_are_shown_and_not_imported(run, elsewhere, tmp_path):
    users = tmp_path / "users.jsonl"
    users.write_text('{"userId": "eve", "orgId": "acme"}')

    assert "a***@example.com" in run("user", "show", "ada", **elsewhere).stdout
    refused = run("user", "import", str(users), **elsewhere)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "they need no import" in refused.stderr


def test_a_directory_that_is_away_is_named_and_not_redis(run, elsewhere):
    away = elsewhere | {"KEYTURN_DIRECTORY_URL": "postgresql://u:secret@127.0.0.1:1/d"}

    done = run("user", "show", "ada", **away)

    assert done.returncode == 1
    assert "KEYTURN_DIRECTORY=sql" in done.stderr
    assert "Redis" not in done.stderr
