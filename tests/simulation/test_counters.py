"""The counters of both ends of random worlds agree with each other and with what the network did."""

from __future__ import annotations

from typing import Any

import pytest
from counterrelations import assertOneEnd, assertPath
from world import World

from kcpstack.snmp import countQueues
from kcpstack.testing.network import advanceUntil

LOSSY = {"loss": 0.05, "reorder": 0.05, "duplicate": 0.02, "corrupt": 0.01, "delay": 20.0}
FEC = {"crypt": "aes", "datashard": 10, "parityshard": 3, "mtu": 1350, "mode": "fast2", "nocomp": True}


class Counted(World):
    """Looks at the counters when all is done and nothing is under way any more."""

    def checkTheEnd(self) -> None:
        assert advanceUntil(self.clock, self.allArrived, seconds=60), "what was carried is not all counted"
        longest = max(self.clientSettings.mtu, self.serverSettings.mtu)
        self.seen = {"client": self.clientCounters.asDict(), "server": self.serverCounters.asDict()}
        for here in self.seen.values():
            assertOneEnd(here, longest)
        for sender, way, receiver in (("client", "1->0", "server"), ("server", "0->1", "client")):
            path = {**self.network.tallies()[way], "longest": longest}
            assertPath(self.seen[sender], path, self.seen[receiver], cryptHeader=self.cryptHeader())
        countQueues(self.clientCounters, [link.conversation for link in self.client.links])
        assert self.clientCounters.RingBufferSndQueue == self.clientCounters.RingBufferRcvQueue == 0
        super().checkTheEnd()

    def allArrived(self) -> bool:
        carried = sum(tally["carried"] for tally in self.network.tallies().values())
        both = (self.clientCounters, self.serverCounters)
        arqs = [each.arq for each in (*self.server.conversations(), *(link.conversation for link in self.client.links))]
        settled = not any(arq.unsent or arq.unacknowledged or arq.unread for arq in arqs)
        return settled and carried == sum(end.InPkts + end.InCsumErrors + end.InErrs for end in both)

    def cryptHeader(self) -> int:
        return {"null": 0, "aes-128-gcm": 28}.get(self.clientSettings.crypt, 20)


def played(seed: int, fixed: dict[str, Any] | None = None, faults: dict[str, Any] | None = None) -> Counted:
    world = Counted(seed, fixed, faults)
    world.run()
    return world


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_the_relations_hold_in_every_world(first):
    for seed in range(first, first + 20):
        played(seed)


def test_a_lossy_run_has_something_to_count():
    world = Counted(21, fixed=FEC, faults=LOSSY)
    world.wanted = 12
    world.run()
    for here in world.seen.values():
        assert min(here[name] for name in ("RetransSegs", "RepeatSegs", "FECRecovered", "FECParityShards")) > 0
        assert here["FECFullShards"] > 0 and here["InCsumErrors"] > 0
        assert here["FECParityShards"] * 13 < here["InPkts"] * 4  # three of thirteen, but for bad luck


@pytest.mark.parametrize("seed", range(5))
def test_a_perfect_path_has_nothing_sent_again_and_nothing_repeated(seed):
    # With fast2 an ack that waits its interval can be later than the timer; and before an end has spoken, its window is
    # taken to be KCP's first (32): a smaller one drops some of what comes then.
    patient = {**FEC, "mode": "fast", "rcvwnd": 128}
    world = played(seed, patient, {**dict.fromkeys(LOSSY, 0.0), "delay": 10.0, "jitter": 0.0})
    for here in world.seen.values():
        assert here["RetransSegs"] == here["RepeatSegs"] == here["FECRecovered"] == here["InCsumErrors"] == 0
    client, server = world.seen["client"], world.seen["server"]
    assert (client["OutPkts"], client["OutSegs"]) == (server["InPkts"], server["InSegs"])
    assert (server["OutPkts"], server["OutSegs"]) == (client["InPkts"], client["InSegs"])
    assert client["OutBytes"] == server["InBytes"] + 20 * server["InPkts"]


def test_what_waits_where_nothing_gets_through_is_counted_on_demand():
    world = Counted(5, fixed={**FEC, "datashard": 0, "parityshard": 0, "sndwnd": 8}, faults={"cut": True})
    application = world.open(0)
    application.transport.write(bytes(100_000))
    world.clock.advance(0.1)
    (link,) = world.client.links
    countQueues(world.clientCounters, [link.conversation])
    counters = world.clientCounters
    assert counters.RingBufferSndBuffer == 8
    assert 0 < counters.RingBufferSndQueue <= -(-link.conversation.arq.unsent // 1000)
    assert counters.RingBufferRcvQueue == 0


def test_without_FEC_what_is_lost_is_sent_again_and_what_is_doubled_is_repeated():
    world = Counted(3, fixed={**FEC, "datashard": 0, "parityshard": 0}, faults=LOSSY)
    world.wanted = 12
    world.run()
    for here in world.seen.values():
        assert here["RetransSegs"] > 0 and here["RepeatSegs"] > 0
        assert here["FECParityShards"] == here["FECRecovered"] == here["FECErrs"] == here["FECShardSet"] == 0
