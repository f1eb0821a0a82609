"""Shards: their slots lie evenly over a cluster, and an id tells its shard."""

from __future__ import annotations

import re
import secrets

import pytest
from redis.crc import REDIS_CLUSTER_HASH_SLOTS as SLOTS
from redis.crc import key_slot

from shared.store import keys


def ranges_of(nodes):
    """The ways to cut the slots into equal ranges: rounded down, rounded, the larger ones first."""
    whole, rest = divmod(SLOTS, nodes)
    yield [SLOTS * i // nodes for i in range(nodes + 1)]
    yield [round(SLOTS * i / nodes) for i in range(nodes + 1)]
    yield [whole * i + min(i, rest) for i in range(nodes + 1)]


@pytest.mark.parametrize("nodes", range(1, 65))
def test_no_node_holds_more_than_its_share_of_shards(nodes):
    slots = [key_slot(tag.encode()) for tag in keys.TAGS]

    for bounds in ranges_of(nodes):
        held = [sum(bounds[i] <= slot < bounds[i + 1] for slot in slots) for i in range(nodes)]
        assert max(held) <= -(-keys.SHARDS // nodes)


def test_there_are_64_shards_and_none_has_a_former_name():
    assert len(set(keys.TAGS)) == keys.SHARDS == 64
    assert not any(re.fullmatch(r"\{kt:\d\d\}", tag) for tag in keys.TAGS)


def test_an_id_keeps_its_form_all_its_random_bits_and_tells_its_shard():
    for shard in range(keys.SHARDS):
        random = secrets.token_bytes(16)
        ids = {keys.make_reset_id(shard, random), keys.make_reset_id(shard, bytes(16))}
        ids.add(keys.make_reset_id(shard, b"\xff" * 16))
        assert len(ids) == 3
        assert {keys.find_shard(each) for each in ids} == {shard}
        assert all(re.fullmatch("[0-9a-f][a-z2-7]{26}", each) for each in ids)


def test_no_random_bit_is_lost():
    made = {keys.make_reset_id(9, (1 << bit).to_bytes(16)) for bit in range(128)}

    assert len(made) == 128


@pytest.mark.parametrize("text", ["", "0", "ga", "01", "0A", "Aa", "0 ", "{kt:is}", "\u0663a"])
def test_what_is_no_id_has_no_shard(text):
    assert keys.find_shard(text) == -1
    with pytest.raises(ValueError, match="no id"):
        keys.tag_of(text)


def test_a_suppression_stands_in_its_recipients_shard():
    digest = "c1" + "0" * 30

    assert keys.suppression(digest).startswith(keys.TAGS[1])
    assert keys.lifted(digest).startswith(keys.TAGS[1])
