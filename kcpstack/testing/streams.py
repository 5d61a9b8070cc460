"""The conformance suite of the stream seam, for any IStreamTransport.

Mix it in and say how two protocols come to sit on the two ends of a stream; pytest needs nothing
else, unittest and trial want TestCase too::

    class TestMine(StreamTransportConformance):
        def connect(self, near, far): ...

Runs on virtual time; there is no chance in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from kcpstack.interfaces import IStreamTransport

__all__ = ["HalfCloseableRecorder", "Producer", "Recorder", "StreamTransportConformance", "until"]

PATIENCE = 30.0  # virtual seconds for anything to happen
PATTERN = bytes(range(251)) * 2000  # half a megabyte; 251 is prime, so that no frame or window divides it


class Recorder(Protocol):
    """Notes what happens to it.  ``lost`` is what it was told at the end, or None."""

    def __init__(self) -> None:
        self.received = b""
        self.ended = False
        self.lost: Failure | None = None
        self.calls = 0  # of dataReceived

    def dataReceived(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        assert data
        assert not self.ended
        assert self.lost is None
        self.calls += 1
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        assert self.lost is None, "connectionLost came twice"
        self.lost = reason


@implementer(IHalfCloseableProtocol)
class HalfCloseableRecorder(Recorder):
    """One that hears of a half-close and goes on."""

    def readConnectionLost(self) -> None:
        assert not self.ended, "readConnectionLost came twice"
        assert self.lost is None
        self.ended = True

    def writeConnectionLost(self) -> None:
        """Nobody promises this."""


class Producer:
    """Counts what it is told.  With ``pieces`` it writes one each time it is resumed."""

    def __init__(self, transport: Any = None, pieces: tuple[bytes, ...] = ()) -> None:
        self.transport = transport
        self.pieces = list(pieces)
        self.paused = self.resumed = self.stopped = 0

    def pauseProducing(self) -> None:
        self.paused += 1

    def resumeProducing(self) -> None:
        self.resumed += 1
        if self.pieces:
            self.transport.write(self.pieces.pop(0))
        elif self.transport is not None:
            self.transport.unregisterProducer()
            self.transport = None

    def stopProducing(self) -> None:
        self.stopped += 1


def until(clock: Clock, condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """Let time pass until ``condition()`` is true.  Raises AssertionError where it never is."""
    end = clock.seconds() + patience
    while not condition():
        assert clock.seconds() < end, "this should have happened by now"
        clock.advance(0.005)


class StreamTransportConformance:
    """What protocols on streams rely on, one test for each promise of IStreamTransport."""

    def connect(self, near: Any, far: Any) -> Clock:
        """Connect two protocols to the two ends of one new stream, so that each has its
        ``transport``; return the clock that drives them."""
        raise NotImplementedError

    def _connected(self, near: Any = None, far: Any = None) -> tuple[Clock, Any, Any]:
        near = HalfCloseableRecorder() if near is None else near
        far = HalfCloseableRecorder() if far is None else far
        return self.connect(near, far), near, far

    def test_provides_the_interface(self) -> None:
        _, near, far = self._connected()
        assert verifyObject(IStreamTransport, near.transport)
        assert verifyObject(IStreamTransport, far.transport)
        assert near.transport.streamID == far.transport.streamID

    def test_bytes_arrive_in_order_both_ways(self) -> None:
        clock, near, far = self._connected()
        near.transport.write(PATTERN)
        far.transport.writeSequence([PATTERN[7:1000], b"", PATTERN[:5]])
        until(clock, lambda: len(far.received) == len(PATTERN) and len(near.received) == 998)
        assert far.received == PATTERN
        assert near.received == PATTERN[7:1000] + PATTERN[:5]

    def test_only_bytes_can_be_written(self) -> None:
        _, near, _ = self._connected()
        for wrong in ("text", bytearray(b"x"), None):
            try:
                near.transport.write(wrong)
            except TypeError:
                continue
            raise AssertionError(f"{wrong!r} was accepted")

    def test_half_close_comes_after_the_data_and_leaves_the_other_direction_open(self) -> None:
        clock, near, far = self._connected()
        near.transport.write(PATTERN)
        near.transport.loseWriteConnection()
        near.transport.write(b"too late")
        until(clock, lambda: far.ended)
        assert far.received == PATTERN
        clock.pump([1.0] * 60)
        far.transport.write(PATTERN)
        until(clock, lambda: near.received == PATTERN)
        assert near.lost is None
        assert far.lost is None

    def test_the_stream_is_over_when_both_directions_have_ended(self) -> None:
        clock, near, far = self._connected()
        near.transport.loseWriteConnection()
        until(clock, lambda: far.ended)
        far.transport.write(b"last words")
        far.transport.loseWriteConnection()
        until(clock, lambda: near.lost and far.lost)
        assert near.received == b"last words"
        assert near.ended
        assert near.lost.check(ConnectionDone)
        assert far.lost.check(ConnectionDone)

    def test_all_data_written_before_a_close_arrives(self) -> None:
        clock, near, far = self._connected()
        near.transport.write(PATTERN)
        near.transport.loseConnection()
        near.transport.write(b"too late")
        until(clock, lambda: near.lost and far.lost)
        assert far.received == PATTERN
        assert near.lost.check(ConnectionDone)
        assert far.ended
        assert far.lost.check(ConnectionDone)

    def test_a_protocol_that_knows_no_half_close_is_closed_when_the_peer_ends(self) -> None:
        clock, near, far = self._connected(far=Recorder())
        far.transport.write(PATTERN)
        near.transport.loseWriteConnection()
        until(clock, lambda: near.lost and far.lost)
        assert near.received == PATTERN
        assert far.lost.check(ConnectionDone)

    def test_after_a_close_nothing_more_is_handed_over(self) -> None:
        clock, near, far = self._connected()
        far.transport.write(b"on its way")
        near.transport.loseConnection()
        until(clock, lambda: near.lost and far.lost)
        assert near.received == b""

    def test_an_abort_is_told_from_a_close_at_both_ends(self) -> None:
        clock, near, far = self._connected()
        near.transport.write(PATTERN)
        near.transport.abortConnection()
        assert not near.lost, "connectionLost came from within the call"
        until(clock, lambda: near.lost and far.lost)
        assert near.lost.check(ConnectionAborted)
        assert not far.lost.check(ConnectionDone)

    def test_closing_again_and_using_a_lost_stream_does_nothing(self) -> None:
        clock, near, far = self._connected()
        near.transport.abortConnection()
        until(clock, lambda: near.lost and far.lost)
        for end in (near, far):
            end.transport.write(b"x")
            end.transport.pauseProducing()
            end.transport.resumeProducing()
            end.transport.loseWriteConnection()
            end.transport.loseConnection()
            end.transport.abortConnection()
            end.transport.stopProducing()
        clock.advance(1)
        assert far.received == b""

    def test_a_paused_protocol_gets_nothing_and_later_everything(self) -> None:
        clock, near, far = self._connected()
        far.transport.pauseProducing()
        far.transport.pauseProducing()
        near.transport.write(PATTERN[:100_000])
        near.transport.loseConnection()
        clock.pump([0.01] * 100)
        assert far.received == b""
        assert not far.ended
        far.transport.resumeProducing()
        far.transport.resumeProducing()
        assert far.received == b"", "data came from within the call"
        until(clock, lambda: far.lost)
        assert far.received == PATTERN[:100_000]
        assert far.lost.check(ConnectionDone)

    def test_a_stopped_reader_stops_the_far_producer(self) -> None:
        clock, near, far = self._connected()
        far.transport.pauseProducing()
        producer = Producer()
        near.transport.registerProducer(producer, True)
        written = 0
        while producer.paused == producer.resumed:
            near.transport.write(PATTERN)
            written += len(PATTERN)
            clock.pump([0.01] * 20)
            assert written < 200 * len(PATTERN), "nothing holds the writer back"
        clock.pump([0.01] * 100)
        assert producer.paused == producer.resumed + 1
        far.transport.resumeProducing()
        until(clock, lambda: producer.resumed == producer.paused)
        until(clock, lambda: len(far.received) == written)

    def test_a_pull_producer_is_asked_until_it_has_no_more(self) -> None:
        clock, near, far = self._connected()
        producer = Producer(near.transport, (b"one ", b"two ", b"three"))
        near.transport.registerProducer(producer, False)
        near.transport.loseConnection()
        until(clock, lambda: far.lost)
        assert far.received == b"one two three"

    def test_a_close_waits_for_a_registered_producer(self) -> None:
        clock, near, far = self._connected()
        near.transport.registerProducer(Producer(), True)
        near.transport.loseConnection()
        clock.pump([0.01] * 100)
        assert not far.ended
        near.transport.write(b"not too late")
        near.transport.unregisterProducer()
        until(clock, lambda: far.lost)
        assert far.received == b"not too late"

    def test_there_is_one_producer_and_it_is_stopped_with_the_stream(self) -> None:
        clock, near, far = self._connected()
        first, second, late = Producer(), Producer(), Producer()
        near.transport.registerProducer(first, True)
        try:
            near.transport.registerProducer(second, True)
        except RuntimeError:
            pass
        else:
            raise AssertionError("two producers were accepted")
        far.transport.abortConnection()
        until(clock, lambda: near.lost)
        near.transport.registerProducer(late, True)
        assert (first.stopped, second.stopped, late.stopped) == (1, 0, 1)
