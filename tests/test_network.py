"""The simulated network: what it delivers, when, and that it does so again."""

from __future__ import annotations

import pytest
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from zope.interface import implementer
from zope.interface.verify import verifyObject

from kcpstack.batch import inboundBatch
from kcpstack.interfaces import IDatagramReceiver, IDatagramTransport
from kcpstack.testing.network import SimulatedNetwork, advanceUntil

SERVER = ("10.0.0.1", 29900)
OTHER = ("10.0.0.2", 29900)


@implementer(IDatagramReceiver)
class Receiver:
    """Writes down what arrives, and when (ms)."""

    def __init__(self, clock):
        self.clock = clock
        self.batches = []
        self.refusals = 0

    def datagramsReceived(self, batch):
        now = round(self.clock.seconds() * 1000, 3)
        self.batches.append([(now, bytes(d), a) for d, a in zip(batch, batch.addresses)])
        batch.buffer[:] = bytes(len(batch.buffer))  # ours to change: nobody else may see it

    def connectionRefused(self):
        self.refusals += 1

    @property
    def arrivals(self):
        return [arrival for batch in self.batches for arrival in batch]

    @property
    def datagrams(self):
        return [datagram for _, datagram, _ in self.arrivals]


class World:
    """A server and a connected client on one network."""

    def __init__(self, seed=1, **faults):
        self.clock = Clock()
        self.network = SimulatedNetwork(self.clock, seed, **faults)
        self.server = self.network.transport(SERVER)
        self.client = self.network.transport(peer=SERVER)
        self.atServer, self.atClient = Receiver(self.clock), Receiver(self.clock)
        self.server.startListening(self.atServer)
        self.client.startListening(self.atClient)

    def send(self, *datagrams):
        self.client.send(inboundBatch(datagrams), None)

    def run(self, seconds=10):
        advanceUntil(self.clock, lambda: False, seconds)


@pytest.fixture
def world():
    return World()


def test_it_provides_the_bottom_of_the_stack(world):
    assert verifyObject(IDatagramTransport, world.server)


def test_datagrams_arrive_later_with_the_address_they_came_from(world):
    world.send(b"one", b"two")
    assert world.atServer.arrivals == []
    world.run()
    source = world.client.address
    assert world.atServer.batches == [[(0.0, b"one", source), (0.0, b"two", source)]]


def test_an_answer_reaches_the_address_shown(world):
    world.send(b"ping")
    world.run()
    world.server.send(inboundBatch([b"pong"]), world.atServer.arrivals[0][2])
    world.run()
    assert world.atClient.arrivals == [(10_000.0, b"pong", SERVER)]


def test_the_senders_buffer_is_its_own_again_at_once(world):
    batch = inboundBatch([b"before"])
    world.client.send(batch, None)
    batch.buffer[:] = b"after!"
    world.run()
    assert world.atServer.datagrams == [b"before"]


def test_both_copies_of_a_duplicate_arrive_whole():
    world = World(duplicate=1.0, hold=0)
    world.send(b"twice")
    world.run()
    assert world.atServer.datagrams == [b"twice", b"twice"]


def test_what_is_due_together_arrives_in_bounded_batches(world):
    world.send(*[bytes([n]) for n in range(200)])
    world.run()
    assert [len(batch) for batch in world.atServer.batches] == [64, 64, 64, 8]
    assert world.atServer.datagrams == [bytes([n]) for n in range(200)]


def test_each_datagram_arrives_at_its_own_time():
    world = World(delay=30, rate=1000)
    world.send(bytes(10), bytes(20))
    world.run()
    assert [when for when, _, _ in world.atServer.arrivals] == [40.0, 60.0]


def test_directions_have_faults_of_their_own(world):
    world.network.direction(world.client, world.server).configure(delay=50)
    world.network.direction(world.server, world.client).configure(delay=5)
    world.send(b"up")
    world.server.send(inboundBatch([b"down"]), world.client.address)
    world.run()
    assert world.atServer.arrivals[0][0] == 50.0 and world.atClient.arrivals[0][0] == 5.0


