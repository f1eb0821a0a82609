"""Users of Django, Devise, Laravel and of an Express server sign in with what Keyturn set."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from time import monotonic

import pytest
import sqlalchemy as sa

from shared.directories.formats import ApplicationHasher
from shared.directories.gate import Gate
from shared.errors import DirectoryUnavailableError, UserChangedError
from shared.models import Channel, Recipient, User
from tests.support.directories import (
    EXAMPLES,
    HTTP_SECRET,
    OWN,
    PASSWORD,
    a_sql_directory,
    an_http_directory,
    fill,
    write_table,
)
from tests.support.waiting import HANG_SECONDS, SLACK_SECONDS

pytestmark = pytest.mark.database
NEW = "Lantern-otter-71 ü🙂"
PEPPER = "a pepper of Devise"
ADA = User("ada", "acme")
# As `rails generate devise User` and Laravel's migrations make them.
DEVISE = """CREATE TABLE users (id bigserial PRIMARY KEY, email varchar NOT NULL DEFAULT '',
  encrypted_password varchar NOT NULL DEFAULT '', reset_password_token varchar,
  reset_password_sent_at timestamp(6), remember_created_at timestamp(6),
  created_at timestamp(6) NOT NULL, updated_at timestamp(6) NOT NULL)"""
LARAVEL = (
    """CREATE TABLE users (id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
  name varchar(255) NOT NULL, email varchar(255) NOT NULL UNIQUE, email_verified_at timestamp NULL,
  password varchar(255) NOT NULL, remember_token varchar(100) NULL,
  created_at timestamp NULL, updated_at timestamp NULL)""",
    """CREATE TABLE sessions (id varchar(255) PRIMARY KEY, user_id bigint unsigned NULL,
  ip_address varchar(45) NULL, user_agent text NULL, payload longtext NOT NULL,
  last_activity int NOT NULL, KEY sessions_user_id_index (user_id))""",
)
# Devise::Encryptor.compare, without Rails.
DEVISE_CHECK = """require "bcrypt"
password, hashed, pepper = ARGV
bcrypt = BCrypt::Password.new(hashed)
puts BCrypt::Engine.hash_secret("#{password}#{pepper}", bcrypt.salt) == hashed"""
# Illuminate's BcryptHasher::check and ArgonHasher::check, with their check of the algorithm.
LARAVEL_CHECK = """[$_, $value, $hashed, $algorithm] = $argv;
echo password_get_info($hashed)["algoName"] === $algorithm && password_verify($value, $hashed)
  ? "true" : "false";"""
DJANGO_USER = """from django.contrib.auth.models import User
User.objects.create_user("ada", "Ada@example.com", "Correct-horse-1", first_name="Ada")"""
DJANGO_CHECK = """import sys
from django.contrib.auth import authenticate
print([authenticate(username="ada", password=each) is not None for each in sys.argv[1:]])"""


def run(*command: str, cwd=None, **environ: str) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, cwd=cwd,
                          env={**os.environ, **environ})  # fmt: skip
    return done.stdout.strip()


def needed(program: str) -> str:
    return shutil.which(program) or pytest.skip(f"{program} is not installed")


@contextmanager
def opened(url, preset, **options):
    directory = a_sql_directory(url, preset, **options)
    yield directory
    directory.engine.dispose()


def execute(url, *statements):
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        found = [connection.execute(sa.text(each)) for each in statements]
        rows = found[-1].all() if found[-1].returns_rows else []
    engine.dispose()
    return rows


@pytest.fixture
def fresh(postgresql_url, mariadb_url):
    """Both servers without the tables of other tests."""
    for url in (postgresql_url, mariadb_url):
        execute(url, "DROP TABLE IF EXISTS sessions", "DROP TABLE IF EXISTS users")
    return postgresql_url, mariadb_url


def test_a_django_project_signs_in_with_the_new_password(postgresql_url, tmp_path):
    execute(postgresql_url, "DROP SCHEMA IF EXISTS shop CASCADE", "CREATE SCHEMA shop")
    at = sa.make_url(postgresql_url)
    run(sys.executable, "-m", "django", "startproject", "shop", str(tmp_path))
    with (tmp_path / "shop" / "settings.py").open("a") as settings:
        settings.write(f"""
