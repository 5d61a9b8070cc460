"""How a client or a server closes: nothing that was handed over is lost without being counted."""

from __future__ import annotations

import random

import pytest
from smuxpairs import Pair
from tunnel import Recorder, Tunnel
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.logger import capturedLogs, formatEvent

from kcpstack.closing import FAREWELL, Outcome
from kcpstack.layers.relay import ClientRelayFactory, ServerRelayFactory
from kcpstack.layers.smux import LEAVE_PATIENCE
from kcpstack.testing.streams import HalfCloseableRecorder

bothEnds = pytest.mark.parametrize("end", ["client", "server"])
MEGABYTE = random.Random(5).randbytes(1_000_000)


class Drained:
    """An end of a tunnel that was told to drain: ``outcome`` and the log line, once it is over."""

    def __init__(self, tunnel: Tunnel, end: str, seconds: float, relays=None) -> None:
        self.tunnel = tunnel
        self.end = getattr(tunnel, end)
        self.outcome: Outcome | None = None
        self.began = tunnel.clock.seconds()
        self.took = 0.0
        self.end.drain(seconds, relays).addCallback(self._over)

    def _over(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.took = self.tunnel.clock.seconds() - self.began

    def wait(self, seconds: float = 60) -> Outcome:
        assert self.tunnel.run(lambda: self.outcome is not None, seconds), "the drain is not over"
        return self.outcome


def connected(serves=Recorder, streams: int = 1, **options) -> tuple[Tunnel, list[Recorder]]:
    """A started client, and streams that the server knows of; no compression, so that bytes are bytes."""
    tunnel = Tunnel(serves=serves, nocomp=True, **options)
    tunnel.client.start()
    opened = [tunnel.open() for _ in range(streams)]
    assert tunnel.run(lambda: len(tunnel.served) == streams, 5)
    tunnel.advance(1)
    return tunnel, opened


def ends(tunnel: Tunnel, streams: list[Recorder], end: str) -> tuple[list[Recorder], list[Recorder]]:
    """The protocols of the end that closes, and those of the other."""
    return (streams, tunnel.served) if end == "client" else (tunnel.served, streams)


def nothingIsLeft(tunnel: Tunnel) -> bool:
    tunnel.client.close()
    tunnel.server.close()
    tunnel.advance(1)
    return tunnel.clock.getDelayedCalls() == []


# ------------------------------------------------------------ streams that end in time


@bothEnds
@pytest.mark.option("closewait")
def test_bulkInFlightArrivesWholeAndTheOutcomeSaysSo(end):
    tunnel, streams = connected(streams=3, faults={"loss": 0.05})
    ours, theirs = ends(tunnel, streams, end)
    for protocol in ours:
        protocol.transport.write(MEGABYTE)
        protocol.transport.loseConnection()
    drained = Drained(tunnel, end, 30)
    outcome = drained.wait(30)
    assert [bytes(protocol.received) for protocol in theirs] == [MEGABYTE] * 3
    assert all(protocol.lost.check(ConnectionDone) for protocol in theirs)
    assert outcome.complete
    assert str(outcome) == "every stream had ended and everything was acknowledged"
    assert drained.took < 30
    assert nothingIsLeft(tunnel)


@bothEnds
def test_openStreamsGoOnAndTheDrainEndsWithTheLast(end):
    tunnel, streams = connected(streams=2)
    ours, theirs = ends(tunnel, streams, end)
    drained = Drained(tunnel, end, 30)
    tunnel.advance(5)
    for number, (one, other) in enumerate(zip(ours, theirs)):
        other.transport.write(b"question")
        one.transport.write(b"answer")
        assert tunnel.run(lambda one=one, other=other: (one.received, other.received) == (b"question", b"answer"), 1)
        assert drained.outcome is None
        (one if number else other).transport.loseConnection()
        tunnel.advance(2)
    assert drained.wait(1).complete
    assert 7 <= drained.took < 8


@bothEnds
@pytest.mark.parametrize("seconds", [0, 30])
def test_anIdleEndClosesInTwoRoundTrips(end, seconds):
    tunnel, _ = connected(streams=0)
    drained = Drained(tunnel, end, seconds)
    assert drained.wait().complete
    assert drained.took < 0.1
    assert nothingIsLeft(tunnel)


@bothEnds
def test_anIdleEndDoesNotWaitLongForAPeerThatIsGone(end):
    tunnel, _ = connected(streams=0)
    tunnel.network.configure(cut=True)
    drained = Drained(tunnel, end, 30)
    assert drained.wait().complete
    assert drained.took < 10


def test_bothEndsMayCloseAtOnce():
    tunnel, (stream,) = connected()
    stream.transport.write(MEGABYTE)
    stream.transport.loseConnection()
    both = [Drained(tunnel, "client", 30), Drained(tunnel, "server", 30)]
    assert all(drained.wait().complete for drained in both)
    assert bytes(tunnel.served[0].received) == MEGABYTE
    assert max(drained.took for drained in both) < 20


# ------------------------------------------------------------ nothing new


def test_aClientThatClosesOpensNoMoreStreams():
    tunnel, (stream,) = connected()
    Drained(tunnel, "client", 30)
    refused = tunnel.open(b"hello")
    assert refused.lost.check(ConnectionLost) and "closing" in refused.lost.getErrorMessage()
    tunnel.advance(5)
    assert len(tunnel.served) == 1 and stream.lost is None


def test_streamsThatWaitForTheServerFailWhenTheClientCloses():
    tunnel = Tunnel(listening=False)
    tunnel.client.start()
    tunnel.advance(5)
    stream = tunnel.open(b"hello")
    drained = Drained(tunnel, "client", 30)
    assert stream.lost.check(ConnectionLost) and "closing" in stream.lost.getErrorMessage()
    assert drained.wait(1).complete
    assert tunnel.clock.getDelayedCalls() == []


def test_aServerThatClosesRefusesStreamsAndTakesNoSessions():
    tunnel, (stream,) = connected()
    (link,) = tunnel.client.links
    Drained(tunnel, "server", 30)
    late = Recorder(b"hello")
    link.mux.openStream(late)  # before the client knows
    assert tunnel.run(lambda: late.lost is not None, 1)
    assert late.lost.check(ConnectionLost) and "aborted" in late.lost.getErrorMessage()
    tunnel.client.keepsReady = False
    other = tunnel.newClient()
    other.start()
    tunnel.advance(5)
    assert len(tunnel.server.conversations()) == 1 and len(tunnel.served) == 1
    assert stream.lost is None


def test_aClientLeavesAServerThatClosesAtOnceAndItsStreamsWaitForTheNext():
    tunnel, (stream,) = connected()
    count = len(tunnel.sockets)
    drained = Drained(tunnel, "server", 5)
    assert tunnel.run(lambda: len(tunnel.sockets) > count, 0.1), "not after three seconds of silence"
    late = tunnel.open(b"hello")
    drained.wait(10)
    tunnel.startServer()
    assert tunnel.run(lambda: tunnel.served[-1].received == b"hello", 20)
    assert late.lost is None and stream.lost is not None


# ------------------------------------------------------------ what is cut


@bothEnds
@pytest.mark.option("closewait")
def test_aDrainThatTimesOutCutsAndCountsEveryByte(end):
    tunnel, streams = connected(streams=3)
    ours, _ = ends(tunnel, streams, end)
    tunnel.network.configure(cut=True)
    for protocol, length in zip(ours, (100_000, 20_345, 0)):
        protocol.transport.write(MEGABYTE[:length])
    with capturedLogs() as logs:
        outcome = Drained(tunnel, end, 10).wait(10 + FAREWELL)
    assert outcome == Outcome(10.0, "closewait", sessions=1, streams=3, unacknowledged=120_345)
    assert [protocol.lost.check(ConnectionAborted) for protocol in ours] == [ConnectionAborted] * 3
    lines = [formatEvent(event) for event in logs]
    expected = "Closed: 3 streams were cut after 10 s (closewait); 120,345 bytes of theirs were not yet acknowledged"
    assert expected in lines
    assert nothingIsLeft(tunnel)


@bothEnds
def test_bytesThatAreAcknowledgedDoNotCount(end):
    tunnel, streams = connected(streams=2)
    ours, theirs = ends(tunnel, streams, end)
    for protocol in ours:
        protocol.transport.write(MEGABYTE[:50_000])
    assert tunnel.run(lambda: [len(protocol.received) for protocol in theirs] == [50_000] * 2, 10)
    tunnel.advance(1)
    tunnel.network.configure(cut=True)
    ours[0].transport.write(MEGABYTE[:7])
    tunnel.advance(0.1)
    assert Drained(tunnel, end, 0).wait(2).unacknowledged == 7


@bothEnds
def test_ofAWriteThatIsUnderWayJustTheRestCounts(end):
    tunnel, streams = connected(sndwnd=64)
    (one,), (other,) = ends(tunnel, streams, end)
    one.transport.write(MEGABYTE)
    assert tunnel.run(lambda: len(other.received) > 200_000, 10)
    outcome = Drained(tunnel, end, 0).wait(2)
    assert outcome.streams == 1
    arrived = len(MEGABYTE) - outcome.unacknowledged
    assert 0 < arrived <= len(other.received), "what is acknowledged has arrived"
    assert other.lost.check(ConnectionLost)


def test_compressedBytesAreCountedAsTheApplicationWroteThem():
    tunnel = Tunnel(serves=Recorder)
    stream = tunnel.open()
    assert tunnel.run(lambda: tunnel.served, 1)
    tunnel.advance(1)
    tunnel.network.configure(cut=True)
    stream.transport.write(b"x" * 100_000)
    assert Drained(tunnel, "client", 1).wait(3).unacknowledged == 100_000


@bothEnds
def test_whatArrivedAndWasNotTakenIsCountedToo(end):
    tunnel, streams = connected()
    (one,), (other,) = ends(tunnel, streams, end)
    one.transport.pauseProducing()
    other.transport.write(MEGABYTE[:40_000])
    tunnel.advance(5)
    outcome = Drained(tunnel, end, 0).wait(2)
    assert (outcome.undelivered, outcome.unacknowledged) == (40_000, 0)
    assert str(outcome).endswith("40,000 bytes for our applications were not yet taken")


@bothEnds
@pytest.mark.parametrize("seed", range(12))
def test_whateverIsMissingAtTheOtherEndWasCounted(end, seed):
    rng = random.Random(seed)
    tunnel, streams = connected(
        streams=5, smuxver=rng.choice((1, 2)), sndwnd=rng.choice((32, 1024)), faults={"loss": rng.choice((0.0, 0.05, 0.2))}
    )
    ours, theirs = ends(tunnel, streams, end)
    written = 0
    for protocol in ours:
        piece = MEGABYTE[: rng.choice((0, 10, 5000, 300_000))]
        written += len(piece)
        protocol.transport.write(piece)
        if rng.random() < 0.8:
            protocol.transport.loseConnection()
    tunnel.advance(rng.choice((0, 0.02, 0.1, 0.5)))
    outcome = Drained(tunnel, end, rng.choice((0, 0.05, 0.3, 5))).wait(20)
    missing = written - sum(len(protocol.received) for protocol in theirs)
    assert missing <= outcome.unacknowledged <= written
    if outcome.complete:
        assert all(protocol.lost.check(ConnectionDone) for protocol in theirs)


@bothEnds
@pytest.mark.parametrize("seconds", [0, 5])
def test_aCutIsAnAbortAtBothEndsAndTheOtherLearnsOfItAtOnce(end, seconds):
    tunnel, streams = connected(streams=3)
    ours, theirs = ends(tunnel, streams, end)
    drained = Drained(tunnel, end, seconds)
    assert tunnel.run(lambda: all(protocol.lost is not None for protocol in theirs), seconds + 0.1)
    assert all(protocol.lost.check(ConnectionLost) for protocol in theirs)
    assert all(protocol.lost.check(ConnectionAborted) for protocol in ours)
    outcome = drained.wait(1)
    assert drained.took < seconds + 0.2, "no longer than it takes to tell"
    assert (outcome.streams, outcome.unacknowledged) == (3, 0)


@bothEnds
def test_aSecondCallCutsAtOnce(end):
    tunnel, _streams = connected()
    drained = Drained(tunnel, end, 30)
    tunnel.advance(12)
    again = Drained(tunnel, end, 30)
    assert str(drained.wait(1)).startswith("1 stream was cut after 12 s (asked again)")
    assert again.outcome == drained.outcome


@bothEnds
def test_cutNowEndsAWaitAndThenTheFarewell(end):
    tunnel, streams = connected()
    tunnel.network.configure(cut=True)
    drained = Drained(tunnel, end, 30)
    tunnel.advance(1)
    drained.end.cutNow()
    tunnel.advance(0.1)
    assert streams[0].lost is not None or end == "server"
    assert drained.outcome is None, "the peer is being told"
    drained.end.cutNow()
    assert drained.outcome is not None and drained.took < 1.2


@bothEnds
def test_aPeerThatIsNotThereHoldsUpACutForTheFarewellAlone(end):
    tunnel, _streams = connected()
    tunnel.network.configure(cut=True)
    drained = Drained(tunnel, end, 0)
    drained.wait(5)
    assert drained.took == pytest.approx(FAREWELL)


@bothEnds
def test_aSessionThatFailsMeanwhileIsNotCalledComplete(end):
    tunnel, streams = connected()
    (one,), _ = ends(tunnel, streams, end)
    drained = Drained(tunnel, end, 120)
    tunnel.network.configure(cut=True)
    one.transport.write(MEGABYTE[:5000])
    outcome = drained.wait(60)
    assert (outcome.lost, outcome.streams, outcome.unacknowledged) == (1, 0, 5000)
    assert str(outcome).startswith("1 stream was lost with a session that failed; 5,000 bytes")


def test_dataOfAnEndedStreamThatNobodyAcknowledgesIsCounted():
    tunnel, (stream,) = connected()
    tunnel.network.configure(cut=True)
    stream.transport.write(MEGABYTE[:3000])
    stream.transport.loseConnection()
    outcome = Drained(tunnel, "client", 4).wait(10)
    assert (outcome.streams, outcome.unacknowledged) == (0, 3000)
    assert str(outcome) == "every stream had ended after 4 s (closewait); 3,000 bytes of theirs were not yet acknowledged"


# ------------------------------------------------------------ close(): at once, and in one call


@bothEnds
def test_closeTellsTheOtherEndInOneFlush(end):
    tunnel, streams = connected(streams=5)
    _, theirs = ends(tunnel, streams, end)
    getattr(tunnel, end).close()
    assert tunnel.client.links == [] if end == "client" else tunnel.server.conversations() == []
    tunnel.advance(0.1)
    assert all(protocol.lost is not None and protocol.lost.check(ConnectionLost) for protocol in theirs)


@bothEnds
def test_closeEndsADrainAndStillCounts(end):
    tunnel, _streams = connected(streams=2)
    drained = Drained(tunnel, end, 30)
    tunnel.advance(3)
    drained.end.close()
    assert drained.outcome is not None and drained.outcome.streams == 2
    assert nothingIsLeft(tunnel)


def test_aServerForgetsTheSessionOfAClientThatLeft():
    tunnel, _ = connected()
    tunnel.client.close()
    assert tunnel.run(lambda: tunnel.server.conversations() == [], 10)


def test_aPeerThatNeverSaysThatItLeavesIsWaitedForJustAWhile():
    tunnel, _ = connected(streams=0)
    (link,) = tunnel.client.links
    link.mux.peerAnnounced = True
    for conversation in tunnel.server.conversations():
        tunnel.server._muxes[conversation].peerAnnounced = False  # it ignores what it does not know, as Go does
    drained = Drained(tunnel, "client", 30)
    drained.wait()
    assert drained.took == pytest.approx(LEAVE_PATIENCE, abs=0.1)


# ------------------------------------------------------------ connections of applications


class Target:
    """A TCP-like endpoint: connects over a pair of its own, on the tunnel's clock."""

    def __init__(self, clock) -> None:
        self.pair = Pair(2, clock=clock)

    def connect(self, factory):
        protocol = factory.buildProtocol(None)
        self.pair.client.openStream(protocol)
        return succeed(protocol)

    @property
    def application(self) -> HalfCloseableRecorder:
        return self.pair.accepted[-1]


def relayed(end: str) -> tuple[Tunnel, HalfCloseableRecorder, HalfCloseableRecorder, object]:
    """(tunnel, the application at this ``end``, the far one, this end's relays)"""
    tunnel = Tunnel(listening=False, nocomp=True)
    target = Target(tunnel.clock)
    atServer = ServerRelayFactory(target, tunnel.clock, quiet=True)
    tunnel.startServer(atServer)
    tunnel.client.start()
    atClient = ClientRelayFactory(tunnel.client.openStream, tunnel.clock, quiet=True)
    local = Target(tunnel.clock)
    local.pair.factory.buildProtocol = atClient.buildProtocol
    application = HalfCloseableRecorder()
    local.pair.client.openStream(application)
    assert tunnel.run(lambda: target.pair.accepted, 5)
    tunnel.advance(1)
    here, there = (application, target.application) if end == "client" else (target.application, application)
    return tunnel, here, there, atClient if end == "client" else atServer


@bothEnds
def test_aConnectionIsWaitedForUntilItsApplicationHasTakenEverything(end):
    tunnel, here, there, relays = relayed(end)
    here.transport.pauseProducing()
    there.transport.write(MEGABYTE)
    there.transport.loseConnection()
    tunnel.advance(5)
    drained = Drained(tunnel, end, 60, relays)
    tunnel.advance(10)
    assert drained.outcome is None
    here.transport.resumeProducing()
    assert drained.wait(20).complete
    tunnel.advance(1)
    assert here.received == MEGABYTE and here.ended


@bothEnds
def test_aConnectionThatIsCutIsResetAndNeverLooksComplete(end):
    tunnel, here, there, relays = relayed(end)
    here.transport.pauseProducing()
    there.transport.write(MEGABYTE)
    there.transport.loseConnection()
    tunnel.advance(5)
    outcome = Drained(tunnel, end, 3, relays).wait(10)
    assert outcome.streams + outcome.connections == 1
    here.transport.resumeProducing()
    tunnel.advance(1)
    assert len(here.received) < len(MEGABYTE)
    assert not here.ended and here.lost.check(ConnectionLost)


def test_aConnectionWhoseStreamHasEndedIsCountedOnItsOwn():
    tunnel, here, there, relays = relayed("client")
    here.transport.pauseProducing()
    there.transport.write(MEGABYTE[:400_000])
    there.transport.loseConnection()
    assert tunnel.run(lambda: tunnel.client.links[0].mux.streamCount == 0, 20)
    outcome = Drained(tunnel, "client", 3, relays).wait(10)
    assert (outcome.streams, outcome.connections) == (0, 1)
    assert str(outcome).startswith("1 connection was cut after 3 s (closewait) in the rest of an ended stream")
    here.transport.resumeProducing()
    tunnel.advance(1)
    assert not here.ended and here.lost.check(ConnectionLost)


def test_aConnectionThatStillWaitsForItsStreamIsResetWhenTheClientCloses():
    tunnel = Tunnel(listening=False)
    opened: list[Deferred] = []
    relays = ClientRelayFactory(lambda p: opened.append(tunnel.client.openStream(p)) or opened[-1], tunnel.clock, True)
    local = Target(tunnel.clock)
    local.pair.factory.buildProtocol = relays.buildProtocol
    tunnel.client.start()
    tunnel.advance(5)
    application = HalfCloseableRecorder()
    local.pair.client.openStream(application)
    tunnel.advance(1)
    assert len(opened) == 1 and application.lost is None
    assert Drained(tunnel, "client", 30, relays).wait(2).complete
    tunnel.advance(0.1)
    assert application.lost.check(ConnectionLost) and not application.ended


@bothEnds
@pytest.mark.parametrize("seconds", [0, 30])
def test_whereNothingIsOpenTheDrainIsOverAtOnceAndSaidOnce(end, seconds):
    tunnel = Tunnel()
    with capturedLogs() as logs:
        drained = Drained(tunnel, end, seconds, ServerRelayFactory(None, tunnel.clock))
        assert drained.outcome is not None and drained.outcome.complete
        tunnel.advance(60)
    assert [line for line in map(formatEvent, logs) if line.startswith("Closed")] == [f"Closed: {drained.outcome}"]
    assert tunnel.clock.getDelayedCalls() == []


def test_aClientThatWasClosedMayBeStartedAgain():
    tunnel, _ = connected(streams=0)
    tunnel.client.close()
    tunnel.client.start()
    assert tunnel.run(lambda: [link for link in tunnel.client.links if link.answered], 1)
    tunnel.client.links[0].close()
    assert tunnel.run(lambda: [link for link in tunnel.client.links if link.answered], 2)
    tunnel.client.close()
