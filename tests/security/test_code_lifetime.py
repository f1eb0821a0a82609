"""A code ends with what it rests on: address, verification, password, state, organisation."""

from __future__ import annotations

import re

import pytest

from shared.errors import DoubtfulProviderError, TransientProviderError, UserChangedError
from shared.models import Channel, Queue
from shared.store import keys
from tests.support.code_life import EMAIL, REFUSED, SMS, Life
from tests.support.delivery_services import TAKEN, ScriptedProvider
from tests.support.pages import see
from tests.support.wire import problem
from tests.support.wire_v2 import GOOD


@pytest.fixture
def life(fake_client):
    return Life(fake_client)


@pytest.fixture(params=["page", "api"])
def use(request, life):
    """Use the code of a message; True if the password was changed."""

    def use(text):
        response = getattr(life, f"by_{request.param}")(text)
        if response.status_code == 200:
            assert life.has_password(GOOD)
            return True
        assert not life.has_password(GOOD)
        if request.param == "page":
            assert response.status_code == 410
            assert "This code no longer works" in see(response).text
        else:
            assert problem(response) == REFUSED
        return False

    return use


USER_CHANGES = {
    "password by import": [{"password": "Another-horse-2"}],
    "organisation": [{"orgId": "beta"}],
    "organisation and back": [{"orgId": "beta"}, {}],
    "deactivated for a while": [{"state": "inactive"}, {"state": "active"}],
    "locked for a while": [{"state": "locked"}, {"state": "active"}],
    "a machine for a while": [{"kind": "machine"}, {"kind": "human"}],
    "not yet there for a while": [{"state": "initial"}, {"state": "active"}],
}
EMAIL_CHANGES = {
    "another": [{"email": "new@example.com"}],
    "another, unverified": [{"email": "new@example.com", "emailVerified": False}],
    "another domain": [{"email": "ada@example.org"}],
    "removed": [{"email": None}],
    "no longer verified": [{"emailVerified": False}],
    "another and back": [{"email": "new@example.com"}, {}],
    "removed and back": [{"email": None}, {}],
    "unverified and back": [{"emailVerified": False}, {}],
}
PHONE_CHANGES = {
    "another": [{"phone": "+41791234568"}],
    "another, unverified": [{"phone": "+41791234568", "phoneVerified": False}],
    "removed": [{"phone": None}],
    "no longer verified": [{"phoneVerified": False}],
    "another and back": [{"phone": "+41791234568"}, {}],
}
HARMLESS = {
    "case": {"email": "ADA@Example.COM"},
    "case and no word of verification": {"email": "ADA@Example.COM", "emailVerified": None},
    "display name": {"displayName": "Countess of Lovelace"},
    "user name": {"userName": "countess"},
    "language": {"language": "fr"},
    "the same again": {},
    "the same number in another form": {"phone": "+41 79 123 45 67"},
}
HARMLESS_OF = {
    EMAIL: [*HARMLESS.values(), {"phone": "+41791234568"}, {"phone": None},
            {"phoneVerified": False}],
    SMS: [*HARMLESS.values(), {"email": "new@example.com"}, {"email": None},
          {"emailVerified": False}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("channel", "changes"),
    [
        *((EMAIL, changes) for changes in (*USER_CHANGES.values(), *EMAIL_CHANGES.values())),
        *((SMS, changes) for changes in (*USER_CHANGES.values(), *PHONE_CHANGES.values())),
    ],
)
def test_a_code_ends_with_what_it_rests_on(life, use, channel, changes):
    text = life.send(channel)

    life.change(*changes)

    assert not use(text)
    assert not use(text)  # nor does the refusal bring it back


@pytest.mark.parametrize(
    ("channel", "fields"), [(channel, each) for channel in Channel for each in HARMLESS_OF[channel]]
)
def test_what_a_code_does_not_rest_on_may_change(life, use, channel, fields):
    text = life.send(channel)

    if fields.get("emailVerified", True) is None:
        line = f'{{"userId": "ada", "orgId": "acme", "email": "{fields["email"]}"}}'
        life.services.directory.import_users([line])
    else:
        life.change(fields)

    assert use(text)


@pytest.mark.parametrize(("was", "now"), [("straße.example", "strasse.example")])
def test_two_domains_that_fold_alike_are_two(life, use, was, now):
    life.change({"email": f"ada@{was}"})
    text = life.send()

    life.change({"email": f"ada@{now}"})

    assert not use(text)


@pytest.mark.parametrize("changes", EMAIL_CHANGES.values(), ids=EMAIL_CHANGES)
def test_unverified_addresses_that_are_taken_end_codes_too(fake_client, changes):
    life = Life(fake_client, allow_unverified=True)
    text = life.send()

    life.change(*changes)

    assert problem(life.by_api(text)) == REFUSED


def test_a_link_with_a_template_ends_as_well(fake_client):
    life = Life(fake_client, link_hosts=("app.example.com",))
    body = {"sendLink": {"urlTemplate": "https://app.example.com/?c={{.Code}}&u={{.UserID}}"}}
    answer = life.reset_v2(body=body)
    life.worker.deliver(answer.headers["Keyturn-Reset-Id"])
    text = life.text()

    life.change({"email": "new@example.com"})

    assert problem(life.by_api(text)) == REFUSED


@pytest.mark.parametrize("changes", USER_CHANGES.values(), ids=USER_CHANGES)
def test_a_returned_code_rests_on_the_user(life, changes):
    code = life.a_code()

    life.change(*changes)

    assert life.set_password(code=code).status_code >= 400
    assert not life.has_password(GOOD)


def test_a_returned_code_was_sent_nowhere_and_rests_on_no_address(life):
    code = life.a_code()

    life.change({"email": "new@example.com", "phone": None})

    assert life.set_password(code=code).status_code == 200


def test_a_password_set_by_permission_ends_every_code(life):
    text = life.send()
    assert life.set_password(password="Another-horse-3").status_code == 200

    assert problem(life.by_api(text)) == REFUSED


def test_a_code_recorded_before_there_was_a_basis_works(life, use):
    reset_id = life.ask()
    life.worker.deliver(reset_id)
    life.redis.hdel(keys.reset(reset_id), "bs")
    life.change({"email": "new@example.com"})

    assert use(life.text())


def test_the_fresh_message_of_an_ended_sms_goes_by_sms(life):
    text = life.send(SMS)
    life.change({"phone": "+41791234568"})
    page = see(life.by_page(text))

    life.app.test_client().post(page.actions[0], data=page.forms[0])

    (reset,) = [each for each in life.services.resets.find_of_user("ada") if not each.attempts]
    assert reset.channel is SMS


# Between the check and the write.


class Meanwhile:
    """A hasher during whose first work something happens: the code was checked by then."""

    def __init__(self, happens):
        self._waiting = [happens]

    def hash(self, password):
        for happens in self._waiting[:1]:
            self._waiting.clear()
            happens()
        return f"plain {password}"


@pytest.mark.parametrize(
    "changes",
    [*USER_CHANGES.values(), *EMAIL_CHANGES.values()],
    ids=[*USER_CHANGES, *EMAIL_CHANGES],
)
def test_a_change_between_check_and_use_lets_no_code_through(client, changes):
    life = Life(client)
    text, directory = life.send(), life.services.directory
    directory._hasher = Meanwhile(lambda: life.change(*changes))

    answer = life.by_api(text)

    assert problem(answer) == REFUSED
    assert f"plain {GOOD}" not in life.stored_words()


def test_a_harmless_change_between_check_and_use_is_asked_about_again(client):
    life = Life(client)
    text, directory = life.send(), life.services.directory
    seen = []

    def only_if(user):
        seen.append(user.display_name)
        if len(seen) == 1:
            life.change({"displayName": "Countess"})
        return True

    directory.set_password(directory.find_user("ada"), "Other-horse-4", only_if=only_if)

    assert seen == ["Ada Lovelace", "Countess"]
    assert life.has_password("Other-horse-4")
    assert problem(life.by_api(text)) == REFUSED


def test_a_user_who_is_gone_gets_no_password(client):
    life = Life(client)
    directory, ada = life.services.directory, life.services.directory.find_user("ada")
    life.redis.delete(keys.directory_user("ada"))

    with pytest.raises(UserChangedError):
        directory.set_password(ada, GOOD)

    assert not life.redis.exists(keys.directory_user("ada"))


def test_an_import_writes_no_former_password_back(client):
    life = Life(client)
    directory = life.services.directory
    save = directory.save_fields

    def save_late(changes):
        directory.set_password(directory.find_user("ada"), GOOD)
        save(changes)

    directory.save_fields = save_late
    life.change({"displayName": "Countess", "password": "Former-horse-1"}, {"language": "de"})

    assert life.has_password(GOOD)


# Between the record and the delivery.


@pytest.mark.parametrize("channel", Channel)
def test_a_message_that_waits_goes_to_the_present_address_and_its_code_works(life, use, channel):
    reset_id = life.ask(channel)
    life.change({"email": "new@example.com", "phone": "+41791234568"})

    assert life.worker.deliver(reset_id) == "accepted"

    assert life.recipients(channel) == ["new@example.com" if channel is EMAIL else "+41791234568"]
    assert use(life.text(channel))


def test_a_held_message_goes_to_the_present_address(life, use):
    reset_id = life.ask()
    life.services.waiting.hold(reset_id, by="eve", reason="x")
    life.change({"email": "new@example.com"})
    life.services.waiting.release(reset_id, by="eve", reason="x")
    life.worker.again(reset_id)

    assert use(life.text())
    assert life.recipients()[0] == "new@example.com"


@pytest.mark.parametrize("changes", USER_CHANGES.values(), ids=USER_CHANGES)
def test_a_message_that_waits_is_not_sent_for_a_user_who_changed(life, changes):
    reset_id = life.ask()
    life.change(*changes)

    assert life.worker.deliver(reset_id) == "cancelled"

    assert life.recipients() == []
    assert life.look(reset_id).reason == "user_changed"
    assert "It was cancelled: the user's password, state" in life.explain(reset_id)


def test_what_no_provider_took_goes_to_the_present_address(fake_client):
    life = Life(fake_client, TransientProviderError("busy", "later"), TAKEN)
    reset_id = life.ask()
    assert life.worker.deliver(reset_id) == "retrying"
    life.change({"email": "new@example.com"})

    assert life.worker.again(reset_id) == "accepted"

    assert life.recipients() == ["ada@example.com", "new@example.com"]
    assert life.by_api(life.text()).status_code == 200


@pytest.mark.parametrize("changes", EMAIL_CHANGES.values(), ids=EMAIL_CHANGES)
def test_what_the_former_mailbox_may_have_ends(fake_client, changes):
    life = Life(fake_client, DoubtfulProviderError("answer_cut", "no answer"), TAKEN)
    reset_id = life.ask()
    assert life.worker.deliver(reset_id) == "unknown"
    text = life.text()
    life.change(*changes)

    status = life.worker.again(reset_id)

    assert status in ("cancelled", "failed")  # failed: there is no verified address to write to
    assert life.recipients() == ["ada@example.com"]
    assert problem(life.by_api(text)) == REFUSED
    life.change({})
    assert problem(life.by_api(text)) == REFUSED


def test_a_doubtful_message_whose_user_is_as_before_gets_its_second_copy(fake_client):
    life = Life(fake_client, DoubtfulProviderError("answer_cut", "no answer"), TAKEN)
    reset_id = life.ask()
    life.worker.deliver(reset_id)

    assert life.worker.again(reset_id) == "accepted"
    assert life.by_api(life.text()).status_code == 200


@pytest.mark.parametrize("is_late", [False, True])
def test_one_of_many_in_a_bulk_is_bound_like_one_alone(life, is_late):
    reset_id = life.ask()
    life.redis.hset(keys.reset(reset_id), "q", "bulk")
    tag = keys.tag_of(reset_id)
    life.redis.zrem(keys.due(tag, Queue.URGENT), reset_id)
    life.redis.zadd(keys.due(tag, Queue.BULK), {reset_id: 0})
    many = ManyProvider()
    life.worker.providers[EMAIL][:] = [many]
    if not is_late:
        life.change({"email": "new@example.com"})
    bulk = life.worker.bulk_delivery()

    assert bulk.deliver([reset_id]) == 1

    (bulk_email,) = many.mails
    (own,) = bulk_email.recipients
    assert own.recipient.address == ("ada@example.com" if is_late else "new@example.com")
    if is_late:
        life.change({"email": "new@example.com"})
    code = next(v for v in own.values.values() if re.fullmatch(r"\w{4}-\w{4}", v))
    assert (life.set_password(code=code).status_code == 200) is not is_late


class ManyProvider(ScriptedProvider):
    """Takes many recipients in one call."""

    max_recipients = 100

    def __init__(self):
        super().__init__()
        self.mails = []

    def send_bulk(self, mail):
        self.mails.append(mail)
        return [self.answers[0]] * len(mail.recipients)
