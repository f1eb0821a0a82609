"""The calls and pages over users who stand in the application."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import sqlalchemy as sa

from shared.errors import SettingsError
from shared.links import default_link
from shared.store import keys
from shared.wiring import check_directory
from tests.support.builders import a_settings, a_token, an_organisation, some_services
from tests.support.directories import (
    HTTP_SECRET,
    fill,
    flask_example,
    serving,
    sqlite_url,
    write_table,
)
from tests.support.pages import PATH, see
from tests.support.wire import problem
from web.app import create_app

CHOSEN = "Lantern-otter-71"
RESET = "/v2/users/ada/password_reset"
SET = "/v2/users/ada/password"


class Site:
    def __init__(self, client, **settings):
        self.services = some_services(client, **settings)
        self.app = create_app(self.services)
        an_organisation(self.services)
        self.token = a_token(self.services, "ORG_OWNER")

    def post(self, path, body):
        headers = {"Authorization": f"Bearer {self.token}"}
        return self.app.test_client().post(path, json=body, headers=headers)

    def records(self):
        keys_of = (self.services.resets._client.keys(f"{tag}:r:*") for tag in keys.TAGS)
        return [key.rpartition(":")[2] for found in keys_of for key in found]

    def code(self):
        return self.post(RESET, {"returnCode": {}}).get_json()["verificationCode"]

    def set_password(self, password, **fields):
        return self.post(SET, {"newPassword": {"password": password}, **fields})


@pytest.fixture
def database(tmp_path):
    url = sqlite_url(tmp_path)
    fill(url)
    return {
        "directory": "sql",
        "directory_url": url,
        "directory_preset": str(write_table(tmp_path)),
    }


@pytest.fixture
def sql(fake_client, database):
    site = Site(fake_client, **database)
    yield site
    site.services.directory.engine.dispose()


@pytest.fixture
def http(fake_client):
    with serving(flask_example()) as url:
        yield Site(fake_client, directory="http", directory_url=url, directory_secret=HTTP_SECRET)


@pytest.fixture(params=["sql", "http"])
def site(request):
    return request.getfixturevalue(request.param)


def test_a_password_is_set_with_a_code_once(site):
    code = site.code()

    assert site.set_password(CHOSEN, verificationCode=code).status_code == 200
    assert problem(site.set_password(CHOSEN, verificationCode=code))[2] == "COMMAND-2M9fs"
    assert site.set_password("Velvet-canoe-38", currentPassword=CHOSEN).status_code == 200
    assert problem(site.set_password(CHOSEN, currentPassword=CHOSEN))[2] == "COMMAND-3M0fs"


def test_a_code_ends_with_a_password_that_the_application_set(site):
    code, directory = site.code(), site.services.directory
    directory.set_password(directory.find_user("ada"), "Velvet-canoe-38")

    assert problem(site.set_password(CHOSEN, verificationCode=code))[2] == "COMMAND-2M9fs"


def test_an_unknown_user_is_unknown(site):
    assert site.post(RESET.replace("ada", "eve"), {}).status_code == 404


REFUSED = "Refused-by-the-shop-0"


def test_what_the_application_refuses_leaves_the_code_usable(http):
    code = http.code()

    refused = http.set_password(REFUSED, verificationCode=code)

    assert problem(refused) == (400, 3, "KEYTURN-PasswordRefused")
    assert http.set_password(CHOSEN, verificationCode=code).status_code == 200


def test_the_page_says_that_the_application_refuses_it(http):
    http.post(RESET, {})
    code = http.services.codes.code(http.records()[0], http.services.codes.signing_key_id)
    link, browser = (
        default_link("", user_id="ada", code=code, org_id="acme"),
        http.app.test_client(),
    )

    def save(password):
        form = see(browser.get(link)).forms[0]
        return browser.post(PATH, data=form | {"password": password, "passwordConfirm": password})

    assert "does not accept this password" in " ".join(see(save(REFUSED)).words)
    assert save(CHOSEN).status_code == 200
    assert http.services.directory.has_password(http.services.directory.find_user("ada"), CHOSEN)


def test_a_change_that_cannot_be_required_uses_no_code_up(sql):
    directory = sql.services.directory
    plain = sa.text("UPDATE people SET pw = :password WHERE id = :id")
    directory.statements = replace(directory.statements, set_password=plain)
    code, new = sql.code(), {"password": CHOSEN, "changeRequired": True}

    assert problem(sql.post(SET, {"newPassword": new, "verificationCode": code}))[0] == 400
    assert sql.set_password(CHOSEN, verificationCode=code).status_code == 200


def test_a_directory_that_is_away_is_503_and_the_code_stays(sql):
    code, engine = sql.code(), sql.services.directory.engine
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE people RENAME TO away")

    for call in (
        lambda: sql.post(RESET, {}),
        lambda: sql.set_password(CHOSEN, verificationCode=code),
        lambda: sql.set_password(CHOSEN, currentPassword=CHOSEN),
    ):
        assert problem(call()) == (503, 14, "KEYTURN-Unavailable")

    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO people")
    assert sql.set_password(CHOSEN, verificationCode=code).status_code == 200


def test_an_unknown_hash_is_a_wrong_password_and_told_in_the_metrics(sql):
    with sql.services.directory.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE people SET pw = 'plain' WHERE id = 'ada'")

    assert problem(sql.set_password(CHOSEN, currentPassword="plain"))[2] == "COMMAND-3M0fs"
    metrics = sql.app.test_client().get("/metrics").get_data(as_text=True)
    assert "keyturn_password_hashes_unknown_total 1.0" in metrics


def test_a_slow_directory_keeps_threads_for_calls_that_need_none(fake_client):
    def slow(_environ, start):
        time.sleep(0.6)
        start("404 Not Found", [])
        return [b""]

    with serving(slow) as url:
        site = Site(fake_client, directory="http", directory_url=url, directory_secret=HTTP_SECRET,
                    web_threads=8)  # fmt: skip
        with ThreadPoolExecutor(8) as threads:  # as many as the server has
            began = time.monotonic()
            resets = [threads.submit(site.post, RESET, {}) for _ in range(16)]
            others = [threads.submit(site.app.test_client().get, "/livez") for _ in range(20)]
            others += [threads.submit(site.app.test_client().get, "/.well-known/security.txt")]
            for each in others:
                each.result()
            took = time.monotonic() - began
            statuses = sorted(each.result().status_code for each in resets)
    assert took < 0.5
    assert set(statuses) == {404, 503}


@pytest.mark.parametrize(
    ("change", "said"),
    [("DROP TABLE people", "there is no table people"),
     ("ALTER TABLE people RENAME COLUMN pw TO hash", "has no column pw")],
)  # fmt: skip
def test_a_start_over_a_wrong_table_is_refused(sql, database, fake_client, change, said):
    settings = a_settings(**database, redis_url="redis://127.0.0.1:1")
    check_directory(settings)
    with sql.services.directory.engine.begin() as connection:
        connection.exec_driver_sql(change)

    with pytest.raises(SettingsError, match=said):
        check_directory(settings)


def test_a_start_while_the_directory_is_away_is_none_of_its_errors():
    check_directory(a_settings(directory="http", directory_url="http://127.0.0.1:1",
                               directory_secret=HTTP_SECRET))  # fmt: skip
