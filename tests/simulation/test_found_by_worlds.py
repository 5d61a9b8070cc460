"""What random worlds have found (eventfulworld.py), each as small as it could be made."""

from __future__ import annotations

import pytest
from test_closing import Drained, nothingIsLeft
from test_pathcheck import Scripted, carriesUpTo, nothing, segment
from test_relay import Target
from test_relay import Tunnel as Relayed
from tunnel import Endless, Recorder, Tunnel
from twisted.internet import task
from twisted.internet.error import ConnectionDone
from twisted.logger import capturedLogs, formatEvent

from kcpstack.batch import outboundBatch
from kcpstack.counters import Counters
from kcpstack.kernels.arq import ARQ, Tuning
from kcpstack.kernels.congestion import SlowStart
from kcpstack.kernels.pathcheck import Verdict
from kcpstack.kernels.segment import PUSH


@pytest.mark.parametrize("seconds", [3, 7, 8, 9, 10, 12, 20, 29])
def test_afterACutOfBothDirectionsNobodySaysThatOneIsDead(seconds):
    """What was asked while nobody was heard tells nothing of the direction, and the next question was far away."""
    it = Scripted(nothing)
    it.arq.write(b"x")
    it.arriving = [(0.0, segment(PUSH))]
    it.run(seconds)
    it.answer = carriesUpTo(1500)
    it.arriving = [(it.now + late, segment(PUSH, ts=late)) for late in range(0, 200, 20)]  # what was not acknowledged
    assert it.run(20) == []


@pytest.mark.parametrize("seconds", [3, 4, 5, 5.5])
def test_aPeerThatEndsRightAfterACutIsNotCalledDeaf(seconds):
    """It was heard, and most questions went unanswered, but none that it could have heard."""
    it = Scripted(nothing)
    it.arq.write(b"x")
    it.arriving = [(0.0, segment(PUSH))]
    it.run(seconds + 1)  # the check begins in the second second
    it.arriving = [(it.now + late, segment(PUSH, ts=late)) for late in range(0, 200, 20)]
    assert it.run(40) == []


def test_aDirectionThatIsDeadAfterACutOfBothIsFoundNevertheless():
    it = Scripted(nothing)
    it.arq.write(b"x")
    it.arriving = [(0.0, segment(PUSH))]
    it.run(10)
    it.arriving = [(it.now + late, segment(PUSH, ts=late)) for late in range(0, 10_000, 300)]
    (fault,) = it.run(10)
    assert fault.verdict is Verdict.DEAF
    assert 6 <= fault.seconds < 8


def expired(scavengettl: int):
    """A tunnel, and a stream on a session that expired a moment ago and has been replaced."""
    tunnel = Tunnel(client={"autoexpire": 5, "scavengettl": scavengettl})
    tunnel.client.start()
    stream = tunnel.open(b"hello")
    tunnel.advance(5.1)
    assert stream.received == b"hello" and len(tunnel.client.links) == 2
    return tunnel, stream


@pytest.mark.option("scavengettl", "closewait")
def test_aClientThatDrainsCutsNoStreamOfAnExpiredSession():
    """It did, and then said that every stream had ended."""
    tunnel, stream = expired(scavengettl=2)
    drained = Drained(tunnel, "client", 30)
    tunnel.advance(10)
    assert stream.lost is None and drained.outcome is None
    stream.transport.loseConnection()
    assert drained.wait().complete


def test_aStreamOfAnExpiredSessionThatADrainCutsIsCounted():
    tunnel, stream = expired(scavengettl=2)
    outcome = Drained(tunnel, "client", 10).wait()
    assert outcome.streams == 1 and not outcome.complete
    assert stream.lost is not None


@pytest.mark.option("scavengettl")
def test_aSessionWithoutStreamsIsScavengedWithoutAWord():
    tunnel = Tunnel(client={"autoexpire": 5, "scavengettl": 0})
    tunnel.client.start()
    with capturedLogs() as logs:
        tunnel.advance(28)
    assert not [line for line in map(formatEvent, logs) if "--scavengettl" in line]
    assert len(tunnel.client.links) == 1


@pytest.mark.parametrize("faults", [{}, {"loss": 0.01}], ids=str)
@pytest.mark.parametrize("shards", [(0, 0), (10, 3)])
@pytest.mark.parametrize("window", [32, 1024])
def test_aClientThatMovesInTheMiddleOfAnUploadIsFollowed(window, shards, faults):
    """All that it had out had arrived, and no ack of it reached its new address: it could only repeat."""
    slow = {"delay": 50.0, "rate": 1_000_000.0, "queue": 200.0}
    tunnel = Tunnel(Recorder, faults={**slow, **faults}, sndwnd=window, datashard=shards[0], parityshard=shards[1])
    stream = tunnel.open()
    assert tunnel.run(lambda: tunnel.served, 5)
    Endless(stream.transport)
    for index in range(3):
        tunnel.advance(3)
        so_far = len(tunnel.served[0].received)
        tunnel.sockets[0].rebind(("10.50.0.1", 5000 + index))
        tunnel.advance(3)
        assert len(tunnel.served[0].received) > so_far + 500_000
    assert len(tunnel.sockets) == 1 and stream.lost is None


