"""A stranger's compressor: what it may do, and what it cannot do to a tunnel."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.logger import Logger, capturedLogs
from zope.interface.verify import verifyObject

from kcpstack.counters import Counters
from kcpstack.errors import PeerBrokeProtocol
from kcpstack.interfaces import ICompressor
from kcpstack.layers.compressor_check import CheckedCompressor
from kcpstack.layers.snappy import CompressedTransport
from kcpstack.lograte import FaultLog


class Answering:
    """Answers what it is told to, instead of its work."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def compress(self, data: bytes) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    decompress = compress


def checked(answer: Any, faults: FaultLog | None = None) -> CheckedCompressor:
    return CheckedCompressor(Answering(answer), faults or FaultLog(Logger(), "The compressor theirs"))


WRONG = [ZeroDivisionError("oops"), None, 7, "text", [1, 2], object]


def test_it_is_a_compressor() -> None:
    assert verifyObject(ICompressor, checked(b""))


@pytest.mark.parametrize("operation", ["compress", "decompress"])
@pytest.mark.parametrize("answer", WRONG, ids=repr)
def test_what_is_no_bytes_is_an_error_that_names_the_compressor(answer: Any, operation: str) -> None:
    with capturedLogs(), pytest.raises(RuntimeError, match=rf"Answering.{operation} failed"):
        getattr(checked(answer), operation)(b"data")


@pytest.mark.parametrize("operation", ["compress", "decompress"])
@pytest.mark.parametrize("answer", [b"same", bytearray(b"same"), memoryview(b"same")])
def test_what_is_like_bytes_becomes_bytes(answer: Any, operation: str) -> None:
    result = getattr(checked(answer), operation)(b"data")
    assert (type(result), result) == (bytes, b"same")


def test_a_damaged_stream_is_the_peers_fault_and_not_logged_as_the_compressors() -> None:
    with capturedLogs() as logged, pytest.raises(ValueError, match="damaged"):
        checked(ValueError("damaged")).decompress(b"data")
    assert logged == []
    with capturedLogs() as logged, pytest.raises(RuntimeError):
        checked(ValueError("what nobody sent")).compress(b"data")
    assert len(logged) == 1


def test_the_faults_of_all_sessions_are_logged_at_every_power_of_ten() -> None:
    faults = FaultLog(Logger(), "The compressor theirs")
    with capturedLogs() as logged:
        for number in range(100):
            with pytest.raises(RuntimeError):
                checked(None, faults).decompress(b"data") if number % 2 else checked(5, faults).compress(b"data")
    assert [event["count"] for event in logged] == [1, 10, 100]
    assert {event["layer"] for event in logged} == {"The compressor theirs"}


# ------------------------------------------------------------------ in a session


class Session(StringTransport):
    """Tells the layer when it is over, as a session does."""

    layer: CompressedTransport

    def abortConnection(self) -> None:
        self.layer.connectionLost("aborted")


class Above(Protocol):
    lost: Any = None

    def connectionLost(self, reason: Any = None) -> None:
        assert self.lost is None
        self.lost = reason


@pytest.mark.parametrize("arrives", [True, False])
@pytest.mark.parametrize("answer", [*WRONG, ValueError("damaged")], ids=repr)
def test_a_fault_ends_the_session_raises_to_nobody_and_is_told_above(answer: Any, arrives: bool) -> None:
    above, below, counters = Above(), Session(), Counters()
    layer = below.layer = CompressedTransport(above, counters, compressor=checked(answer))
    layer.makeConnection(below)
    with capturedLogs() as logged:
        for _ in range(3):
            (layer.dataReceived if arrives else layer.write)(b"data")
    damaged = arrives and isinstance(answer, ValueError)
    assert above.lost.check(PeerBrokeProtocol if damaged else RuntimeError)
    assert (len(logged), counters.CompressionErrs, below.value()) == (1, damaged, b"")
