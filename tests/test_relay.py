"""The relay: nothing lost, nothing reordered, and what one side does, the other sees.

No sockets: smux streams are full transports with half-close and resets, so they stand in for TCP, too.
"""

from __future__ import annotations

from typing import Any

import pytest
from smuxpairs import Pair
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IHalfCloseableProtocol, IStreamClientEndpoint, ITCPTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs, formatEvent
from zope.interface import implementer
from zope.interface.verify import verifyObject

from kcpstack.layers.relay import (
    FAILURE_LINES,
    REACH_TIMEOUT,
    STREAM_TIMEOUT,
    ClientRelayFactory,
    ServerRelayFactory,
)
from kcpstack.testing.streams import HalfCloseableRecorder

PATTERN = bytes(range(251)) * 4000  # a megabyte


@implementer(IStreamClientEndpoint)
class Target:
    """Connects over ``link``, unless told to fail."""

    def __init__(self, link: Pair) -> None:
        self.link = link
        self.failure: Exception | None = None
        self.waiting: list[Deferred[Any]] = []
        self.silent = False

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        if self.silent:
            self.waiting.append(Deferred())
            return self.waiting[-1]
        if self.failure is not None:
            return fail(self.failure)
        protocol = protocolFactory.buildProtocol(None)
        self.link.client.openStream(protocol)
        return succeed(protocol)


class Tunnel:
    """application <-> client's relay <-> smux <-> server's relay <-> target, on one clock."""

    def __init__(self, version: int = 2, quiet: bool = True) -> None:
        self.clock = Clock()
        self.mux = self.pair(version)
        self.toTarget = self.pair(2)
        self.target = Target(self.toTarget)
        self.mux.factory.buildProtocol = ServerRelayFactory(self.target, self.clock, quiet).buildProtocol
        self.openStream: Any = self.mux.client.openStream
        self.fromApplication = self.pair(2)
        relays = ClientRelayFactory(lambda protocol: self.openStream(protocol), self.clock, quiet)
        self.fromApplication.factory.buildProtocol = relays.buildProtocol

    def pair(self, version: int) -> Pair:
        return Pair(version, clock=self.clock)

    def connect(self) -> HalfCloseableRecorder:
        """An application's connection to the client."""
        application = HalfCloseableRecorder()
        self.fromApplication.client.openStream(application)
        return application

    def connectThrough(self) -> tuple[HalfCloseableRecorder, HalfCloseableRecorder]:
        """An application, and what it reached at the target."""
        application = self.connect()
        self.until(lambda: self.toTarget.accepted)
        return application, self.toTarget.accepted[-1]

    def until(self, condition: Any, patience: float = 60.0) -> None:
        self.mux.until(condition, patience)

    def advance(self, seconds: float) -> None:
        self.mux.advance(seconds)


versions = pytest.mark.parametrize("version", [1, 2])
bothWays = pytest.mark.parametrize("up", [True, False], ids=["up", "down"])


def ends(tunnel: Tunnel, up: bool) -> tuple[HalfCloseableRecorder, HalfCloseableRecorder]:
    """(the end that acts, the end that sees it)."""
    application, target = tunnel.connectThrough()
    return (application, target) if up else (target, application)


def test_the_protocols_know_half_close() -> None:
    assert verifyObject(IHalfCloseableProtocol, ClientRelayFactory(succeed, Clock()).buildProtocol(None))


@bothWays
@versions
def test_all_bytes_written_before_a_close_arrive(version: int, up: bool) -> None:
    actor, witness = ends(tunnel := Tunnel(version), up)
    actor.transport.write(PATTERN)
    actor.transport.loseConnection()
    tunnel.until(lambda: witness.ended)
    assert witness.received == PATTERN
    witness.transport.loseConnection()
    tunnel.until(lambda: witness.lost and actor.lost)
    assert witness.lost.check(ConnectionDone)


