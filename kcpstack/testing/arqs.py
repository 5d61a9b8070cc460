"""The conformance suite of the ARQ seam, for any IARQ, and two ends of one over a bad path.

Mix it in and say how an end is made; pytest needs nothing else, unittest and trial want TestCase too::

    class TestMine(ARQConformance):
        def newARQ(self, mtu, sendWindow, receiveWindow, congestion):
            return MyARQ(...)

Time is a number here, and there is no chance in it: every run is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from zope.interface.verify import verifyObject

from kcpstack.batch import inboundBatch, outboundBatch
from kcpstack.interfaces import IARQ, ICongestionControl
from kcpstack.testing.arqpair import SLOT, ARQPair, RecordedWindow, flushAll
from kcpstack.testing.checks import bytesKept, check, checkRaisesOnly, flipped, linesRun, repeatableBytes
from kcpstack.testing.impairment import PERFECT, Faults

__all__ = ["ARQConformance", "ARQPair", "RecordedWindow", "flushAll"]

Look = Callable[[ARQPair], None]


class ARQConformance:
    """What the KCP layer relies on, one test for each promise of IARQ."""

    def newARQ(self, mtu: int, sendWindow: int, receiveWindow: int, congestion: ICongestionControl) -> Any:
        """Return one end of a conversation (all that are made are ends of the same one) that makes datagrams of
        ``mtu`` bytes at most, and tells ``congestion`` what happens; an IARQ."""
        raise NotImplementedError

    # ---------------------------------------------------------------- what is declared

    def test_providesItsInterface(self) -> None:
        verifyObject(IARQ, self._end())

    def test_beginsIdle(self) -> None:
        arq = self._end()
        check(flushAll(arq, 0.0) == [], "sends before anything was written")
        check(arq.nextTimeout() is None, "wants a timer before anything was written")
        check((arq.unsent, arq.unacknowledged, arq.unread, arq.repeats) == (0, 0, 0, 0), "does not begin empty")
        check((arq.srtt, arq.heardAt, arq.answeredAt) == (None, None, None), "has heard somebody already")
        check((arq.oldest(), arq.silentSince()) == (None, None), "waits for somebody already")
        check(not arq.strained and not arq.probing, "begins strained or probing")
        check(arq.window > 0 and arq.rto > 0, "begins with a closed window, or no RTO")

    def test_writingNothingIsNothing(self) -> None:
        arq = self._end()
        arq.write(b"")
        check(arq.unsent == 0 and flushAll(arq, 0.0) == [], "an empty write sends something")

    def test_unsentCountsBytesNotYetSent(self) -> None:
        arq = self._end(sendWindow=4)
        arq.write(bytes(100_000))
        check(arq.unsent == 100_000, f"unsent is {arq.unsent} of 100000 bytes written")
        flushAll(arq, 0.0)
        check(0 < arq.unsent < 100_000, "what was sent still counts as unsent, or all was sent at once")

    # ---------------------------------------------------------------- in order, exactly once

    def test_aByteArrives(self) -> None:
        self._carries(PERFECT, 1, 0)

    def test_bothDirectionsAtOnce(self) -> None:
        self._carries(Faults(delay=20), 60_000, 50_000)

    def test_manySmallWritesArrive(self) -> None:
        pair = self._pair(Faults(delay=20))
        for number in range(500):
            pair.write(number % 2, repeatableBytes(number, number % 40))
        pair.finish()

    def test_overLoss(self) -> None:
        self._carries(Faults(delay=20, loss=0.05), 80_000, 40_000)

    def test_overHeavyLoss(self) -> None:
        self._carries(Faults(delay=20, loss=0.4), 15_000, 15_000)

    def test_overBurstsOfLoss(self) -> None:
        self._carries(Faults(delay=20, loss=0.1, burst=12), 60_000, 60_000)

    def test_overReordering(self) -> None:
        self._carries(Faults(delay=20, reorder=0.3, hold=60), 60_000, 60_000)

    def test_overDuplication(self) -> None:
        self._carries(Faults(delay=20, duplicate=0.5, hold=300), 60_000, 60_000)

    def test_overEverythingAtOnce(self) -> None:
        faults = Faults(delay=40, jitter=20, loss=0.1, reorder=0.1, duplicate=0.1, hold=50, rate=200_000)
        self._carries(faults, 60_000, 60_000)

    def test_overADelayLongerThanTheFirstTimeout(self) -> None:
        self._carries(Faults(delay=1500), 20_000, 0)

    def test_whatFECRebuildsCountsAsArrived(self) -> None:
        pair = self._pair(Faults(delay=20, loss=0.2))
        pair.recovers = True
        pair.write(0, repeatableBytes(1, 60_000))
        pair.write(1, repeatableBytes(2, 60_000))
        pair.finish()

    def test_aPathThatComesBackIsUsedAgain(self) -> None:
        pair = self._pair(Faults(delay=20, cut=True))
        pair.write(0, repeatableBytes(1, 20_000))
        pair.run(lambda: False, 20_000)
        pair.configure(cut=False)
        pair.finish()

    def test_whatIsRepeatedLaterIsNotReadAgain(self) -> None:
        pair = self._carries(Faults(delay=20, loss=0.05), 30_000, 30_000)
        for end in (0, 1):
            for datagram in pair.sent[1 - end]:
                pair.ends[end].datagramsReceived(inboundBatch([datagram]), pair.now)
                check(pair.ends[end].unread == 0, "what came again is to be read again")
                flushAll(pair.ends[end], pair.now)

    # ---------------------------------------------------------------- windows

    def test_noMoreInFlightThanTheSendWindow(self) -> None:
        self._carries(Faults(delay=50, loss=0.05), 60_000, 0, sendWindow=7, look=_inFlightAtMost(7))

    def test_noMoreInFlightThanTheCongestionWindow(self) -> None:
        controls = RecordedWindow(3), RecordedWindow(3)
        near, far = (self.newARQ(MTU, 100, 100, control) for control in controls)
        pair = ARQPair(near, far, faults=Faults(delay=50, loss=0.05), look=_inFlightAtMost(3))
        pair.write(0, repeatableBytes(1, 20_000))
        pair.finish()

    def test_theCongestionControlHearsOfEverySegment(self) -> None:
        controls = RecordedWindow(50), RecordedWindow(50)
        near, far = (self.newARQ(MTU, 100, 100, control) for control in controls)
        pair = ARQPair(near, far, faults=Faults(delay=50, loss=0.1))
        pair.write(0, repeatableBytes(1, 40_000))
        pair.finish()
        near, far = controls
        check(near.acknowledgedSegments >= 40_000 // MTU, f"heard of {near.acknowledgedSegments} acknowledged segments")
        check(near.lostSegments > 0, "never heard of a loss, on a path that loses a tenth")
        check(near.inFlightMost <= 50, f"was told of {near.inFlightMost} segments in flight, with a window of 50")
        check(near.times == sorted(near.times), "was told of times that go back")
        check(far.acknowledgedSegments == 0, "the end that wrote nothing heard of acknowledged segments")

    def test_noMoreIsKeptThanTheReceiveWindow(self) -> None:
        pair = self._pair(Faults(delay=10, loss=0.05, reorder=0.2), receiveWindow=9)
        pair.reading[1] = False
        pair.write(0, repeatableBytes(1, 30_000))
        pair.run(lambda: False, 5000)
        check(0 < pair.ends[1].unread <= 9, f"{pair.ends[1].unread} segments are unread, with a window of 9")
        check(pair.ends[0].unsent > 0, "all was sent to an end that does not read")

    def test_aReaderThatStopsAndGoesOnGetsEverything(self) -> None:
        pair = self._pair(Faults(delay=10), receiveWindow=40)
        pair.reading[1] = False
        pair.write(0, repeatableBytes(1, 30_000))
        pair.run(lambda: False, 3000)
        pair.reading[1] = True
        pair.turn(1)
        pair.finish()

    def test_aLostNewsOfAnOpenWindowDoesNotStall(self) -> None:
        pair = self._pair(Faults(delay=10), receiveWindow=40)
        pair.reading[1] = False
        pair.write(0, repeatableBytes(1, 30_000))
        pair.run(lambda: False, 3000)
        pair.configure(cut=True)
        pair.reading[1] = True
        pair.turn(1)
        pair.configure(cut=False)
        pair.finish()

    def test_windowIsInBytesAndNeverClosedByUs(self) -> None:
        arq = self._end(sendWindow=10)
        check(MTU // 2 < arq.window <= 10 * MTU, f"a window of 10 segments is {arq.window} bytes")

    # ---------------------------------------------------------------- flush and nextTimeout

    def test_noDatagramIsLongerThanTheMTU(self) -> None:
        pair = self._carries(Faults(delay=20, loss=0.1), 30_000, 30_000)
        longest = max(len(datagram) for datagrams in pair.sent for datagram in datagrams)
        check(longest <= MTU, f"a datagram has {longest} bytes, and the mtu is {MTU}")

    def test_oneFlushIsBounded(self) -> None:
        for most in (1, 2, 10, 64, 1_000_000):
            arq = self._fullOf(500)
            arq.write(bytes(500 * MTU))
            batch = outboundBatch(SLOT, 0)
            arq.flush(10_000.0, batch, most)
            check(len(batch) <= min(2 * most + 4, FLUSH_MAX), f"a flush of about {most} made {len(batch)} datagrams")

    def test_aBoundedFlushGoesOnUntilItIsDone(self) -> None:
        one, other = self._end(sendWindow=20), self._end(sendWindow=20)
        for arq in (one, other):
            arq.write(repeatableBytes(1, 4000))
        singly, atOnce = flushAll(one, 0.0, 1), flushAll(other, 0.0)
        check(singly == atOnce, "flushed one by one, other datagrams come out than at once")

    def test_afterTheLastFlushThereIsNothing(self) -> None:
        arq = self._fullOf(30)
        check(flushAll(arq, 0.0) == [], "a flush after the last one sends something")

    def test_beforeTheTimeoutThereIsNothing(self) -> None:
        arq = self._fullOf(30)
        due = arq.nextTimeout()
        check(flushAll(arq, due - 1) == [], f"a flush 1 ms before the timeout at {due} sends something")

    def test_atTheTimeoutTheFlushMovesIt(self) -> None:
        arq, now = self._fullOf(30), 0.0
        for _ in range(50):
            due = arq.nextTimeout()
            check(due is not None and due > now, f"the timeout after a flush at {now} is {due}")
            now = due
            flushAll(arq, now)

    def test_whatIsInFlightHasATimeout(self) -> None:
        arq = self._fullOf(1)
        due = arq.nextTimeout()
        check(due is not None and 0 < due <= TIMEOUT_MAX, f"with a segment in flight the timeout is {due}")

    def test_aDeadPathIsTriedEverLessOften(self) -> None:
        pair = self._pair(Faults(cut=True))
        pair.write(0, b"is anybody there?")
        pair.run(lambda: False, 600_000)
        count = len(pair.sent[0])
        check(3 <= count <= 240, f"ten minutes of a dead path took {count} datagrams")
        check(not pair.ends[1].unread, "something came over a dead path")

    def test_aLeapOfTheClockDoesNoHarm(self) -> None:
        pair = self._pair(Faults(delay=20))
        pair.write(0, repeatableBytes(1, 20_000))
        pair.now += 86_400_000.0
        pair.turn(0)
        pair.finish()

    # ---------------------------------------------------------------- reading, ownership

    def test_readStopsAtTheSegmentThatIsEnough(self) -> None:
        pair = self._pair(PERFECT)
        pair.reading[1] = False
        pair.write(0, repeatableBytes(1, 4 * MTU))
        pair.run(lambda: pair.ends[1].unread >= 4, 5000)
        first = pair.ends[1].read(1)
        check(len(first) == 1 and type(first[0]) is bytes and first[0], f"read(1) gave {first!r}")
        rest = pair.ends[1].read(1 << 20)
        check(len(rest) > 1 and pair.ends[1].unread == 0, "read did not take what there was")
        check(b"".join(first + rest) == repeatableBytes(1, 4 * MTU), "read gave other bytes")
        check(pair.ends[1].read(1 << 20) == [], "read gave something of nothing")

    def test_arrivedBuffersAreTheCallersAgain(self) -> None:
        near, far = self._end(), self._end()
        near.write(repeatableBytes(1, 2000))
        for datagram in flushAll(near, 0.0):
            batch = inboundBatch([datagram])
            far.datagramsReceived(batch, 0.0)
            batch.buffer[:] = bytes(len(batch.buffer))
        got = b"".join(far.read(1 << 20))
        check(got == repeatableBytes(1, 2000), "bytes changed when the batch was used again")

    def test_sentBatchesAreTheCallersAgain(self) -> None:
        near, far = self._end(), self._end()
        near.write(repeatableBytes(1, 1000))
        batch = outboundBatch(SLOT, 0)
        near.flush(0.0, batch)
        batch.buffer[:] = bytes(len(batch.buffer))
        batch.buffer.extend(b"raises BufferError while a view is alive")
        far.datagramsReceived(inboundBatch(flushAll(near, near.nextTimeout())), 0.0)
        check(b"".join(far.read(1 << 20)) == repeatableBytes(1, 1000), "what is sent again has changed with the batch")

    def test_aFlushAppendsToWhatIsThere(self) -> None:
        arq = self._end()
        arq.write(b"data")
        batch = outboundBatch(SLOT, 0)
        batch.append(b"somebody else's")
        arq.flush(0.0, batch)
        datagrams = list(map(bytes, batch))
        check(len(datagrams) > 1 and datagrams[0] == b"somebody else's", "flush changed what was in the batch")

    # ---------------------------------------------------------------- what it knows of the path

    def test_theRoundTripIsMeasured(self) -> None:
        pair = self._carries(Faults(delay=100), 30_000, 0)
        near, far = pair.ends
        check(200 <= near.srtt <= 1000, f"srtt is {near.srtt} ms on a path of 200 ms")
        check(near.rto >= near.srtt, f"the RTO is {near.rto} ms, and srtt {near.srtt}")
        check(far.srtt is None, f"an end that sent no data has an srtt of {far.srtt}")

    def test_hearingAndBeingHeardAreKnown(self) -> None:
        pair = self._pair(Faults(delay=30))
        pair.write(0, b"question")
        pair.finish()
        near, far = pair.ends
        check(far.heardAt == 30, f"heardAt is {far.heardAt}, and the first datagram came at 30")
        check(far.answeredAt is None, "an end that has sent no data was answered")
        check(near.heardAt is not None and near.heardAt >= 60, f"heardAt is {near.heardAt}")
        check(near.answeredAt == near.heardAt, f"answeredAt is {near.answeredAt}, and heardAt {near.heardAt}")
        check(near.longestArrived == 8, f"longestArrived is {near.longestArrived}, after an ack of 8 bytes")

    def test_silenceBeginsWhenSomethingIsSent(self) -> None:
        pair = self._pair(Faults(delay=30))
        pair.now = 10.0
        pair.write(0, b"question")
        check(pair.ends[0].silentSince() == 10, f"silent since {pair.ends[0].silentSince()}, and 10 was meant")
        pair.finish()
        check(pair.ends[0].silentSince() is None, "still silent, though it has acknowledged all")

    def test_oldestAndInFlightShowWhatIsNotAcknowledged(self) -> None:
        pair = self._pair(Faults(delay=30))
        pair.write(0, repeatableBytes(1, 3 * MTU))
        near = pair.ends[0]
        oldest, flying = near.oldest(), near.inFlight(0, 2)
        check(bytes(oldest.data) == repeatableBytes(1, 3 * MTU)[: len(oldest.data)], "the oldest has other data")
        check(not oldest.acknowledged and oldest.sent == oldest.firstSent == 0, "the oldest is not as it was sent")
        check(len(flying) == 2, f"inFlight(0, 2) gives {len(flying)} segments")
        check(near.inFlight(MTU + 1, 9) == [], "a segment is longer than a datagram")
        pair.finish()
        check(oldest.acknowledged, "the oldest does not know that it is acknowledged")
        check(near.oldest() is None and near.inFlight(0, 9) == [], "something is in flight after all was acknowledged")

    def test_aProbeLeavesWithTheNextFlush(self) -> None:
        arq = self._fullOf(2)
        before = arq.oldest().sent
        arq.probe()
        check(arq.probing, "not probing after probe")
        sent = flushAll(arq, 5.0)
        check(not arq.probing, "still probing after the flush")
        check(len(sent) >= 2, f"a probe made {len(sent)} datagrams")
        check(arq.oldest().sent == 5.0 != before, "the oldest segment was not sent again")

    def test_aSegmentSentThreeTimesIsAStrain(self) -> None:
        pair = self._pair(Faults(cut=True))
        pair.write(0, b"is anybody there?")
        check(pair.run(lambda: pair.ends[0].strained, 60_000), "a minute of a dead path is no strain")

    # ---------------------------------------------------------------- what is not ours

    def test_garbageNeverRaisesAndChangesNothing(self) -> None:
        arq = self._end()
        garbage = [*(repeatableBytes(length, length) for length in GARBAGE_LENGTHS), *map(bytes, GARBAGE_LENGTHS)]
        for recovered in (False, True):
            self._bears(arq, garbage, recovered)
        check(arq.unread == 0 and arq.heardAt is None, "garbage was taken for the peer")

    def test_everyTruncationNeverRaises(self) -> None:
        for datagram in self._conversation():
            arq = self._fullOf(5)
            self._bears(arq, (datagram[:length] for length in range(len(datagram))))

    def test_everyFlippedBitNeverRaises(self) -> None:
        for datagram in self._conversation()[:6]:
            arq = self._fullOf(5)
            bits = range(8 * len(datagram)) if len(datagram) < 60 else range(8 * 60)
            self._bears(arq, (flipped(datagram, bit) for bit in bits))
            check(arq.unread <= WINDOW, f"{arq.unread} segments are kept, with a window of {WINDOW}")

    def test_foreignBytesInAndBehindADatagramNeverRaise(self) -> None:
        datagrams = self._conversation()
        arq = self._fullOf(5)
        self._bears(arq, (one + other[:cut] for one in datagrams for other in datagrams for cut in (1, 24, 30)))
        self._bears(arq, (one[:24] + repeatableBytes(1, 40) + one[24:] for one in datagrams))

    def test_manyDatagramsInOneBatchAreTakenAll(self) -> None:
        near, far = self._end(), self._end()
        near.write(repeatableBytes(1, 2000))
        sent = flushAll(near, 0.0)
        far.datagramsReceived(inboundBatch([b"garbage", *reversed(sent), b"", b"\xff" * 40]), 0.0)
        check(b"".join(far.read(1 << 20)) == repeatableBytes(1, 2000), "not all of a batch was taken")

    # ---------------------------------------------------------------- bounds

    def test_workDoesNotGrowWithTheWindow(self) -> None:
        def work(window: int) -> int:
            near, far = self._opened(window)
            near.write(repeatableBytes(1, (window // 2) * MTU))
            sent = flushAll(near, 100.0)
            far.datagramsReceived(inboundBatch(sent[:1]), 100.0)
            acks = flushAll(far, 200.0)
            return linesRun(lambda: (near.datagramsReceived(inboundBatch(acks), 150.0), flushAll(near, 150.0)))

        small, large = work(64), work(1600)
        check(large <= 3 * small + 300, f"an ack took {small} lines with a window of 64, and {large} with 1600")

    def test_whatAPeerCanMakeUsKeepIsBounded(self) -> None:
        near, far = self._opened(200)
        near.write(repeatableBytes(1, 100 * MTU))
        datagrams = flushAll(near, 100.0) or [b"x"]
        far.read(1 << 20)

        def flood(number: int) -> Callable[[], None]:
            changed = [flipped(datagram, number * 7 % (8 * 24)) for datagram in datagrams]
            return partial(far.datagramsReceived, inboundBatch(changed), 100.0)

        held = bytesKept(flood(number) for number in range(100))
        check(held <= 200 * (MTU + 2000), f"{held} bytes are kept, with a window of 200 segments")

    def test_aFinishedConversationKeepsNothing(self) -> None:
        pair = self._pair(Faults(delay=10))

        def carry() -> None:
            pair.write(0, bytes(20_000))
            pair.finish()
            for sent in pair.sent:
                sent.clear()
            for data in (*pair.written, *pair.received):
                data.clear()

        carry()
        held = bytesKept([carry] * 4)
        check(held <= 60_000, f"{held} bytes are kept after all was acknowledged")

    # ---------------------------------------------------------------- details

    def _end(self, sendWindow: int = 64, receiveWindow: int = 64) -> Any:
        return self.newARQ(MTU, sendWindow, receiveWindow, RecordedWindow(1 << 16))

    def _pair(
        self, faults: Faults, sendWindow: int = 64, receiveWindow: int = 64, look: Look | None = None
    ) -> ARQPair:
        near, far = (self._end(sendWindow, receiveWindow) for _ in range(2))
        return ARQPair(near, far, faults=faults, look=look)

    def _carries(self, faults: Faults, up: int, down: int, sendWindow: int = 64, look: Look | None = None) -> ARQPair:
        pair = self._pair(faults, sendWindow, look=look)
        pair.write(0, repeatableBytes("up", up))
        pair.write(1, repeatableBytes("down", down))
        pair.finish()
        return pair

    def _fullOf(self, segments: int) -> Any:
        """An end with about so many segments on their way, all flushed at 0."""
        arq, _ = self._opened(max(segments, WINDOW))
        arq.write(bytes(segments * (MTU - 40)))
        flushAll(arq, 0.0)
        return arq

    def _opened(self, window: int) -> tuple[Any, Any]:
        """Two ends that know each other's window, at 0."""
        near, far = self._end(window, window), self._end(window, window)
        far.write(b"hello")
        near.datagramsReceived(inboundBatch(flushAll(far, 0.0)), 0.0)
        near.read(1 << 20)
        near.write(b"hello")
        far.datagramsReceived(inboundBatch(flushAll(near, 0.0)), 0.0)
        far.read(1 << 20)
        near.datagramsReceived(inboundBatch(flushAll(far, far.nextTimeout() or 0.0)), 0.0)
        return near, far

    def _conversation(self) -> list[bytes]:
        """Datagrams of all kinds, from a conversation in which some were lost."""
        pair = self._pair(Faults(delay=10, loss=0.2), receiveWindow=9)
        pair.reading[1] = False
        pair.write(0, repeatableBytes(1, 4000))
        pair.run(lambda: False, 2000)
        pair.reading[1] = True
        pair.turn(1)
        pair.write(1, b"answer")
        pair.finish()
        return [*pair.sent[0][:5], *pair.sent[1][:5], *pair.sent[0][-2:], *pair.sent[1][-2:]]

    def _bears(self, arq: Any, datagrams: Iterable[bytes], recovered: bool = False) -> None:
        for datagram in datagrams:
            batch = inboundBatch([datagram])
            checkRaisesOnly((), partial(arq.datagramsReceived, batch, 5.0, recovered), repr(datagram))
            batch.buffer.extend(b"raises BufferError while a view is alive")
            checkRaisesOnly((), lambda: flushAll(arq, 5.0), f"flush after {datagram!r}")
            arq.nextTimeout()


def _inFlightAtMost(window: int) -> Look:
    def look(pair: ARQPair) -> None:
        count = pair.ends[0].unacknowledged
        check(count <= window, f"{count} segments are in flight, with a window of {window}")

    return look


MTU = 200  # bytes; short, so that a window is soon full
WINDOW = 64  # segments
FLUSH_MAX = 1024  # datagrams; whatever a flush is allowed
TIMEOUT_MAX = 120_000.0  # ms; KCP's own ceilings are lower
GARBAGE_LENGTHS = (*range(0, 60, 3), 24, 25, 200, 1372, 1500, 9000)