def test_faults_change_under_way_for_later_datagrams_only():
    world = World(delay=100)
    world.send(b"first")
    world.network.configure(loss=1.0)
    world.send(b"second")
    world.run()
    assert world.atServer.datagrams == [b"first"]


def test_a_cut_path_heals(world):
    world.network.cut(world.client, world.server)
    world.send(b"lost")
    world.server.send(inboundBatch([b"lost too"]), world.client.address)
    world.run()
    world.network.heal(world.server, world.client)
    world.send(b"found")
    world.run()
    assert world.atServer.datagrams == [b"found"] and world.atClient.datagrams == []


def test_after_a_rebinding_the_client_looks_like_another_and_its_old_address_is_dead():
    world = World(delay=10)
    before = world.client.address
    world.send(b"hello")
    world.run()
    world.server.send(inboundBatch([b"under way"]), before)
    world.client.rebind(("10.9.9.9", 1234))
    world.server.send(inboundBatch([b"too late"]), before)
    world.send(b"me again")
    world.run()
    world.server.send(inboundBatch([b"there you are"]), world.atServer.arrivals[-1][2])
    world.run()
    assert [address for _, _, address in world.atServer.arrivals] == [before, ("10.9.9.9", 1234)]
    assert world.atClient.datagrams == [b"there you are"]
    assert world.network.undeliverable == 2


def test_a_connected_transport_hears_nobody_but_its_peer(world):
    stranger = world.network.transport(OTHER)
    stranger.startListening(Receiver(world.clock))
    stranger.send(inboundBatch([b"psst"]), world.client.address)
    world.run()
    assert world.atClient.arrivals == [] and world.network.undeliverable == 1


def test_an_address_belongs_to_one_transport_until_it_stops(world):
    second = world.network.transport(SERVER)
    with pytest.raises(CannotListenError):
        second.startListening(Receiver(world.clock))
    world.server.stopListening()
    second.startListening(Receiver(world.clock))


def test_nothing_arrives_after_stopping():
    world = World(delay=10)
    world.send(b"late")
    stopped = []
    world.server.stopListening().addCallback(stopped.append)
    world.run()
    assert stopped == [None] and world.atServer.arrivals == []
    assert world.clock.getDelayedCalls() == []


def test_a_refusal_is_heard_only_where_the_network_tells(world):
    world.server.stopListening()
    world.send(b"anybody?")
    world.run()
    assert world.atClient.refusals == 0
    world.network.refuses = True
    world.send(b"anybody?")
    world.run()
    assert world.atClient.refusals == 1


def test_it_counts_what_is_sent(world):
    world.send(b"one", b"three")
    world.run()
    sent = world.client.counters
    assert (sent.OutPkts, sent.OutBytes) == (2, 8)


def test_the_same_seed_and_calls_give_the_same_trace_and_arrivals():
    def story(seed):
        chances = dict.fromkeys(["loss", "reorder", "duplicate", "corrupt"], 0.1)
        world = World(seed, delay=20, jitter=5, rate=50_000, **chances)
        for turn in range(100):
            world.send(*[bytes([turn]) * 50] * 3)
            world.server.send(inboundBatch([bytes([turn]) * 20]), world.client.address)
            world.run(0.002)
        world.run(1)
        return list(world.network.trace), world.atServer.batches, world.atClient.batches

    assert story(5) == story(5)
    assert story(5) != story(6)


def test_the_history_names_the_seed_and_what_happened():
    world = World(seed=4711, loss=1.0)
    world.send(b"x")
    assert "seed 4711" in world.network.history() and "#0 1 bytes lost" in world.network.history()


def test_wrong_faults_are_refused_when_the_network_is_made():
    with pytest.raises(ValueError):
        SimulatedNetwork(Clock(), 1, loss=5)


def test_time_passes_from_call_to_call_until_the_condition_holds():
    clock, seen = Clock(), []
    for delay in (0.1, 5.0, 20.0):
        clock.callLater(delay, lambda: seen.append(clock.seconds()))
    assert advanceUntil(clock, lambda: len(seen) == 2, 100)
    assert seen == [0.1, 5.0] and clock.seconds() == 5.0
    assert not advanceUntil(clock, lambda: False, 100)
    assert seen == [0.1, 5.0, 20.0] and clock.seconds() == 105.0
