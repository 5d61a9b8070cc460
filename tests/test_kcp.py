"""The KCP session as a transport: Twisted's grammar over the ARQ, in virtual time."""

from __future__ import annotations

import pytest
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from kcpstack.batch import inboundBatch, outboundBatch
from kcpstack.counters import Counters
from kcpstack.interfaces import ISessionTransport
from kcpstack.kernels.arq import ARQ, Tuning
from kcpstack.kernels.congestion import FixedWindow
from kcpstack.kernels.pathcheck import Verdict
from kcpstack.layers.kcp import HIGH_WATER, LINGER, KCPSession
from kcpstack.schedule import Schedule


class Protocol:
    def __init__(self) -> None:
        self.transport = None
        self.received = bytearray()
        self.deliveries = 0
        self.reasons: list = []

    def makeConnection(self, transport) -> None:
        self.transport = transport

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.deliveries += 1

    def connectionLost(self, reason) -> None:
        self.reasons.append(reason)


class Producer:
    """Writes ``size`` bytes whenever it may, until ``total``."""

    def __init__(self, session, size: int, total: int) -> None:
        self.session = session
        self.size = size
        self.left = total
        self.running = True
        self.stopped = False
        self.pauses = 0

    def run(self) -> None:
        while self.running and self.left:
            self.left -= self.size
            self.session.write(b"p" * self.size)

    def pauseProducing(self) -> None:
        self.running = False
        self.pauses += 1

    def resumeProducing(self) -> None:
        self.running = True
        self.run()

    def stopProducing(self) -> None:
        self.stopped = True


class End:
    def __init__(self, clock: Clock, receiveWindow: int = 128, control=FixedWindow) -> None:
        self.other: End | None = None
        self.clock = clock
        self.sends = 0
        self.reachable = True
        self.finished: list = []
        tuning = Tuning(interval=10, resend=2, minRTO=30, sendWindow=256, receiveWindow=receiveWindow)
        self.arq = ARQ(0xDEADBEEF, 1200, tuning, control(256), Counters())
        schedule = Schedule(clock)
        self.session = KCPSession(
            self.arq, schedule, outboundBatch(1500, 0), self.send, self.finished.append, "here", "there"
        )
        self.protocol = Protocol()
        self.session.start(self.protocol)

    def send(self, batch) -> None:
        self.sends += 1
        datagrams = [bytes(datagram) for datagram in batch]
        if self.other.reachable:
            self.clock.callLater(0.005, lambda: self.other.session.datagramsReceived(inboundBatch(datagrams)))


class Ends:
    def __init__(self, **options) -> None:
        self.clock = Clock()
        self.left, self.right = End(self.clock, **options), End(self.clock, **options)
        self.left.other, self.right.other = self.right, self.left

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds * 1000)):
            self.clock.advance(0.001)

    def idle(self) -> bool:
        return self.clock.getDelayedCalls() == []


@pytest.fixture
def ends():
    return Ends()


def test_providesItsInterface(ends):
    assert verifyObject(ISessionTransport, ends.left.session)
    assert ends.left.session.getPeer() == "there" and ends.left.session.getHost() == "here"


def test_writesOfOneTurnLeaveTogether(ends):
    for _ in range(100):
        ends.left.session.write(b"x" * 10)
    ends.left.session.writeSequence([b"y", b"z"])
    ends.clock.advance(0)
    assert ends.left.sends == 1
    ends.run(0.006)
    assert bytes(ends.right.protocol.received) == b"x" * 1000 + b"yz"
    assert ends.right.protocol.deliveries == 1


def test_whenAllIsAcknowledgedNothingTicks(ends):
    ends.left.session.write(b"x" * 100_000)
    ends.right.session.write(b"y" * 100_000)
    ends.run(1)
    assert len(ends.right.protocol.received) == len(ends.left.protocol.received) == 100_000
    assert ends.idle()


def test_anAnswerWrittenOnReceivingTakesTheAckAlong(ends):
    ends.right.protocol.dataReceived = lambda data: ends.right.session.write(b"answer")
    ends.left.session.write(b"question")
    ends.run(0.006)
    assert ends.right.sends == 1
    ends.run(0.02)
    assert bytes(ends.left.protocol.received) == b"answer"


def test_aRateHoldsForWhatSendingMadeOfTheBatch(ends):
    """The layers below grow the batch in place: that is what counts."""

    def send(batch):
        ends.left.send(batch)
        batch.starts.append(0)
        batch.ends.append(8_800)  # with a full datagram of 1,200 it makes 10,000

    ends.left.session._send = send
    ends.left.session.setRate(100_000)
    ends.left.session.write(b"x" * 100 * 1176)
    ends.run(2)
    assert len(ends.right.protocol.received) / 1176 == pytest.approx(20, abs=2)
    ends.left.session.setRate(0)
    ends.run(0.02)
    assert len(ends.right.protocol.received) == 100 * 1176


