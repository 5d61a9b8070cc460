"""``close()`` of kcp: endpoints and ports: nothing is left when its Deferred fires, so that a test can wait for it."""

from __future__ import annotations

import pytest
from endpointworld import NOTHING, Recorder, World, result
from endpointworld import Counting as CountingFactory
from twisted.internet import defer, protocol, reactor
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.trial.unittest import TestCase

both = pytest.mark.parametrize("mux", [False, True])


@both
def test_closing_both_ends_leaves_nothing_and_tells_the_protocols(mux: bool) -> None:
    world = World()
    port, endpoint = world.listen(), world.client(mux=mux)
    there = world.connect(endpoint, CountingFactory(lambda: Recorder(b"x")))
    assert world.run(lambda: world.served.made and world.served.made[0].received)
    closed = defer.DeferredList([endpoint.close(), port.close()])
    assert world.run(lambda: closed.called, 10)
    assert world.leftovers() == NOTHING
    assert there.lost is not None and world.served.made[0].lost is not None


@both
def test_after_a_clean_end_closing_takes_a_moment_and_not_the_idle_minute(mux: bool) -> None:
    world = World()
    port, endpoint = world.listen(), world.client(mux=mux)
    there = world.connect(endpoint, CountingFactory(lambda: Recorder(b"x")))
    assert world.run(lambda: world.served.made and world.served.made[0].received)
    there.transport.loseConnection()
    assert world.run(lambda: there.lost is not None and world.served.made[0].lost is not None)
    closed = defer.DeferredList([endpoint.close(), port.close()])
    assert world.run(lambda: closed.called, 10)
    assert world.leftovers() == NOTHING


@both
def test_a_closed_endpoint_connects_again_and_a_closed_port_listens_again(mux: bool) -> None:
    world = World()
    port, endpoint = world.listen(), world.client(mux=mux)
    world.connect(endpoint, CountingFactory(lambda: Recorder(b"x")))
    closed = defer.DeferredList([endpoint.close(), port.close()])
    assert world.run(lambda: closed.called, 10)
    port.startListening()
    again = world.connect(endpoint, CountingFactory(lambda: Recorder(b"again")))
    assert world.run(lambda: again.made)
    assert result(endpoint.connect(CountingFactory()) if mux else defer.succeed(again)) is not None


def test_closing_what_was_never_used_is_done_at_once() -> None:
    world = World()
    assert result(world.client().close()) is None
    port = world.listen()
    assert result(port.close()) is None
    assert world.leftovers() == NOTHING


class WithTrial(TestCase):
    """As somebody tests a protocol of their own: trial fails a test that leaves a socket or a timer."""

    async def test_a_test_that_closes_its_endpoints_leaves_the_reactor_clean(self) -> None:
        server = protocol.Factory.forProtocol(Echoing)
        port = await serverFromString(reactor, "kcp:0:interface=127.0.0.1:key=k").listen(server)
        endpoint = clientFromString(reactor, f"kcp:127.0.0.1:{port.getHost().port}:key=k:mux=yes")
        there = await endpoint.connect(protocol.Factory.forProtocol(Echoed))
        assert await there.heard == b"hello"
        await endpoint.close()
        await port.close()


class Echoing(protocol.Protocol):
    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)


class Echoed(protocol.Protocol):
    def __init__(self) -> None:
        self.heard: defer.Deferred[bytes] = defer.Deferred()

    def connectionMade(self) -> None:
        self.transport.write(b"hello")

    def dataReceived(self, data: bytes) -> None:
        self.heard.callback(data)
