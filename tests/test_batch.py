"""The batch: slots, room in front, and what it refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcpstack.batch import SLOT_ALIGNMENT, Batch, inboundBatch, outboundBatch

contents = st.lists(st.binary(max_size=100), max_size=20)


def datagramsOf(batch: Batch) -> list[bytes]:
    return [bytes(datagram) for datagram in batch]


@given(datagrams=contents, headroom=st.integers(0, 60))
def test_outboundKeepsDatagramsAndTheirOrder(datagrams: list[bytes], headroom: int) -> None:
    batch = outboundBatch(100 + headroom, headroom)
    for datagram in datagrams:
        batch.append(datagram)
    assert len(batch) == len(datagrams)
    assert datagramsOf(batch) == datagrams


@given(datagrams=contents, headroom=st.integers(0, 60))
def test_everyDatagramHasItsHeadroomToItself(datagrams: list[bytes], headroom: int) -> None:
    batch = outboundBatch(100 + headroom, headroom)
    for datagram in datagrams:
        batch.append(datagram)
    for i in range(len(batch)):
        batch.starts[i] -= headroom
        batch.buffer[batch.starts[i] : batch.starts[i] + headroom] = bytes([i]) * headroom
    assert datagramsOf(batch) == [bytes([i]) * headroom + one for i, one in enumerate(datagrams)]


@given(size=st.integers(1, 1500), headroom=st.integers(0, 60), count=st.integers(1, 5))
def test_allHeadroomTakenADatagramStartsAligned(size: int, headroom: int, count: int) -> None:
    batch = outboundBatch(size + headroom, headroom)
    for _ in range(count):
        start = batch.allocate(size)
        assert (start - headroom) % SLOT_ALIGNMENT == 0


def test_allocateTellsWhereTheDatagramStarts() -> None:
    batch = outboundBatch(64, 20)
    for _ in range(3):
        start = batch.allocate(10)
        assert (batch.starts[-1], batch.ends[-1]) == (start, start + 10)


def test_datagramsThatDoNotFitAreRefusedAndLeaveNoTrace() -> None:
    batch = outboundBatch(64, 20)
    batch.append(bytes(44))
    with pytest.raises(ValueError, match="45 bytes do not fit a slot of 44"):
        batch.append(bytes(45))
    assert datagramsOf(batch) == [bytes(44)]
    batch.append(b"next")
    assert datagramsOf(batch) == [bytes(44), b"next"]


def test_clearForgetsTheDatagramsAndKeepsTheBuffer() -> None:
    batch = outboundBatch(64, 20)
    for _ in range(5):
        batch.append(b"datagram")
    batch.addresses = ["a"] * 5
    buffer, length = batch.buffer, len(batch.buffer)
    batch.clear()
    assert (len(batch), batch.addresses) == (0, None)
    for _ in range(5):
        batch.append(b"again")
    assert batch.buffer is buffer
    assert len(buffer) == length


def test_clearWorksAfterALayerReplacedTheLists() -> None:
    batch = outboundBatch(64, 20)
    batch.append(b"datagram")
    batch.starts, batch.ends = [0], [1]
    batch.clear()
    batch.append(b"next")
    assert datagramsOf(batch) == [b"next"]


@given(datagrams=contents)
def test_inboundKeepsDatagramsOrderAndAddresses(datagrams: list[bytes]) -> None:
    addresses = list(range(len(datagrams)))
    batch = inboundBatch(iter(datagrams), addresses)
    assert datagramsOf(batch) == datagrams
    assert batch.addresses == addresses


def test_inboundIsACopyThatCanBeWrittenTo() -> None:
    arrived = bytearray(b"arrived")
    batch = inboundBatch([arrived, memoryview(b"too")])
    next(iter(batch))[:1] = b"A"
    assert datagramsOf(batch) == [b"Arrived", b"too"]
    assert arrived == b"arrived"


def test_iterationGivesViewsIntoTheBuffer() -> None:
    batch = outboundBatch(64, 20)
    batch.append(b"datagram")
    for datagram in batch:
        datagram[0] = ord("D")
    assert datagramsOf(batch) == [b"Datagram"]


def test_reprShowsTheLengths() -> None:
    assert repr(inboundBatch([b"abc", b""])) == "<Batch of 2: [3, 0]>"