def test_aRateThatIsTakenAwayOrRaisedHoldsAtOnceAndAnEndedSessionHasNone(ends):
    ends.left.session.setRate(1)
    ends.left.session.write(b"x" * 10_000)
    ends.run(0.5)
    assert len(ends.right.protocol.received) < 5_000
    ends.left.session.setRate(1_000_000)
    ends.run(0.1)
    assert len(ends.right.protocol.received) == 10_000
    ends.left.session.abortConnection()
    ends.left.session.setRate(5)
    ends.right.session.abortConnection()
    assert ends.idle()


def test_aPacedProducerIsPausedEarlyAndResumedInTime(ends):
    ends.left.session.setRate(100_000)
    producer = Producer(ends.left.session, 1_000, 10_000_000)
    ends.left.session.registerProducer(producer, True)
    producer.run()
    waiting = []
    for _ in range(500):
        ends.run(0.01)
        waiting.append(ends.left.arq.unsent)
    assert max(waiting) <= 11_000 and min(waiting) > 0
    assert producer.pauses > 10


def test_aFaultOfThePathIsReportedWithItsSession(ends):
    found = []
    ends.left.session.watchPath(lambda session, fault: found.append((session, fault.verdict)))
    ends.left.session.write(b"a question")
    ends.run(0.1)
    ends.left.other.reachable = False
    ends.left.session.write(b"another")
    for _ in range(20):
        ends.right.session.write(b"something new")
        ends.run(0.5)
    assert found == [(ends.left.session, Verdict.DEAF)]


def test_whoeverEndsTheSessionBecauseOfAFaultMay(ends):
    ends.left.session.watchPath(lambda session, fault: session.abortConnection())
    ends.left.other.reachable = False
    ends.left.session.write(b"x")
    for _ in range(20):
        ends.right.session.write(b"something new")
        ends.run(0.5)
    assert not ends.left.session.connected and len(ends.left.protocol.reasons) == 1


@pytest.mark.parametrize("length", [1, 5000, 100_000])
def test_aSessionThatEndsHandsUpWhatHasArrivedThoughItsReaderHadPaused(ends, length):
    ends.right.session.pauseProducing()
    ends.left.session.write(b"x" * length)
    ends.run(1)
    ends.right.session.connectionLost(Failure(ConnectionLost("the peer has left")))
    assert len(ends.right.protocol.received) == length
    assert ends.right.protocol.reasons[0].check(ConnectionLost)


def test_aSessionThatIsAbortedHandsUpNothingMore(ends):
    ends.right.session.pauseProducing()
    ends.left.session.write(b"x" * 5000)
    ends.run(1)
    ends.right.session.abortConnection()
    assert ends.right.protocol.received == b"" and len(ends.right.protocol.reasons) == 1


def test_whoEndsTheSessionWhileItIsGivenTheRestGetsNoMore(ends):
    session, protocol = ends.right.session, ends.right.protocol
    session.pauseProducing()
    ends.left.session.write(b"x" * 100_000)
    ends.run(1)
    taken = []
    protocol.dataReceived = lambda data: (taken.append(data), session.abortConnection())
    session.connectionLost(Failure(ConnectionLost("the peer has left")))
    assert len(taken) == 1 and len(protocol.reasons) == 1


def test_aPausedReaderStopsTheFarWriterAndMemoryStaysBounded(ends):
    ends.right.session.pauseProducing()
    producer = Producer(ends.left.session, 10_000, 10_000_000)
    ends.left.session.registerProducer(producer, True)
    producer.run()
    ends.run(3)
    assert producer.pauses >= 1 and not producer.running
    assert ends.right.arq.unread <= 128
    assert ends.left.arq.unsent <= HIGH_WATER + 10_000
    assert producer.left > 9_000_000
    ends.right.session.resumeProducing()
    ends.run(10)
    assert len(ends.right.protocol.received) == 10_000_000 and producer.left == 0


@pytest.mark.parametrize("length", [1, 1176, 1177, 5000])
def test_aReaderThatResumesIsGivenWhatWaitsHoweverLittleItIs(ends, length):
    ends.right.session.pauseProducing()
    ends.left.session.write(b"x" * length)
    ends.run(1)
    assert ends.right.protocol.received == b""
    ends.right.session.resumeProducing()
    ends.run(0.001)
    assert len(ends.right.protocol.received) == length


def test_pausingInTheMiddleOfADeliveryHolds(ends):
    protocol = ends.right.protocol

    def receive(data):
        protocol.received += data
        ends.right.session.pauseProducing()

    protocol.dataReceived = receive
    ends.left.session.write(b"x" * 300_000)
    ends.run(1)
    first = len(protocol.received)
    assert 0 < first < 300_000
    for _ in range(400):
        ends.right.session.resumeProducing()
        ends.run(0.1)
    assert len(protocol.received) == 300_000


