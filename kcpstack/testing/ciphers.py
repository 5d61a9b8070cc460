"""The conformance suite of the cipher seam, for any ICipherFactory.

Mix it in and name your factory; pytest needs nothing else, unittest and trial want TestCase too::

    class TestRot(CipherConformance):
        factory = rot

    class RotTests(CipherConformance, unittest.TestCase):
        factory = rot

It takes both shapes of cipher and feeds them through the batches of a tunnel.  Every run makes the
same bytes: there is no chance in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from zope.interface.verify import verifyObject

from kcpstack.batch import Batch, inboundBatch, outboundBatch
from kcpstack.ciphers import batchCipher
from kcpstack.interfaces import IBatchCipher, ICipherFactory, IPacketCipher
from kcpstack.testing.checks import (
    bytesKept,
    check,
    checkFactory,
    checkRaisesOnly,
    flipped,
    linesRun,
    repeatableBytes,
    repeatableSource,
)

__all__ = ["CipherConformance", "openAll", "openOne", "sealAll", "sealOne"]

LONGEST = 1500  # bytes sealed: a whole Ethernet packet, which no option of the tunnel exceeds
LENGTHS = [1372, 1, 2, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 60, 100, 0, 1000, 1371, 1373, 1372, 1372]
GARBAGE_LENGTHS = [*range(70), 1372, 1500, 1501, 9000, 65507]  # 65507: the longest UDP payload
COPIES = 64  # datagrams in a large batch
KEPT_MAX = 2 * 1024 * 1024  # bytes; room for a batch and a window against replay, not for a history
NONCE_MAX = 64  # random bytes for a datagram
PORT = 29900  # of peers


def sealAll(cipher: IPacketCipher | IBatchCipher, datagrams: Iterable[bytes], size: int = LONGEST) -> list[bytes]:
    """Return datagrams sealed as one outbound batch."""
    batch = outboundBatch(size, batchCipher(cipher).overhead)
    for datagram in datagrams:
        batch.append(datagram)
    batchCipher(cipher).sealBatch(batch)
    return [bytes(sealed) for sealed in batch]


def openAll(cipher: IPacketCipher | IBatchCipher, sealed: Iterable[bytes]) -> list[bytes]:
    """Return the datagrams inside sealed ones, opened as one batch; those refused are missing."""
    batch = inboundBatch(sealed)
    batchCipher(cipher).openBatch(batch)
    return [bytes(datagram) for datagram in batch]


def sealOne(cipher: IPacketCipher | IBatchCipher, datagram: bytes) -> bytes:
    """Return one datagram sealed in a batch of its own."""
    return sealAll(cipher, [datagram])[0]


def openOne(cipher: IPacketCipher | IBatchCipher, sealed: bytes) -> bytes | None:
    """Return the datagram inside a sealed one, opened in a batch of its own; None where refused."""
    opened = openAll(cipher, [sealed])
    return opened[0] if opened else None


class CipherConformance:
    """What the tunnel relies on, one test for each promise of IPacketCipher and IBatchCipher."""

    factory: ICipherFactory
    """The one to test: each suite is given it."""

    key: bytes = bytes(range(32))
    """What ``build`` gets as key."""

    authenticates: bool = True
    """Whether damage and garbage are refused, by a checksum or a tag; False where anything goes."""

    keyed: bool = True
    """Whether what another key has sealed is refused as well."""

    unprotected: int = 0
    """How many bytes at the front of a sealed datagram may change without being noticed."""

    # ---------------------------------------------------------------- what is declared

    def test_factoryIsAsDeclared(self) -> None:
        checkFactory(ICipherFactory, self.factory)

    def test_cipherIsAsDeclared(self) -> None:
        cipher = self._build()
        shapes = [shape for shape in (IBatchCipher, IPacketCipher) if shape.providedBy(cipher)]
        check(shapes, f"{cipher!r} provides neither IBatchCipher nor IPacketCipher")
        for shape in shapes:
            verifyObject(shape, cipher)

    def test_overheadIsTheSameAlways(self) -> None:
        cipher = self._build()
        overhead = cipher.overhead
        check(isinstance(overhead, int) and overhead >= 0, f"overhead is an int from 0: {overhead!r}")
        check(self._build().overhead == overhead, "overhead differs from one cipher to the next")
        for datagram in self._datagrams(overhead):
            sealed = sealOne(cipher, datagram)
            check(len(sealed) == len(datagram) + overhead, f"{len(datagram)} bytes became {len(sealed)}")
        check(cipher.overhead == overhead, "overhead changed with use")

    # ---------------------------------------------------------------- round trips

    def test_roundTrip(self) -> None:
        sender, receiver = self._build(1), self._build(2)
        for datagram in self._datagrams(sender.overhead):
            opened = openOne(receiver, sealOne(sender, datagram))
            check(opened == datagram, f"{len(datagram)} bytes came back as {opened!r}")

    def test_batchOpensOneByOne(self) -> None:
        sender, receiver = self._build(1), self._build(2)
        datagrams = self._datagrams(sender.overhead) * 2
        opened = [openOne(receiver, sealed) for sealed in sealAll(sender, datagrams)]
        check(opened == datagrams, "a sealed batch does not open one by one")

    def test_oneByOneOpensAsABatch(self) -> None:
        sender, receiver = self._build(1), self._build(2)
        datagrams = self._datagrams(sender.overhead) * 2
        opened = openAll(receiver, [sealOne(sender, datagram) for datagram in datagrams])
        check(opened == datagrams, "what was sealed one by one does not open as a batch")

    def test_largeBatch(self) -> None:
        sender, receiver = self._build(1), self._build(2)
        datagrams = [repeatableBytes(3, LONGEST - sender.overhead)] * COPIES
        check(openAll(receiver, sealAll(sender, datagrams)) == datagrams, "a large batch is damaged")

    def test_emptyBatch(self) -> None:
        cipher = batchCipher(self._build())
        outbound, inbound = outboundBatch(LONGEST, cipher.overhead), inboundBatch([])
        cipher.sealBatch(outbound)
        check(cipher.openBatch(inbound) == 0, "nothing was refused of an empty batch")
        check(len(outbound) == len(inbound) == 0, "an empty batch stays empty")

    # ---------------------------------------------------------------- bounds and ownership

    def test_everyDatagramStaysInItsSlot(self) -> None:
        cipher = batchCipher(self._build())
        batch = outboundBatch(LONGEST, cipher.overhead)
        for datagram in self._datagrams(cipher.overhead):
            batch.append(datagram)
        starts = list(batch.starts)
        cipher.sealBatch(batch)
        check(batch.starts == [start - cipher.overhead for start in starts], "starts go back by overhead")
        for i, end in enumerate(batch.ends):
            check(end <= (i + 1) * batch.stride, f"datagram {i} left its slot")

    def test_batchCanBeUsedAgain(self) -> None:
        sender, receiver = batchCipher(self._build(1)), self._build(2)
        batch = outboundBatch(LONGEST, sender.overhead)
        for turn in range(3):
            datagrams = [repeatableBytes(turn, LONGEST - sender.overhead)] * (turn + 1)
            for datagram in datagrams:
                batch.append(datagram)
            sender.sealBatch(batch)
            opened = openAll(receiver, [bytes(sealed) for sealed in batch])
            check(opened == datagrams, "a batch sealed in a buffer used before is damaged")
            batch.clear()

    def test_orderAndPlaceInTheBufferAreFree(self) -> None:
        sender, receiver = batchCipher(self._build(1)), self._build(2)
        datagrams = [repeatableBytes(i, length) for i, length in enumerate((60, 1300, 1, 33, 60))]
        outbound = _scattered(datagrams, sender.overhead)
        sender.sealBatch(outbound)
        sealed = [bytes(one) for one in outbound]
        check([openOne(receiver, one) for one in sealed] == datagrams, "scattered datagrams seal wrongly")
        inbound = _scattered(sealed, 0)
        batchCipher(receiver).openBatch(inbound)
        check([bytes(one) for one in inbound] == datagrams, "scattered datagrams open wrongly")

    def test_laterUseLeavesEarlierBatchesAlone(self) -> None:
        sender, receiver = batchCipher(self._build(1)), batchCipher(self._build(2))
        datagrams = self._datagrams(sender.overhead)
        first = outboundBatch(LONGEST, sender.overhead)
        for datagram in datagrams:
            first.append(datagram)
        sender.sealBatch(first)
        sealed = [bytes(one) for one in first]
        opened = inboundBatch(sealed)
        receiver.openBatch(opened)
        openAll(receiver, sealAll(sender, [repeatableBytes(9, len(datagram)) for datagram in datagrams]))
        check([bytes(one) for one in first] == sealed, "sealing another batch changed this one")
        check([bytes(one) for one in opened] == datagrams, "opening another batch changed this one")

    def test_packetShapeKeepsItsContract(self) -> None:
        sender, receiver = self._build(1), self._build(2)
        if not IPacketCipher.providedBy(sender):
            return
        for datagram in self._datagrams(sender.overhead):
            sealed = sender.seal(memoryview(datagram))
            check(type(sealed) is bytes, f"seal returns bytes, not {type(sealed)}")
            opened = receiver.open(memoryview(sealed))
            check(type(opened) is bytes, f"open returns bytes, not {type(opened)}")

    def test_whatIsSealedAndOpenedIsNobodysButTheCallers(self) -> None:
        sender, receiver = self._build(1), self._build(2)
        outbound = outboundBatch(LONGEST, batchCipher(sender).overhead)
        outbound.append(repeatableBytes(1, 1000))
        batchCipher(sender).sealBatch(outbound)
        inbound = inboundBatch([*outbound, b"garbage"])
        arrived = inbound.buffer
        batchCipher(receiver).openBatch(inbound)
        for buffer in (outbound.buffer, inbound.buffer, arrived):
            buffer.extend(b"raises BufferError while a view is alive")

    def test_packetShapeReturnsBytesOfItsOwn(self) -> None:
        sender, receiver = self._build(1), self._build(2)
        if not IPacketCipher.providedBy(sender):
            return
        datagrams = self._datagrams(sender.overhead)
        given = [bytearray(datagram) for datagram in datagrams]
        sealed = []
        for datagram in given:
            sealed.append(sender.seal(memoryview(datagram).toreadonly()))
            datagram[:] = bytes(len(datagram))
        arrived = [bytearray(one) for one in sealed]
        opened = []
        for one in arrived:
            opened.append(receiver.open(memoryview(one).toreadonly()))
            one[:] = bytes(len(one))
        check(opened == datagrams, "what seal or open had returned changed with what it was made of, or later")
        for buffer in (*given, *arrived):
            buffer.extend(b"raises BufferError while a view is alive")

    def test_ciphersAreIndependent(self) -> None:
        alone, beside, other = self._build(1), self._build(1), self._build(3)
        for datagram in self._datagrams(alone.overhead):
            sealed = sealOne(alone, datagram)
            sealAll(other, [datagram, b"something else"])
            openAll(other, [sealed, b"garbage"])
            check(sealOne(beside, datagram) == sealed, "what one cipher did changed what another makes")

    def test_sealingIsRepeatable(self) -> None:
        datagrams = self._datagrams(self._build().overhead)
        first, second = (sealAll(self._build(7), datagrams) for _ in range(2))
        check(first == second, "with the same random bytes other sealed bytes came out: a run cannot be replayed")

    # ---------------------------------------------------------------- replay

    def test_aReplayedDatagramDoesNoHarm(self) -> None:
        sender, receiver = self._build(1), self._build(2)
        datagrams = self._datagrams(sender.overhead)
        for datagram, sealed in zip(datagrams, sealAll(sender, datagrams)):
            check(openOne(receiver, sealed) == datagram, "a datagram did not open the first time")
            for _ in range(3):
                again = openOne(receiver, sealed)
                check(again in (None, datagram), f"opened again it is {again!r}")

    def test_aReplayInOneBatchDoesNoHarm(self) -> None:
        sender, receiver = self._build(1), self._build(2)
        one, other = sealAll(sender, [b"one datagram", b"another one"])
        opened = openAll(receiver, [one, one, other, one, other])
        first = [*dict.fromkeys(opened)]
        check(first == [b"one datagram", b"another one"], f"of a batch with copies came {opened}")

    def test_anyOrderOpens(self) -> None:
        sender, receiver = self._build(1), self._build(2)
        datagrams = self._datagrams(sender.overhead)
        sealed = sealAll(sender, datagrams)
        opened = [openOne(receiver, one) for one in reversed(sealed)]
        check(opened == datagrams[::-1], "datagrams that overtake each other do not open")

    def test_lostOnesAreNotMissed(self) -> None:
        sender, receiver = self._build(1), self._build(2)
        datagrams = self._datagrams(sender.overhead) * 2
        opened = openAll(receiver, sealAll(sender, datagrams)[1::3])
        check(opened == datagrams[1::3], "a datagram does not open without the ones before it")

    def test_aLaterReceiverOpensWhatASenderSendsNow(self) -> None:
        sender = self._build(1)
        sealAll(sender, [b"long ago"] * 1000)
        check(openOne(self._build(2), sealOne(sender, b"now")) == b"now", "a receiver that began later opens nothing")

    # ---------------------------------------------------------------- bounds

    def test_workIsBoundedByTheBatch(self) -> None:
        def sealing(copies: int) -> int:
            cipher = self._build(1)
            return linesRun(lambda: sealAll(cipher, [repeatableBytes(1, 1000)] * copies))

        def opening(copies: int) -> int:
            sealed = sealAll(self._build(1), [repeatableBytes(1, 1000)] * copies)
            cipher = self._build(2)
            return linesRun(lambda: openAll(cipher, sealed))

        for work, small, large in (("sealing", sealing(8), sealing(32)), ("opening", opening(8), opening(32))):
            check(large <= 6 * small + 1000, f"{work} four times as many took {large} lines instead of {small}")

    def test_garbageCostsNoMoreThanAGoodDatagram(self) -> None:
        sealed = sealAll(self._build(1), [repeatableBytes(1, 1000)] * 20)
        cipher = self._build(2)
        good = linesRun(lambda: openAll(cipher, sealed))
        bad = linesRun(lambda: openAll(cipher, [flipped(one, 8 * len(one) - 1) for one in sealed]))
        check(bad <= 4 * good + 1000, f"twenty good datagrams took {good} lines, and twenty bad ones {bad}")

    def test_whatIsKeptIsBounded(self) -> None:
        sender, receiver = self._build(1), self._build(2)
        datagrams = [repeatableBytes(1, LONGEST - sender.overhead)] * COPIES

        def exchange() -> None:
            openAll(receiver, [*sealAll(sender, datagrams), *sealAll(sender, datagrams)[:5], b"garbage" * 100])

        exchange()
        held = bytesKept([exchange] * 20)
        check(held <= KEPT_MAX, f"{held} bytes are kept after 20 batches")

    def test_theRandomBytesAskedForAreBounded(self) -> None:
        asked: list[int] = []
        source = repeatableSource(1)

        def randomBytes(count: int) -> bytes:
            asked.append(count)
            return source(count)

        cipher = self.factory.build(self.key, randomBytes)
        asked.clear()
        sealed = sealAll(cipher, [b"datagram"] * COPIES)
        check(sum(asked) <= COPIES * NONCE_MAX, f"{COPIES} datagrams took {sum(asked)} random bytes")
        asked.clear()
        openAll(cipher, [*sealed, b"garbage"])
        check(not asked, f"opening took random bytes: {asked}")

    # ---------------------------------------------------------------- what is not ours

    def test_garbageIsRefused(self) -> None:
        garbage = [repeatableBytes(length, length) for length in GARBAGE_LENGTHS]
        self._refusesAll(garbage)

    def test_everyTruncationIsRefused(self) -> None:
        sealed = sealOne(self._build(1), repeatableBytes(1, 40))
        self._refusesAll(sealed[:length] for length in range(len(sealed)))

    def test_everyExtensionIsRefused(self) -> None:
        sealed = sealOne(self._build(1), repeatableBytes(1, 40))
        self._refusesAll(sealed + repeatableBytes(i, i) for i in range(1, 40))
        self._refusesAll(sealed + bytes(i) for i in range(1, 40))

    def test_everyLostByteIsRefused(self) -> None:
        sealed = sealOne(self._build(1), bytes(range(40)))
        self._refusesAll(sealed[:i] + sealed[i + 1 :] for i in range(self.unprotected, len(sealed)))

    def test_joinedDatagramsAreRefused(self) -> None:
        one, other = sealAll(self._build(1), [repeatableBytes(1, 40), repeatableBytes(2, 40)])
        self._refusesAll([one + other, one[: len(one) // 2] + other[len(other) // 2 :]])

    def test_everyFlippedBitIsRefused(self) -> None:
        sealed = sealOne(self._build(1), repeatableBytes(1, 40))
        self._refusesAll(flipped(sealed, bit) for bit in range(8 * self.unprotected, 8 * len(sealed)))

    def test_anotherKeyIsRefused(self) -> None:
        other = self.factory.build(bytes(byte ^ 0xA5 for byte in self.key), repeatableSource(3))
        sealed = sealAll(other, self._datagrams(other.overhead))
        if self.keyed:
            self._refusesAll(sealed)
        else:
            opened = openAll(self._build(), sealed)
            check(len(opened) == len(sealed), "a cipher without a key refused another's datagrams")

    def test_refusedOnesLeaveTheOthersInOrder(self) -> None:
        if not self.authenticates:
            return
        sender, receiver = self._build(1), batchCipher(self._build(2))
        datagrams = [repeatableBytes(i, 100 + i) for i in range(6)]
        sealed = sealAll(sender, datagrams)
        bad = [flipped(one, 8 * len(one) - 1) for one in sealed]
        batch = inboundBatch(
            [b"", *sealed[:2], bad[2], b"short", *sealed[2:4], bad[0], *sealed[4:], bad[5]],
            [(letter, PORT) for letter in "-ab--cd-ef-"],
        )
        check(receiver.openBatch(batch) == 5, "openBatch returns how many were refused")
        check([bytes(datagram) for datagram in batch] == datagrams, "the good ones are not in order")
        check(batch.addresses == [(letter, PORT) for letter in "abcdef"], f"addresses went astray: {batch.addresses}")

    # ---------------------------------------------------------------- details

    def _build(self, seed: int = 0) -> Any:
        return self.factory.build(self.key, repeatableSource(seed))

    def _datagrams(self, overhead: int) -> list[bytes]:
        return [repeatableBytes(length, length) for length in [*LENGTHS, LONGEST - overhead]]

    def _refusesAll(self, bad: Iterable[bytes]) -> None:
        """All are refused, or at least (where anything goes) none does harm; one by one, too."""
        cipher = batchCipher(self._build())
        arrived = list(bad)
        batch = inboundBatch(arrived, [("192.0.2.1", number) for number in range(len(arrived))])
        refused = cipher.openBatch(batch)
        check(refused + len(batch) == len(arrived), f"{refused} refused, {len(batch)} left of {len(arrived)}")
        left = [(arrived[number], bytes(opened)) for (_, number), opened in zip(batch.addresses or (), batch)]
        for sealed, opened in left:
            check(not self.authenticates, f"taken for one of ours: {sealed!r}")
            check(len(opened) == len(sealed) - cipher.overhead, f"{len(sealed)} bytes became {len(opened)}")
        for sealed in arrived:
            check(openOne(cipher, sealed) is None or not self.authenticates, f"taken for one of ours alone: {sealed!r}")
        self._opensWithoutRaising(arrived)

    def _opensWithoutRaising(self, arrived: list[bytes]) -> None:
        """What the adapter of an IPacketCipher would make good is against its contract all the same."""
        cipher = self._build()
        for sealed in arrived if IPacketCipher.providedBy(cipher) else ():
            opened = checkRaisesOnly((), partial(cipher.open, memoryview(sealed)), f"open({sealed!r})")
            check(opened is None or type(opened) is bytes, f"open({sealed!r}) returned {opened!r}")


def _scattered(datagrams: list[bytes], overhead: int) -> Batch:
    """A batch whose datagrams lie in its buffer in reverse, at odd places, with gaps between them
    and nothing to spare after the last.
    """
    batch = Batch()
    position = sum(len(datagram) + overhead + 5 for datagram in datagrams)
    batch.buffer = bytearray(position)
    for datagram in datagrams:
        batch.ends.append(position)
        position -= len(datagram)
        batch.starts.append(position)
        batch.buffer[position : position + len(datagram)] = datagram
        position -= overhead + 5
    return batch
