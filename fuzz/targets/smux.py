"""A whole smux session (kcpstack/layers/smux.py and what is beside it), of either end and version, compressed
or not: a peer that sends any frames or bytes, and an application that calls what it may at any time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.task import Clock
from zope.interface import implementer

from fuzz.failures import noneLogged
from fuzz.records import Fields, record, records
from fuzz.vectors import DIRECTIONS, INSIDE, stream
from kcpstack.counters import Counters
from kcpstack.layers.smux import ANNOUNCE_ID, LEAVE_ID, SmuxSession
from kcpstack.layers.smux_flow import INITIAL_WINDOW
from kcpstack.layers.smux_frames import (
    FIN,
    NOP,
    PSH,
    SYN,
    UPD,
    FrameDecoder,
    decodeUpdate,
    encodeHeader,
    encodeUpdate,
)
from kcpstack.layers.snappy import CompressedTransport, SnappyCodec
from kcpstack.testing.streams import Recorder
from kcpstack.testing.transports import CAPACITY, connectedPair

SESSION_BUFFER = 20_000
PERIOD = 251  # bytes, after which what is sent on a stream repeats
IDS = (3, 5, 7, 4, 0, ANNOUNCE_ID, LEAVE_ID, 0xFFFFFFFF)
COMMANDS = (PSH, SYN, FIN, NOP, UPD, 5)
FRAME, ANY, TIME, CALL, OPEN, SESSION_CALL, PEER_READS = range(7)


def pattern(begin: int, size: int) -> bytes:
    """``size`` bytes from the place ``begin`` on of what every stream carries."""
    begin %= PERIOD
    return (bytes(range(PERIOD)) * (2 + size // PERIOD))[begin : begin + size]


def check(data: bytes) -> None:
    with noneLogged():
        session = Session(Fields(data[:6]))
        for op, argument in records(data[6:]):
            session.step(op % 7, Fields(argument))
        session.end()


class Application(Recorder):
    """One stream's protocol: Recorder raises where things come in an order that they may not."""

    def makeConnection(self, transport: Any) -> None:
        self.written = 0
        super().makeConnection(transport)


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Application):
    def readConnectionLost(self) -> None:
        assert not self.ended and self.lost is None
        self.ended = True

    def writeConnectionLost(self) -> None:
        """Nobody promises this."""


class Session:
    """A session, its applications, and the peer: what it said and heard."""

    def __init__(self, fields: Fields) -> None:
        self.isServer, self.compressed = fields.flag(), fields.flag()
        self.version = fields.pick((1, 2))
        self.kind = fields.pick((HalfCloseable, Application))
        self.applications: list[Any] = []
        self.clock = Clock()
        self.mux = SmuxSession(
            self.clock,
            Counters(),
            version=None if self.isServer else self.version,
            frameSize=fields.pick((8192, 100, 65535)),
            streamBuffer=fields.pick((5000, 300_000)),
            sessionBuffer=SESSION_BUFFER,
            keepalive=10.0,
            streamFactory=self if self.isServer else None,
        )
        above: Any = self.mux
        if self.isServer or self.compressed:
            above = CompressedTransport(self.mux, Counters(), recognise=self.isServer)
        self.codec = SnappyCodec() if self.compressed else None
        self.decoder = FrameDecoder()
        self.exact = True  # has the peer sent nothing but frames that fit the pattern?
        self.said: dict[int, int] = {}  # bytes by stream
        self.heard: dict[int, int] = {}
        self.limits: dict[int, int] = {}  # version 2: bytes that we may have sent on a stream
        self.ours, self.theirs = connectedPair(self.clock, None, latency=0.001)
        self.theirs.start(self)
        self.ours.start(above)

    def buildProtocol(self, address: Any) -> Any:
        self.applications.append(self.kind())
        return self.applications[-1]

    def step(self, op: int, fields: Fields) -> None:
        if op == FRAME:
            self.say(self.frame(fields))
        elif op == ANY:
            self.exact = False
            self.theirs.write(fields.rest())
        elif op == TIME:
            self.clock.advance(fields.number() / 10)
        elif op == CALL:
            self.call(fields)
        elif op == OPEN and not self.isServer and self.mux.connected:
            self.applications.append(self.kind())
            self.mux.openStream(self.applications[-1])
        elif op == SESSION_CALL:
            name = fields.pick(("loseConnection", "retire", "cut", "abortConnection", "flush", "flush"))
            getattr(self.mux, name)()
        elif op == PEER_READS:
            (self.theirs.resumeProducing if fields.flag() else self.theirs.pauseProducing)()
        self.clock.pump([0, 0.002, 0.002, 0])
        self.judge()

    def say(self, frame: bytes) -> None:
        self.theirs.write(self.codec.compress(frame) if self.codec is not None else frame)

    def frame(self, fields: Fields) -> bytes:
        """A frame, mostly one that may be."""
        command, streamID = fields.pick(COMMANDS), fields.pick(IDS)
        version = self.version if fields.number() & 15 != 15 else fields.number()
        if command == UPD:
            consumed = self.heard.get(streamID, 0) - fields.number() if fields.flag() else fields.number(4)
            window = fields.number(4)
            self.limits[streamID] = max(
                self.limits.get(streamID, INITIAL_WINDOW), (consumed & 0xFFFFFFFF) + window
            )
            return encodeUpdate(streamID, consumed & 0xFFFFFFFF, window)
        size = fields.number(2) if command == PSH else 0
        payload = pattern(self.said.get(streamID, 0), size)
        if command == PSH:
            self.said[streamID] = self.said.get(streamID, 0) + size
        return encodeHeader(version, command, streamID, size) + payload

    def call(self, fields: Fields) -> None:
        """What an application may do with its stream."""
        if not self.applications:
            return
        application = fields.pick(self.applications[:256])
        name = fields.pick(
            (
                "write",
                "write",
                "pauseProducing",
                "resumeProducing",
                "loseWriteConnection",
                "loseConnection",
                "abortConnection",
            )
        )
        if name == "write":
            size = fields.number(2)
            application.transport.write(pattern(application.written, size))
            application.written += size
        else:
            getattr(application.transport, name)()

    def judge(self) -> None:
        """What holds at any time."""
        assert 0 <= self.mux.unread <= SESSION_BUFFER + 22 * CAPACITY, "too much waits for applications"
        assert self.mux.streamCount <= len(self.applications)
        if not self.exact:
            return
        for application in self.applications:
            received = application.received
            if received:
                assert pattern(received[0], len(received)) == received, "other bytes than the peer sent"

    # what the peer hears

    def makeConnection(self, transport: Any) -> None:
        """``theirs`` is known."""

    def dataReceived(self, data: bytes) -> None:
        codec, compressed = self.codec, self.compressed
        if compressed and codec is not None and (not self.isServer or self.exact):
            data = codec.decompress(data)
        elif compressed or not self.exact:
            return  # what was said decides how it answers
        for command, streamID, payload in self.decoder.feed(data):
            if command == PSH:
                begin = self.heard.get(streamID, 0)
                assert bytes(payload) == pattern(begin, len(payload)), "other bytes than were written"
                self.heard[streamID] = begin + len(payload)
                limit = self.limits.get(streamID, INITIAL_WINDOW)
                assert self.version == 1 or self.heard[streamID] <= limit, "more than the window lets"
            elif command == UPD:
                consumed, _window = decodeUpdate(payload)
                assert not self.exact or consumed <= self.said.get(streamID, 0), "more consumed than was sent"
        assert self.decoder.error is None, self.decoder.error

    def connectionLost(self, reason: Any) -> None:
        """Nothing follows."""

    def end(self) -> None:
        """Everything hears of the end, a paused reader once it has taken what had come, and no timer is left."""
        self.mux.abortConnection()
        self.theirs.drop(ConnectionLost())
        self.ours.drop(ConnectionLost())
        self.clock.pump([0] * 3)
        for application in self.applications:
            application.transport.resumeProducing()
        self.clock.pump([0] * 3)
        self.judge()
        assert self.mux.streamCount == 0
        assert all(application.lost is not None for application in self.applications), (
            "one never hears of the end"
        )
        assert self.clock.getDelayedCalls() == []