def test_aClientThatMovesBeforeItHasHeardAnythingIsFollowed():
    tunnel = Tunnel(faults={"delay": 100.0})
    stream = tunnel.open(b"hello")
    tunnel.advance(0.15)
    tunnel.sockets[0].rebind(("10.50.0.1", 5000))
    assert tunnel.run(lambda: stream.received == b"hello", 1)


@pytest.mark.parametrize(
    ("end", "what"),
    [("client", "server drains"), ("client", "server crashes"), ("client", "session expires"), ("server", "session expires")],
)
def test_aSlowReaderGetsAllThatHadArrivedThoughTheSessionIsOver(end, what):
    """Its peer had nothing more to do and left, and the rest was thrown away with the session."""
    tunnel = Tunnel(Recorder, client={"autoexpire": 20 if what == "session expires" else 0})
    tunnel.client.start()
    stream = tunnel.open(b"x")
    assert tunnel.run(lambda: tunnel.served and tunnel.served[0].received == b"x", 5)
    reader, writer = (stream, tunnel.served[0]) if end == "client" else (tunnel.served[0], stream)
    reader.transport.pauseProducing()
    writer.transport.write(bytes(100_000))
    writer.transport.loseConnection()
    tunnel.advance(5)
    if what == "server drains":
        assert Drained(tunnel, "server", 30).wait(1).complete
        tunnel.startServer()
    elif what == "server crashes":
        tunnel.transport.stopListening()
        tunnel.server.close()
        tunnel.startServer()
    tunnel.advance(60)
    assert reader.lost is None
    reader.transport.resumeProducing()
    tunnel.advance(1)
    assert reader.received.count(0) == 100_000
    assert reader.lost.check(ConnectionDone)
    assert nothingIsLeft(tunnel)


@pytest.mark.parametrize("leaves", ["loseConnection", "abortConnection"])
def test_aReaderWhoIsAloneMayLeaveToo(leaves):
    tunnel = Tunnel(Recorder)
    stream = tunnel.open(b"x")
    assert tunnel.run(lambda: tunnel.served, 5)
    stream.transport.pauseProducing()
    tunnel.served[0].transport.write(b"never read")
    tunnel.served[0].transport.loseConnection()
    tunnel.advance(1)
    tunnel.client.links[0].conversation.session.abortConnection()
    tunnel.advance(1)
    assert stream.lost is None
    getattr(stream.transport, leaves)()
    tunnel.advance(1)
    assert stream.lost is not None and not stream.received
    assert nothingIsLeft(tunnel)


def test_whatIsFoundLostClosesTheWindowOfTheSameFlush():
    """It had sent all that the window of a moment ago allowed, and only then learned that all of it was lost."""
    arq = ARQ(1, 1000, Tuning(), SlowStart(128), Counters())
    arq.write(bytes(976 * 5))
    arq.flush(0.0, outboundBatch(1000, 0))
    arq.write(bytes(976 * 4))  # ten may be in flight at first
    arq.flush(5000.0, outboundBatch(1000, 0))
    assert arq.unacknowledged == 5 and arq.unsent == 976 * 4


@pytest.mark.parametrize("version", [1, 2])
def test_whatAnApplicationSaidBeforeItClosedReachesATargetThatComesLater(version):
    """The relay closed the target's connection before it had passed anything on, and that looked like a clean end."""
    tunnel = Relayed(version)
    tunnel.target.connect = lambda factory: task.deferLater(tunnel.clock, 1, Target.connect, tunnel.target, factory)
    application = tunnel.connect()
    application.transport.write(b"all there is to say")
    application.transport.loseConnection()
    tunnel.advance(5)
    (target,) = tunnel.toTarget.accepted
    assert bytes(target.received) == b"all there is to say"
    assert target.ended


def test_aStreamWhoseEndsHaveBothBeenHeardIsNotLostWithItsSessionThoughItsReaderStalls():
    tunnel = Tunnel(Recorder)
    tunnel.client.start()
    stream = tunnel.open(b"x")
    assert tunnel.run(lambda: tunnel.served and tunnel.served[0].received == b"x")
    reader = tunnel.served[0]
    reader.transport.pauseProducing()
    stream.transport.write(bytes(31))
    stream.transport.loseConnection()
    tunnel.advance(2)
    drained = Drained(tunnel, "server", 3600)
    tunnel.advance(60)  # for longer than a session lives that nobody needs
    assert drained.outcome is not None and drained.outcome.complete, str(drained.outcome)
    reader.transport.resumeProducing()
    tunnel.advance(1)
    assert len(reader.received) == 32 and reader.lost.check(ConnectionDone)
