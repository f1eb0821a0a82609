"""Tries, holds and the use of codes: few guesses, one use, nothing half-done."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from shared.errors import TooManyRequestsError
from shared.models import Channel, Kind, Outcome, Queue, Status
from shared.store import keys
from shared.store.codes import MAX_SOURCES, MAX_WRONG_OF_A_RESET, MAX_WRONG_TRIES, Guesser
from shared.store.resets import ClaimOverError, Finish
from tests.support.store_builders import GUESSER, USER, notice_id_of, stores_of

pytestmark = pytest.mark.topology


@pytest.fixture
def stores(client):
    return stores_of(client)


def set_user(stores, **fields):
    stores.client.hset(keys.user(*stores.place()), mapping=fields)


def others():
    """Guessers from everywhere."""
    return (Guesser(f"10.0.0.{number}/32", "10.0.0.0/24") for number in count(1))


def test_a_try_tells_what_may_be_compared(stores):
    reset_id = stores.record(channel=Channel.SMS, language="de")

    (known,) = stores.codes.begin_try(USER, GUESSER)

    assert (known.reset_id, known.key_id, known.end, known.is_live) == (reset_id, "k1", None, True)
    assert (known.language, known.channel) == ("de", Channel.SMS)
    assert known.deadline_at == stores.resets.find(reset_id).deadline_at
    assert known.may_be_typed


def test_an_expired_code_is_known_but_not_live(stores):
    reset_id = stores.record()
    stores.end_in(reset_id, -1)

    (known,) = stores.codes.begin_try(USER, GUESSER)

    assert (known.reset_id, known.is_live, known.end) == (reset_id, False, None)


def test_after_five_wrong_tries_their_source_waits_and_no_other(stores):
    reset_id = stores.record()
    for _ in range(MAX_WRONG_TRIES):
        stores.wrong_try()

    with pytest.raises(TooManyRequestsError) as caught:
        stores.codes.begin_try(USER, GUESSER)

    assert (caught.value.limit, caught.value.retry_after_seconds) == ("codes", 900)
    assert stores.codes.begin_try(USER, next(others()))
    assert stores.codes.begin_try("eve", GUESSER) == []
    assert stores.live() == {reset_id}


def test_a_source_waits_for_users_who_do_not_exist_too(stores):
    for _ in range(MAX_WRONG_TRIES):
        stores.wrong_try("nobody")

    with pytest.raises(TooManyRequestsError):
        stores.codes.begin_try("nobody", GUESSER)
    assert stores.codes.begin_try("no other", GUESSER) == []


def test_a_hundred_parallel_guesses_of_a_source_make_five(stores):
    stores.record()

    def guess(_):
        try:
            return len(stores.codes.begin_try(USER, GUESSER))
        except TooManyRequestsError:
            return 0

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(guess, range(100))) == MAX_WRONG_TRIES


def test_a_hundred_wrong_tries_end_the_typed_code_and_nothing_else(stores):
    reset_id = stores.record()
    for guesser, _ in zip(others(), range(MAX_WRONG_OF_A_RESET - 1), strict=False):
        stores.wrong_try(guesser=guesser)

    (last,) = stores.wrong_try()
    (after,) = stores.wrong_try()

    assert (last.may_be_typed, after.may_be_typed, after.is_live) == (True, False, True)
    assert stores.take(reset_id)


def test_a_fresh_code_has_all_its_tries(stores):
    stores.record()
    for guesser, _ in zip(others(), range(MAX_WRONG_OF_A_RESET + 1), strict=False):
        stores.wrong_try(guesser=guesser)

    fresh = stores.record()

    known = {each.reset_id: each.may_be_typed for each in stores.codes.begin_try(USER, GUESSER)}
    assert [known.pop(fresh), *known.values()] == [True, False]


def test_a_right_code_does_not_revive_one_that_is_void(stores):
    stores.record()
    for guesser, _ in zip(others(), range(MAX_WRONG_OF_A_RESET), strict=False):
        stores.wrong_try(guesser=guesser)

    for _ in range(3):
        stores.codes.begin_try(USER, GUESSER)
        stores.codes.refund_try(USER, GUESSER)

    (known,) = stores.codes.list_known(USER)
    assert not known.may_be_typed


def test_the_wait_of_a_source_ends(stores):
    stores.record()
    for _ in range(MAX_WRONG_TRIES):
        stores.wrong_try()
    key = keys.guesses(*stores.place())
    ((field, entry),) = stores.client.hgetall(key).items()
    tries, _, *names = json.loads(entry)
    stores.client.hset(key, field, json.dumps([tries, str(int(stores.now_ms())), *names]))

    assert stores.codes.begin_try(USER, GUESSER)
    assert 890 < stores.client.ttl(key) <= 900


def test_a_refunded_try_counts_nowhere(stores):
    stores.record()

    for _ in range(MAX_WRONG_OF_A_RESET + 30):
        stores.codes.begin_try(USER, GUESSER)
        stores.codes.refund_try(USER, GUESSER)

    (known,) = stores.codes.list_known(USER)
    assert (known.wrong_tries, stores.codes.list_guesses(USER)) == (0, [])


def test_an_old_code_that_was_right_makes_no_wrong_tries_forgotten(stores):
    stores.record()
    for _ in range(MAX_WRONG_TRIES - 1):
        stores.wrong_try()
    stores.codes.begin_try(USER, GUESSER)
    stores.codes.refund_try(USER, GUESSER)

    stores.wrong_try()

    with pytest.raises(TooManyRequestsError):
        stores.codes.begin_try(USER, GUESSER)


def test_guesses_take_no_more_room_however_many_guess(stores):
    for number in range(MAX_SOURCES + 20):
        stores.wrong_try(guesser=Guesser(f"10.0.{number}.1/32", "10.0.0.0/24"))

    assert stores.client.hlen(keys.guesses(*stores.place())) == MAX_SOURCES


def test_what_is_kept_of_a_guess_names_no_address_and_no_invented_user(stores):
    stores.record()
    stores.wrong_try()
    stores.wrong_try("eve@example.com")

    kept = str([stores.client.hgetall(key) for key in stores.client.keys("*:guess:*")])

    assert "198.51.100.7" not in kept
    assert "eve" not in kept
    (count_,) = stores.codes.list_guesses()
    assert (count_.user_id, count_.source, count_.tries) == (USER, "198.51.100.0/24", 1)


def test_a_right_code_that_is_not_used_yet_is_noted_as_opened(stores):
    reset_id = stores.record()
    stores.codes.begin_try(USER, GUESSER)

    stores.codes.note_opened(USER, reset_id, GUESSER)

    assert stores.resets.find(reset_id).opened_at is not None
    assert stores.live() == {reset_id}
    assert stores.codes.list_guesses() == []


def test_the_first_opening_is_kept(stores):
    reset_id = stores.record()
    stores.client.hset(keys.reset(reset_id), "op", 1000)

    stores.take(reset_id)

    assert stores.field(reset_id, "op") == "1000"


def test_one_holds_a_code_at_a_time(stores):
    reset_id = stores.record()

    assert stores.take(reset_id)
    assert stores.take(reset_id) is None


def test_of_twenty_who_take_a_code_at_once_one_gets_it(stores):
    reset_id = stores.record()

    with ThreadPoolExecutor(20) as pool:
        tokens = list(pool.map(lambda _: stores.take(reset_id), range(20)))

    assert len([token for token in tokens if token]) == 1


def test_a_released_code_can_be_taken_again(stores):
    reset_id = stores.record()
    token = stores.take(reset_id)

    stores.codes.release(USER, token)

    assert stores.take(reset_id)


def test_somebody_elses_hold_is_not_released(stores):
    reset_id = stores.record()
    stores.take(reset_id)

    stores.codes.release(USER, "somebody else's")

    assert stores.take(reset_id) is None


def test_a_hold_that_lapsed_can_be_taken_over(stores):
    reset_id = stores.record()
    first = stores.take(reset_id)
    set_user(stores, hx=int(stores.now_ms()))

    second = stores.take(reset_id)

    done = [
        stores.codes.complete(USER, reset_id=reset_id, token=token, notice=None)
        for token in (first, second)
    ]
    assert done[0] is None
    assert done[1] is not None


def test_a_hold_that_lapsed_still_completes_when_nobody_took_it(stores):
    reset_id = stores.record()
    token = stores.take(reset_id)
    set_user(stores, hx=int(stores.now_ms()))

    assert stores.codes.complete(USER, reset_id=reset_id, token=token, notice=None)


@pytest.mark.parametrize("end", ["expired", "voided"])
def test_a_code_that_ended_since_it_was_compared_cannot_be_taken(stores, end):
    reset_id = stores.record()
    stores.codes.begin_try(USER, GUESSER)
    if end == "expired":
        stores.end_in(reset_id, -1)
    else:
        stores.codes.end_code(USER, reset_id, "voided")

    assert stores.take(reset_id) is None


def test_completing_uses_up_every_live_code(stores):
    sent = stores.record(channel=Channel.SMS)
    stores.attempt(sent)
    used = stores.record()
    stores.attempt(used)

    stores.complete(used)

    assert stores.live() == set()
    assert {code.end for code in stores.codes.list_known(USER)} == {"used"}
    assert stores.resets.find(used).completed_at is not None
    assert stores.resets.find(sent).completed_at is None
    assert stores.counters.totals()["completed"] == 1


def test_completing_counts_as_an_event_of_the_user(stores):
    reset_id = stores.record()

    sequence, *_ = stores.complete(reset_id)

    assert sequence == 2


def test_completing_cancels_what_is_still_queued(stores):
    queued = stores.record()
    used = stores.record(kind=Kind.RETURNED)

    stores.complete(used)

    assert (stores.status(queued), stores.reason(queued)) == (Status.CANCELLED, "code_used")
    assert stores.due_at(queued) is None


def test_completing_fences_off_a_claim_that_is_about_to_send(stores):
    queued = stores.record()
    used = stores.record(kind=Kind.RETURNED)
    claim = stores.resets.claim(queued)

    stores.complete(used)

    with pytest.raises(ClaimOverError):
        stores.mark_sending(claim)


def test_completing_leaves_a_call_that_is_under_way_to_its_outcome(stores):
    sending = stores.record()
    used = stores.record(kind=Kind.RETURNED)
    claim = stores.claim_sending(sending)

    stores.complete(used)

    assert stores.resets.finish(claim, Finish(status=Status.ACCEPTED, outcome=Outcome.ACCEPTED))
    assert stores.status(sending) is Status.ACCEPTED


def test_completing_records_the_notice_as_due(stores):
    reset_id = stores.record(kind=Kind.RETURNED)
    notice = stores.notice()

    token = stores.take(reset_id)
    stores.codes.complete(USER, reset_id=reset_id, token=token, notice=notice)

    told = stores.resets.find(notice_id_of(notice))
    assert (told.kind, told.channel, told.queue) == (Kind.NOTICE, Channel.EMAIL, Queue.URGENT)
    assert (told.user_id, told.status) == (USER, Status.QUEUED)
    assert stores.due_at(notice_id_of(notice)) is not None
    assert stores.live() == set()


def test_a_notice_travels_like_any_other(stores):
    reset_id = stores.record(kind=Kind.RETURNED)
    notice = stores.notice()
    token = stores.take(reset_id)
    stores.codes.complete(USER, reset_id=reset_id, token=token, notice=notice)

    stores.attempt(notice_id_of(notice))

    assert stores.status(notice_id_of(notice)) is Status.ACCEPTED
    assert stores.counted_now() == stores.census() == {}


def test_completing_twice_with_one_hold_is_completing_once(stores):
    reset_id = stores.record(kind=Kind.RETURNED)
    notice, token = stores.notice(), stores.take(reset_id)
    first = stores.codes.complete(USER, reset_id=reset_id, token=token, notice=notice)
    stores.record()

    second = stores.codes.complete(USER, reset_id=reset_id, token=token, notice=notice)

    assert second[:2] == first[:2]
    assert (len(first[2]), second[2]) == (1, frozenset())
    assert stores.counters.totals()["completed"] == 1
    assert len(stores.live()) == 1


def test_completing_without_a_hold_does_nothing(stores):
    reset_id = stores.record()

    done = stores.codes.complete(USER, reset_id=reset_id, token="none", notice=stores.notice())

    assert done is None
    assert stores.live() == {reset_id}
    assert len(stores.census()) == 1


def test_a_password_changed_without_a_code_ends_every_code(stores):
    reset_id = stores.record()

    done = stores.codes.complete(USER, reset_id="", token="", notice=stores.notice())

    assert done is not None
    assert stores.live() == set()
    assert stores.status(reset_id) is Status.CANCELLED
    assert stores.counters.totals()["completed"] == 0


def test_listing_what_is_known_costs_no_try(stores):
    stores.record()

    for _ in range(30):
        assert len(stores.codes.list_known(USER)) == 1


def test_five_wrong_passwords_close_the_door_for_a_while(stores):
    for _ in range(5):
        stores.codes.begin_password_try(USER, by="t1")

    with pytest.raises(TooManyRequestsError) as caught:
        stores.codes.begin_password_try(USER, by="t1")

    assert caught.value.limit == "passwords"
    assert 895 <= caught.value.retry_after_seconds <= 900


def test_a_right_password_forgets_the_wrong_ones(stores):
    for _ in range(5):
        stores.codes.begin_password_try(USER, by="t1")

    stores.codes.forget_password_tries(USER, by="t1")

    for _ in range(5):
        stores.codes.begin_password_try(USER, by="t1")
    with pytest.raises(TooManyRequestsError):
        stores.codes.begin_password_try(USER, by="t1")


def test_wrong_passwords_count_by_caller_and_user(stores):
    for _ in range(5):
        stores.codes.begin_password_try(USER, by="t1")

    stores.codes.begin_password_try(USER, by="t2")
    stores.codes.begin_password_try("other", by="t1")
    with pytest.raises(TooManyRequestsError):
        stores.codes.begin_password_try(USER, by="t1")


def test_a_try_that_compared_nothing_is_given_back(stores):
    for _ in range(9):
        stores.codes.begin_password_try(USER, by="t1")
        stores.codes.refund_password_try(USER, by="t1")

    for _ in range(5):
        stores.codes.begin_password_try(USER, by="t1")
    with pytest.raises(TooManyRequestsError):
        stores.codes.begin_password_try(USER, by="t1")