ANNOUNCE, LEAVE = record(FRAME, b"\3\5\0"), record(FRAME, b"\3\6\0")
OPENED, DATA = record(FRAME, b"\1\0\0"), record(FRAME, b"\0\0\0\x20\1")


def seeds() -> Iterator[bytes]:
    yield from capturedSeeds()
    for version in (b"\0", b"\1"):
        for compressed in (b"\0", b"\1"):
            for half in (b"\0", b"\1"):
                yield from (b"\1" + compressed + version + half + b"\0\0" + each for each in serverSeeds())
                yield from (b"\0" + compressed + version + half + b"\1\0" + each for each in clientSeeds())


def capturedSeeds() -> Iterator[bytes]:
    """What Go clients said to a server, and what nobody should."""
    for name in INSIDE:
        said = stream(name, DIRECTIONS[0])[:700]
        yield b"\1\0\0\0\0\0" + record(ANY, said) + record(CALL, b"\0\0\0\1") + record(TIME, b"\x20")
    for wrong in (b"\2\4\3\0\3\0\0\0abc", b"\2\0\1\0\3\0\0\0a", b"\1\4\x08\0\3\0\0\0" + bytes(8)):
        yield b"\1\0\0\0\0\0" + record(ANY, bytes([wrong[0]]) + b"\0\0\0\3\0\0\0" + wrong)


def serverSeeds() -> Iterator[bytes]:
    """Steps of a server: a short stream, one that ends, one whose peer reads late, one whose peer never says how much."""
    writes = record(CALL, b"\0\0\xff\xff") * 5
    yield OPENED + DATA * 3 + record(CALL, b"\0\0\0\3") * 2 + record(FRAME, b"\2\0\0") + record(CALL, b"\0\5")
    yield (
        ANNOUNCE
        + OPENED
        + record(CALL, b"\0\2")
        + DATA * 40
        + record(TIME, b"\xc8")
        + record(CALL, b"\0\3")
        + LEAVE
    )
    yield (
        OPENED
        + record(FRAME, b"\1\1\0")
        + record(FRAME, b"\4\0\0\1\0\0\1\0\0")
        + record(PEER_READS, b"\0")
        + writes
        + record(PEER_READS, b"\1")
        + record(TIME, b"\xff") * 2
    )
    yield OPENED + writes + record(TIME, b"\x20")


def clientSeeds() -> Iterator[bytes]:
    """Steps of a client: one stream, with an update of its window; and three on a session that is to end."""
    update = record(FRAME, b"\4\0\0\0\0\1\0\0\0\1\0")
    yield record(OPEN) + record(CALL, b"\0\0\0\3") + DATA + update + record(CALL, b"\0\6")
    yield (
        record(OPEN) * 3
        + ANNOUNCE
        + LEAVE
        + record(FRAME, b"\2\0\0")
        + record(SESSION_CALL, b"\0")
        + record(FRAME, b"\3\0\0")
    )
