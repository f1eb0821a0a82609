from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from shared.models import Organisation
from shared.store.callers import CallerStore
from shared.store.digests import Digests
from web.cli import keyturn

SECRET = "a secret key of more than thirty-two characters"
ADA = {
    "userId": "ada", "orgId": "acme", "displayName": "Ada Lovelace", "userName": "ada@example.com",
    "email": "ada@example.com", "emailVerified": True, "phone": "+41791234567",
}  # fmt: skip

pytestmark = pytest.mark.real_server


@pytest.fixture
def run(real_client, real_redis_url, tmp_path):
    """Runs one command in an installation of its own, with the organisation acme."""
    CallerStore(real_client, Digests(real_client, (SECRET,))).save_organisation(
        Organisation("acme", "Acme")
    )
    return a_command_line(real_redis_url, tmp_path)


def a_command_line(redis_url, data_dir):
    def run(*arguments, stdin=None, **environ):
        env = {
            "KEYTURN_REDIS_URL": redis_url,
            "KEYTURN_SECRET_KEYS": SECRET,
            "KEYTURN_DATA_DIR": str(data_dir),
        } | environ
        return CliRunner().invoke(keyturn, arguments, input=stdin, env=env)

    return run


def printed(result):
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def assert_refused(result, reason):
    assert result.exit_code == 1
    assert reason in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.output


def a_file(*users):
    return "\n".join(json.dumps(user) for user in users)


def test_an_organisation_is_added(run):
    added = printed(
        run("org", "add", "beta", "--name", "Beta Ltd", "--language", "DE-ch",
            "--link-host", "App.example.com", "--link-host", "b.example:8443", "--json")
    )  # fmt: skip

    assert added == {
        "orgId": "beta", "name": "Beta Ltd", "language": "de-CH",
        "linkHosts": ["app.example.com", "b.example:8443"],
    }  # fmt: skip
    assert added in printed(run("org", "list", "--json"))


def test_adding_an_organisation_again_updates_what_is_given(run):
    run("org", "add", "acme", "--name", "Acme", "--language", "fr", "--link-host", "a.example")

    updated = printed(run("org", "add", "acme", "--name", "Acme Corp", "--json"))

    assert updated == {
        "orgId": "acme", "name": "Acme Corp", "language": "fr", "linkHosts": ["a.example"],
    }  # fmt: skip


def test_an_empty_value_takes_language_and_hosts_away(run):
    run("org", "add", "acme", "--name", "Acme", "--language", "fr", "--link-host", "a.example")

    updated = printed(
        run("org", "add", "acme", "--name", "Acme", "--language", "", "--link-host", "", "--json")
    )

    assert (updated["language"], updated["linkHosts"]) == (None, [])


@pytest.mark.parametrize(
    "arguments",
    [
        ["a/b", "--name", "x"], ["", "--name", "x"], ["x" * 201, "--name", "x"],
        ["beta", "--name", ""], ["beta", "--name", "x\ny"], ["beta", "--name", "x" * 201],
        ["beta", "--name", "x", "--language", "klingon"],
        ["beta", "--name", "x", "--link-host", "https://a.example/"],
        ["beta", "--name", "x", "--link-host", "a b"],
    ],
)  # fmt: skip
def test_a_bad_organisation_is_refused(run, arguments):
    assert_refused(run("org", "add", *arguments), "must be")

    assert [each["orgId"] for each in printed(run("org", "list", "--json"))] == ["acme"]


def test_organisations_are_listed_for_people(run):
    result = run("org", "list")

    assert result.exit_code == 0
    assert re.search(r"^acme\s+Acme\s+-\s+-\s*$", result.stdout, re.MULTILINE)


def test_an_empty_list_says_what_to_do(run, real_client):
    real_client.flushdb()

    assert "keyturn org add" in run("org", "list").stdout
    assert "keyturn token add" in run("token", "list").stdout


def test_users_are_imported_from_a_file(run, tmp_path):
    file = tmp_path / "users.jsonl"
    file.write_text(a_file(ADA, {"userId": "bob", "orgId": "acme"}))

    assert printed(run("user", "import", str(file), "--json")) == {"imported": 2, "updated": 0}
    assert printed(run("user", "import", str(file), "--json")) == {"imported": 0, "updated": 2}


def test_users_are_imported_from_standard_input(run):
    result = run("user", "import", "-", stdin=a_file(ADA))

    assert (result.exit_code, result.stdout) == (0, "1 imported, 0 updated\n")


