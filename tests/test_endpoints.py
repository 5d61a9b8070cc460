"""kcp: endpoints as objects: what their users may count on, on virtual time."""

from __future__ import annotations

import gc
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from endpointworld import HOST, NOTHING, PORT, Counting, Echo, HalfCloseable, Recorder, World, failure, result
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import defer
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.error import (
    CannotListenError,
    ConnectingCancelledError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
    NoProtocol,
    TimeoutError,
)
from twisted.internet.interfaces import IListeningPort, IStreamClientEndpoint, IStreamServerEndpoint
from twisted.internet.ssl import PrivateCertificate, optionsForClientTLS
from twisted.logger import globalLogPublisher
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface.verify import verifyObject

from kcpstack.addresses import KCPAddress
from kcpstack.closing import FAREWELL
from kcpstack.connecting import IDLE
from kcpstack.errors import PeerAborted, PeerBrokeProtocol, PeerClosedDown, PeerRestarted, PeerSilent
from kcpstack.interfaces import IStreamTransport
from kcpstack.layers.snappy import SnappyCodec
from kcpstack.link import REFUSAL_PATIENCE
from kcpstack.seams import layersOf

both = pytest.mark.parametrize("mux", [False, True])


def test_they_provide_what_twisted_asks_of_endpoints() -> None:
    world = World()
    assert verifyObject(IStreamClientEndpoint, world.client())
    assert verifyObject(IStreamServerEndpoint, world.server())
    assert verifyObject(IListeningPort, world.listen())


# ------------------------------------------------------------------ connecting


@both
def test_a_connection_is_made_once_the_server_has_answered(mux: bool) -> None:
    world = World(delay=100.0)
    world.listen()
    factory = Counting(lambda: Recorder(b"hello"))
    connected = world.client(mux=mux).connect(factory)
    assert world.run(lambda: connected.called)
    assert 0.2 <= world.clock.seconds() < 0.4
    protocol = result(connected)
    assert (protocol, protocol.made, factory.starts, factory.stops) == (factory.made[0], 1, 1, 0)
    assert world.run(lambda: protocol.received == b"hello")


def test_the_addresses_are_those_of_the_session() -> None:
    world = World()
    port = world.listen()
    protocol = world.connect(world.client(), Counting(lambda: Recorder(b"x")))
    assert world.run(lambda: world.served.made)
    peer = protocol.transport.getPeer()
    assert (peer.host, peer.port) == (HOST, PORT) and isinstance(peer, KCPAddress)
    assert world.served.addresses[0].conv == peer.conv is not None
    assert world.served.made[0].transport.getPeer().port == protocol.transport.getHost().port
    assert port.getHost() == KCPAddress(HOST, PORT)


def test_nobody_there_is_a_timeout_that_says_what_to_look_at() -> None:
    world = World()
    factory = Counting()
    connected = world.client(timeout=7).connect(factory)
    world.advance(6.9)
    assert not connected.called
    world.advance(0.2)
    why = failure(connected)
    assert why.check(TimeoutError) and "7 s" in why.getErrorMessage() and "key" in why.getErrorMessage()
    assert (factory.starts, factory.stops) == (1, 1)
    assert world.leftovers() == NOTHING


def test_another_key_is_a_timeout() -> None:
    world = World()
    world.listen()
    connected = world.client(key="another").connect(Counting())
    world.advance(31)
    assert failure(connected).check(TimeoutError)
    assert world.served.made == []
    assert len(world.sockets.open) == 1, "the server's"


def test_a_server_that_starts_later_is_connected_to() -> None:
    world = World()
    connected = world.client().connect(Counting())
    world.advance(12)
    world.listen()
    assert world.run(lambda: connected.called, 15)
    assert result(connected).made == 1


