"""The quick fault run on a cluster and with Sentinels: nothing is lost, whatever fails."""

from __future__ import annotations

import pytest

from faults.servers import FAKE_TIME
from tests.journeys.test_faults import run_faults

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(1200)]


@pytest.mark.parametrize("topology", ["cluster", "sentinel"])
def test_nothing_is_lost_in_a_failover_a_partition_or_by_a_clock(topology):
    status, told, said = run_faults("--quick", "--topology", topology)

    assert not any(told["verdict"].values()), said
    assert status == 0
    figures = told["figures"]
    assert figures["done"]["kill_server"] == 2
    if FAKE_TIME:
        assert figures["a clock ahead"].endswith(", 5 s")
    if "partitions" not in figures:  # where they are left out it says why
        assert (figures["done"]["cut_off"], figures["done"]["split"]) == (2, 1)
        assert figures["failed over while cut off"] == 2