def test_aPullProducerIsAskedForAllItHas(ends):
    producer = Producer(ends.left.session, 5000, 500_000)

    def pull():
        if producer.left:
            producer.left -= 5000
            ends.left.session.write(b"p" * 5000)
        else:
            ends.left.session.unregisterProducer()

    producer.resumeProducing = pull
    ends.left.session.registerProducer(producer, False)
    ends.run(3)
    assert len(ends.right.protocol.received) == 500_000
    assert ends.idle()


def test_onlyOneProducerAtATime(ends):
    ends.left.session.registerProducer(Producer(ends.left.session, 1, 1), True)
    with pytest.raises(RuntimeError):
        ends.left.session.registerProducer(Producer(ends.left.session, 1, 1), True)


def test_loseConnectionWaitsUntilAllIsAcknowledged(ends):
    ends.left.session.write(b"x" * 200_000)
    ends.left.session.loseConnection()
    ends.left.session.write(b"too late")
    ends.run(1)
    assert len(ends.right.protocol.received) == 200_000
    (reason,) = ends.left.protocol.reasons
    assert reason.check(ConnectionDone)
    assert ends.left.finished == [ends.left.session]
    assert ends.idle()


def test_loseConnectionWaitsAsLongAsThePeerTakesSome():
    ends = Ends(receiveWindow=32)
    ends.right.session.pauseProducing()
    ends.left.session.write(b"x" * 400_000)
    ends.left.session.loseConnection()
    while not ends.left.protocol.reasons:
        ends.run(LINGER / 1000 * 0.6)
        ends.right.session.resumeProducing()
        ends.run(0.01)
        ends.right.session.pauseProducing()
    ends.right.session.resumeProducing()
    ends.run(0.01)
    assert ends.clock.seconds() > 2 * LINGER / 1000
    assert ends.left.protocol.reasons[0].check(ConnectionDone)
    assert len(ends.right.protocol.received) == 400_000


def test_loseConnectionDoesNotWaitForeverAndSaysWhatIsUnsure(ends):
    ends.right.reachable = False
    ends.left.session.write(b"x" * 200_000)
    ends.left.session.loseConnection()
    ends.run(LINGER / 1000 + 0.1)
    (reason,) = ends.left.protocol.reasons
    assert reason.check(ConnectionLost) and "unacknowledged" in reason.getErrorMessage()
    assert ends.idle()


def test_abortIsAtOnceAndOnce(ends):
    ends.left.session.write(b"x")
    ends.left.session.abortConnection()
    ends.left.session.abortConnection()
    ends.left.session.loseConnection()
    (reason,) = ends.left.protocol.reasons
    assert reason.check(ConnectionAborted)
    assert ends.left.finished == [ends.left.session] and ends.idle()
    ends.left.session.datagramsReceived(inboundBatch([b"late"]))
    ends.left.session.write(b"late")
    assert ends.idle()


def test_aProducerOfAnEndedSessionIsStopped(ends):
    ends.left.session.abortConnection()
    producer = Producer(ends.left.session, 1, 1)
    ends.left.session.registerProducer(producer, True)
    assert producer.stopped


def test_aProtocolThatRaisesLosesItsSessionAndNothingElse(ends):
    def fail(data):
        raise ZeroDivisionError("in the protocol")

    ends.right.protocol.dataReceived = fail
    ends.left.session.write(b"x")
    ends.run(0.1)
    (reason,) = ends.right.protocol.reasons
    assert reason.check(ZeroDivisionError)
    assert ends.right.finished == [ends.right.session]


def test_aLayerBelowThatRaisesEndsTheSessionAndLeavesTheSharedBatchEmpty(ends):
    def fail(batch):
        raise RuntimeError("in a cipher, say")

    ends.left.session._send = fail
    ends.left.session.write(b"x")
    ends.clock.advance(0)
    (reason,) = ends.left.protocol.reasons
    assert reason.check(RuntimeError)
    assert len(ends.left.session.batch) == 0 and ends.idle()


@pytest.mark.parametrize("window", [ZeroDivisionError("in the control"), None, "wide"], ids=repr)
def test_aWindowThatIsNoneEndsTheSessionAndIsNothingToWhoWrites(window):
    class Control(FixedWindow):
        @property
        def window(self):
            if isinstance(window, Exception):
                raise window
            return window

        window = window.setter(lambda self, segments: None)

    ends = Ends(control=Control)
    session = ends.left.session
    producer = Producer(session, 1000, 1000)
    session.registerProducer(producer, True)
    with capturedLogs() as logged:
        producer.run()
    (reason,) = ends.left.protocol.reasons
    assert reason.check(ZeroDivisionError, TypeError)
    assert ends.left.finished == [session] and not session.connected
    assert [event["session"] for event in logged] == [session]
    assert ends.idle()
