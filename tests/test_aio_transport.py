"""A Twisted connection as an asyncio transport: each event and request of one side is the right one on the other."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from kcpstack.aio.errors import asyncioError
from kcpstack.aio.transport import StreamTransport


class Events(asyncio.Protocol):
    """Notes down what happens to it."""

    def __init__(self, staysOpen: bool = True) -> None:
        self.seen: list[Any] = []
        self.staysOpen = staysOpen

    def data_received(self, data: bytes) -> None:
        self.seen.append(data)

    def eof_received(self) -> bool:
        self.seen.append("eof")
        return self.staysOpen

    def pause_writing(self) -> None:
        self.seen.append("pause")

    def resume_writing(self) -> None:
        self.seen.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.seen.append(("lost", exc))


class Buffered(asyncio.BufferedProtocol):
    """Brings a buffer of three bytes."""

    def __init__(self) -> None:
        self.buffer = bytearray(3)
        self.seen: list[bytes] = []

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.seen.append(bytes(self.buffer[:nbytes]))


class HalfCloseable(StringTransport):
    """Twisted's transport for tests, with the rest of a stream's requests."""

    writesEnded = False

    def __init__(self) -> None:
        super().__init__(IPv4Address("UDP", "192.0.2.1", 1), IPv4Address("UDP", "192.0.2.2", 2))

    def loseWriteConnection(self) -> None:
        assert self.producer is None
        self.writesEnded = True

    def loseConnection(self) -> None:
        assert self.producer is None
        super().loseConnection()

    def abortConnection(self) -> None:
        self.aborting = self.disconnected = True


def inLoop(promise: Callable[..., Any]) -> Callable[[], None]:
    """The test ``promise(protocol, twisted, stream)`` of a connection on a running loop."""

    def test() -> None:
        asyncio.run(run())

    async def run() -> None:
        protocol, twisted = Events(), HalfCloseable()
        stream = StreamTransport(asyncio.get_running_loop(), protocol, lambda stream: None)
        stream.makeConnection(twisted)
        await promise(protocol, twisted, stream)

    test.__name__ = promise.__name__
    return test


async def turn() -> None:
    """Let what was put off happen."""
    await asyncio.sleep(0)


@inLoop
async def test_what_arrives_and_what_is_written_crosses_unchanged(protocol, twisted, stream) -> None:
    stream.dataReceived(b"in")
    assert protocol.seen == [b"in"]
    stream.write(b"a")
    stream.write(bytearray(b"b"))
    stream.write(memoryview(b"c"))
    stream.writelines([b"d", b"e"])
    assert twisted.value() == b"abcde"


@inLoop
async def test_addresses_are_pairs_of_host_and_port(protocol, twisted, stream) -> None:
    assert stream.get_extra_info("peername") == ("192.0.2.2", 2)
    assert stream.get_extra_info("sockname") == ("192.0.2.1", 1)
    assert stream.get_extra_info("twisted_transport") is twisted
    assert stream.get_extra_info("sslcontext", "none") == "none"


@inLoop
async def test_an_end_of_reading_leaves_writing_open_for_a_protocol_that_wants_that(protocol, twisted, stream) -> None:
    stream.readConnectionLost()
    assert protocol.seen == ["eof"]
    stream.write(b"more")
    assert twisted.value() == b"more"
    assert not stream.is_closing()


@inLoop
async def test_an_end_of_reading_closes_for_any_other_protocol(protocol, twisted, stream) -> None:
    protocol.staysOpen = False
    stream.readConnectionLost()
    assert stream.is_closing()
    assert twisted.disconnecting


@inLoop
async def test_write_eof_ends_our_direction_only(protocol, twisted, stream) -> None:
    assert stream.can_write_eof()
    stream.write_eof()
    stream.write_eof()
    assert twisted.writesEnded
    assert not twisted.disconnecting
    with pytest.raises(RuntimeError, match="after write_eof"):
        stream.write(b"late")
    stream.dataReceived(b"in")
    assert protocol.seen == [b"in"]


@inLoop
async def test_close_flushes_and_hands_over_nothing_more(protocol, twisted, stream) -> None:
    stream.write(b"last")
    stream.close()
    stream.close()
    assert twisted.disconnecting
    assert twisted.value() == b"last"
    stream.dataReceived(b"in")
    stream.readConnectionLost()
    stream.write(b"late")
    assert twisted.value() == b"last"
    assert protocol.seen == []


@inLoop
async def test_connection_lost_comes_once_and_in_a_turn_of_its_own(protocol, twisted, stream) -> None:
    stream.connectionLost(Failure(error.ConnectionDone()))
    assert stream.is_closing()
    assert protocol.seen == []
    await turn()
    assert protocol.seen == [("lost", None)]


@inLoop
async def test_our_own_abort_is_no_error(protocol, twisted, stream) -> None:
    stream.abort()
    assert twisted.disconnected
    stream.connectionLost(Failure(error.ConnectionAborted()))
    await turn()
    assert protocol.seen == [("lost", None)]


@inLoop
async def test_a_lost_connection_is_an_error(protocol, twisted, stream) -> None:
    stream.connectionLost(Failure(error.ConnectionLost("gone")))
    await turn()
    ((_, reason),) = protocol.seen
    assert isinstance(reason, ConnectionResetError)
    assert isinstance(reason.__cause__, error.ConnectionLost)


@inLoop
async def test_writing_pauses_while_twisteds_transport_is_full(protocol, twisted, stream) -> None:
    twisted.producer.pauseProducing()
    twisted.producer.pauseProducing()
    assert protocol.seen == ["pause"]
    stream.write(b"12345")
    assert stream.get_write_buffer_size() == 5
    twisted.producer.resumeProducing()
    assert protocol.seen == ["pause", "resume"]
    assert stream.get_write_buffer_size() == 0


@inLoop
async def test_buffer_limits_are_of_what_is_written_beyond_that(protocol, twisted, stream) -> None:
    stream.set_write_buffer_limits(high=8)
    assert stream.get_write_buffer_limits() == (2, 8)
    twisted.producer.pauseProducing()
    stream.write(b"1234567")
    assert protocol.seen == []
    stream.write(b"8")
    assert protocol.seen == ["pause"]
    with pytest.raises(ValueError, match="must be >="):
        stream.set_write_buffer_limits(high=1, low=2)


@inLoop
async def test_nobody_is_left_waiting_to_write_once_we_have_ended_our_direction(protocol, twisted, stream) -> None:
    twisted.producer.pauseProducing()
    stream.write_eof()
    assert protocol.seen == ["pause", "resume"]


@inLoop
async def test_reading_pauses_and_resumes(protocol, twisted, stream) -> None:
    stream.pause_reading()
    stream.pause_reading()
    assert twisted.producerState == "paused"
    assert not stream.is_reading()
    stream.resume_reading()
    stream.resume_reading()
    assert twisted.producerState == "producing"
    assert stream.is_reading()


@inLoop
async def test_another_protocol_can_take_over(protocol, twisted, stream) -> None:
    other = Buffered()
    stream.set_protocol(other)
    assert stream.get_protocol() is other
    stream.dataReceived(b"1234567")
    assert other.seen == [b"123", b"456", b"7"]


@inLoop
async def test_a_protocol_that_raises_ends_its_connection_and_the_loop_hears_of_it(protocol, twisted, stream) -> None:
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))
    mistake = ZeroDivisionError("a mistake")

    def raising(data: bytes) -> None:
        raise mistake

    protocol.data_received = raising
    stream.dataReceived(b"in")
    assert twisted.disconnected
    stream.connectionLost(Failure(error.ConnectionAborted()))
    await turn()
    assert protocol.seen == [("lost", mistake)]
    assert [report["exception"] for report in reports] == [mistake]


@inLoop
async def test_only_bytes_can_be_written(protocol, twisted, stream) -> None:
    with pytest.raises(TypeError, match="bytes-like"):
        stream.write("text")


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        (error.ConnectionRefusedError(), ConnectionRefusedError),
        (error.TimeoutError(), TimeoutError),
        (error.TCPTimedOutError(), TimeoutError),
        (error.ConnectionLost(), ConnectionResetError),
        (error.ConnectionAborted(), ConnectionAbortedError),
        (error.ConnectError(string="no server listens there"), ConnectionRefusedError),
        (error.ConnectError(13), PermissionError),
        (error.DNSLookupError("no such host"), socket.gaierror),
        (error.CannotListenError("", 1, OSError(98, "in use")), OSError),
    ],
)
def test_twisteds_reasons_are_oserrors_with_their_cause(theirs: Exception, expected: type[OSError]) -> None:
    ours = asyncioError(Failure(theirs))
    assert isinstance(ours, expected)
    assert isinstance(ours, OSError)
    assert ours.__cause__ is theirs


def test_other_reasons_stay_what_they_are() -> None:
    mistake = ValueError("no such option")
    assert asyncioError(Failure(mistake)) is mistake
