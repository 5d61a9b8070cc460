"""The crypt layer: a cipher, and the count of what it refuses."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface import implementer

from kcpstack.batch import Batch, inboundBatch, outboundBatch
from kcpstack.ciphers import builtin
from kcpstack.counters import Counters
from kcpstack.interfaces import IBatchCipher, IPacketCipher
from kcpstack.layers.crypt import CryptLayer

FACTORIES = [builtin.aes, builtin.aes128gcm, builtin.salsa20, builtin.xor, builtin.none, builtin.null]
OVERHEADS = {"null": 0, "aes-128-gcm": 28}  # all others: 20


def layer(factory: Any, counters: Counters | None = None) -> CryptLayer:
    cipher = factory.build(bytes(32), random.Random(1).randbytes)
    return CryptLayer(cipher, Counters() if counters is None else counters)


def sealed(crypt: CryptLayer, datagrams: list[bytes]) -> list[bytes]:
    batch = outboundBatch(1500, crypt.overhead)
    for datagram in datagrams:
        batch.append(datagram)
    crypt.seal(batch)
    return [bytes(one) for one in batch]


@pytest.mark.parametrize("factory", FACTORIES)
def test_overheadIsTheCiphers(factory: Any) -> None:
    assert layer(factory).overhead == OVERHEADS.get(factory.name, 20)


@pytest.mark.parametrize("factory", FACTORIES)
def test_whatIsSealedOpensAtTheOtherEnd(factory: Any) -> None:
    counters = Counters()
    batch = inboundBatch(sealed(layer(factory), [b"one", b"two" * 400]), ["a", "b"])
    layer(factory, counters).open(batch)
    assert [bytes(datagram) for datagram in batch] == [b"one", b"two" * 400]
    assert batch.addresses == ["a", "b"]
    assert counters.InCsumErrors == 0


@given(garbage=st.lists(st.binary(max_size=60), max_size=5))
def test_garbageIsCountedAndTakenOut(garbage: list[bytes]) -> None:
    counters = Counters()
    crypt = layer(builtin.aes, counters)
    good = sealed(crypt, [b"one", b"two"])
    batch = inboundBatch([good[0], *garbage, good[1]], ["a", *garbage, "b"])
    crypt.open(batch)
    assert [bytes(datagram) for datagram in batch] == [b"one", b"two"]
    assert batch.addresses == ["a", "b"]
    assert counters.InCsumErrors == len(garbage)
    assert sum(counters.asDict().values()) == len(garbage)


def test_aPacketCipherWorksAsWell() -> None:
    @implementer(IPacketCipher)
    class Marked:
        overhead = 1

        def seal(self, datagram: memoryview) -> bytes:
            return b"!" + bytes(datagram)

        def open(self, datagram: memoryview) -> bytes | None:
            return bytes(datagram[1:]) if datagram[:1] == b"!" else None

    counters = Counters()
    crypt = CryptLayer(Marked(), counters)
    batch = inboundBatch([*sealed(crypt, [b"one"]), b"?two"])
    crypt.open(batch)
    assert [bytes(datagram) for datagram in batch] == [b"one"]
    assert counters.InCsumErrors == 1


@pytest.mark.parametrize("addresses", [None, ["a", "b"]])
def test_aBatchCipherThatRaisesCostsThatBatchAndNoMore(addresses: list[str] | None) -> None:
    @implementer(IBatchCipher)
    class Broken:
        overhead = 0

        def sealBatch(self, batch: Batch) -> None:
            """Not reached."""

        def openBatch(self, batch: Batch) -> int:
            batch.starts.pop()
            raise ZeroDivisionError

    counters = Counters()
    batch = inboundBatch([b"one", b"two"], addresses)
    CryptLayer(Broken(), counters).open(batch)
    assert (batch.starts, batch.ends) == ([], [])
    assert batch.addresses == (None if addresses is None else [])
    assert counters.InCsumErrors == 2


def test_withoutACipherThereIsNoLayer() -> None:
    with pytest.raises(TypeError):
        CryptLayer(object(), Counters())
