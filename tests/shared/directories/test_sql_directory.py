"""A database of an application: what people configure, and what may be wrong with it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from shared.directories.registry import build_directory
from shared.directories.sql.statements import PRESETS
from shared.errors import (
    DirectoryUnavailableError,
    InvalidRequestError,
    SettingsError,
    UserChangedError,
)
from shared.models import User, UserState
from shared.settings import load_settings
from tests.support.builders import a_settings
from tests.support.directories import (
    OWN,
    PASSWORD,
    SELECT,
    a_sql_directory,
    fill,
    sqlite_url,
    write_table,
)

ADA = User("ada", "acme")


class Site:
    """A database with the table `people`, and a file that describes it."""

    def __init__(self, folder):
        self.folder, self.url = folder, sqlite_url(folder)
        fill(self.url)
        self.preset = write_table(folder)

    def execute(self, text, **values):
        engine = sa.create_engine(self.url)
        with engine.begin() as connection:
            found = connection.execute(sa.text(text), values)
            rows = found.all() if found.returns_rows else []
        engine.dispose()
        return rows

    def directory(self, text=None, **options):
        if text is not None:
            self.preset = self.folder / "changed.toml"
            self.preset.write_text(text)
        self.opened = a_sql_directory(self.url, self.preset, **options)
        return self.opened

    def changed(self, old, new):
        text = self.preset.read_text()
        assert old in text
        return self.directory(text.replace(old, new), org_id="acme")

    def found(self, **options):
        return [(each.level, each.text) for each in self.directory().inspect(**options)]


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    yield site
    if hasattr(site, "opened"):
        site.opened.engine.dispose()


MINIMAL = 'table = "people"\nhash = "bcrypt_2y"\n[columns]\nid = "id"\npassword = "pw"\n'
STATEMENT = 'hash = "bcrypt_2y"\nfind = "{}"\nset_password = "{}"\n'
FIND, SET = (
    "SELECT id, pw AS password FROM people WHERE id = :id",
    "UPDATE people SET pw = :password WHERE id = :id",
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "needs hash"),
        ("table = ", "is not TOML"),
        ('hash = ["bcrypt_2y"]', "needs hash"),
        (MINIMAL.replace("[columns]", "end_sessions = 5\n[columns]"), "must give end_sessions as statements"),
        ('table = "people"\nhash = "bcrypt_2y"\ncolumns = 5', "columns as a table"),
        (STATEMENT.format(FIND, SET) + "columns = []", "columns as a table"),
        ('lower_case = "yes"\n' + MINIMAL, "lower_case as true"),
        ('hash = "md5"', "needs hash, one of pbkdf2_sha256"),
        ('hash = "bcrypt_2y"', "needs find, or table and columns"),
        ('hash = "bcrypt_2y"\nfind = 5\nset_password = "x"', "must give find as a statement"),
        (MINIMAL.replace("[columns]", "cost = 99\n[columns]"), "a cost that is no whole number from 4 to 16"),
        (MINIMAL.replace("[columns]", "cost = true\n[columns]"), "a cost that is no whole number"),
        (MINIMAL.replace("bcrypt_2y", "argon2id").replace("[columns]", "cost = 3\n[columns]"), "does not take"),
        (MINIMAL.replace('password = "pw"', ""), "at least id and password"),
        (MINIMAL + 'mail = "mail"', "the column mail, which is unknown; the nearest is email"),
        (MINIMAL + "email = true", "must name the column for email"),
        (MINIMAL + 'email = "mail; DROP TABLE people"', "must name the column for email"),
        (MINIMAL + 'email = ""', "must name the column for email"),
        (MINIMAL.replace('"people"', '"people where"'), "must name the table as users"),
        (MINIMAL.replace('"people"', '"a.b.c"'), "must name the table as users"),
        (MINIMAL.replace('"people"', "7"), "must name the table as users"),
        ("tabel = 5\n" + MINIMAL, "the key tabel, which is unknown; the nearest is table"),
        (f'find = "{FIND}"\n' + MINIMAL, "both table and find"),
        (STATEMENT.format(FIND.replace(":id", "1"), SET), "find without the parameter :id"),
        (STATEMENT.format(FIND, SET.replace(":password", "'x'")), "set_password without the parameter :password"),
        (STATEMENT.format(FIND, SET.replace("id = :id", "1 = 1")), "set_password without the parameter :id"),
        (STATEMENT.format(FIND + " AND org = :org", SET), "find with :org; known are :id"),
        (STATEMENT.format(FIND, SET) + f'find_by_identifier = "{FIND}"', "without the parameter :identifier"),
        (STATEMENT.format(FIND, SET) + 'end_sessions = "DELETE FROM sessions"', "end_sessions without the parameter :id"),  # noqa: S608
        (STATEMENT.format(FIND, SET) + "end_sessions = [1]", "must give end_sessions as a statement"),
        (STATEMENT.format(FIND, SET) + '[columns]\nemail = "mail"', "may have email_verified and phone_verified"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_what_mends_it(site, text, said):
    with pytest.raises(SettingsError, match=r"^KEYTURN_DIRECTORY_PRESET: ") as refused:
        site.directory(text, org_id="acme")

    assert said in str(refused.value)


@pytest.mark.parametrize("preset", ["nothing", "/nonexistent.toml", ".", "\udcff"])
def test_a_preset_that_is_not_there_names_those_that_are(site, preset):
    with pytest.raises(SettingsError, match="one of devise, django, laravel"):
        a_sql_directory(site.url, preset)


@pytest.mark.parametrize(
    ("url", "said"),
    [("", "must look like"), ("users.db", "must look like"), ("oracle://h/d", "must look like"),
     ("postgresql://user:pass word@h:port/d", "must look like"), ("sqlite:////none/u.db", "no file")],
)  # fmt: skip
def test_a_wrong_url_is_refused_without_its_password(site, url, said):
    with pytest.raises(SettingsError, match="KEYTURN_DIRECTORY_URL") as refused:
        a_sql_directory(url, site.preset)

    assert said in str(refused.value)
    assert "pass word" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [({"KEYTURN_DIRECTORY": "sql"}, "needs KEYTURN_DIRECTORY_URL"),
     ({"KEYTURN_DIRECTORY": "sql", "KEYTURN_DIRECTORY_URL": "sqlite:///x"}, "DIRECTORY_PRESET"),
     ({"KEYTURN_DIRECTORY": "http", "KEYTURN_DIRECTORY_URL": "https://h"}, "DIRECTORY_SECRET"),
     ({"KEYTURN_DIRECTORY_SECRET": "c2hvcnQ="}, "at least 24 bytes"),
     ({"KEYTURN_DIRECTORY_SECRET": "whsec_ä"}, "at least 24 bytes"),
     ({"KEYTURN_DIRECTORY_ORG": "a/b"}, "without a slash"),
     ({"KEYTURN_DIRECTORY": "ldap"}, "must be redis or sql or http"),
     ({"KEYTURN_DIRECTORY_TIMEOUT_SECONDS": "0"}, "above 0")],
)  # fmt: skip
def test_settings_that_belong_together(given, said):
    with pytest.raises(SettingsError, match="KEYTURN_DIRECTORY") as refused:
        load_settings({"KEYTURN_SECRET_KEYS": "k" * 40, **given})

    assert said in str(refused.value)


@pytest.mark.parametrize("preset", sorted(path.stem for path in PRESETS.glob("*.toml")))
def test_a_preset_is_a_dozen_lines_and_needs_an_organisation(site, preset):
    lines = (PRESETS / f"{preset}.toml").read_text().split("\n")

    assert len([line for line in lines if line and not line.startswith("#")]) <= 12
    with pytest.raises(SettingsError, match="KEYTURN_DIRECTORY_ORG must name"):
        a_sql_directory(site.url, preset)
    a_sql_directory(site.url, preset, org_id="acme").engine.dispose()


def test_ids_of_any_system_are_compared_to_the_letter(site):
    site.execute("CREATE TABLE accounts (id INTEGER PRIMARY KEY, pw TEXT)")
    site.execute("INSERT INTO accounts VALUES (7, 'x'), (0, 'y')")
    directory = site.directory(MINIMAL.replace("people", "accounts"), org_id="acme")

    assert directory.find_user("7") == User("7", "acme")
    assert [directory.find_user(each) for each in ("07", "7.0", " 7", "7a", "+7", "x", "")] == [
        None
    ] * 7
    assert directory.find_users(["7", "07", "a/b", "0"]) == [
        User("7", "acme"),
        None,
        None,
        User("0", "acme"),
    ]
    assert not directory.has_password(None, "y")


@pytest.mark.parametrize(
    "sub", ["auth0|5f7c8ec7c33c6c004bbafe82", "ada@example.com", "248289761001"]
)
def test_the_sub_of_an_issuer_is_an_id(site, sub):
    site.execute("UPDATE people SET login = :sub WHERE id = 'ada'", sub=sub)

    assert site.changed('id = "id"', 'id = "login"').find_user(sub).user_id == sub


@pytest.mark.parametrize(
    ("column", "value", "state"),
    [("active", 1, UserState.ACTIVE), ("active", 0, UserState.INACTIVE), ("active", None, UserState.INACTIVE),
     ("locked", None, UserState.ACTIVE), ("locked", "2026-11-28 12:00:00", UserState.LOCKED),
     ("state", None, UserState.ACTIVE), ("state", "initial", UserState.INITIAL),
     ("state", "gone", UserState.INACTIVE), ("kind", "android", UserState.INACTIVE)],
)  # fmt: skip
def test_states_are_read_from_flags_moments_and_words(site, column, value, state):
    site.execute("ALTER TABLE people ADD flag")
    site.execute("UPDATE people SET flag = :value", value=value)
    directory = site.directory(MINIMAL + f'{column} = "flag"', org_id="acme")

    assert directory.find_user("ada").state == state
    assert [each.state for each in directory.find_users(["ada", "robot"])] == [state, state]


def test_an_address_that_is_none_leaves_the_user_without_one(site):
    site.execute("UPDATE people SET mail = 'ada@', phone = '0791234567', lang = 'de_CH'")

    user = site.directory().find_user("ada")

    assert (user.email, user.phone, user.language) == (None, None, None)
    assert site.opened.find_by_identifier("ada@", None) == []


def test_all_who_share_an_address_are_found_in_both_spellings_of_its_domain(site):
    site.execute("UPDATE people SET mail = 'A@XN--BCHER-KVA.example', state = 'active'")
    directory = site.directory()

    for typed in ("a@bücher.example", "a@BÜCHER.example", "A@xn--bcher-kva.example"):
        assert [user.user_id for user in directory.find_by_identifier(typed, "acme")] == [
            "ada",
            "robot",
        ]


def test_addresses_stored_in_lower_case_need_no_folding(site):
    directory = site.changed("[columns]", "lower_case = true\n[columns]")

    assert directory.find_by_identifier("ADA@example.com", None)[0].user_id == "ada"


def test_without_a_statement_nobody_is_found_by_an_identifier(site):
    directory = site.directory(STATEMENT.format(FIND, SET), org_id="acme")

    assert directory.find_by_identifier("ada@example.com", None) == []
    with pytest.raises(InvalidRequestError, match="find_by_identifier"):
        directory.find_users_by_address("ada@example.com")


def test_no_change_of_password_is_required_where_it_cannot_be_kept(site):
    directory = site.directory(MINIMAL, org_id="acme")

    with pytest.raises(InvalidRequestError, match="changeRequired"):
        directory.set_password(ADA, "New-password-2", change_required=True)

    assert directory.has_password(ADA, PASSWORD)


def test_sessions_end_with_the_password_or_neither_changes(site):
    site.execute("CREATE TABLE sessions (user_id TEXT)")
    site.execute("INSERT INTO sessions VALUES ('ada'), ('bob')")
    ends = 'end_sessions = ["DELETE FROM sessions WHERE user_id = :id"{}]\n[columns]'
    directory = site.changed("[columns]", ends.format(""))

    directory.set_password(ADA, "New-password-2")
    assert site.execute("SELECT user_id FROM sessions") == [("bob",)]

    broken = ', "DELETE FROM gone WHERE user_id = :id"'
    with pytest.raises(DirectoryUnavailableError):
        site.directory(site.preset.read_text().replace(':id"]', f':id"{broken}]')).set_password(
            ADA, "Third-password-3"
        )
    assert site.opened.has_password(ADA, "New-password-2")


def test_a_statement_that_changes_all_users_changes_none(site):
    directory = site.directory(STATEMENT.format(FIND, SET + " OR 1 = 1"), org_id="acme")
    before = site.execute("SELECT pw FROM people")

    with pytest.raises(DirectoryUnavailableError):
        directory.set_password(ADA, "New-password-2")

    assert site.execute("SELECT pw FROM people") == before


def test_a_password_that_was_changed_meanwhile_is_not_overwritten(site):
    directory = site.directory()
    found = directory.find_user("ada")
    site.execute("UPDATE people SET pw = 'another' WHERE id = 'ada'")

    with pytest.raises(UserChangedError):
        directory.set_password(
            ADA, "New-password-2", only_if=lambda now: now.revision == found.revision
        )

    assert site.execute("SELECT pw FROM people WHERE id = 'ada'") == [("another",)]


@pytest.mark.parametrize(
    "change", ["pw = 'x'", "state = 'locked'", "kind = 'machine'", "org = 'beta'"]
)
def test_what_a_code_rests_on_is_another_revision(site, change):
    before = site.directory().find_user("ada")
    site.execute(f"UPDATE people SET {change} WHERE id = 'ada'")  # noqa: S608

    assert site.opened.find_user("ada").revision != before.revision


def test_what_it_does_not_rest_on_is_none(site):
    before = site.directory().find_user("ada")
    site.execute("UPDATE people SET name = 'Ada', lang = 'fr', renew = true")

    assert site.opened.find_user("ada").revision == before.revision


def test_a_table_that_is_gone_is_a_directory_that_is_away(site):
    directory = site.directory()
    site.execute("DROP TABLE people")

    for call in (
        lambda: directory.find_user("ada"),
        lambda: directory.find_users(["ada"]),
        lambda: directory.find_by_identifier("ada", None),
        lambda: directory.has_password(ADA, PASSWORD),
        lambda: directory.set_password(ADA, PASSWORD),
    ):
        with pytest.raises(DirectoryUnavailableError):
            call()


def test_a_statement_that_takes_too_long_is_cut(site):
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x AS id, :id AS password FROM n WHERE x < 0"
    directory = site.directory(STATEMENT.format(endless, SET), org_id="acme", timeout_seconds=0.2)

    with pytest.raises(DirectoryUnavailableError):
        directory.find_user("ada")


def test_the_check_of_a_site_in_order(site):
    found = site.found(writes=True)

    assert {level for level, _ in found} == {"ok", "warning"}
    texts = "\n".join(text for _, text in found)
    assert (
        "a user: a***, organisation acme, active, a***@example.com, +41*****67 (not verified)"
        in texts
    )
    assert "an index serves the look-up by id" in texts
    assert "CREATE INDEX ... ON people (lower(mail))" in texts
    assert "tried, and rolled back" in texts
    assert "ada@example.com" not in texts
    assert site.opened.has_password(ADA, PASSWORD)


@pytest.mark.parametrize(
    ("change", "level", "said"),
    [
        ("DROP TABLE people", "error", "there is no table people"),
        (
            "ALTER TABLE people DROP COLUMN mail",
            "error",
            "no column mail (for email); the nearest is",
        ),
        ("DELETE FROM people", "warning", "there is no sample user"),
        ("UPDATE people SET pw = 'plain'", "warning", "unknown format"),
    ],
)
def test_the_check_says_what_is_wrong(site, change, level, said):
    site.execute(change)

    assert any(each == level and said in text for each, text in site.found(writes=True))


def test_the_check_finds_a_column_that_is_too_short(site):
    site.execute("DROP TABLE people")
    site.execute("CREATE TABLE people (id TEXT, pw VARCHAR(40))")
    found = list(site.directory(MINIMAL, org_id="acme").inspect())

    assert [each.text for each in found if each.level == "error"] == [
        "the column pw holds 40 characters, a hash has 60: make it longer"
    ]


@pytest.mark.parametrize(
    ("text", "level", "said"),
    [
        (OWN.replace("FROM people", "FROM poeple", 1), "error", "the statement find fails: no such table"),
        (OWN.replace("login AS user_name", "login AS username", 1), "warning", "username (the nearest is user_name)"),
        (OWN.replace("pw AS password,", "", 1), "error", "find returns no column password; name it"),
        (OWN.replace("pw = :password", "pv = :password"), "error", "the password cannot be written: no such column"),
        (OWN + 'end_sessions = "DELETE FROM gone WHERE id = :id"', "error", "cannot be written: no such table"),  # noqa: S608
        (OWN.replace(SELECT, "SELECT FORM", 1), "error", "the statement find fails"),
    ],
)  # fmt: skip
def test_the_check_runs_statements_of_ones_own(site, text, level, said):
    found = list(site.directory(text).inspect("ada", writes=True))

    assert any(each.level == level and said in each.text for each in found)


def test_the_settings_build_it(site, fake_client):
    settings = a_settings(
        directory="sql", directory_url=site.url, directory_preset=str(site.preset)
    )

    site.opened = build_directory(settings, fake_client, None)

    assert replace(site.opened.find_user("ada"), revision="").user_id == "ada"


def test_an_id_of_several_rows_is_an_inactive_user(site):
    site.execute("CREATE TABLE twice (id TEXT, pw TEXT, active BOOLEAN)")
    site.execute(
        "INSERT INTO twice VALUES ('ada', 'x', true), ('ada', 'y', true), ('bob', 'z', true)"
    )
    directory = site.directory(
        MINIMAL.replace("people", "twice") + 'active = "active"', org_id="acme"
    )

    assert directory.find_user("ada").state is UserState.INACTIVE
    assert [each.state.value for each in directory.find_users(["ada", "bob"])] == [
        "inactive",
        "active",
    ]


@pytest.mark.parametrize("value", [5, 5.5, b"plain", b"\xff", "\ud83d".encode(errors="replace")])
def test_values_of_other_types_are_read_as_text(site, value):
    columns = 'email = "mail"\nuser_name = "login"\ndisplay_name = "name"'
    site.execute("UPDATE people SET pw = :v, mail = :v, name = :v, login = :v", v=value)
    directory = site.directory(MINIMAL + columns, org_id="acme")

    found = directory.find_user("ada")

    assert found.email is None
    assert not found.display_name.startswith("b'")
    assert not directory.has_password(ADA, "plain")
    assert directory.find_by_identifier("ada@example.com", None) == []
    assert all(each.level != "error" for each in directory.inspect("ada"))


@pytest.mark.parametrize("org", [None, "", "a/b", "x" * 201])
def test_a_user_of_no_organisation_is_inactive(site, org):
    site.execute("UPDATE people SET org = :org", org=org)

    assert site.directory().find_user("ada").state is UserState.INACTIVE


def test_a_statement_without_an_organisation_needs_the_setting(site):
    statement = STATEMENT.format(FIND, SET)

    (error,) = [each for each in site.directory(statement).inspect() if each.level == "error"]

    assert "returns no column org" in error.text
    assert "KEYTURN_DIRECTORY_ORG" in error.text


def test_rows_without_an_id_are_a_directory_that_is_away(site):
    find = "SELECT id AS uid, pw AS password FROM people WHERE id = :id"
    directory = site.directory(STATEMENT.format(find, SET), org_id="acme")

    for user_id in ("ada", "None", "eve"):
        with pytest.raises(DirectoryUnavailableError):
            directory.find_user(user_id)


def test_without_a_sample_the_check_writes_nothing(site):
    site.execute("UPDATE people SET id = '0', state = 'active' WHERE id = 'ada'")
    found = list(site.directory(OWN).inspect(writes=True))

    assert any("writing was not tried" in each.text for each in found)


def test_the_check_shows_no_secret_of_the_url(site):
    directory = a_sql_directory(f"{site.url}?check_same_thread=false", site.preset)

    texts = " ".join(each.text for each in directory.inspect("ada"))
    directory.close()

    assert "connects to sqlite:///" in texts
    assert "check_same_thread" not in texts  # a password may stand there too


@pytest.mark.parametrize("url", ["mysql://root:geheim@127.0.0.1:1/d?foo=bar",
                                 "postgresql://u:geheim@127.0.0.1:1/d?foo=bar",
                                 f"postgresql://u:geheim@{'a' * 70}/d"])  # fmt: skip
def test_what_the_driver_refuses_is_a_setting_that_is_wrong(site, url):
    with pytest.raises(SettingsError, match=r"^KEYTURN_DIRECTORY_URL has a host or") as refused:
        a_sql_directory(url, site.preset).find_user("ada")

    assert "geheim" not in str(refused.value)