@bothWays
@versions
def test_half_close_passes_through_and_the_answer_comes_back(version: int, up: bool) -> None:
    actor, witness = ends(tunnel := Tunnel(version), up)
    actor.transport.write(b"question")
    actor.transport.loseWriteConnection()
    tunnel.until(lambda: witness.ended)
    assert witness.received == b"question"
    tunnel.advance(60)
    witness.transport.write(PATTERN)
    witness.transport.loseWriteConnection()
    tunnel.until(lambda: actor.lost and witness.lost)
    assert actor.received == PATTERN
    assert actor.lost.check(ConnectionDone)
    assert witness.lost.check(ConnectionDone)
    assert tunnel.mux.client.streamCount == tunnel.mux.server.streamCount == 0


@bothWays
def test_a_reset_passes_through_as_a_reset(up: bool) -> None:
    actor, witness = ends(tunnel := Tunnel(), up)
    actor.transport.abortConnection()
    tunnel.until(lambda: witness.lost)
    assert witness.lost.check(ConnectionLost)
    assert not witness.ended


@bothWays
@versions
def test_a_stopped_reader_stops_the_far_writer(version: int, up: bool) -> None:
    actor, witness = ends(tunnel := Tunnel(version), up)

    class Writer:
        written = 0
        paused = False

        def pauseProducing(self) -> None:
            self.paused = True

        def resumeProducing(self) -> None:
            self.paused = False

        def stopProducing(self) -> None:
            self.paused = True

    writer = Writer()
    actor.transport.registerProducer(writer, True)
    witness.transport.pauseProducing()
    for _ in range(3000):
        if not writer.paused:
            actor.transport.write(PATTERN[:50_000])
            writer.written += 50_000
        tunnel.clock.advance(0.01)
    assert writer.paused
    assert writer.written < 8_000_000
    witness.transport.resumeProducing()
    tunnel.until(lambda: len(witness.received) == writer.written)
    tunnel.until(lambda: not writer.paused)


def test_the_session_s_end_resets_the_application() -> None:
    application, _ = (tunnel := Tunnel()).connectThrough()
    tunnel.mux.up.drop(ConnectionLost("no more"))
    tunnel.until(lambda: application.lost)
    assert application.lost.check(ConnectionLost)


# ------------------------------------------------------------------ before the far end is there


def test_what_comes_before_the_stream_is_open_waits_and_then_arrives() -> None:
    tunnel = Tunnel()
    opening: Deferred[None] = Deferred()
    mux = tunnel.mux.client
    tunnel.openStream = lambda protocol: opening.addCallback(lambda _: mux.openStream(protocol))
    application = tunnel.connect()
    application.transport.write(PATTERN)
    application.transport.loseWriteConnection()
    tunnel.advance(REACH_TIMEOUT - 1)
    opening.callback(None)
    tunnel.until(lambda: tunnel.toTarget.accepted and tunnel.toTarget.accepted[0].ended)
    assert tunnel.toTarget.accepted[0].received == PATTERN


def refusals(logs: Any) -> list[str]:
    return [formatEvent(event) for event in logs if "Refused" in event["log_format"]]


def test_a_stream_that_cannot_be_opened_resets_the_connection_and_says_why() -> None:
    tunnel = Tunnel()
    tunnel.openStream = lambda protocol: fail(ConnectionRefusedError(string="no server there"))
    with capturedLogs() as logs:
        application = tunnel.connect()
        tunnel.until(lambda: application.lost)
    assert application.lost.check(ConnectionLost)
    [line] = refusals(logs)
    assert "no server there" in line


def test_a_target_that_refuses_resets_the_connection_and_says_why() -> None:
    tunnel = Tunnel()
    tunnel.target.failure = ConnectionRefusedError()
    with capturedLogs() as logs:
        application = tunnel.connect()
        application.transport.write(b"hello?")
        tunnel.until(lambda: application.lost)
    assert application.lost.check(ConnectionLost)
    [line] = refusals(logs)
    assert "refused" in line
    assert "stream 3" in line


def test_a_target_that_does_not_answer_is_given_up() -> None:
    tunnel = Tunnel()
    tunnel.target.silent = True
    with capturedLogs() as logs:
        application = tunnel.connect()
        tunnel.until(lambda: tunnel.target.waiting)
        tunnel.advance(REACH_TIMEOUT - 0.1)
        assert application.lost is None
        tunnel.until(lambda: application.lost, patience=1)
    assert tunnel.target.waiting[0].called
    assert "not reached within 10 s" in refusals(logs)[0]