def test_a_file_with_a_bad_line_is_refused_whole(run):
    bob = {"userId": "bob", "orgId": "acme", "email": "bob@exa mple.com"}

    result = run("user", "import", "-", stdin=a_file(ADA, bob))

    assert_refused(result, "line 2: email must be an e-mail address")
    assert "bob@" not in result.output
    assert run("user", "show", "ada").exit_code == 1


def test_an_endless_line_is_refused(run):
    assert_refused(run("user", "import", "-", stdin="x" * 300_000), "line 1: a line has at most")


def test_a_user_is_shown_with_masked_addresses(run):
    run("user", "import", "-", stdin=a_file(ADA))

    assert printed(run("user", "show", "ada", "--json")) == {
        "userId": "ada", "orgId": "acme", "state": "active", "kind": "human",
        "userName": "a***@example.com", "displayName": "Ada Lovelace", "language": None,
        "email": "a***@example.com", "emailVerified": True,
        "phone": "+41*****67", "phoneVerified": False, "changeRequired": False,
    }  # fmt: skip


def test_what_people_read_of_a_user_is_masked_too(run):
    run("user", "import", "-", stdin=a_file(ADA))

    shown = run("user", "show", "ada").stdout

    assert "a***@example.com" in shown
    assert "ada@" not in shown
    assert "1234567" not in shown


def test_a_display_name_cannot_steer_the_terminal(run):
    run("user", "import", "-", stdin=a_file(ADA | {"displayName": "\x1b[31mred\n[bold]x[/bold]"}))

    shown = run("user", "show", "ada").stdout

    assert "\x1b" not in shown
    assert "[bold]x[/bold]" in shown


def test_an_unknown_user_is_refused(run):
    assert_refused(run("user", "show", "nobody"), "there is no user with that id")


def test_a_token_is_printed_once(run):
    made = printed(run("token", "add", "--org", "acme", "--role", "ORG_OWNER", "--json"))

    assert re.fullmatch(r"kt_pat_[\w-]{43}", made["token"])
    assert made["token"] not in run("token", "list").output
    assert made["token"] not in run("token", "list", "--json").output
    assert made["tokenId"] in run("token", "list").output


def test_for_people_the_token_alone_is_on_standard_output(run):
    result = run("token", "add", "--org", "acme", "--role", "ORG_OWNER")

    assert re.fullmatch(r"kt_pat_[\w-]{43}\n", result.stdout)
    assert "not shown again" in result.stderr


def test_a_token_holds_what_was_granted(run, real_client):
    run("org", "add", "beta", "--name", "Beta")
    made = printed(
        run("token", "add", "--org", "acme", "--role", "ORG_USER_MANAGER",
            "--member", "beta=ORG_OWNER_VIEWER", "--member", "acme=PROJECT_OWNER",
            "--user", "ada", "--json")
    )  # fmt: skip

    caller = CallerStore(real_client, Digests(real_client, (SECRET,))).find_caller(made["token"])

    assert caller.roles_in("acme") == {"ORG_USER_MANAGER", "PROJECT_OWNER"}
    assert caller.roles_in("beta") == {"ORG_OWNER_VIEWER"}
    assert caller.user_id == "ada"


def test_an_instance_wide_role_holds_everywhere(run, real_client):
    made = printed(
        run("token", "add", "--org", "acme", "--role", "IAM_OWNER", "--instance", "--json")
    )

    caller = CallerStore(real_client, Digests(real_client, (SECRET,))).find_caller(made["token"])

    assert caller.roles_in("anywhere") == {"IAM_OWNER"}


@pytest.mark.parametrize(
    ("expires", "lifetime"),
    [("90d", timedelta(days=90)), ("12h", timedelta(hours=12)), ("30m", timedelta(minutes=30)),
     ("45s", timedelta(seconds=45))],
)  # fmt: skip
def test_a_token_ends_after_its_lifetime(run, expires, lifetime):
    run("token", "add", "--org", "acme", "--role", "ORG_OWNER", "--expires", expires)

    (listed,) = printed(run("token", "list", "--json"))

    ends = datetime.fromisoformat(listed["expiresAt"])
    assert ends - datetime.fromisoformat(listed["createdAt"]) == lifetime
    assert abs(ends - datetime.now(UTC) - lifetime) < timedelta(seconds=10)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--org", "acme", "--role", "PIGEON"], "unknown role PIGEON"),
        (["--org", "acme", "--role", "org_owner"], "unknown role"),
        (["--org", "acme", "--role", "ORG_OWNER", "--member", "acme=PIGEON"], "unknown role"),
        (["--org", "acme", "--role", "ORG_OWNER", "--member", "acme"], "ORG=ROLE"),
        (["--org", "nowhere", "--role", "ORG_OWNER"], "nowhere"),
        (["--org", "acme", "--role", "ORG_OWNER", "--member", "nowhere=ORG_OWNER"], "nowhere"),
        (["--org", "acme", "--role", "ORG_OWNER", "--expires", "soon"], "must look like 90d"),
        (["--org", "acme", "--role", "ORG_OWNER", "--expires", "0d"], "must look like 90d"),
        (["--org", "acme", "--role", "ORG_OWNER", "--expires", "90"], "must look like 90d"),
        (["--org", "acme", "--role", "ORG_OWNER", "--expires", "-1d"], "must look like 90d"),
        (["--org", "acme", "--role", "ORG_OWNER", "--expires", "999999d"], "at most 36500d"),
        (["--org", "acme", "--role", "ORG_OWNER", "--user", "a/b"], "without a slash"),
    ],
)
def test_a_token_with_a_wrong_value_is_refused(run, arguments, reason):
    assert_refused(run("token", "add", *arguments), reason)

    assert printed(run("token", "list", "--json")) == []


