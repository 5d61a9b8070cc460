"""What becomes of connections over kcp: endpoints when the reactor stops, on virtual time."""

from __future__ import annotations

import random

import pytest
from endpointworld import NOTHING, Recorder, World
from twisted.internet import defer
from twisted.internet.error import ConnectionAborted, ConnectionDone

from kcpstack.closing import FAREWELL
from kcpstack.errors import PeerClosedDown
from kcpstack.shutdown import CLOSE_WAIT

both = pytest.mark.parametrize("mux", [False, True])


@both
@pytest.mark.parametrize("which", ["client", "server"])
def test_when_the_reactor_stops_connections_are_cut_and_the_other_end_is_told(mux: bool, which: str) -> None:
    world = World()
    world.listen(Recorder)
    protocol = world.connect(world.client(mux=mux))
    world.advance(1)
    stopServer, stopClient = world.clock.triggers.values()
    over = stopClient() if which == "client" else stopServer()
    assert world.run(lambda: over.called, FAREWELL + 0.01)
    ends = (protocol, world.served.made[0])
    assert ends[which == "client"].lost.check(PeerClosedDown)
    assert ends[which == "server"].lost.check(ConnectionAborted)


def test_when_the_reactor_stops_an_idle_session_is_over_soon() -> None:
    world = World()
    world.listen()
    world.connect(world.client(mux=True)).transport.loseConnection()
    world.advance(1)
    began = world.clock.seconds()
    over = world.clock.shutDown()
    assert world.run(lambda: over.called)
    assert world.clock.seconds() - began <= FAREWELL + 0.01
    assert world.leftovers() == NOTHING


def test_closewait_gives_connections_time_when_the_reactor_stops() -> None:
    world = World()
    world.listen(closewait=10)
    protocol = world.connect(world.client(closewait=10))
    world.advance(1)
    over = world.clock.shutDown()
    world.advance(5)
    protocol.transport.write(b"still")
    assert world.run(lambda: protocol.received == b"still", 1)
    protocol.transport.loseConnection()
    assert world.run(lambda: over.called, 4)
    assert protocol.lost.check(ConnectionDone)


@pytest.mark.parametrize("open_", [False, True])
@both
@pytest.mark.parametrize("which", ["client", "server"])
def test_what_closed_connections_have_to_send_arrives_though_the_reactor_stops(which: str, mux: bool, open_: bool) -> None:
    world = World(rate=50_000, queue=1000.0)
    world.listen(Recorder)
    endpoint = world.client(mux=mux)
    near = world.connect(endpoint)
    other = world.connect(endpoint) if open_ else None
    assert world.run(lambda: len(world.served.made) == 1 + open_)
    far = world.served.made[0]
    writer, reader = (near, far) if which == "client" else (far, near)
    sent = random.Random(1).randbytes(100_000)
    writer.transport.write(sent)
    writer.transport.loseConnection()
    assert world.run(lambda: writer.lost)
    stopServer, stopClient, *others = world.clock.triggers.values()
    stops = [stopServer] if which == "server" else [stopClient, *others]
    over = defer.gatherResults([stop() for stop in stops])
    assert world.run(lambda: over.called and reader.lost, CLOSE_WAIT)
    assert reader.received == sent and reader.lost.check(ConnectionDone)
    if other is not None:
        lost = world.served.made[1].lost if which == "client" else other.lost
        assert lost.check(PeerClosedDown)


@both
@pytest.mark.parametrize("closed", [False, True])
def test_the_reactor_does_not_wait_long_for_a_peer_that_is_dead(mux: bool, closed: bool) -> None:
    world = World()
    world.listen(Recorder)
    near = world.connect(world.client(mux=mux))
    world.advance(1)
    world.network.configure(cut=True)
    for end in (near, world.served.made[0]) if closed else ():
        end.transport.write(b"never read")
        end.transport.loseConnection()
    world.advance(1)
    over = world.clock.shutDown()
    assert world.run(lambda: over.called, FAREWELL + 0.1 + (4 if closed else 0))
    assert world.leftovers() == NOTHING


@both
def test_an_open_connection_that_has_much_to_send_does_not_hold_up_the_end(mux: bool) -> None:
    world = World(rate=50_000, queue=1000.0)
    world.listen(lambda: Recorder(bytes(1_000_000)), nocomp=True)
    endpoint = world.client(mux=mux, nocomp=True)
    protocol = world.connect(endpoint)
    if mux:
        world.connect(endpoint, lambda: Recorder(b"small")).transport.loseConnection()
    world.advance(3)
    over = next(iter(world.clock.triggers.values()))()
    assert world.run(lambda: over.called, FAREWELL + 0.1)
    assert protocol.lost is None or not protocol.lost.check(ConnectionDone)


def test_closewait_0_waits_for_nothing_when_the_reactor_stops() -> None:
    world = World(rate=50_000, queue=1000.0)
    world.listen(Recorder)
    protocol = world.connect(world.client(closewait=0))
    protocol.transport.write(random.Random(1).randbytes(100_000))
    protocol.transport.loseConnection()
    assert world.run(lambda: protocol.lost)
    over = world.clock.shutDown()
    assert world.run(lambda: over.called, FAREWELL + 0.01)
