"""The quick fault run on a cluster and with Sentinels: nothing is lost in a failover."""

from __future__ import annotations

import pytest

from tests.journeys.test_faults import run_faults

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(1200)]


@pytest.mark.parametrize("topology", ["cluster", "sentinel"])
def test_nothing_is_lost_in_a_failover(topology):
    status, told, said = run_faults("--quick", "--topology", topology)

    assert not any(told["verdict"].values()), said
    assert status == 0
    assert told["figures"]["done"]["kill_server"] == 2
