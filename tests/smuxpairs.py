"""Two smux sessions joined in memory, or one facing a peer that the test plays frame by frame."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Factory
from twisted.internet.task import Clock

from kcpstack.counters import Counters
from kcpstack.layers.smux import ANNOUNCE_ID, SmuxSession
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
from kcpstack.testing.streams import HalfCloseableRecorder, until
from kcpstack.testing.transports import MemoryTransport, connectedPair

__all__ = ["OPTIONS", "Pair", "ScriptedPeer", "newSession"]

OPTIONS = {"frameSize": 8192, "streamBuffer": 524_288, "sessionBuffer": 1_048_576, "keepalive": 10.0}


class Accepting(Factory):
    """Gives each stream that the peer opens a protocol, and keeps them in order."""

    def __init__(self, protocol: Any = HalfCloseableRecorder) -> None:
        self.protocol = protocol
        self.accepted: list[Any] = []

    def buildProtocol(self, addr: Any) -> Any:
        protocol = self.protocol()
        if protocol is not None:
            self.accepted.append(protocol)
        return protocol


def newSession(clock: Clock, **options: Any) -> SmuxSession:
    return SmuxSession(clock, Counters(), **{"version": None, **OPTIONS, **options})


class Pair:
    """A client's session and a server's, connected."""

    def __init__(
        self,
        version: int,
        seed: int | None = 0,
        protocol: Any = HalfCloseableRecorder,
        clock: Clock | None = None,
        **options: Any,
    ) -> None:
        self.clock = Clock() if clock is None else clock
        self.factory = Accepting(protocol)
        self.client = newSession(self.clock, version=version, **options)
        self.server = newSession(self.clock, streamFactory=self.factory, **options)
        self.up: MemoryTransport
        self.down: MemoryTransport
        self.up, self.down = connectedPair(self.clock, seed)
        self.up.start(self.client)
        self.down.start(self.server)

    @property
    def accepted(self) -> list[Any]:
        return self.factory.accepted

    def open(self, protocol: Any = None) -> tuple[Any, Any]:
        """The protocols at the two ends of a new stream."""
        near = HalfCloseableRecorder() if protocol is None else protocol
        count = len(self.accepted)
        self.client.openStream(near)
        self.until(lambda: len(self.accepted) > count)
        return near, self.accepted[-1]

    def until(self, condition: Any, patience: float = 30.0) -> None:
        until(self.clock, condition, patience)

    def advance(self, seconds: float) -> None:
        self.clock.pump([0.01] * round(seconds * 100))


class ScriptedPeer:
    """Our session, and in place of the other end the test: ``send`` and ``frames``."""

    def __init__(self, version: int, server: bool = False, **options: Any) -> None:
        self.clock = Clock()
        self.version = version
        self.factory = Accepting()
        role = {"streamFactory": self.factory, "version": None} if server else {"version": version}
        self.counters = Counters()
        self.session = SmuxSession(self.clock, self.counters, **{**OPTIONS, **role, **options})
        self.ours, self.theirs = connectedPair(self.clock, None, latency=0)
        self._decoder = FrameDecoder(version)
        self._frames: list[tuple[int, int, Any]] = []
        self.theirs.start(self)
        self.ours.start(self.session)

    # IProtocol, as far as the transport asks

    def makeConnection(self, transport: Any) -> None:
        """Nothing to do: ``theirs`` is known."""

    def dataReceived(self, data: bytes) -> None:
        for command, streamID, payload in self._decoder.feed(data):
            self._frames.append((command, streamID, decodeUpdate(payload) if command == UPD else bytes(payload)))
        assert self._decoder.error is None

    def connectionLost(self, reason: Any) -> None:
        """Sessions end silently."""

    def send(self, *frames: tuple[Any, ...]) -> None:
        """Deliver frames to our session, in one piece."""
        encoded = []
        for command, streamID, *rest in frames:
            if command == UPD:
                encoded.append(encodeUpdate(streamID, *rest))
            else:
                payload = rest[0] if rest else b""
                encoded.append(encodeHeader(self.version, command, streamID, len(payload)) + payload)
        self.sendBytes(b"".join(encoded))

    def sendBytes(self, data: bytes) -> None:
        self.theirs.write(data)
        self.clock.pump([0] * 4)

    def frames(self) -> list[tuple[int, int, Any]]:
        """What our session has sent since the last call, but for announcements."""
        self.clock.pump([0] * 6)
        frames, self._frames = self._frames, []
        return [frame for frame in frames if frame[:2] != (NOP, ANNOUNCE_ID)]

    def open(self, streamID: int = 3) -> Any:
        """The protocol on our end of a new stream, whoever opens it."""
        if self.session.isClient:
            protocol = HalfCloseableRecorder()
            self.session.openStream(protocol)
            assert self.frames()[0] == (SYN, protocol.transport.streamID, b"")
            return protocol
        self.send((SYN, streamID))
        return self.factory.accepted[-1]

    def payload(self) -> bytes:
        """The bytes of the PSH frames among ``frames()``."""
        return b"".join(data for command, _, data in self.frames() if command == PSH)


ANNOUNCEMENT = (NOP, ANNOUNCE_ID)
__all__ += ["ANNOUNCEMENT", "Accepting", "FIN", "NOP", "PSH", "SYN", "UPD"]
