"""Directories that live elsewhere, for tests: a database on SQLite, and the Flask example."""

from __future__ import annotations

import copy
import importlib.util
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa
from werkzeug.security import generate_password_hash
from werkzeug.serving import make_server

from shared.directories.formats import ApplicationHasher
from shared.directories.http import HttpDirectory
from shared.directories.sql import SqlDirectory

EXAMPLES = Path(__file__).parents[2] / "examples" / "directory"
HTTP_SECRET = "whsec_" + "a2V5dHVybi1rZXl0dXJuLWtleXR1cm4ta2V5dHVybg=="
PASSWORD = "Correct-horse-1"
CHEAP = {"pbkdf2_sha256": 10, "bcrypt_2a": 4, "bcrypt_2y": 4, "django_argon2": 0, "argon2id": 0}
PEOPLE = """CREATE TABLE people (
  id VARCHAR(200) PRIMARY KEY, org VARCHAR(200), login VARCHAR(200), name VARCHAR(200),
  lang VARCHAR(20), mail VARCHAR(320), mail_ok BOOLEAN, phone VARCHAR(40), phone_ok BOOLEAN,
  state VARCHAR(20), kind VARCHAR(20), pw VARCHAR(200), renew BOOLEAN)"""
TABLE = """
table = "people"
hash = "{hash}"
{cost}
[columns]
id = "id"
org = "org"
user_name = "login"
display_name = "name"
language = "lang"
email = "mail"
email_verified = "mail_ok"
phone = "phone"
phone_verified = "phone_ok"
state = "state"
kind = "kind"
password = "pw"
change_required = "renew"
"""
SELECT = """SELECT id, org, login AS user_name, name AS display_name, lang AS language,
  mail AS email, mail_ok AS email_verified, phone, phone_ok AS phone_verified, state, kind,
  pw AS password, renew AS change_required FROM people"""
OWN = f'''
hash = "pbkdf2_sha256"
cost = 10
find = """{SELECT} WHERE id = :id"""
set_password = "UPDATE people SET pw = :password, renew = :change_required WHERE id = :id"
find_by_identifier = """{SELECT} WHERE lower(mail) = :identifier OR lower(login) = :identifier
  OR phone = :identifier"""
'''  # noqa: S608
INSERT = """INSERT INTO people VALUES ('ada', 'acme', 'ada', 'Ada Lovelace', 'de-CH',
  'ada@example.com', true, '+41791234567', false, 'active', 'human', :password, false),
  ('robot', 'acme', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'locked', 'machine', NULL, NULL)"""


def cheap_hasher(form: str) -> ApplicationHasher:
    return ApplicationHasher(form, cost=CHEAP[form])


def write_table(folder: Path, form: str = "bcrypt_2y") -> Path:
    """Write the preset of the table `people`."""
    cost = f"cost = {CHEAP[form]}" if CHEAP[form] else ""
    path = folder / f"{form}.toml"
    path.write_text(TABLE.format(hash=form, cost=cost))
    return path


def fill(url: str, form: str = "bcrypt_2y") -> None:
    """Make the table `people` with ada and robot; a file is made once and then copied."""
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite:///")).write_bytes(_file(form))
    else:
        _fill(url, form)


@cache
def _file(form: str) -> bytes:
    with TemporaryDirectory() as folder:
        _fill(f"sqlite:///{folder}/users.db", form)
        return (Path(folder) / "users.db").read_bytes()


def _fill(url: str, form: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS people"))
        connection.execute(sa.text(PEOPLE))
        made = cheap_hasher(form).hash(PASSWORD)
        connection.execute(sa.text(INSERT), {"password": made})
    engine.dispose()


def sqlite_url(folder: Path) -> str:
    path = folder / "users.db"
    path.touch()
    return f"sqlite:///{path}"


def a_sql_directory(url: str, preset: Path | str, **options) -> SqlDirectory:
    options = {"org_id": "", "timeout_seconds": 5.0} | options
    return SqlDirectory(url, str(preset), **options)


@contextmanager
def serving(app) -> Iterator[str]:
    """Serve a WSGI application on loopback; yield its URL."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def flask_example():
    """Return the example's application, with users as new and a cheap hash."""
    module = _flask_module()
    module.users.clear()
    module.users |= copy.deepcopy(module.at_first)
    module.hashes["ada"] = module.generate_password_hash(PASSWORD)
    return module.app


@cache
def _flask_module():
    os.environ["KEYTURN_DIRECTORY_SECRET"] = HTTP_SECRET
    try:
        spec = importlib.util.spec_from_file_location("flask_app", EXAMPLES / "flask_app.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        del os.environ["KEYTURN_DIRECTORY_SECRET"]
    module.at_first = copy.deepcopy(module.users)
    module.generate_password_hash = partial(generate_password_hash, method="pbkdf2:sha256:10")
    return module


def an_http_directory(url: str, **options) -> HttpDirectory:
    return HttpDirectory(url, HTTP_SECRET, **({"org_id": "", "timeout_seconds": 5.0} | options))
