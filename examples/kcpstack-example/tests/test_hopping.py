"""A transport that hops keeps its promises: turns, one address at either end, silent ports, forgeries."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

import pytest
from kcpstack_example.hopping import PATIENCE, RETRY, STRANGERS_MAX, TURN, HopFactory

from kcpstack.batch import Batch, inboundBatch, outboundBatch
from kcpstack.counters import Counters
from kcpstack.testing.datagrams import DatagramRecorder, SocketClock, freePorts
from kcpstack.transports import TransportContext

LOCAL = "127.0.0.1"


class Ends:
    """A server on a range of ports and a client that calls it, on real sockets and virtual time."""

    def __init__(self, ports: range, called: range | None = None) -> None:
        self.clock = SocketClock()
        self.counters = Counters()
        self.context = TransportContext(self.clock, self.counters, random.Random("hop").randbytes)
        self.server = HopFactory().listen(self.context, LOCAL, ports)
        self.atServer, self.atClient = DatagramRecorder(), DatagramRecorder()
        self.server.startListening(self.atServer)
        called = called or ports
        self.client = HopFactory().dial(self.context, LOCAL, called[0], called)
        self.client.startListening(self.atClient)

    def close(self) -> None:
        self.client.stopListening()
        self.server.stopListening()

    def call(self, datagram: bytes = b"call") -> int:
        """Send from the client; return the port of the server's that it was sent to, found by the client's
        books."""
        self.client.send(outbound(datagram), None)
        self.clock.turn(0.0)
        port: int = self.client._port
        return port

    def answer(self, datagram: bytes = b"answer") -> None:
        """Send from the server to who called last."""
        self.server.send(outbound(datagram), self.atServer.arrived[-1][1])
        self.clock.turn(0.0)


def outbound(datagram: bytes) -> Batch:
    batch = outboundBatch(200, 0)
    batch.append(datagram)
    return batch


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends(freePorts(5))
    yield made
    made.close()


def test_a_turn_stays_on_one_port_and_the_next_is_on_another(ends: Ends) -> None:
    used = []
    for _ in range(40):
        used.append(ends.call())
        assert ends.call() == used[-1]
        ends.answer()
        ends.clock.advance(TURN)
    assert set(used) == set(range(min(used), min(used) + 5))
    assert all(one != next_ for one, next_ in zip(used, used[1:]))


def test_a_peer_that_hops_has_one_address_at_either_end(ends: Ends) -> None:
    for _ in range(20):
        ends.call()
        ends.answer()
        ends.clock.advance(TURN)
    assert len({address for _, address in ends.atServer.arrived}) == 1
    assert len({address for _, address in ends.atClient.arrived}) == 1
    assert len(ends.atClient.arrived) == 20


def test_answers_leave_from_the_port_that_was_called_last(ends: Ends) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind((LOCAL, 0))
        peer.settimeout(5)
        first = ends.server.getHost().port
        for port in (first, first + 3, first + 1):
            peer.sendto(b"call", (LOCAL, port))
            ends.clock.turn(0.0)
            ends.answer()
            assert peer.recvfrom(100)[1] == (LOCAL, port)


def test_a_port_that_does_not_answer_is_left_out_for_a_while() -> None:
    ports = freePorts(4)
    ends = Ends(ports[:2], called=ports)
    try:
        used = []
        for _ in range(100):
            before = len(ends.atServer.arrived)
            used.append(ends.call())
            if len(ends.atServer.arrived) > before:
                ends.answer()
            ends.clock.advance(TURN)
        assert sorted(used.count(port) for port in ports)[:2] == [1, 1]
        ends.clock.advance(RETRY)
        for _ in range(100):
            used.append(ends.call())
            if used[-1] in ports[:2]:
                ends.answer()
            ends.clock.advance(TURN)
        assert sorted(used.count(port) for port in ports)[:2] == [2, 2]
    finally:
        ends.close()


def test_where_no_port_answers_all_are_tried_in_turn(ends: Ends) -> None:
    used = []
    for _ in range(20):
        used.append(ends.call())
        ends.clock.advance(TURN)
    assert [used.count(port) for port in set(used)] == [4] * 5
    assert used[5:10] == used[:5]


def test_datagrams_of_strangers_are_dropped_and_counted(ends: Ends) -> None:
    ends.call()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"forged", (LOCAL, ends.client.getHost().port))
        ends.answer(b"genuine")
        ends.clock.turn(0.0)
    assert ends.atClient.datagrams == [b"genuine"]
    assert ends.counters.InErrs == 1


def test_where_the_peer_is_silent_answers_leave_from_all_ports_that_it_has_called(ends: Ends) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind((LOCAL, 0))
        peer.settimeout(5)
        first = ends.server.getHost().port
        for port in (first, first + 2, first + 4):
            peer.sendto(b"call", (LOCAL, port))
            ends.clock.turn(0.0)
        used = []
        ends.clock.advance(PATIENCE + TURN / 2)
        for _ in range(6):
            ends.answer()
            used.append(peer.recvfrom(100)[1][1] - first)
            ends.clock.advance(TURN)
        assert used == [2, 0, 4, 2, 0, 4]
        peer.sendto(b"call", (LOCAL, first))
        ends.clock.turn(0.0)
        ends.answer()
        assert peer.recvfrom(100)[1][1] == first


class Doubter(DatagramRecorder):
    """Takes out what is forged, as a cipher does."""

    def datagramsReceived(self, batch: Batch) -> None:
        kept = [i for i, datagram in enumerate(batch) if bytes(datagram) != b"forged"]
        self.arrived += [(bytes(list(batch)[i]), (batch.addresses or [])[i]) for i in kept]
        batch.addresses = [(batch.addresses or [])[i] for i in kept]
        batch.starts, batch.ends = [batch.starts[i] for i in kept], [batch.ends[i] for i in kept]


def test_what_is_forged_moves_no_answer_and_is_not_heard(ends: Ends) -> None:
    ends.server._receiver = ends.atServer = Doubter()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind((LOCAL, 0))
        peer.settimeout(5)
        first = ends.server.getHost().port

        def answeredAfter(*calls: tuple[bytes, int]) -> int:
            for datagram, port in calls:
                peer.sendto(datagram, (LOCAL, first + port))
                ends.clock.turn(0.0)
            ends.answer()
            return int(peer.recvfrom(100)[1][1]) - first

        assert answeredAfter((b"call", 1)) == 1
        assert answeredAfter((b"forged", 3)) == 1
        assert answeredAfter((b"forged", 1), (b"call", 2), (b"forged", 4)) == 2
        ends.clock.advance(PATIENCE + TURN / 2)
        assert answeredAfter((b"forged", 2), (b"forged", 3)) == 1
        assert answeredAfter((b"call", 2)) == 2


def test_what_is_forged_makes_no_port_of_the_servers_well(ends: Ends) -> None:
    ends.client._receiver = ends.atClient = Doubter()
    ends.call()
    for datagram, silent in ((b"forged", 1), (b"genuine", 0)):
        ends.answer(datagram)
        ends.clock.turn(0.0)
        assert len(ends.client._unanswered) == silent


def test_a_flood_of_strangers_makes_the_server_forget_no_peer(ends: Ends) -> None:
    ends.call()
    ends.answer()
    address = ends.atServer.arrived[-1][1]
    called = ends.server.getHost().port
    flood = inboundBatch([b"x"] * 3000, [(f"192.0.2.{n % 250}", n, called) for n in range(3000)])
    ends.server.datagramsReceived(flood)
    assert len(ends.server._strangers) == STRANGERS_MAX
    assert list(ends.server._peers) == [address]
