"""Two smux sessions under random use, many seeds: each stream's bytes once and in order, ends told, nothing left.

A failure names its seed; ``play(seed, version)`` replays it.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smuxpairs import FIN, NOP, PSH, SYN, UPD, Pair, ScriptedPeer
from twisted.internet.error import ConnectionDone

from kcpstack.layers.smux import ANNOUNCE_ID
from kcpstack.testing.streams import HalfCloseableRecorder
from kcpstack.testing.transports import CAPACITY

SEEDS = range(25)
STEPS = 400
PATIENCE = 600.0  # virtual seconds for everything to end
PATTERN = bytes(range(253)) * 300


class Application(HalfCloseableRecorder):
    """One end of a stream.  Writes a pattern that its name decides; checks every byte it gets."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.other: Application | None = None
        self.written = 0
        self.writing = True
        self.paused = False
        self.producing = True
        self.closed = False
        self.aborted = False
        self.count = 0

    def bytesAt(self, start: int, length: int) -> bytes:
        """What this end writes at a position of its direction."""
        offset = (start + sum(self.name.encode())) % 253
        return (PATTERN[offset:] + PATTERN)[:length]

    def write(self, length: int) -> None:
        if self.writing and self.producing and not self.lost:
            self.transport.write(self.bytesAt(self.written, length))
            self.written += length

    def dataReceived(self, data: bytes) -> None:
        assert not self.paused, f"{self.name}: data while paused"
        assert not self.closed, f"{self.name}: data after loseConnection"
        assert not self.ended, f"{self.name}: data after the end"
        for start in range(0, len(data), 70_000):
            piece = data[start : start + 70_000]
            assert piece == self.other.bytesAt(self.count, len(piece)), f"{self.name}: wrong bytes at {self.count}"
            self.count += len(piece)

    def readConnectionLost(self) -> None:
        super().readConnectionLost()
        assert not self.paused
        assert self.count == self.other.written, f"{self.name}: {self.count} of {self.other.written} at the end"

    # as the producer of its own transport

    def pauseProducing(self) -> None:
        self.producing = False

    def resumeProducing(self) -> None:
        self.producing = True

    def stopProducing(self) -> None:
        self.producing = False


class Play:
    """The pair, its streams, and what is done to them, all drawn from a seed."""

    def __init__(self, seed: int, version: int) -> None:
        self.chance = random.Random(f"play {seed} {version}")
        self.sessionBuffer = self.chance.choice((50_000, 1_000_000))
        self.frameSize = self.chance.choice((50, 8192, 65_535))
        self.streamBuffer = self.chance.choice((10_000, 300_000))
        self.applications: list[Application] = []
        self.pair = Pair(
            version,
            seed=seed,
            protocol=self.accept,
            frameSize=self.frameSize,
            sessionBuffer=self.sessionBuffer,
            streamBuffer=self.streamBuffer,
        )

    def accept(self) -> Application:
        # Streams are opened in order, and SYNs arrive in order.
        near = next(a for a in self.applications if a.name.startswith("near") and a.other is None)
        far = Application(near.name.replace("near", "far"))
        near.other, far.other = far, near
        self.applications.append(far)
        return far

    def open(self) -> None:
        near = Application(f"near {len(self.applications)}")
        self.applications.append(near)
        self.pair.client.openStream(near)

    def step(self) -> None:
        chance = self.chance
        if chance.random() < 0.08 and self.pair.client.streamCount < 12:
            self.open()
        live = [a for a in self.applications if a.transport and not a.lost and not a.closed]
        if live:
            self.use(chance.choice(live))
        if chance.random() < 0.6:
            self.pair.clock.advance(chance.choice((0, 0.001, 0.01, 0.05)))
        self.checkBounds()

    def use(self, application: Application) -> None:
        chance, transport = self.chance, application.transport
        what = chance.random()
        if what < 0.6:
            application.write(chance.choice((1, 10, 1000, 10_000, 70_000)))
        elif what < 0.72:
            application.paused = True
            transport.pauseProducing()
        elif what < 0.9:
            application.paused = False
            transport.resumeProducing()
        elif what < 0.94:
            application.writing = False
            transport.loseWriteConnection()
        elif what < 0.97:
            application.writing = False
            application.closed = True
            transport.loseConnection()
        elif what < 0.98:
            application.writing = False
            application.closed = application.aborted = True
            transport.abortConnection()
        elif application.writing:
            transport.registerProducer(application, True)
            transport.unregisterProducer()

    def checkBounds(self) -> None:
        # One delivery may come on top, and the frame that it completes.
        for session in (self.pair.client, self.pair.server):
            assert 0 <= session._unread <= self.sessionBuffer + CAPACITY + self.frameSize

    def end(self) -> None:
        """Let everybody finish what was begun."""
        self.pair.until(self.allHaveEnded, PATIENCE)

    def allHaveEnded(self) -> bool:
        for application in self.applications:
            if application.writing or application.paused:
                application.writing = application.paused = False
                application.transport.resumeProducing()
                application.transport.loseWriteConnection()
        return all(a.lost and a.other for a in self.applications)

    def checkEnd(self) -> None:
        for a in self.applications:
            undisturbed = not any(end.closed for end in (a, a.other))
            if undisturbed:
                assert a.ended
                assert a.count == a.other.written
                assert a.lost.check(ConnectionDone)
            elif a.other.aborted and not (a.closed or a.ended):
                assert not a.lost.check(ConnectionDone)
            elif a.other.closed and not a.other.aborted and not a.closed:
                assert a.count == a.other.written, f"{a.name}: a clean close lost bytes"
        assert self.pair.client.streamCount == self.pair.server.streamCount == 0
        assert self.pair.client._unread == self.pair.server._unread == 0
        self.pair.advance(0.1)
        assert len(self.pair.clock.getDelayedCalls()) == 2, "only the two keepalive timers may be left"
        for session in (self.pair.client, self.pair.server):
            assert session._counters.MuxErrs == 0
            session.abortConnection()
        self.pair.clock.advance(0)
        assert self.pair.clock.getDelayedCalls() == []


