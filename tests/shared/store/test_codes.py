"""Tries, holds and the use of codes: few guesses, one use, nothing half-done."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.errors import CodeMismatchError, TooManyRequestsError
from shared.models import Channel, Kind, Outcome, Queue, Status
from shared.store import keys
from shared.store.codes import MAX_WRONG_TRIES, MAX_WRONG_TRIES_PER_DAY
from shared.store.resets import ClaimOverError, Finish
from tests.support.store_builders import USER, stores_of


@pytest.fixture
def stores(client):
    return stores_of(client)


def set_user(stores, **fields):
    stores.client.hset(keys.user(*stores.place()), mapping=fields)


def guess_at_once(stores, number):
    """How many of so many parallel wrong guesses were compared with a live code."""

    def guess(_):
        try:
            known = stores.codes.begin_try(USER)
            stores.codes.note_wrong(USER)
        except (CodeMismatchError, TooManyRequestsError):
            return 0
        return int(any(code.is_live for code in known))

    with ThreadPoolExecutor(20) as pool:
        return sum(pool.map(guess, range(number)))


def test_a_try_tells_what_may_be_compared(stores):
    reset_id = stores.record(channel=Channel.SMS, language="de")

    (known,) = stores.codes.begin_try(USER)

    assert (known.reset_id, known.key_id, known.end, known.is_live) == (reset_id, "k1", None, True)
    assert (known.language, known.channel) == ("de", Channel.SMS)
    assert known.deadline_at == stores.resets.find(reset_id).deadline_at


def test_an_expired_code_is_known_but_not_live(stores):
    reset_id = stores.record()
    stores.end_in(reset_id, -1)

    (known,) = stores.codes.begin_try(USER)

    assert (known.reset_id, known.is_live, known.end) == (reset_id, False, None)


def test_four_wrong_tries_void_nothing(stores):
    reset_id = stores.record()

    verdicts = [stores.wrong_try() for _ in range(MAX_WRONG_TRIES - 1)]

    assert verdicts == ["ok"] * 4
    assert stores.live() == {reset_id}


def test_the_fifth_wrong_try_voids_every_live_code(stores):
    sent = stores.record(channel=Channel.SMS)
    stores.attempt(sent)
    waiting = stores.record()

    verdicts = [stores.wrong_try() for _ in range(MAX_WRONG_TRIES)]

    assert verdicts[-1] == "voided"
    assert stores.live() == set()
    assert {code.end for code in stores.codes.list_known(USER)} == {"voided"}
    assert stores.field(sent, "v") == stores.field(waiting, "v") == "voided"


def test_after_voiding_a_fresh_code_has_all_its_tries(stores):
    stores.record()
    for _ in range(MAX_WRONG_TRIES):
        stores.wrong_try()
    fresh = stores.record()

    verdicts = [stores.wrong_try() for _ in range(MAX_WRONG_TRIES - 1)]

    assert "voided" not in verdicts
    assert stores.live() == {fresh}


def test_a_hundred_parallel_guesses_make_five_at_most(stores):
    stores.record()

    compared = guess_at_once(stores, 100)

    assert compared == MAX_WRONG_TRIES
    assert stores.live() == set()


def test_no_more_than_five_tries_are_compared_with_a_live_code(stores):
    stores.record()
    reserved = [stores.codes.begin_try(USER) for _ in range(MAX_WRONG_TRIES)]

    with pytest.raises(CodeMismatchError):
        stores.codes.begin_try(USER)

    assert all(known[0].is_live for known in reserved)


def test_wrong_guesses_beside_a_right_one_do_not_void_it(stores):
    reset_id = stores.record()
    for _ in range(MAX_WRONG_TRIES):
        stores.codes.begin_try(USER)

    verdicts = [stores.codes.note_wrong(USER) for _ in range(MAX_WRONG_TRIES - 1)]

    assert verdicts == ["ok"] * 4
    assert stores.codes.take(USER, reset_id)


def test_tries_of_a_process_that_died_are_free_again(stores):
    reset_id = stores.record()
    for _ in range(MAX_WRONG_TRIES):
        stores.codes.begin_try(USER)
    set_user(stores, rvx=int(stores.now_ms()))

    assert stores.take(reset_id)


def test_a_wrong_try_without_a_live_code_is_told_so(stores):
    assert stores.wrong_try() == "none"


def test_twenty_wrong_codes_a_day_are_enough_with_a_code_or_without(stores):
    for _ in range(MAX_WRONG_TRIES_PER_DAY):
        stores.wrong_try()
    stores.record()
    set_user(stores, wdx=int(stores.now_ms()) + 5500)

    with pytest.raises(TooManyRequestsError) as caught:
        stores.codes.begin_try(USER)

    assert (caught.value.limit, caught.value.retry_after_seconds) == ("codes", 6)


def test_the_day_of_wrong_codes_ends(stores):
    for _ in range(MAX_WRONG_TRIES_PER_DAY):
        stores.wrong_try()
    stores.record()
    set_user(stores, wdx=int(stores.now_ms()))

    assert stores.codes.begin_try(USER)


def test_a_refunded_try_counts_nowhere(stores):
    stores.record()

    for _ in range(30):
        stores.codes.begin_try(USER)
        stores.codes.refund_try(USER)

    assert stores.user()["wd"] == stores.user()["rv"] == "0"
    assert "w" not in stores.user()


def test_a_refund_after_the_day_ended_gives_no_extra_try(stores):
    stores.record()
    stores.codes.begin_try(USER)
    stores.client.hdel(keys.user(*stores.place()), "wd", "wdx", "rv", "rvx")

    stores.codes.refund_try(USER)

    assert int(stores.user().get("wd", 0)) >= 0
    assert int(stores.user().get("rv", 0)) >= 0


def test_a_right_code_that_is_not_used_yet_is_noted_as_opened(stores):
    reset_id = stores.record()
    stores.codes.begin_try(USER)

    stores.codes.note_opened(USER, reset_id)

    assert stores.resets.find(reset_id).opened_at is not None
    assert stores.live() == {reset_id}
    assert stores.user()["wd"] == "0"


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
        tokens = list(pool.map(lambda _: stores.codes.take(USER, reset_id), range(20)))

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
    stores.codes.begin_try(USER)
    if end == "expired":
        stores.end_in(reset_id, -1)
    else:
        stores.client.delete(keys.live(*stores.place()))

    assert stores.codes.take(USER, reset_id) is None


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

    sequence, _ = stores.complete(reset_id)

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

    told = stores.resets.find(notice.reset_id)
    assert (told.kind, told.channel, told.queue) == (Kind.NOTICE, Channel.EMAIL, Queue.URGENT)
    assert (told.user_id, told.status) == (USER, Status.QUEUED)
    assert stores.due_at(notice.reset_id) is not None
    assert stores.live() == set()


def test_a_notice_travels_like_any_other(stores):
    reset_id = stores.record(kind=Kind.RETURNED)
    notice = stores.notice()
    token = stores.take(reset_id)
    stores.codes.complete(USER, reset_id=reset_id, token=token, notice=notice)

    stores.attempt(notice.reset_id)

    assert stores.status(notice.reset_id) is Status.ACCEPTED
    assert stores.counted_now() == stores.census() == {}


def test_completing_twice_with_one_hold_is_completing_once(stores):
    reset_id = stores.record(kind=Kind.RETURNED)
    notice, token = stores.notice(), stores.take(reset_id)
    first = stores.codes.complete(USER, reset_id=reset_id, token=token, notice=notice)
    stores.record()

    second = stores.codes.complete(USER, reset_id=reset_id, token=token, notice=notice)

    assert second == first
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


def test_a_success_forgets_the_wrong_tries(stores):
    reset_id = stores.record()
    for _ in range(MAX_WRONG_TRIES - 1):
        stores.wrong_try()

    stores.complete(reset_id)
    stores.record()

    assert stores.wrong_try() == "ok"


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


def test_a_try_that_compared_nothing_is_given_back(stores):
    for _ in range(9):
        stores.codes.begin_password_try(USER, by="t1")
        stores.codes.refund_password_try(USER, by="t1")