@both
def test_a_refusal_is_believed_after_a_moment(mux: bool) -> None:
    world = World()
    world.network.refuses = True
    connected = world.client(mux=mux).connect(Counting())
    world.advance(REFUSAL_PATIENCE - 0.1)
    assert not connected.called
    world.advance(0.3)
    assert failure(connected).check(ConnectionRefusedError)
    assert world.leftovers() == NOTHING


def test_a_refusal_that_was_forged_stops_nobody() -> None:
    world = World(delay=400.0)
    world.listen()
    connected = world.client().connect(Counting())
    world.advance(0.1)
    client = next(socket for socket in world.sockets.open if socket.address != (HOST, PORT))
    client.refused()
    assert world.run(lambda: connected.called, 3)
    assert result(connected).made == 1


class Raising:
    """A compressor from outside that always raises, and its factory."""

    name = "raising"

    def build(self) -> Any:
        return self

    def compress(self, data: bytes) -> bytes:
        raise ZeroDivisionError("by a stranger")

    decompress = compress


class Damaging(SnappyCodec):
    """What it makes can be restored by nobody."""

    name = "damaging"

    def build(self) -> Any:
        return Damaging()

    def compress(self, data: bytes) -> bytes:
        return b"\xff\x06\x00\x00sNaPpY\x00\x08\x00\x00junkjunk"


@both
def test_sessions_that_end_as_soon_as_they_are_dialled_are_not_dialled_again_at_once(mux: bool) -> None:
    world = World()
    endpoint = world.client(mux=mux, timeout=30, layers=lambda it: replace(layersOf(it), compressor=Raising()))
    attempt = endpoint.connect(Counting())
    world.advance(31)
    assert 4 <= len(world.sockets.dialled) <= 8
    why = failure(attempt)
    assert why.check(TimeoutError) and "ZeroDivisionError" in why.getErrorMessage()
    world.advance(120)
    assert world.leftovers() == NOTHING


def test_a_server_whose_answer_is_damaged_is_asked_again_after_a_pause_and_the_timeout_says_why() -> None:
    world = World()
    world.listen(layers=lambda it: replace(layersOf(it), compressor=Damaging()))
    attempt = world.client(timeout=10).connect(Counting())
    world.advance(11)
    assert 3 <= len(world.sockets.dialled) <= 6
    assert "PeerBrokeProtocol" in failure(attempt).getErrorMessage()


def test_a_name_that_is_not_known_fails_at_once() -> None:
    world = World()
    connected = world.client(
        host="nowhere.example", resolveName=lambda name: defer.fail(DNSLookupError(name))
    ).connect(Counting())
    assert failure(connected).check(DNSLookupError)
    assert world.leftovers() == NOTHING


@both
@pytest.mark.parametrize("after", [0.0, 0.005, 1.0, 15.0])
def test_whoever_cancels_hears_of_it_and_nothing_is_left(mux: bool, after: float) -> None:
    world = World()
    factory = Counting()
    connected = world.client(mux=mux).connect(factory)
    world.advance(after)
    connected.cancel()
    why = failure(connected)
    assert why.check(ConnectingCancelledError) and why.value.address.host == HOST
    assert (factory.stops, factory.made) == (1, [])
    assert world.leftovers() == NOTHING


def test_cancelling_while_the_name_is_looked_up_leaves_nothing() -> None:
    world = World()
    looking: defer.Deferred[str] = defer.Deferred()
    connected = world.client(resolveName=lambda name: looking).connect(Counting())
    connected.cancel()
    assert failure(connected).check(ConnectingCancelledError)
    assert looking.called and world.leftovers() == NOTHING


def test_cancelling_from_within_connectionMade_cuts_the_connection() -> None:
    world = World()
    world.listen()

    class Fickle(Recorder):
        def connectionMade(self) -> None:
            connected.cancel()

    factory = Counting(Fickle)
    connected = world.client().connect(factory)
    assert world.run(lambda: factory.stops)
    assert failure(connected).check(ConnectingCancelledError)
    assert factory.made[0].lost.check(ConnectionAborted)


