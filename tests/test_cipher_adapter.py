"""An IPacketCipher on batches, and what happens when it breaks its contract."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.logger import capturedLogs
from zope.interface import implementer
from zope.interface.verify import verifyObject

from kcpstack.batch import inboundBatch, outboundBatch
from kcpstack.ciphers import batchCipher, builtin
from kcpstack.interfaces import IBatchCipher, IPacketCipher
from kcpstack.testing.ciphers import openAll, sealAll


@implementer(IPacketCipher)
class Marked:
    """One byte behind each datagram; the methods can be replaced."""

    overhead = 1

    def seal(self, datagram: memoryview) -> bytes:
        return bytes(datagram) + b"!"

    def open(self, datagram: memoryview) -> bytes | None:
        return bytes(datagram[:-1]) if datagram[-1:] == b"!" else None


def test_packetCiphersBecomeBatchCiphers() -> None:
    adapted = IBatchCipher(Marked())
    assert verifyObject(IBatchCipher, adapted)
    assert adapted.overhead == 1
    assert openAll(adapted, [*sealAll(adapted, [b"a", b"", b"abc"]), b"no", b""]) == [b"a", b"", b"abc"]


def test_batchCiphersStayThemselves() -> None:
    cipher = builtin.null.build(bytes(32), bytes)
    assert batchCipher(cipher) is cipher


def test_whatIsNoCipherIsRefused() -> None:
    with pytest.raises(TypeError):
        batchCipher(object())


@pytest.mark.parametrize("overhead", [-1, None, 1.5, "1"])
def test_overheadThatIsNoLengthIsRefusedAtTheStart(overhead: Any) -> None:
    cipher = Marked()
    cipher.overhead = overhead
    with pytest.raises(RuntimeError, match=r"test_cipher_adapter\.Marked\.overhead"):
        batchCipher(cipher)


@pytest.mark.parametrize("made", [b"", b"abcd", b"abcdef", None, 5, "abcd!"])
def test_sealingToAWrongLengthNamesTheCipherAndLeavesTheBufferAlone(made: Any) -> None:
    cipher = Marked()
    cipher.seal = lambda datagram: made
    batch = outboundBatch(100, 1)
    batch.append(b"abcd")
    before = bytes(batch.buffer)
    with pytest.raises(RuntimeError, match=r"test_cipher_adapter\.Marked\.seal"):
        batchCipher(cipher).sealBatch(batch)
    assert batch.buffer == before


@pytest.mark.parametrize("opened", [b"", b"ab", b"abcd", "abc", 3, object()])
def test_openingToAnythingButTheRightLengthIsARefusal(opened: Any) -> None:
    cipher = Marked()
    cipher.open = lambda datagram: opened if datagram == b"odd!" else Marked.open(cipher, datagram)
    batch = inboundBatch([b"a!", b"odd!", b"b!"], [1, 2, 3])
    assert batchCipher(cipher).openBatch(batch) == 1
    assert [bytes(datagram) for datagram in batch] == [b"a", b"b"]
    assert batch.addresses == [1, 3]


def test_anExceptionWhileOpeningIsARefusalLoggedAtEveryPowerOfTen() -> None:
    cipher = Marked()
    cipher.open = lambda datagram: 1 // 0
    adapted = batchCipher(cipher)
    with capturedLogs() as logged:
        for _ in range(300):
            assert openAll(adapted, [b"one", b"two", b"three", b"four"]) == []
    assert [event["count"] for event in logged] == [1, 10, 100, 1000]
    assert {event["layer"] for event in logged} == {"The cipher test_cipher_adapter.Marked"}
    assert logged[0]["log_failure"].check(ZeroDivisionError)


def test_refusalsByContractAreNotLogged() -> None:
    with capturedLogs() as logged:
        assert openAll(Marked(), [b"not ours"] * 3) == []
    assert logged == []


def test_datagramsAreReadOnly() -> None:
    seen = []
    cipher = Marked()
    cipher.seal = lambda datagram: seen.append(datagram.readonly) or Marked.seal(cipher, datagram)
    cipher.open = lambda datagram: seen.append(datagram.readonly) or Marked.open(cipher, datagram)
    assert openAll(cipher, sealAll(cipher, [b"datagram"])) == [b"datagram"]
    assert seen == [True, True]


def test_aCipherThatKeepsOrReturnsItsViewsDoesNotHoldTheBuffer() -> None:
    kept = []

    @implementer(IPacketCipher)
    class Same:
        overhead = 0

        def seal(self, datagram: memoryview) -> memoryview:
            kept.append(datagram)
            return datagram

        open = seal

    batch = outboundBatch(100, 0)
    for turn in (b"one", b"two"):
        batch.append(turn)
        batchCipher(Same()).sealBatch(batch)
        assert batchCipher(Same()).openBatch(batch) == 0
    assert [bytes(datagram) for datagram in batch] == [b"one", b"two"]
    assert kept[0] == b"one"