def play(seed: int, version: int) -> dict[str, Any]:
    it = Play(seed, version)
    for _ in range(STEPS):
        it.step()
    it.end()
    it.checkEnd()
    return {"streams": len(it.applications) // 2, "bytes": sum(a.count for a in it.applications)}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("seed", SEEDS)
def test_random_use_of_many_streams_keeps_every_promise(seed: int, version: int) -> None:
    assert play(seed, version)["streams"] > 0


numbers = st.sampled_from((0, 3, 4, 5, 7, ANNOUNCE_ID, 0xFFFFFFFF))
frames = st.one_of(
    st.tuples(st.sampled_from((SYN, FIN, NOP)), numbers),
    st.tuples(st.just(PSH), numbers, st.binary(max_size=30)),
    st.tuples(st.just(UPD), numbers, st.sampled_from((0, 10, 2**31, 2**32 - 1)), st.integers(0, 2**32 - 1)),
)


@given(st.booleans(), st.lists(frames, max_size=20), st.lists(st.booleans(), min_size=20, max_size=20))
@settings(max_examples=150, deadline=None)
def test_any_frames_in_any_order_are_taken_or_end_the_session(server: bool, sent: list[Any], acts: list[bool]) -> None:
    peer = ScriptedPeer(2, server=server)
    if not server:
        peer.open()
    for frame, act in zip(sent, acts):
        peer.send(frame)
        if act and peer.factory.accepted and not peer.factory.accepted[-1].lost:
            peer.factory.accepted[-1].transport.write(b"answer")
    checkThatItEndsWell(peer)


@given(st.booleans(), st.binary(max_size=120), st.integers(1, 20))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_taken_or_end_the_session(server: bool, rubbish: bytes, size: int) -> None:
    peer = ScriptedPeer(2, server=server)
    peer.open()
    stream = bytes.fromhex("0202020003000000") + rubbish
    for start in range(0, len(stream), size):
        peer.sendBytes(stream[start : start + size])
    checkThatItEndsWell(peer)


def checkThatItEndsWell(peer: ScriptedPeer) -> None:
    """Nothing was raised; the session is up, or over and counted once; after a silence nothing is left."""
    broken = peer.counters.MuxErrs > 0 and not peer.ours.connected
    assert peer.session.connected or broken
    peer.clock.pump([1.0] * 40)
    assert not peer.session.connected
    assert peer.session.streamCount == 0
    assert peer.clock.getDelayedCalls() == []
