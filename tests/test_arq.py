"""The ARQ: every byte once and in order over any network, windows kept, no work without cause."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from zope.interface.verify import verifyObject

from kcpstack.batch import Batch, inboundBatch, outboundBatch
from kcpstack.counters import Counters
from kcpstack.interfaces import IARQ, ICongestionControl
from kcpstack.kernels.arq import ARQ, FLUSH_DATAGRAMS, REMOTE_WINDOW_FIRST, Tuning
from kcpstack.kernels.congestion import FixedWindow, SlowStart
from kcpstack.kernels.segment import (
    ACK,
    ASK,
    HEADER,
    MASK,
    OVERHEAD,
    PUSH,
    TELL,
    Glimpse,
    glimpse,
    glimpses,
    nearest,
)

CONV = 0xFEDCBA98  # over 2**31, as half of all conversations are
MTU = 200
MSS = MTU - OVERHEAD


def makeARQ(conv: int = CONV, mtu: int = MTU, congestion=None, **tuning) -> ARQ:
    return ARQ(conv, mtu, Tuning(**tuning), congestion or FixedWindow(1 << 16), Counters())


def flushed(arq: ARQ, now: float) -> list[bytes]:
    """Everything the ARQ wants to send now."""
    out: list[bytes] = []
    more = True
    while more:
        batch = outboundBatch(1500, 0)
        more = arq.flush(now, batch)
        out.extend(bytes(datagram) for datagram in batch)
    return out


def segmentsOf(datagrams: list[bytes]) -> list[tuple]:
    """(cmd, wnd, ts, sn, una, data) of every segment."""
    found = []
    for datagram in datagrams:
        position = 0
        while position < len(datagram):
            _, cmd, _, wnd, ts, sn, una, length = HEADER.unpack_from(datagram, position)
            position += OVERHEAD
            found.append((cmd, wnd, ts, sn, una, datagram[position : position + length]))
            position += length
    return found


def segment(cmd: int, sn: int = 0, ts: int = 0, una: int = 0, data: bytes = b"", wnd: int = 128) -> bytes:
    return HEADER.pack(CONV, cmd, 0, wnd, ts, sn, una, len(data)) + data


def receive(arq: ARQ, *datagrams: bytes, now: float = 0.0, recovered: bool = False) -> None:
    arq.datagramsReceived(inboundBatch(datagrams), now, recovered)


def test_providesItsInterface():
    assert verifyObject(IARQ, makeARQ())


@pytest.mark.parametrize("congestion", [FixedWindow(10), SlowStart(10)])
def test_congestionControlsProvideTheirInterface(congestion):
    assert verifyObject(ICongestionControl, congestion)


def test_refusesAnMTUWithoutRoomForData():
    with pytest.raises(ValueError, match="mtu of 24"):
        makeARQ(mtu=OVERHEAD)


@given(st.integers(0, 1 << 40), st.integers(-(1 << 31) + 1, (1 << 31) - 1))
def test_nearestUndoesTheWrapOf32Bits(reference, distance):
    assert nearest((reference + distance) & 0xFFFFFFFF, reference) == reference + distance


class TestSending:
    def test_whatIsWrittenTogetherLeavesTogetherInFullSegments(self):
        arq = makeARQ()
        for _ in range(50):
            arq.write(b"x" * 10)
        segments = segmentsOf(flushed(arq, 0))
        assert [len(s[5]) for s in segments] == [MSS, MSS, 500 - 2 * MSS]
        assert [s[3] for s in segments] == [0, 1, 2]

    def test_knowsOfAWindowOf32BeforeThePeerHasSpoken(self):
        arq = makeARQ(sendWindow=1000)
        arq.write(b"x" * MSS * 100)
        assert len(segmentsOf(flushed(arq, 0))) == REMOTE_WINDOW_FIRST

    def test_oneFlushIsBounded(self):
        arq = makeARQ(sendWindow=1000)
        receive(arq, segment(TELL, wnd=1000))
        arq.write(b"x" * MSS * 500)
        batch = outboundBatch(1500, 0)
        assert arq.flush(0, batch) is True
        assert len(batch) <= FLUSH_DATAGRAMS + 1

    @pytest.mark.parametrize("most", [1, 2, 63, 1000])
    def test_oneFlushMakesNoMoreFullDatagramsThanItIsAllowed(self, most):
        arq = makeARQ(sendWindow=1000)
        receive(arq, segment(TELL, wnd=1000))
        arq.write(b"x" * MSS * 500)
        batch = outboundBatch(1500, 0)
        assert arq.flush(0, batch, most) is True
        assert len(batch) == min(most, FLUSH_DATAGRAMS)

    def test_aBoundedFlushLosesNothing(self):
        arq = makeARQ(sendWindow=1000)
        receive(arq, *(segment(PUSH, sn=sn, ts=sn, data=b"a") for sn in range(1, 60)))
        arq.write(b"x" * MSS * 20)
        out, more = [], True
        while more:
            batch = outboundBatch(1500, 0)
            more = arq.flush(0, batch, 1)
            assert len(batch) <= 2  # one of acks, one of data
            out.extend(bytes(datagram) for datagram in batch)
        segments = segmentsOf(out)
        assert [s[3] for s in segments if s[0] == PUSH] == list(range(20))
        assert [s[3] for s in segments if s[0] == ACK] == list(range(1, 60))
        assert flushed(arq, 0) == []

    def test_acksThatAreHeldBackDoNotCrowdOutTheData(self):
        arq = makeARQ(sendWindow=1000, receiveWindow=2000)
        receive(arq, *(segment(PUSH, sn=sn, ts=sn, data=b"a") for sn in range(1, 1500)))
        arq.write(b"x" * MSS * 20)
        batch = outboundBatch(1500, 0)
        arq.flush(0, batch, 10)
        kinds = [s[0] for s in segmentsOf([bytes(datagram) for datagram in batch])]
        assert kinds.count(PUSH) == 5

    def test_staysWithinThePeersWindow(self):
        arq = makeARQ(sendWindow=1000)
        receive(arq, segment(TELL, wnd=5))
        arq.write(b"x" * MSS * 100)
        assert len(segmentsOf(flushed(arq, 0))) == 5

    def test_staysWithinTheCongestionWindow(self):
        arq = makeARQ(congestion=SlowStart(100))
        arq.write(b"x" * MSS * 30)
        first = segmentsOf(flushed(arq, 0))
        assert len(first) == 10
        receive(arq, segment(ACK, sn=9, ts=first[-1][2], una=10), now=50)
        assert len(segmentsOf(flushed(arq, 50))) == 20

    def test_everyTransmissionHasANumberOfItsOwn(self):
        arq = makeARQ()
        arq.write(b"x" * MSS * 3)
        numbers = [s[2] for s in segmentsOf(flushed(arq, 0))]
        numbers += [s[2] for s in segmentsOf(flushed(arq, 10_000))]
        assert len(numbers) == 6 == len(set(numbers))

    def test_anIdleConversationWantsNoTimer(self):
        arq = makeARQ()
        assert arq.nextTimeout() is None
        arq.write(b"x")
        (push,) = segmentsOf(flushed(arq, 0))
        assert arq.nextTimeout() is not None
        receive(arq, segment(ACK, sn=0, ts=push[2], una=1), now=5)
        assert flushed(arq, 5) == []
        assert arq.nextTimeout() is None


class TestLoss:
    def test_aTimeoutSendsAgainAndTheNextWaitsTwiceAsLong(self):
        arq = makeARQ(backoff=2.0)
        arq.write(b"x")
        flushed(arq, 0)
        assert arq.nextTimeout() == 200
        assert flushed(arq, 199) == []
        assert len(flushed(arq, 200)) == 1
        assert arq.nextTimeout() == 200 + 400
        assert arq._counters.LostSegs == 1

    def test_withNodelayTheNextWaitsHalfAsLongAgain(self):
        arq = makeARQ(backoff=1.5)
        arq.write(b"x")
        flushed(arq, 0)
        flushed(arq, 200)
        assert arq.nextTimeout() == 200 + 300

    def test_overtakenByEnoughAckDatagramsIsLost(self):
        arq = makeARQ(resend=2)
        arq.write(b"x" * MSS * 4)
        pushes = segmentsOf(flushed(arq, 0))
        arq.write(b"y" * MSS * 2)
        receive(arq, segment(ACK, sn=1, ts=pushes[1][2]), now=20)
        assert [s[3] for s in segmentsOf(flushed(arq, 20))] == [4, 5]
        arq.write(b"z" * MSS)
        receive(arq, segment(ACK, sn=2, ts=pushes[2][2]), now=21)
        assert [s[3] for s in segmentsOf(flushed(arq, 21))] == [0, 6]
        assert arq._counters.FastRetransSegs == 1

    def test_oneAckIsEnoughWhenNothingNewIsSent(self):
        arq = makeARQ(resend=0)
        arq.write(b"x" * MSS * 2)
        pushes = segmentsOf(flushed(arq, 0))
        receive(arq, segment(ACK, sn=1, ts=pushes[1][2]), now=20)
        assert [s[3] for s in segmentsOf(flushed(arq, 20))] == [0]
        assert arq._counters.EarlyRetransSegs == 1

    def test_theSecondSendingIsNotOvertakenByAcksOfOlderOnes(self):
        arq = makeARQ(resend=1)
        arq.write(b"x" * MSS * 4)
        pushes = segmentsOf(flushed(arq, 0))
        receive(arq, segment(ACK, sn=1, ts=pushes[1][2]), now=20)
        assert [s[3] for s in segmentsOf(flushed(arq, 20))] == [0]
        receive(arq, segment(ACK, sn=2, ts=pushes[2][2]), segment(ACK, sn=3, ts=pushes[3][2]), now=21)
        assert flushed(arq, 21) == []

    def test_whatWasAcknowledgedWhileItWaitedIsNotSentAgain(self):
        arq = makeARQ()
        arq.write(b"x" * MSS * 2)
        pushes = segmentsOf(flushed(arq, 0))
        batch = outboundBatch(1500, 0)
        arq._findLost(10_000, early=False)
        receive(arq, segment(ACK, sn=0, ts=pushes[0][2], una=2), now=10_000)
        assert arq.flush(10_000, batch) is False
        assert len(batch) == 0


def test_slowStartHalvesTheFlightThatTimedOutHoweverOftenItIsTold():
    congestion = SlowStart(1000)
    for left in (200, 199, 198):
        congestion.timedOut(1, left, 0)
    assert congestion.window == 1
    congestion.acknowledged(98, 0, 0)
    assert congestion.window == 99


class TestRoundTrip:
    def test_isExactForASegmentSentTwice(self):
        arq = makeARQ()
        arq.write(b"x")
        flushed(arq, 0)
        (again,) = segmentsOf(flushed(arq, 500))
        receive(arq, segment(ACK, sn=0, ts=again[2], una=1), now=530)
        assert arq.srtt == 30

    def test_isExactForAnAckOfAnEarlierSendingSoThatATooShortRTOGrows(self):
        arq = makeARQ()
        arq.write(b"x")
        (first,) = segmentsOf(flushed(arq, 0))
        flushed(arq, 500)
        receive(arq, segment(ACK, sn=0, ts=first[2], una=1), now=530)
        assert arq.srtt == 530 and arq.rto > 530

    def test_isTakenOnceADatagramSoThatManyAcksDoNotHideItsVariance(self):
        arq = makeARQ()
        arq.write(b"x" * MSS * 20)
        pushes = segmentsOf(flushed(arq, 0))
        receive(arq, b"".join(segment(ACK, sn=s[3], ts=s[2]) for s in pushes[:10]), now=100)
        receive(arq, b"".join(segment(ACK, sn=s[3], ts=s[2]) for s in pushes[10:]), now=200)
        assert arq.srtt == 100 + 100 / 8
        assert arq.rto == pytest.approx(arq.srtt + 4 * (50 + 50 / 4))

    def test_isNotTakenFromRecoveredDatagrams(self):
        arq = makeARQ()
        arq.write(b"x")
        (first,) = segmentsOf(flushed(arq, 0))
        receive(arq, segment(ACK, sn=0, ts=first[2], una=1, wnd=1), now=30, recovered=True)
        assert arq.srtt is None
        arq.write(b"x" * MSS * 10)
        assert len(segmentsOf(flushed(arq, 30))) == 10

    def test_theFloorAndTheIntervalBoundTheRTO(self):
        arq = makeARQ(interval=10, minRTO=30)
        for i in range(50):
            arq.write(b"x")
            (push,) = segmentsOf(flushed(arq, i * 100))
            receive(arq, segment(ACK, sn=i, ts=push[2], una=i + 1), now=i * 100 + 40)
        assert arq.rto == pytest.approx(50, abs=1)


class TestReceiving:
    def test_deliversInOrder(self):
        arq = makeARQ()
        receive(arq, segment(PUSH, sn=1, data=b"b"), segment(PUSH, sn=2, data=b"c"))
        assert arq.read(1 << 20) == []
        receive(arq, segment(PUSH, sn=0, data=b"a"))
        assert b"".join(arq.read(1 << 20)) == b"abc"

    def test_aHoleIsReportedAtOnce(self):
        arq = makeARQ(interval=50)
        receive(arq, segment(PUSH, sn=1, ts=7, data=b"b"), now=0)
        assert [s[:1] + s[2:4] for s in segmentsOf(flushed(arq, 0))] == [(ACK, 7, 1)]

    def test_withoutAHoleAcksWaitForTheInterval(self):
        arq = makeARQ(interval=50)
        receive(arq, segment(PUSH, sn=0, ts=7, data=b"a"), now=0)
        assert flushed(arq, 0) == []
        assert arq.nextTimeout() == 50
        assert [s[0] for s in segmentsOf(flushed(arq, 50))] == [ACK]
        assert arq.nextTimeout() is None

    def test_acksLeaveWithData(self):
        arq = makeARQ()
        receive(arq, segment(PUSH, sn=0, data=b"a"))
        arq.write(b"answer")
        assert [s[0] for s in segmentsOf(flushed(arq, 0))] == [ACK, PUSH]

    def test_acksBelowUnaAreLeftOutButForTheLast(self):
        arq = makeARQ()
        receive(arq, *(segment(PUSH, sn=sn, ts=sn + 100, data=b"a") for sn in range(20)))
        (ack,) = segmentsOf(flushed(arq, 0))
        assert (ack[0], ack[2], ack[3], ack[4]) == (ACK, 119, 19, 20)

    def test_aRepeatedPushIsAcknowledgedAgainAndDeliveredOnce(self):
        arq = makeARQ()
        receive(arq, segment(PUSH, sn=0, ts=1, data=b"a"))
        flushed(arq, 100)
        receive(arq, segment(PUSH, sn=0, ts=2, data=b"a"), now=200)
        assert [s[2] for s in segmentsOf(flushed(arq, 200))] == [2]
        assert b"".join(arq.read(1 << 20)) == b"a"
        assert arq._counters.RepeatSegs == 1

    def test_aPushBeyondTheWindowIsNeitherKeptNorAcknowledged(self):
        arq = makeARQ(receiveWindow=10)
        receive(arq, segment(PUSH, sn=10, data=b"a"))
        assert flushed(arq, 1000) == []
        assert arq._counters.RecvWindowDrops == 1

    def test_unreadDataClosesTheWindowAndReadingTellsThePeer(self):
        arq = makeARQ(receiveWindow=4)
        receive(arq, *(segment(PUSH, sn=sn, data=b"a") for sn in range(4)))
        assert segmentsOf(flushed(arq, 100))[-1][1] == 0
        arq.read(1 << 20)
        (tell,) = segmentsOf(flushed(arq, 100))
        assert tell[:2] == (TELL, 4)

    def test_asksAClosedWindowEverLessOftenAndOnlyWithDataToSend(self):
        arq = makeARQ()
        receive(arq, segment(TELL, wnd=0))
        assert arq.nextTimeout() is None
        arq.write(b"x")
        flushed(arq, 0)
        assert arq.nextTimeout() == 500
        assert [s[0] for s in segmentsOf(flushed(arq, 500))] == [ASK]
        assert arq.nextTimeout() == 500 + 750
        receive(arq, segment(TELL, wnd=1), now=600)
        assert [s[0] for s in segmentsOf(flushed(arq, 600))] == [PUSH]

    def test_readsWholeSegmentsUpToALimit(self):
        arq = makeARQ()
        receive(arq, *(segment(PUSH, sn=sn, data=b"abc") for sn in range(4)))
        assert arq.read(4) == [b"abc", b"abc"]
        assert arq.read(1) == [b"abc"]
        assert arq.unread == 1

    def test_answersAnAsk(self):
        arq = makeARQ(receiveWindow=77)
        receive(arq, segment(ASK))
        assert [s[:2] for s in segmentsOf(flushed(arq, 0))] == [(TELL, 77)]


class TestFactsAboutThePath:
    def test_isStrainedByTheThirdSendingOfASegment(self):
        arq = makeARQ()
        arq.write(b"x")
        flushed(arq, 0)
        flushed(arq, 200)
        assert not arq.strained
        flushed(arq, 600)
        assert arq.strained

    def test_isStrainedByAPeerThatRepeatsItselfAndNothingElse(self):
        arq = makeARQ()
        for _ in range(3):
            receive(arq, segment(PUSH, sn=0, data=b"a"))
            assert not arq.strained
        receive(arq, segment(PUSH, sn=0, data=b"a"))
        assert arq.strained and arq.repeats == 3
        receive(arq, segment(PUSH, sn=1, data=b"b"))
        assert arq.repeats == 0

    @pytest.mark.parametrize("answer", [segment(ACK, sn=0, ts=1), segment(TELL), segment(PUSH, una=1, data=b"a")])
    def test_knowsWhenItWasAnswered(self, answer):
        arq = makeARQ()
        arq.write(b"x")
        flushed(arq, 0)
        receive(arq, segment(PUSH, data=b"not an answer"), segment(ASK), now=5)
        assert (arq.heardAt, arq.answeredAt) == (5, None)
        receive(arq, answer, now=30)
        assert arq.answeredAt == 30

    def test_whatFECRebuiltIsNoAnswerForItsAgeIsUnknown(self):
        arq = makeARQ()
        arq.write(b"x")
        flushed(arq, 0)
        receive(arq, segment(ACK, sn=0, ts=1, una=1), now=30, recovered=True)
        assert arq.answeredAt is None

    def test_aProbeIsAQuestionAndTheOldestSegmentEachByItself(self):
        arq = makeARQ()
        arq.write(b"x" * (MSS - 50))
        flushed(arq, 0)
        arq.write(b"y" * 10)
        flushed(arq, 1)
        receive(arq, segment(PUSH, sn=3, data=b"beyond a hole"))
        arq.write(b"z" * 10)
        arq.probe()
        datagrams = [segmentsOf([datagram]) for datagram in flushed(arq, 2)]
        assert [[s[0] for s in segments] for segments in datagrams] == [[ACK], [ASK], [PUSH], [PUSH]]
        assert [segments[0][3] for segments in datagrams[2:]] == [0, 2]
        assert arq._counters.RetransSegs == arq._counters.LostSegs == 1
        assert flushed(arq, 3) == []

    def test_aProbeOfWhatIsAboutToBeSentAgainSendsItOnce(self):
        arq = makeARQ()
        arq.write(b"x")
        flushed(arq, 0)
        arq.probe()
        assert [s[0] for s in segmentsOf(flushed(arq, 200))] == [ASK, PUSH]
        assert arq._counters.RetransSegs == 1

    def test_aProbeWithNothingInFlightIsAQuestion(self):
        arq = makeARQ()
        arq.probe()
        assert [s[0] for s in segmentsOf(flushed(arq, 0))] == [ASK]

    def test_showsWhatIsInFlightAndWhetherItHasArrived(self):
        arq = makeARQ()
        assert arq.oldest() is None
        for length in (10, MSS, 20, MSS):
            arq.write(b"x" * length)
            flushed(arq, 0)
        assert len(arq.oldest().data) == 10
        long = arq.inFlight(MSS, 10)
        assert [len(each.data) for each in long] == [MSS, MSS] and len(arq.inFlight(0, 3)) == 3
        receive(arq, segment(ACK, sn=3, ts=4))
        assert [each.acknowledged for each in long] == [False, True]
        assert arq.longestArrived == MSS


class TestBadInput:
    @settings(max_examples=300)
    @given(st.lists(st.binary(max_size=120), max_size=8), st.booleans())
    def test_arbitraryBytesAreCountedAndChangeNothing(self, datagrams, recovered):
        arq = makeARQ()
        bad = sum(1 for datagram in datagrams if datagram)
        receive(arq, *datagrams, recovered=recovered)
        assert arq._counters.KCPInErrors == bad  # no such bytes begin with our conv
        assert flushed(arq, 0) == [] and arq.read(1 << 20) == []

    @settings(max_examples=300)
    @given(st.data())
    def test_mutilatedDatagramsNeverRaiseAndKeepBoundsOfMemory(self, data):
        arq = makeARQ(receiveWindow=16)
        arq.write(b"x" * MSS * 5)
        sent = flushed(arq, 0)
        valid = [segment(PUSH, sn=i, data=b"d" * i) + segment(ACK, sn=i, ts=i + 1, una=i) for i in range(6)]
        for _ in range(data.draw(st.integers(1, 12))):
            datagram = bytearray(data.draw(st.sampled_from(valid + sent)))
            for _ in range(data.draw(st.integers(1, 3))):
                datagram[data.draw(st.integers(4, len(datagram) - 1))] = data.draw(st.integers(0, 255))
            del datagram[data.draw(st.integers(0, len(datagram))) :]
            receive(arq, bytes(datagram))
            flushed(arq, 1)
        assert len(arq._arrived.early) + arq.unread <= 2 * 16
        assert not arq._arrived.owesAcks(0, withData=True) or arq._arrived.ackAt is not None

    @given(st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF))
    def test_acksOfWhatWasNeverSentAcknowledgeNothing(self, sn, ts):
        arq = makeARQ()
        receive(arq, segment(ACK, sn=sn, ts=ts, una=0))
        assert arq._counters.AcksIgnored == 1
        arq.write(b"x")
        receive(arq, segment(TELL, una=sn))
        assert len(segmentsOf(flushed(arq, 0))) == 1

    def test_anotherConversationIsRefused(self):
        arq = makeARQ(conv=1)
        receive(arq, segment(PUSH, data=b"a"))
        assert arq.read(1 << 20) == [] and arq._counters.KCPInErrors == 1

    def test_aSegmentLongerThanAnyPeerSendsIsRefused(self):
        arq = makeARQ()
        receive(arq, segment(PUSH, data=bytes(1501)), segment(PUSH, data=bytes(1500)))
        assert len(b"".join(arq.read(1 << 20))) == 1500 and arq._counters.KCPInErrors == 1

    def test_aLyingLengthIsRefused(self):
        arq = makeARQ()
        receive(arq, HEADER.pack(CONV, PUSH, 0, 1, 0, 0, 0, 50) + b"short")
        assert arq.read(1 << 20) == [] and arq._counters.KCPInErrors == 1


def test_aGlimpseShowsTheConversationOfADatagram():
    datagram = segment(PUSH, sn=3, una=5, ts=7, data=b"abc")
    assert glimpse(b"..." + datagram, 3, 3 + len(datagram)) == (CONV, PUSH, 3, 5, 7)
    assert glimpse(datagram, 0, len(datagram) - 1) is None
    assert glimpse(segment(85), 0, OVERHEAD) is None


class TestThePeersHealth:
    def test_isSilentSinceWeWaitForAnAck(self):
        arq = makeARQ()
        assert arq.silentSince() is None
        arq.write(b"x")
        flushed(arq, 10)
        assert arq.silentSince() == 10
        receive(arq, segment(PUSH, sn=0), now=30)
        assert arq.silentSince() == 30
        receive(arq, segment(ACK, sn=0, ts=1, una=1), now=40)
        assert arq.silentSince() is None

    def test_aPeerThatForgotWhatItAcknowledgedIsAsGoodAsSilent(self):
        arq = makeARQ()
        arq.write(b"x" * MSS * 2)
        pushes = segmentsOf(flushed(arq, 0))
        receive(arq, segment(ACK, sn=0, ts=pushes[0][2], una=1), now=10)
        receive(arq, segment(TELL, una=0), now=20)
        assert arq.silentSince() == 10

    def test_aPeerThatAcknowledgesButCannotUseWhatItGetsIsSilentToo(self):
        arq = makeARQ()
        arq.write(b"x" * MSS * 3)
        pushes = segmentsOf(flushed(arq, 0))
        receive(arq, segment(ACK, sn=0, ts=pushes[0][2], una=1), now=10)
        for s in pushes[1:]:
            receive(arq, segment(ACK, sn=s[3], ts=s[2], una=0), now=20)
        assert arq.unacknowledged == 0 and arq.silentSince() == 10

    def test_onlyWhatIsMissingIsNews(self):
        arq = makeARQ(receiveWindow=10)
        arq.write(b"x" * MSS * 3)
        pushes = segmentsOf(flushed(arq, 0))
        receive(arq, segment(PUSH, sn=0, una=1), segment(PUSH, sn=2, una=1))
        news = [(PUSH, 1, 1), (PUSH, 9, 1), (PUSH, 10, 3), (ACK, 2, 1), (TELL, 0, 2)]
        stale = [(PUSH, 0, 1), (PUSH, 2, 1), (PUSH, 11, 1), (PUSH, 1, 0), (PUSH, 1, 4), (ACK, 0, 1), (TELL, 0, 1)]
        assert len(pushes) == 3
        assert [seen for seen in news if not arq.isNews(Glimpse(CONV, *seen))] == []
        assert [seen for seen in stale if arq.isNews(Glimpse(CONV, *seen))] == []

    def test_aRepeatIsNewsIfItWasSentAfterAllThatCame(self):
        arq = makeARQ()
        for ts in (MASK - 1, 3, MASK):  # ts wraps, and datagrams overtake each other
            receive(arq, segment(PUSH, sn=0, ts=ts))
        assert [ts for ts in (4, 1000, 0, 3, MASK, MASK - 2) if arq.isNews(Glimpse(CONV, PUSH, 0, 0, ts))] == [4, 1000]


class Pair:
    """Two ARQs and the datagrams between them, on a clock of our own."""

    def __init__(self, left: ARQ, right: ARQ) -> None:
        self.ends = (left, right)
        self.now = 0.0
        self.flying: list[list[bytes]] = [[], []]  # towards each end
        self.written = [b"", b""]
        self.got = [bytearray(), bytearray()]

    def write(self, end: int, data: bytes) -> None:
        self.ends[end].write(data)
        self.written[end] += data

    def turn(self, end: int) -> None:
        self.flying[1 - end].extend(flushed(self.ends[end], self.now))

    def read(self, end: int) -> None:
        self.got[end] += b"".join(self.ends[end].read(1 << 20))

    def wake(self) -> None:
        """Go on to the next timeout of either end."""
        times = [t for t in (end.nextTimeout() for end in self.ends) if t is not None]
        if times:
            self.now = max(self.now, min(times))
        for end in (0, 1):
            self.turn(end)

    def check(self) -> None:
        for end in (0, 1):
            assert self.written[1 - end].startswith(bytes(self.got[end]))

    def settle(self) -> None:
        """Let a perfect network finish the job."""
        for _ in range(10_000):
            for end in (0, 1):
                datagrams, self.flying[end] = self.flying[end], []
                if datagrams:
                    receive(self.ends[end], *datagrams, now=self.now)
                self.read(end)
                self.turn(end)
            if not any(self.flying):
                if all(end.nextTimeout() is None for end in self.ends):
                    break
                self.wake()
        assert [bytes(got) for got in self.got] == self.written[::-1]
        assert all(end.unacknowledged == 0 and end.unsent == 0 for end in self.ends)


class AnyNetwork(RuleBasedStateMachine):
    """Two ends over a channel that loses, reorders, doubles and cuts as hypothesis likes."""

    def __init__(self) -> None:
        super().__init__()
        tuning = {"receiveWindow": 12, "sendWindow": 20, "resend": 2, "interval": 20.0}
        self.pair = Pair(makeARQ(**tuning), makeARQ(congestion=SlowStart(20), **tuning))

    ends = st.integers(0, 1)

    @rule(end=ends, size=st.integers(1, 2000), fill=st.integers(0, 255))
    def write(self, end, size, fill):
        self.pair.write(end, bytes((fill + i) & 255 for i in range(size)))

    @rule(end=ends)
    def flush(self, end):
        self.pair.turn(end)

    @rule(end=ends)
    def read(self, end):
        self.pair.read(end)

    @rule(delay=st.integers(1, 400))
    def passTime(self, delay):
        self.pair.now += delay

    @rule()
    def wake(self):
        self.pair.wake()

    @rule(end=ends, data=st.data())
    @precondition(lambda self: any(self.pair.flying))
    def network(self, end, data):
        flying = self.pair.flying[end]
        if not flying:
            return
        index = data.draw(st.integers(0, len(flying) - 1))
        fate = data.draw(st.sampled_from(["deliver", "deliver", "deliver", "all", "lose", "double", "recover"]))
        if fate == "all":
            datagrams, flying[:] = list(flying), []
            receive(self.pair.ends[end], *datagrams, now=self.pair.now)
            return
        datagram = flying[index] if fate == "double" else flying.pop(index)
        if fate != "lose":
            receive(self.pair.ends[end], datagram, now=self.pair.now, recovered=fate == "recover")

    @invariant()
    def bytesInOrderOnce(self):
        self.pair.check()

    @invariant()
    def windowsRespected(self):
        for arq in self.pair.ends:
            assert arq.unread <= 12 and len(arq._arrived.early) <= 12
            assert arq._nxt - arq._una <= 20
            assert len(arq._flights) <= 20 * 70

    def teardown(self):
        self.pair.settle()


AnyNetwork.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestAnyNetwork = AnyNetwork.TestCase


@pytest.mark.parametrize("seed", range(6))
def test_aMegabyteEachWayOverABadNetwork(seed):
    rng = random.Random(seed)
    tunings = [
        {"interval": 10.0, "resend": 2, "minRTO": 30.0, "backoff": 1.5},
        {"interval": 40.0, "resend": 2},
        {"interval": 50.0, "resend": 0},
    ]
    tuning = tunings[seed % 3]
    pair = Pair(makeARQ(mtu=1350, **tuning), makeARQ(mtu=1350, **tuning))
    for end in (0, 1):
        pair.write(end, rng.randbytes(1_000_000))
        pair.turn(end)
    while any(len(pair.got[end]) < 1_000_000 for end in (0, 1)):
        assert pair.now < 600_000, f"stuck: replay with seed {seed}"
        pair.now += 5
        for end in (0, 1):
            datagrams, pair.flying[end] = pair.flying[end], []
            kept = [d for d in datagrams for _ in range(rng.choices((0, 1, 2), (10, 88, 2))[0])]
            if rng.random() < 0.2:
                rng.shuffle(kept)
            receive(pair.ends[end], *kept, now=pair.now)
            pair.read(end)
        pair.check()
        for end in (0, 1):
            pair.turn(end)
    pair.settle()


def test_numbersWrapWithoutASeam():
    pair = Pair(makeARQ(), makeARQ())
    for arq in pair.ends:
        arq._flights.number = (1 << 32) - 3
        arq._una = arq._nxt = arq._remoteUna = arq._arrived.nxt = (1 << 32) - 2
    pair.write(0, b"x" * MSS * 20)
    pair.write(1, b"y" * MSS * 20)
    pair.settle()


def test_theBatchKeepsItsBufferBetweenFlushes():
    arq = makeARQ(mtu=1000)
    batch: Batch = outboundBatch(1350, 28)
    arq.write(b"x" * 5000)
    arq.flush(0, batch)
    buffer = batch.buffer
    batch.clear()
    arq.flush(10_000, batch)
    assert batch.buffer is buffer and len(batch) == 6


def test_glimpsesShowAllSegmentsUpToWhatCannotBeOne():
    datagram = segment(ACK, sn=1) + segment(PUSH, sn=2, data=b"data")
    shown = [(seen.cmd, seen.sn) for seen in glimpses(b"..." + datagram, 3, 3 + len(datagram))]
    assert shown == [(ACK, 1), (PUSH, 2)]
    assert len(list(glimpses(datagram, 0, len(datagram) - 1))) == 1
    assert len(list(glimpses(datagram + segment(85), 0, len(datagram) + OVERHEAD))) == 2