DATABASES = {{"default": {{"ENGINE": "django.db.backends.postgresql", "NAME": "postgres",
  "USER": "keyturn", "HOST": "127.0.0.1", "PORT": {at.port},
  "OPTIONS": {{"options": "-c search_path=shop"}}}}}}
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes"]
""")

    def manage(code: str, *words: str) -> str:
        start = "import django, sys; django.setup(); exec(sys.argv.pop(1))"
        return run(sys.executable, "-c", start, code, *words, cwd=tmp_path,
                   DJANGO_SETTINGS_MODULE="shop.settings", PYTHONPATH=str(tmp_path))  # fmt: skip

    manage(
        "from django.core.management import call_command as c\nc('migrate', verbosity=0)\n"
        + DJANGO_USER
    )
    url = f"{postgresql_url}?options=-csearch_path%3Dshop"
    preset = tmp_path / "preset.toml"
    preset.write_text((EXAMPLES.parents[1] / "shared/directories/presets/django.toml").read_text()
                      .replace('"auth_user"', '"shop.auth_user"'))  # fmt: skip
    with opened(url.partition("?")[0], preset, org_id="acme") as directory:
        (user,) = directory.find_by_identifier("ADA@example.com", "acme")
        assert user.email == Recipient(Channel.EMAIL, "Ada@example.com", is_verified=True)
        assert [each.user_id for each in directory.find_by_identifier("Ada", None)] == ["1"]
        assert directory.has_password(user, PASSWORD)
        directory.set_password(user, NEW)
        assert directory.has_password(user, NEW)
        levels = {each.level for each in directory.inspect(writes=True)}
        assert manage(DJANGO_CHECK, NEW, PASSWORD) == "[True, False]"
        assert directory.has_password(user, NEW)  # after Django's own new hash of it
    assert levels <= {"ok", "warning"}


@pytest.mark.parametrize("pepper", ["", PEPPER])
def test_devises_own_check_takes_the_new_password(fresh, pepper):
    ruby, (url, _) = needed("ruby"), fresh
    old = ApplicationHasher("bcrypt_2a", cost=4, pepper=pepper).hash(PASSWORD)
    execute(url, DEVISE, "CREATE UNIQUE INDEX index_users_on_email ON users (email)",
            "INSERT INTO users (email, reset_password_token, encrypted_password, created_at, "
            f"updated_at) VALUES ('ada@example.com', 'token', '{old}', now(), now())")  # fmt: skip
    assert run(ruby, "-e", DEVISE_CHECK, PASSWORD, old, pepper) == "true"

    def hasher(at):
        return ApplicationHasher(at.hash, cost=at.cost, pepper=pepper)

    with opened(url, "devise", org_id="acme", make_hasher=hasher) as directory:
        (user,) = directory.find_by_identifier("ADA@example.com", "acme")
        assert directory.has_password(user, PASSWORD)
        directory.set_password(user, NEW)
        found = [(each.level, each.text) for each in directory.inspect(writes=True)]
    assert ("ok", "an index serves the look-up by email") in found

    ((new, token),) = execute(url, "SELECT encrypted_password, reset_password_token FROM users")
    assert (new[:7], token) == ("$2a$12$", None)
    assert run(ruby, "-e", DEVISE_CHECK, NEW, new, pepper) == "true"
    assert run(ruby, "-e", DEVISE_CHECK, PASSWORD, new, pepper) == "false"


@pytest.mark.parametrize("form", ["bcrypt_2y", "argon2id"])
def test_laravels_own_check_takes_the_new_password(fresh, tmp_path, form):
    php, (_, url) = needed("php"), fresh
    made = run(php, "-r", 'echo password_hash($argv[1], PASSWORD_BCRYPT, ["cost" => 4]);', PASSWORD)
    execute(url, *LARAVEL,
            "INSERT INTO users (name, email, password, remember_token) "
            f"VALUES ('Ada', 'Ada@example.com', '{made}', 'remembered')",
            "INSERT INTO sessions VALUES ('s', 1, NULL, NULL, '', 0)")  # fmt: skip
    preset = tmp_path / "laravel.toml"
    text = (EXAMPLES.parents[1] / "shared/directories/presets/laravel.toml").read_text()
    preset.write_text(text.replace('"bcrypt_2y"', f'"{form}"'))

    with opened(url, preset, org_id="acme") as directory:
        (user,) = directory.find_by_identifier("ada@EXAMPLE.com", "acme")
        assert directory.has_password(user, PASSWORD)
        directory.set_password(user, NEW)
        found = [(each.level, each.text) for each in directory.inspect(writes=True)]
    assert {level for level, _ in found} == {"ok"}

    ((new, token),) = execute(url, "SELECT password, remember_token FROM users")
    assert (token, execute(url, "SELECT * FROM sessions")) == (None, [])
    check = (php, "-r", LARAVEL_CHECK, "--")
    name = form.removesuffix("_2y")
    assert [run(*check, each, new, name) for each in (NEW, PASSWORD)] == ["true", "false"]
    long = "x" * 200
    with opened(url, preset, org_id="acme") as directory:
        directory.set_password(user, long)
    ((new,),) = execute(url, "SELECT password FROM users")
    assert run(*check, long, new, name) == "true"


@pytest.mark.parametrize("server", ["postgresql_url", "mariadb_url"])
def test_connections_that_the_server_closed_are_replaced_without_an_error(
    request, server, tmp_path
):
    url = request.getfixturevalue(server)
    fill(url)
    ends = ("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            "AND datname = current_database()" if server == "postgresql_url" else None)  # fmt: skip
    with opened(url, write_table(tmp_path)) as directory:
        assert directory.find_user("ada")
        if ends is None:
            with directory.session() as connection:
                own = connection.scalar(sa.text("SELECT connection_id()"))
            ends = f"KILL {own}"
        execute(url, ends)
        threading.Event().wait(0.2)
        assert directory.find_user("ada")


class Wire:
    """Stands before a database; keeps what holds `word` from it, or ends the connection there."""

    def __init__(self, port: int) -> None:
        self.port, self.word, self.ends = port, b"", False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.sockets = [self.listener]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.port))
                self.sockets += [client, server]
                for each in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self.carry, args=each, daemon=True).start()

    def carry(self, one, other, is_question):
        with suppress(OSError):
            while data := one.recv(65536):
                if not (is_question and self.word and self.word in data):
                    other.sendall(data)
                elif self.ends:
                    break
            for each in (one, other):
                each.shutdown(socket.SHUT_RDWR)

    def close(self):
        for each in self.sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@pytest.fixture(params=["postgresql_url", "mariadb_url"])
def wire(request, tmp_path):
    """A directory over a wire of the test, and one that goes straight to the server."""
    url = request.getfixturevalue(request.param)
    fill(url)
    wire = Wire(sa.make_url(url).port)
    away = sa.make_url(url).set(port=wire.listener.getsockname()[1])
    preset = write_table(tmp_path)
    with (
        opened(away.render_as_string(), preset, timeout_seconds=0.4) as over,
        opened(url, preset) as straight,
    ):
        yield wire, over, straight
    wire.close()


@pytest.mark.parametrize("ends", [False, True], ids=["stalls", "breaks"])
def test_what_a_wire_does_at_any_step_is_a_directory_that_is_away(wire, ends):
    wire, over, straight = wire
    for word in (b"version", b"SELECT", b"BEGIN", b"UPDATE", b"COMMIT"):
        wire.word, wire.ends = b"", ends
        over.close()
        if word != b"version":  # which SQLAlchemy asks a new server for
            assert over.find_user("ada")
        wire.word = word
        began = monotonic()
        with pytest.raises(DirectoryUnavailableError):
            over.set_password(ADA, NEW)
        assert monotonic() - began < 2 + SLACK_SECONDS
        over.gate = Gate(wait_seconds=1)
        for each in wire.sockets[1:]:  # so that the server gives up what it was doing
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        assert straight.has_password(ADA, PASSWORD)
    wire.word = b""
    over.close()
    over.set_password(ADA, NEW)
    assert straight.has_password(ADA, NEW)


def test_a_table_without_transactions_is_refused(mariadb_url, tmp_path):
    fill(mariadb_url)
    execute(mariadb_url, "ALTER TABLE people ENGINE=MyISAM")
    with opened(mariadb_url, write_table(tmp_path)) as directory:
        errors = [each.text for each in directory.inspect() if each.level == "error"]
    assert errors == ["the table people knows no transactions: ALTER TABLE ... ENGINE=InnoDB"]


@pytest.mark.parametrize("server", ["postgresql_url", "mariadb_url"])
@pytest.mark.parametrize("is_own", [False, True], ids=["table", "statements"])
def test_a_lock_that_others_hold_is_not_waited_for_beyond_the_limit(
    request, server, is_own, tmp_path
):
    url = request.getfixturevalue(server)
    fill(url)
    (tmp_path / "own.toml").write_text(OWN)
    preset = tmp_path / "own.toml" if is_own else write_table(tmp_path)
    engine = sa.create_engine(url)
    with opened(url, preset, timeout_seconds=0.5) as directory, engine.begin() as other:
        other.execute(sa.text("UPDATE people SET name = 'Countess' WHERE id = 'ada'"))
        began = monotonic()
        with pytest.raises(DirectoryUnavailableError):
            directory.set_password(ADA, NEW)
        assert monotonic() - began < 5 + SLACK_SECONDS
        other.rollback()
        assert directory.has_password(ADA, PASSWORD)
    engine.dispose()


@pytest.mark.parametrize("server", ["postgresql_url", "mariadb_url"])
@pytest.mark.parametrize("is_own", [False, True], ids=["table", "statements"])
def test_what_others_write_between_asking_and_writing_is_not_lost(
    request, server, is_own, tmp_path
):
    url = request.getfixturevalue(server)
    fill(url)
    (tmp_path / "own.toml").write_text(OWN)
    change = "UPDATE people SET pw = 'set by the application', state = 'locked' WHERE id = 'ada'"
    others = []

    def only_if(user):
        if not others:
            others.append(threading.Thread(target=execute, args=(url, change)))
            others[0].start()
            others[0].join(0.5)  # MariaDB makes it wait for us
        return user.state == "active"

    with opened(url, tmp_path / "own.toml" if is_own else write_table(tmp_path)) as directory:
        try:
            directory.set_password(ADA, NEW, only_if=only_if)
        except UserChangedError:
            assert server == "postgresql_url"
        others[0].join(HANG_SECONDS)
        assert execute(url, "SELECT pw, state FROM people WHERE id = 'ada'") == [
            ("set by the application", "locked")
        ]


def test_the_check_names_a_right_that_is_missing(postgresql_url, tmp_path):
    fill(postgresql_url)
    execute(postgresql_url, "DROP ROLE IF EXISTS reader", "CREATE ROLE reader LOGIN",
            "GRANT SELECT ON people TO reader")  # fmt: skip
    url = postgresql_url.replace("keyturn@", "reader@")
    with opened(url, write_table(tmp_path)) as directory:
        found = [each for each in directory.inspect(writes=True) if each.level == "error"]
    execute(postgresql_url, "DROP OWNED BY reader", "DROP ROLE reader")

    assert "the password cannot be written: permission denied" in found[0].text
    assert "GRANT SELECT, UPDATE" in found[0].text


@pytest.mark.parametrize("kind", ["integer", "uuid"])
def test_ids_of_a_type_that_has_no_such_value_are_unknown(postgresql_url, tmp_path, kind):
    execute(postgresql_url, "DROP TABLE IF EXISTS people",
            f"CREATE TABLE people (id {kind} PRIMARY KEY, pw varchar(200))")  # fmt: skip
    preset = tmp_path / "p.toml"
    preset.write_text(
        'table = "people"\nhash = "bcrypt_2y"\ncost = 4\n[columns]\nid = "id"\npassword = "pw"'
    )
    with opened(postgresql_url, preset, org_id="acme") as directory:
        for user_id in ("7", "07", "x", "9" * 30, "00000000-0000-0000-0000-000000000000", "a/b"):
            assert directory.find_user(user_id) is None
            assert directory.find_users([user_id, "7"]) == [None, None]
            with pytest.raises(UserChangedError):
                directory.set_password(User(user_id, "acme"), NEW)
        assert not directory.has_password(None, "x")


@pytest.fixture
def express():
    node = needed("node")
    modules = os.environ.get("KEYTURN_TEST_NODE_PATH", "/usr/share/nodejs:/usr/lib/node_modules")
    environ = {
        **os.environ,
        "NODE_PATH": modules,
        "PORT": "0",
        "KEYTURN_DIRECTORY_SECRET": HTTP_SECRET,
    }
    if subprocess.run(
        (node, "-e", "require('express')"), check=False, env=environ, capture_output=True
    ).returncode:
        pytest.skip("express is not installed")
    command = (node, str(EXAMPLES / "express_app.js"))
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as server:
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        server.kill()


def test_the_express_example_keeps_the_promises(express):
    directory = an_http_directory(express)
    ada = directory.find_user("ada")

    assert ada.email == Recipient(Channel.EMAIL, "ada@example.com", is_verified=True)
    assert directory.find_users(["eve", "robot", "ada"])[::2] == [None, ada]
    assert directory.find_user("__proto__") is None
    assert directory.find_by_identifier("ADA@example.com", "acme") == [ada]
    assert directory.has_password(ada, PASSWORD)
    assert not directory.has_password(None, PASSWORD)
    assert directory.set_password(ada, NEW, only_if=lambda now: now.revision == ada.revision) == ada
    assert directory.has_password(ada, NEW)
    assert directory.find_user("ada").revision != ada.revision


def test_the_express_example_takes_no_call_of_others(express):
    other = an_http_directory(express)
    other._secret = "whsec_" + "b3RoZXItb3RoZXItb3RoZXItb3RoZXItb3RoZXI="

    with pytest.raises(DirectoryUnavailableError):
        other.find_user("ada")