def test_a_role_named_in_the_settings_is_known(run):
    result = run("token", "add", "--org", "acme", "--role", "HELPDESK",
                 KEYTURN_ROLE_PERMISSIONS="HELPDESK=user.read+user.write")  # fmt: skip

    assert result.exit_code == 0


def test_a_revoked_token_is_listed_as_revoked(run, real_client):
    made = printed(run("token", "add", "--org", "acme", "--role", "ORG_OWNER", "--json"))

    revoked = printed(run("token", "revoke", made["tokenId"], "--json"))

    assert revoked == {"tokenId": made["tokenId"], "revoked": True}
    (listed,) = printed(run("token", "list", "--json"))
    assert (listed["state"], bool(listed["revokedAt"])) == ("revoked", True)
    store = CallerStore(real_client, Digests(real_client, (SECRET,)))
    assert store.find_caller(made["token"]) is None


def test_revoking_an_unknown_token_is_refused(run):
    assert_refused(run("token", "revoke", "nonsense"), "there is no token with that id")


def test_revoking_by_the_token_itself_is_refused_without_repeating_it(run):
    token = run("token", "add", "--org", "acme", "--role", "ORG_OWNER").stdout.strip()

    result = run("token", "revoke", token)

    assert_refused(result, "keyturn token list")
    assert token not in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"], ["org"], ["org", "add"], ["org", "add", "x"], ["token", "add"],
        ["token", "add", "--org", "acme"], ["user", "show"], ["user", "import", "/nonexistent"],
        ["org", "list", "--colour"], ["token", "revoke"],
    ],
)  # fmt: skip
def test_wrong_use_ends_with_2(run, arguments):
    result = run(*arguments)

    assert result.exit_code == 2
    assert "Usage:" in result.output


COMMANDS = [
    ["org", "list"], ["org", "add", "x", "--name", "x"], ["user", "show", "ada"],
    ["user", "import", "-"], ["token", "list"], ["token", "revoke", "x"],
    ["token", "add", "--org", "acme", "--role", "ORG_OWNER"],
]  # fmt: skip


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_closed_redis_is_one_sentence(arguments, tmp_path):
    run = a_command_line("redis://user:hunter2@127.0.0.1:1/0", tmp_path)

    result = run(*arguments, stdin=a_file(ADA))

    assert_refused(result, "Redis at redis://127.0.0.1:1/0 does not serve this (ConnectionError)")
    assert len(result.stderr.splitlines()) == 1
    assert "hunter2" not in result.output


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({"KEYTURN_PORT": "banana"}, "KEYTURN_PORT: must be a whole number"),
        ({"KEYTURN_REDIS_URL": "banana:hunter2"}, "KEYTURN_REDIS_URL: must look like"),
        ({"KEYTURN_REDIS_URL": "redis://:hunter2@host:port"}, "KEYTURN_REDIS_URL: must look like"),
        ({"KEYTURN_SECRET_KEYS": "short"}, "KEYTURN_SECRET_KEYS: each key needs"),
        ({"KEYTURN_SECRET_KEYS": None}, "KEYTURN_SECRET_KEYS is not set"),
    ],
)
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_bad_setting_is_one_sentence(run, arguments, environ, reason):
    result = run(*arguments, stdin=a_file(ADA), **environ)

    assert_refused(result, reason)
    assert "hunter2" not in result.output


def test_foreign_secret_keys_are_one_sentence(run):
    run("user", "import", "-", stdin=a_file(ADA))

    result = run("user", "import", "-", stdin=a_file(ADA), KEYTURN_SECRET_KEYS="another " * 8)

    assert_refused(result, "NEW,OLD")