def test_refusals_are_logged_at_a_bounded_rate_and_none_is_left_out_of_the_count() -> None:
    tunnel = Tunnel()
    tunnel.target.failure = ConnectionRefusedError()
    with capturedLogs() as logs:
        for _ in range(2):
            applications = [tunnel.connect() for _ in range(50)]
            tunnel.until(lambda applications=applications: all(a.lost for a in applications))
            tunnel.advance(FAILURE_LINES)
    first, second = refusals(logs)
    assert "49 more" not in first
    assert "(49 more were refused" in second


def test_an_application_that_gives_up_stops_the_attempt_in_silence() -> None:
    tunnel = Tunnel()
    opening: Deferred[None] = Deferred()
    tunnel.openStream = lambda protocol: opening
    with capturedLogs() as logs:
        application = tunnel.connect()
        tunnel.advance(1)
        application.transport.abortConnection()
        tunnel.advance(1)
    assert opening.called
    assert refusals(logs) == []


def test_a_stream_that_opens_too_late_is_aborted() -> None:
    tunnel = Tunnel(quiet=False)
    late: list[Any] = []

    def openStream(protocol: Any) -> Deferred[None]:
        late.append(protocol)
        return Deferred()

    tunnel.openStream = openStream
    application = tunnel.connect()
    tunnel.advance(STREAM_TIMEOUT + 1)
    assert application.lost.check(ConnectionLost)
    with capturedLogs() as logs:
        tunnel.mux.client.openStream(late[0])
        tunnel.advance(1)
    lines = [formatEvent(event) for event in logs if "relay" in event]
    assert all("stream 3" in line for line in lines), "the client's relay took part"
    assert tunnel.mux.client.streamCount == 0


# ------------------------------------------------------------------ the log


def test_each_stream_is_logged_once_opened_and_once_closed_with_its_bytes_and_time() -> None:
    tunnel = Tunnel(quiet=False)
    with capturedLogs() as logs:
        application, target = tunnel.connectThrough()
        application.transport.write(b"12345")
        target.transport.write(b"123")
        tunnel.advance(2)
        application.transport.loseConnection()
        tunnel.until(lambda: target.ended)
        target.transport.loseConnection()
        tunnel.until(lambda: target.lost)
        tunnel.advance(1)
    lines = [formatEvent(event) for event in logs if "relay" in event]
    assert len([line for line in lines if "opened" in line]) == 2
    closed = [line for line in lines if "closed" in line]
    assert len(closed) == 2
    for line in closed:
        assert "5 bytes up, 3 bytes down, 2." in line


def test_a_quiet_relay_logs_no_streams() -> None:
    tunnel = Tunnel(quiet=True)
    with capturedLogs() as logs:
        application, target = tunnel.connectThrough()
        application.transport.abortConnection()
        tunnel.until(lambda: target.lost)
    assert [event for event in logs if "relay" in event] == []


# ------------------------------------------------------------------ sockets


@implementer(ITCPTransport)
class Socket(StringTransport):
    """What Twisted's TCP and UNIX transports both claim to be."""

    bufferSize = 65_536

    def __init__(self, host: Any) -> None:
        super().__init__(hostAddress=host)
        self.options: dict[str, bool] = {}

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.options["nodelay"] = enabled

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self.options["keepalive"] = enabled


def connected(host: Any) -> Socket:
    socket = Socket(host)
    ClientRelayFactory(lambda protocol: Deferred(), Clock()).buildProtocol(None).makeConnection(socket)
    return socket


def test_tcp_sends_small_writes_at_once_and_notices_dead_peers() -> None:
    assert connected(IPv4Address("TCP", "192.0.2.1", 1)).options == {"nodelay": True, "keepalive": True}


def test_unix_sockets_are_not_asked_for_what_they_do_not_have() -> None:
    assert connected(UNIXAddress("/run/x")).options == {}


def test_nothing_is_read_from_a_connection_before_its_stream_is_there() -> None:
    assert connected(IPv4Address("TCP", "192.0.2.1", 1)).producerState == "paused"