@pytest.mark.parametrize("make", [lambda: None, lambda: 1 // 0], ids=["None", "raises"])
def test_a_factory_that_makes_no_protocol_fails_the_connection(make) -> None:
    world = World()
    port = world.listen()
    factory = Counting(make)
    connected = world.client().connect(factory)
    assert world.run(lambda: connected.called)
    assert failure(connected).check(NoProtocol, ZeroDivisionError)
    assert world.run(lambda: factory.stops)
    port.stopListening()
    world.advance(10)
    assert world.leftovers() == NOTHING


class Unwilling(Counting):
    """A factory whose ``method`` raises."""

    def __init__(self, method: str) -> None:
        super().__init__()
        setattr(self, method, self.refuse)

    def refuse(self, *_: Any) -> Any:
        raise ZeroDivisionError


@both
def test_a_factory_that_cannot_be_started_fails_the_connection_and_leaves_nothing(mux: bool) -> None:
    world = World()
    world.listen()
    assert failure(world.client(mux=mux).connect(Unwilling("doStart"))).check(ZeroDivisionError)
    world.advance(1)
    assert len(world.sockets.open) == 1  # the server's


@pytest.fixture
def logged() -> Any:
    """The types of the exceptions that were logged."""
    found: list[Any] = []

    def observe(event: dict[str, Any]) -> None:
        if "log_failure" in event:
            found.append(event["log_failure"].type)

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


def test_whoever_connects_hears_of_the_timeout_though_the_factory_cannot_be_stopped(logged: Any) -> None:
    world = World()
    attempt = world.client(timeout=3).connect(Unwilling("doStop"))
    world.advance(4)
    assert failure(attempt).check(TimeoutError)
    gc.collect()
    assert logged == [ZeroDivisionError]
    assert world.leftovers() == NOTHING


@pytest.mark.parametrize("raises", [False, True])
def test_a_factory_that_cancels_while_it_builds_and_has_no_protocol_is_told_once(raises: bool, logged: Any) -> None:
    world = World()
    world.listen()

    def cancels() -> None:
        attempt.cancel()
        if raises:
            raise ZeroDivisionError

    factory = Counting(cancels)
    attempt = world.client().connect(factory)
    world.advance(5)
    assert failure(attempt).check(ConnectingCancelledError)
    assert logged == [ZeroDivisionError] * raises
    assert factory.stops == 1


@pytest.mark.parametrize("timeout", [None, "5", 0, -1, float("nan"), float("inf")])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(timeout: Any) -> None:
    with pytest.raises(ValueError, match="^timeout=.*: give a number of seconds above 0$"):
        World().client(timeout=timeout)


def test_a_protocol_that_raises_when_it_is_connected_fails_the_connection() -> None:
    world = World()
    world.listen()

    class Broken(Recorder):
        def connectionMade(self) -> None:
            raise ZeroDivisionError

    connected = world.client().connect(Counting(Broken))
    assert world.run(lambda: connected.called)
    assert failure(connected).check(ZeroDivisionError)


@pytest.mark.parametrize("ports", [range(0), range(10, 20, 2), range(20, 10, -1)])
def test_a_range_with_holes_or_nothing_in_it_is_refused(ports: range) -> None:
    for make in (World().client, World().server):
        with pytest.raises(ValueError, match="^port=range.*: give a range of at least one port"):
            make(port=ports)


def test_of_a_range_each_session_picks_a_port() -> None:
    world = World()
    endpoint = world.client(port="3000-3005", timeout=60)
    connected = endpoint.connect(Counting())
    world.advance(55)
    assert len({port for _, port in world.sockets.dialled}) == 6, "none twice while there are others"
    connected.cancel()
    failure(connected)


# ------------------------------------------------------------------ sessions


def test_without_mux_each_connection_has_a_session_that_ends_with_it() -> None:
    world = World()
    port = world.listen()
    endpoint = world.client()
    first, second = world.connect(endpoint, lambda: Recorder(b"1")), world.connect(endpoint, lambda: Recorder(b"2"))
    assert len({protocol.transport.getPeer().conv for protocol in (first, second)}) == 2
    assert len(world.sockets.open) == 3
    first.transport.loseConnection()
    assert world.run(lambda: len(world.sockets.open) == 2, 2)
    assert endpoint.counters.CurrEstab == 1
    second.transport.abortConnection()
    assert world.run(lambda: len(world.sockets.open) == 1, 2)
    port.stopListening()
    assert world.run(lambda: world.leftovers() == NOTHING, 5), "the server has been told"


@pytest.mark.parametrize("conn", [1, 3])
def test_with_mux_connections_share_sessions(conn: int) -> None:
    world = World()
    world.listen()
    endpoint = world.client(mux=True, conn=conn)
    world.connect(endpoint)
    world.advance(1)
    protocols = [world.connect(endpoint) for _ in range(6)]
    assert len({protocol.transport.getPeer().conv for protocol in protocols}) == conn
    assert len(world.sockets.open) == 1 + conn


def test_with_mux_a_connection_is_there_at_once_where_a_session_is() -> None:
    world = World()
    world.listen()
    endpoint = world.client(mux=True)
    world.connect(endpoint)
    assert result(endpoint.connect(Counting())).made == 1


def test_shared_sessions_end_when_they_are_idle_and_the_next_connection_begins_another() -> None:
    world = World()
    port = world.listen()
    endpoint = world.client(mux=True)
    first = world.connect(endpoint)
    conv = first.transport.getPeer().conv
    first.transport.loseConnection()
    world.advance(IDLE - 5)
    assert len(world.sockets.open) == 2
    second = world.connect(endpoint)
    assert second.transport.getPeer().conv == conv
    world.advance(IDLE + 5)
    assert second.lost is None
    second.transport.loseConnection()
    world.advance(IDLE + 10)
    assert len(world.sockets.open) == 1
    third = world.connect(endpoint)
    assert third.transport.getPeer().conv != conv
    third.transport.loseConnection()
    world.advance(IDLE + 10)
    port.stopListening()
    assert world.leftovers() == NOTHING


# ------------------------------------------------------------------ on a connection


@both
def test_each_direction_ends_by_itself(mux: bool) -> None:
    world = World()
    world.listen(lambda: HalfCloseable(answer=b"a" * 200_000))
    protocol = world.connect(world.client(mux=mux), lambda: HalfCloseable(b"question"))
    protocol.transport.loseWriteConnection()
    assert world.run(lambda: protocol.readEnded)
    assert protocol.received == b"a" * 200_000
    assert world.served.made[0].received == b"question"
    assert world.run(lambda: protocol.lost and world.served.made[0].lost)
    assert protocol.lost.check(ConnectionDone) and world.served.made[0].lost.check(ConnectionDone)


@both
def test_whoever_cannot_half_close_is_closed_as_by_tcp(mux: bool) -> None:
    world = World()
    world.listen(Recorder)
    protocol = world.connect(world.client(mux=mux), lambda: HalfCloseable(b"question"))
    protocol.transport.loseWriteConnection()
    assert world.run(lambda: protocol.lost)
    assert protocol.readEnded and world.served.made[0].lost.check(ConnectionDone)


def test_a_reader_that_pauses_pauses_the_writer() -> None:
    world = World()
    world.listen(Recorder)
    protocol = world.connect(world.client(streambuf=65536))
    world.advance(1)
    (reader,) = world.served.made
    reader.transport.pauseProducing()
    producer = Endless(protocol.transport)
    world.advance(20)
    written = producer.written
    world.advance(20)
    assert producer.written == written < 3_000_000 and reader.received == b""
    reader.transport.resumeProducing()
    assert world.run(lambda: producer.written > written)
    producer.stop()
    assert world.run(lambda: len(reader.received) == producer.written)


class Endless:
    def __init__(self, transport) -> None:
        self.transport, self.written, self.paused = transport, 0, False
        transport.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        self.paused = False
        while not self.paused and self.written < 20_000_000:
            self.written += 10_000
            self.transport.write(bytes(10_000))

    def pauseProducing(self) -> None:
        self.paused = True

    def stopProducing(self) -> None:
        self.paused = True

    def stop(self) -> None:
        self.paused = True
        self.transport.unregisterProducer()


@pytest.mark.parametrize("QPP", [False, True])
def test_what_programs_for_tcp_call_is_there_and_changes_nothing(QPP: bool) -> None:
    world = World()
    world.listen(QPP=QPP)
    transport = world.connect(world.client(QPP=QPP)).transport
    assert verifyObject(IStreamTransport, transport)
    transport.setTcpNoDelay(False)
    transport.setTcpKeepAlive(False)
    assert transport.getTcpNoDelay() and transport.getTcpKeepAlive()


@pytest.mark.parametrize(
    "options",
    [
        {"crypt": "aes-128-gcm", "datashard": 5, "parityshard": "2"},
        {"crypt": "salsa20", "nocomp": True, "smuxver": 1},
        {"QPP": "yes", "mode": "fast3", "acknodelay": True},
        {"ds": 0, "ps": 0, "mtu": 600, "sndwnd": 32, "rcvwnd": 32},
    ],
    ids=str,
)
def test_options_hold_on_a_path_that_loses(options) -> None:
    world = World(loss=0.05)
    world.listen(**options)
    protocol = world.connect(world.client(**options), lambda: Recorder(b"o" * 100_000))
    assert world.run(lambda: len(protocol.received) == 100_000, 300)


# ------------------------------------------------------------------ why a connection was lost


def connected(mux: bool = False, make=Recorder, **options):
    """A world, its client's endpoint, and both ends of a connection."""
    world = World()
    world.port = world.listen(make)
    endpoint = world.client(mux=mux, **options)
    near = world.connect(endpoint, lambda: Recorder(b"x"))
    assert world.run(lambda: world.served.made and world.served.made[-1].received)
    return world, near, world.served.made[-1]


@both
def test_a_clean_end_is_ConnectionDone_at_both_ends(mux: bool) -> None:
    world, near, far = connected(mux)
    near.transport.loseConnection()
    assert world.run(lambda: near.lost and far.lost)
    assert near.lost.check(ConnectionDone) and far.lost.check(ConnectionDone)


@both
def test_an_abort_is_ConnectionAborted_here_and_PeerAborted_there(mux: bool) -> None:
    for aborts in (0, 1):
        world, *ends = connected(mux)
        ends[aborts].transport.abortConnection()
        assert world.run(lambda ends=ends: ends[0].lost and ends[1].lost, 2)
        assert ends[aborts].lost.check(ConnectionAborted)
        assert ends[1 - aborts].lost.check(PeerAborted)


@both
def test_a_peer_that_falls_silent_is_PeerSilent_within_a_minute(mux: bool) -> None:
    world, near, far = connected(mux)
    world.network.configure(cut=True)
    near.transport.write(b"anybody?")
    assert world.run(lambda: near.lost and far.lost, 60)
    assert near.lost.check(PeerSilent) and far.lost.check(PeerSilent)


@both
def test_a_server_that_closes_down_is_PeerClosedDown(mux: bool) -> None:
    world, near, far = connected(mux)
    stopServer, _ = world.clock.triggers.values()
    over = stopServer()
    assert world.run(lambda: near.lost)
    assert near.lost.check(PeerClosedDown) and far.lost.check(ConnectionAborted)
    assert world.run(lambda: over.called, FAREWELL + 0.1)


def test_a_server_that_was_started_anew_is_PeerRestarted_where_another_session_shows_it() -> None:
    world, near, _ = connected(mux=True)
    for socket in list(world.sockets.open):
        if socket.address == (HOST, PORT):
            socket.stopListening()
    world.listen()
    near.transport.write(b"still there?")
    assert world.run(lambda: near.lost, 30)
    assert near.lost.check(PeerRestarted)


def test_a_client_that_was_started_anew_at_its_address_is_PeerRestarted() -> None:
    world, _near, far = connected()
    socket = next(socket for socket in world.sockets.open if socket.address != (HOST, PORT))
    socket.stopListening()
    fresh = world.client()
    world.network.transport = lambda peer, counters, make=world.network.transport: make(socket.address, peer, counters)
    world.connect(fresh, lambda: Recorder(b"y"))
    assert world.run(lambda: far.lost, 5)
    assert far.lost.check(PeerRestarted)


@pytest.mark.parametrize("nocomp", [True, False])
def test_a_peer_that_breaks_the_protocol_is_PeerBrokeProtocol(nocomp: bool) -> None:
    world, near, far = connected(nocomp=nocomp)
    session = near.transport._session.transport  # who writes here is past smux
    (session if nocomp else session.transport).write(b"\x09nonsense" * 3)
    assert world.run(lambda: far.lost)
    assert far.lost.check(PeerBrokeProtocol)


def test_every_reason_is_a_ConnectionLost_with_a_text_of_its_own() -> None:
    for reason in (PeerAborted, PeerBrokeProtocol, PeerClosedDown, PeerRestarted, PeerSilent):
        assert issubclass(reason, ConnectionLost) and str(reason("why")).endswith(": why.")


# ------------------------------------------------------------------ listening


def test_an_address_in_use_fails_the_listening_with_a_line() -> None:
    world = World()
    world.listen()
    why = failure(world.server().listen(Counting()))
    assert why.check(CannotListenError) and str(PORT) in why.getErrorMessage()


@both
def test_stopListening_lets_connections_go_on_and_takes_no_more(mux: bool) -> None:
    world = World()
    port = world.listen()
    endpoint = world.client(mux=mux, timeout=5)
    protocol = world.connect(endpoint)
    world.advance(1)
    assert port.stopListening().called and world.served.stops == 1
    world.advance(100)
    late = world.client(timeout=5).connect(Counting())
    protocol.transport.write(b"still")
    assert world.run(lambda: protocol.received == b"still")
    world.advance(5)
    assert failure(late).check(TimeoutError)
    protocol.transport.loseConnection()
    assert world.run(lambda: protocol.lost and protocol.lost.check(ConnectionDone))
    world.advance(IDLE + 10)
    assert world.leftovers() == NOTHING


def test_stopListening_with_nothing_open_closes_the_socket_at_once() -> None:
    world = World()
    port = world.listen()
    port.stopListening()
    assert world.leftovers() == NOTHING
    port.startListening()
    assert world.served.starts == 2
    assert world.connect(world.client()).made == 1


@both
def test_a_port_that_has_stopped_listens_again_though_connections_of_before_go_on(mux: bool) -> None:
    world = World()
    port = world.listen()
    before = world.connect(world.client(mux=mux), lambda: Recorder(b"x"))
    assert world.run(lambda: before.received == b"x")
    for _ in range(2):
        port.stopListening()
        world.advance(1)
        port.startListening()
    assert (world.served.starts, world.served.stops) == (3, 2)
    again = world.connect(world.client(mux=mux), lambda: Recorder(b"y"))
    before.transport.write(b"z")
    assert world.run(lambda: again.received == b"y" and before.received == b"xz")
    for protocol in (before, again):
        protocol.transport.loseConnection()
    world.advance(IDLE + 10)
    assert len(world.sockets.open) == 1
    port.stopListening()
    assert world.leftovers() == NOTHING


def test_an_address_that_connections_of_before_hold_is_told_from_one_that_somebody_else_has() -> None:
    world = World()
    port = world.listen()
    protocol = world.connect(world.client())
    world.advance(1)
    assert "has stopped listening" not in failure(world.server().listen(Counting())).getErrorMessage()
    port.stopListening()
    why = failure(world.server().listen(Counting()))
    assert why.check(CannotListenError) and "has stopped listening" in why.getErrorMessage()
    protocol.transport.loseConnection()
    world.advance(10)
    result(world.server().listen(Counting()))


def test_a_factory_that_makes_no_protocol_refuses_the_connection() -> None:
    world = World()
    world.listen(lambda: None)
    protocol = world.connect(world.client())
    assert world.run(lambda: protocol.lost, 2)
    assert protocol.lost.check(PeerAborted)


# ------------------------------------------------------------------ TLS on top


def test_tls_goes_on_top() -> None:
    certificate = selfSigned("served.example")
    world = World(loss=0.02)
    served = Counting(Echo)
    wrapped = TLSMemoryBIOFactory(certificate.options(), False, served, clock=world.clock)
    result(world.server().listen(wrapped))
    endpoint = wrapClientTLS(optionsForClientTLS("served.example", certificate), world.client())
    protocol = world.connect(endpoint, lambda: Recorder(b"t" * 300_000))
    assert world.run(lambda: len(protocol.received) == 300_000)
    assert protocol.transport.getPeerCertificate() is not None
    protocol.transport.loseConnection()
    assert world.run(lambda: protocol.lost and served.made[0].lost)
    assert protocol.lost.check(ConnectionDone) and served.made[0].lost.check(ConnectionDone)


def selfSigned(name: str) -> PrivateCertificate:
    """A certificate for ``name`` that is its own authority."""
    key = rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime(2000, 1, 1))
        .not_valid_after(datetime(2100, 1, 1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return PrivateCertificate.loadPEM(secret + certificate.public_bytes(Encoding.PEM))


# ------------------------------------------------------------------ in any order

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["connect", "cancel", "close", "abort", "half", "write", "wait", "serverCloses", "cut", "heal"]),
        st.integers(0, 50),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, mux=st.booleans(), seed=st.integers(0, 99), stops=st.booleans())
def test_whatever_the_order_nothing_is_left(steps, mux: bool, seed: int, stops: bool) -> None:
    world = World(seed, loss=0.1)
    port = world.listen(Echo)
    endpoint = world.client(mux=mux, timeout=5, **({"conn": 2} if mux else {}))
    factory = Counting(lambda: Recorder(b"first"))
    attempts: list[defer.Deferred] = []
    for step, number in steps:
        open_ = [protocol for protocol in factory.made if protocol.made and protocol.lost is None]
        chosen = open_[number % len(open_)] if open_ else None
        served = [protocol for protocol in world.served.made if protocol.lost is None]
        if step == "connect":
            attempts.append(endpoint.connect(factory))
            attempts[-1].addErrback(lambda why: why.trap(ConnectingCancelledError, TimeoutError, ConnectionLost))
        elif step == "cancel" and attempts:
            attempts[number % len(attempts)].cancel()
        elif step == "close" and chosen:
            chosen.transport.loseConnection()
        elif step == "abort" and chosen:
            chosen.transport.abortConnection()
        elif step == "half" and chosen:
            chosen.transport.loseWriteConnection()
        elif step == "write" and chosen:
            chosen.transport.write(bytes(1000 * number))
        elif step == "serverCloses" and served:
            served[number % len(served)].transport.loseConnection()
        elif step in ("cut", "heal"):
            world.network.configure(cut=step == "cut")
        world.advance(number / 10)
    world.network.configure(cut=False)
    world.advance(6)  # until no attempt is under way
    if stops:
        port.stopListening()
    for protocol in factory.made:
        if protocol.lost is None:
            protocol.transport.loseConnection()
    world.advance(IDLE + 120)
    if not stops:
        port.stopListening()
    assert all(attempt.called for attempt in attempts)
    assert all(protocol.lost for protocol in (*factory.made, *world.served.made) if protocol.made)
    assert factory.starts == factory.stops
    assert world.leftovers() == NOTHING
    assert endpoint.counters.CurrEstab == 0
