"""The conformance suite of the compressor seam, for any ICompressorFactory.

Mix it in and name your factory; pytest needs nothing else, unittest and trial want TestCase too::

    class TestDeflate(CompressorConformance):
        factory = deflate

    class DeflateTests(CompressorConformance, unittest.TestCase):
        factory = deflate

Every run makes the same bytes: there is no chance in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from zope.interface.verify import verifyObject

from kcpstack.interfaces import ICompressor, ICompressorFactory
from kcpstack.testing.checks import (
    bytesKept,
    check,
    checkFactory,
    checkRaisesOnly,
    cutInto,
    flipped,
    linesRun,
    repeatableBytes,
)

__all__ = ["CompressorConformance"]

TEXT = b"".join(b"%d: the quick brown fox jumps over the lazy dog\n" % number for number in range(1500))
NOISE = repeatableBytes("noise", 80_000)
WRITES = [
    b"x", TEXT[:7], NOISE[:8], TEXT[:500], NOISE[:500], bytes(3000), NOISE[:8200], TEXT[:8200], b"y", TEXT, NOISE
]  # fmt: skip
PIECES = (1, 2, 3, 7, 100, 1340, 65536)  # bytes; the headers of most formats, a segment, a delivery
SHORT = [b"head", TEXT[:150], NOISE[:60], bytes(200)]  # a stream that can be tried at each of its bytes
GARBAGE_LENGTHS = (*range(20), 100, 1000, 10_000)


class CompressorConformance:
    """What the stack relies on, one test for each promise of ICompressor."""

    factory: ICompressorFactory
    """The one to test: each suite is given it."""

    expansion: int = 1100
    """How many bytes one byte that arrived may become at most.  A session hands up some 64 KiB at once, so more
    than deflate's 1032 would be a weapon in the hands of whoever knows the key."""

    kept: int = 512 * 1024
    """How many bytes may be held for later, at most, as far as Python's allocator knows."""

    # ---------------------------------------------------------------- what is declared

    def test_factoryIsAsDeclared(self) -> None:
        checkFactory(ICompressorFactory, self.factory)

    def test_compressorIsAsDeclared(self) -> None:
        verifyObject(ICompressor, self.factory.build())

    def test_eachSessionGetsACompressorOfItsOwn(self) -> None:
        check(self.factory.build() is not self.factory.build(), "build returned one compressor twice")

    def test_bothReturnBytes(self) -> None:
        sender, receiver = self._pair()
        packed = sender.compress(b"some bytes")
        check(type(packed) is bytes, f"compress returns bytes, not {type(packed)}")
        for given in (packed, b""):
            plain = receiver.decompress(given)
            check(type(plain) is bytes, f"decompress returns bytes, not {type(plain)}")

    # ---------------------------------------------------------------- round trips

    def test_roundTrip(self) -> None:
        sender, receiver = self._pair()
        stream = b"".join(sender.compress(data) for data in WRITES)
        check(receiver.decompress(stream) == b"".join(WRITES), "what came back in one piece differs")

    def test_everyWriteCanBeRestoredAtOnce(self) -> None:
        sender, receiver = self._pair()
        for number, data in enumerate(WRITES):
            restored = receiver.decompress(sender.compress(data))
            check(restored == data, f"write {number} of {len(data)} bytes: {len(restored)} came back at once")

    def test_aStreamCutInEqualPiecesIsTheSame(self) -> None:
        sender, _ = self._pair()
        stream = b"".join(sender.compress(data) for data in WRITES)
        for size in PIECES:
            restored = self._restored(cutInto(stream, size))
            check(restored == b"".join(WRITES), f"cut into pieces of {size} bytes it differs")

    def test_aStreamCutAnywhereIsTheSame(self) -> None:
        stream = self._shortStream()
        for cut in range(len(stream) + 1):
            restored = self._restored([stream[:cut], stream[cut:]])
            check(restored == b"".join(SHORT), f"cut after {cut} bytes it differs")

    def test_aStreamThatEndsAnywhereGivesTheBeginning(self) -> None:
        stream, whole = self._shortStream(), b"".join(SHORT)
        for end in range(len(stream)):
            restored = self._restored([stream[:end]])
            check(whole.startswith(restored), f"the first {end} bytes give what nobody wrote")

    def test_nothingGivesNothing(self) -> None:
        sender, receiver = self._pair()
        for data in (b"", b"one", b"", b"", b"two", b""):
            check(receiver.decompress(b"") == b"", "something came of no bytes")
            check(receiver.decompress(sender.compress(data)) == data, "a write of no bytes did harm")

    def test_manySmallWrites(self) -> None:
        sender, receiver = self._pair()
        parts = cutInto(TEXT[:6000], 3)
        stream = b"".join(sender.compress(part) for part in parts)
        check(receiver.decompress(stream) == TEXT[:6000], "many small writes came back otherwise")

    def test_theDirectionsDoNotMeet(self) -> None:
        near, far = self._pair()
        up = down = b""
        for there, back in zip(WRITES, reversed(WRITES)):
            packedThere, packedBack = near.compress(there), far.compress(back)
            for piece in cutInto(packedThere, 700):
                up += far.decompress(piece)
            down += near.decompress(packedBack)
        check(up == b"".join(WRITES), "one direction was damaged by the other")
        check(down == b"".join(reversed(WRITES)), "one direction was damaged by the other")

    # ---------------------------------------------------------------- independence and ownership

    def test_compressorsAreIndependent(self) -> None:
        alone, _ = self._pair()
        expected = [alone.compress(data) for data in SHORT]
        one, other = self._pair()
        mixed = []
        for data in SHORT:
            mixed.append(one.compress(data))
            other.compress(NOISE[:300])
        check(self._restored(mixed) == self._restored(expected), "another compressor changed this one's stream")
        first, second = self._pair()
        half = len(expected[0]) // 2
        restored = first.decompress(expected[0][:half])
        checkRaisesOnly((ValueError,), lambda: second.decompress(NOISE[:300]), "garbage")
        restored += first.decompress(b"".join(expected)[half:])
        check(restored == b"".join(SHORT), "another compressor's garbage damaged this one")

    def test_laterCallsLeaveEarlierResultsAlone(self) -> None:
        sender, receiver = self._pair()
        packed, plain = [], []
        for data in WRITES:
            packed.append(sender.compress(data))
            plain.append(receiver.decompress(packed[-1]))
        check(plain == WRITES, "a later call changed what an earlier one had returned")
        check(self._restored(packed) == b"".join(WRITES), "a later call changed what an earlier one had returned")

    # ---------------------------------------------------------------- what is damaged

    def test_garbageIsRefusedOrHarmless(self) -> None:
        for length in GARBAGE_LENGTHS:
            self._feed([repeatableBytes(length, length)])
            self._feed([bytes(length)])
            self._feed([b"\xff" * length])

    def test_garbageAfterAGoodBeginningIsRefusedOrHarmless(self) -> None:
        begun = self._shortStream()
        for length in GARBAGE_LENGTHS:
            self._feed([begun, repeatableBytes(length, length)])
            self._feed([begun, b"\xff" * length])

    def test_everyFlippedBitIsRefusedOrHarmless(self) -> None:
        stream = self._shortStream()
        for bit in range(8 * len(stream)):
            self._feed(cutInto(flipped(stream, bit), 97))

    def test_lostDoubledAndSwappedPiecesAreRefusedOrHarmless(self) -> None:
        pieces = cutInto(self._shortStream(), 9)
        for i, piece in enumerate(pieces):
            self._feed(pieces[:i] + pieces[i + 1 :])
            self._feed([*pieces[:i], piece, *pieces[i:]])
            self._feed([*pieces[:i], *pieces[i + 1 : i + 2], piece, *pieces[i + 2 :]])

    def test_aRefusedStreamCanBeFedOn(self) -> None:
        stream = self._shortStream()
        for bad in (b"\xff" * 100, NOISE[:1000], flipped(stream, 4 * len(stream))):
            self._feed([bad, stream, b"", bad, NOISE[:1000], stream])

    # ---------------------------------------------------------------- bounds

    def test_whatCannotBeCompressedGrowsLittle(self) -> None:
        sender, _ = self._pair()
        for length in (1, 2, 10, 100, 1000, 8200, 65535, 80_000):
            packed = sender.compress(NOISE[:length])
            check(len(packed) <= length + length // 8 + 128, f"{length} bytes of noise became {len(packed)}")

    def test_whatOnePieceBecomesIsBounded(self) -> None:
        sender, receiver = self._pair()
        stream = sender.compress(b"begin") + sender.compress(bytes(2_000_000))
        restored = 0
        for piece in cutInto(stream, 64):
            length = len(receiver.decompress(piece))
            restored += length
            room = self.expansion * (len(piece) + 128)  # of what an earlier piece began
            check(length <= room, f"{len(piece)} bytes became {length}: a peer could fill our memory")
        check(restored == 2_000_005, "two million zero bytes came back otherwise")

    def test_whatIsKeptIsBounded(self) -> None:
        sender, receiver = self._pair()
        stream = b"".join(sender.compress(NOISE) for _ in range(15))
        held = bytesKept(partial(receiver.decompress, piece) for piece in cutInto(stream, 5000))
        check(held <= self.kept, f"{held} bytes are kept of a stream of {len(stream)}")
        held = bytesKept([partial(sender.compress, NOISE)] * 15)
        check(held <= self.kept, f"{held} bytes are kept of what was compressed")

    def test_whatIsKeptOfGarbageIsBounded(self) -> None:
        for filling in (b"\0", b"\xff", b"\x80", b"\x7f", b"\x01", None):
            _, receiver = self._pair()
            begun = [self._shortStream(), *([filling * 5000] * 200 if filling else [NOISE[:5000]] * 200)]
            held = bytesKept(partial(self._decompress, receiver, piece) for piece in begun)
            check(held <= self.kept, f"{held} bytes are kept of garbage of {filling!r}")

    def test_workIsLinearInTheBytes(self) -> None:
        sender, _ = self._pair()
        packed = sender.compress(NOISE[:2000]), sender.compress(NOISE[:6000])

        def compressing(length: int) -> int:
            _, fresh = self._pair()
            return linesRun(lambda: fresh.compress(NOISE[:length]))

        def restoring(stream: bytes) -> int:
            _, fresh = self._pair()
            fresh.decompress(packed[0])
            return linesRun(lambda: [self._decompress(fresh, piece) for piece in cutInto(stream, 1)])

        for work, small, large in (
            ("compressing", compressing(8000), compressing(32_000)),
            ("restoring byte by byte", restoring(packed[1][:1500]), restoring(packed[1])),
        ):
            check(large <= 6 * small + 2000, f"{work} four times as much took {large} lines instead of {small}")

    # ---------------------------------------------------------------- details

    def _pair(self) -> tuple[ICompressor, ICompressor]:
        return self.factory.build(), self.factory.build()

    def _shortStream(self) -> bytes:
        sender, _ = self._pair()
        return b"".join(sender.compress(data) for data in SHORT)

    def _restored(self, pieces: Iterable[bytes]) -> bytes:
        receiver = self.factory.build()
        return b"".join(receiver.decompress(piece) for piece in pieces)

    def _feed(self, pieces: Iterable[bytes]) -> None:
        """Whatever the pieces are, all that happens is bytes or ValueError."""
        receiver = self.factory.build()
        for piece in pieces:
            restored = self._decompress(receiver, piece)
            check(restored is None or type(restored) is bytes, f"decompress returned {type(restored)}")

    def _decompress(self, receiver: ICompressor, piece: bytes) -> bytes | None:
        return checkRaisesOnly((ValueError,), lambda: receiver.decompress(piece), f"decompress({piece[:40]!r}...)")
