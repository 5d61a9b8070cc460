"""The composition: which layer sits on which, in one place.

::

    Port              one UDP socket      datagram <-> crypt
    Conversation      one peer on it      <-> fec <-> kcp
    buildMux          on that session     <-> snappy <-> smux (<-> qpp), whose streams relays use

A client's port has one conversation; a server's has a fan-out of them by address.  Layers do not know each
other: only this module does, and it alone adds up what each needs of a datagram.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from kcpstack.addresses import KCPAddress, shown
from kcpstack.batch import Batch, BytesLike, PeerAddress, outboundBatch
from kcpstack.ciphers import derivePass
from kcpstack.counters import Counters
from kcpstack.cryptcheck import CryptCheck
from kcpstack.fecchoice import NO_FEC, AnsweringFEC, CallingFEC
from kcpstack.interfaces import ICompressor, IDatagramReceiver, IDatagramTransport
from kcpstack.kernels.arq import ARQ, Tuning
from kcpstack.kernels.pathcheck import PathFault
from kcpstack.kernels.qpp import Pads
from kcpstack.kernels.segment import OVERHEAD, Glimpse, glimpse, glimpses, isWhole
from kcpstack.layers.compressor_check import CheckedCompressor
from kcpstack.layers.crypt import CryptLayer
from kcpstack.layers.fec import FEC_HEADER, FECDecoder, FECEncoder, payloadStart
from kcpstack.layers.fec_code import CheckedCodes
from kcpstack.layers.kcp import KCPSession
from kcpstack.layers.qpp import PaddedFactory, PaddedStream
from kcpstack.layers.smux import SmuxSession
from kcpstack.layers.snappy import CompressedTransport
from kcpstack.lograte import FaultLog, RareLog
from kcpstack.options import Settings
from kcpstack.pathfaults import PathLog
from kcpstack.schedule import Schedule
from kcpstack.seams import Layers, checkRoom, layersOf

__all__ = ["Conversation", "Port", "Surroundings", "buildMux", "padded", "peek", "tuningOf"]


@dataclass(frozen=True)
class Surroundings:
    """What every layer is given instead of reaching for it, so that a run can be replayed.

    ``layers`` says what the stack is made of: a function of the settings, so that somebody can put a layer of
    their own in, or wrap one, without a plug-in."""

    clock: IReactorTime
    counters: Counters
    randomBytes: Callable[[int], bytes]
    layers: Callable[[Settings], Layers] = layersOf
    findings: RareLog = field(init=False)  # what turned out to be set up wrong at a peer, or on its path
    strangers: RareLog = field(init=False)  # the same of those who may be nobody's peers: apart, lest they fill it

    def __post_init__(self) -> None:
        object.__setattr__(self, "findings", RareLog(_log, self.clock))
        object.__setattr__(self, "strangers", RareLog(_log, self.clock))

    def newConversation(self) -> int:
        """A conv for a client's session: 32 random bits."""
        return int(struct.unpack("<I", self.randomBytes(4))[0])


@implementer(IDatagramReceiver)
class Port:
    """One UDP port: a datagram transport, the cipher, and the schedule of all its sessions.

    Opened batches go to ``received``, set by whoever made the port, as is ``refused``.  Raises ValueError where
    --mtu leaves no room for data."""

    def __init__(self, transport: IDatagramTransport, settings: Settings, around: Surroundings) -> None:
        self.around = around
        self.reconfigure(settings)
        cipher = self.layers.cipher.build(derivePass(settings.key), around.randomBytes)
        self.received: Callable[[Batch], None] = _drop
        self.refused: Callable[[], None] = _ignore
        self.transport = transport
        self.crypt = CryptLayer(cipher, around.counters)
        self._check = CryptCheck(
            settings.crypt,
            settings.key,
            self.crypt.overhead,
            Settings.key,
            looksRight,
            around.clock,
            around.strangers,
        )
        self.schedule = Schedule(around.clock)
        self.overhead = transport.overhead + self.crypt.overhead  # bytes around a datagram, before FEC
        checkRoom(settings.mtu, self.overhead)
        self.plainBatch = outboundBatch(settings.mtu, self.overhead)
        self.fecBatch = outboundBatch(settings.mtu, self.overhead + FEC_HEADER)

    def open(self) -> None:
        """Begin to receive.  Raises CannotListenError."""
        self.transport.startListening(self)

    def reconfigure(self, settings: Settings) -> None:
        """Build new sessions with these settings; what the port itself was made with must be the same."""
        self.settings = settings
        self.layers = self.around.layers(settings)
        self.newCode = CheckedCodes(self.layers.erasure, self.around.findings)
        self.compressorFaults = FaultLog(_log, f"The compressor {self.layers.compressor.name}")

    def datagramsReceived(self, batch: Batch) -> None:
        check, arrived = self._check, batch.addresses
        if check.suspects:
            check.datagramsArrived(batch)
        if self.crypt.open(batch) or check.suspects or check.refusesNothing:
            check.datagramsOpened(arrived or (), batch)
        if len(batch):
            self.received(batch)

    def connectionRefused(self) -> None:
        self.refused()

    def send(self, batch: Batch, address: PeerAddress | None) -> None:
        """Send an outbound batch of one of this port's conversations."""
        self.crypt.seal(batch)
        self.transport.send(batch, address)


class Conversation:
    """One peer of a port: FEC and the KCP session.  A member of the fan-out.  Raises what layers from outside raise
    when they are built; nothing is left of it then.

    ``answering``: this end was called (a server's).  Both begin without FEC, until they know what their
    peer can bear (kcpstack/fecchoice.py).  ``mux`` is what was built above it.
    ``finished(conversation)`` is called when the session is over.  ``address`` is where to send, None
    on a connected socket; then ``remote`` names the peer.  ``pathFaulty(fault)``, set by whoever wants to
    know, is called when it is certain what is wrong with the path; the log knows it already."""

    def __init__(
        self,
        port: Port,
        conv: int,
        address: PeerAddress | None,
        answering: bool,
        finished: Callable[[Conversation], None],
        remote: tuple[str, int] | None = None,
    ) -> None:
        settings, around = port.settings, port.around
        shards = (settings.datashard, settings.parityshard)
        wantsFEC = 0 not in shards
        self.conv = conv
        self.address: Any = address  # PeerAddress, which a server's fan-out changes; or None
        self._port = port
        self.schedule = port.schedule
        self.layers = port.layers
        self._finished = finished
        self.pathFaulty: Callable[[PathFault], None] = _ignore
        self._remote = address or remote
        self._decoder = FECDecoder(around.counters, port.newCode)
        self._encoder = FECEncoder(newCode=port.newCode)
        self._mismatch: tuple[int, int] | None = None  # what the peer's FEC is, where we have said so
        self.mux: SmuxSession | None = None
        self._fec: AnsweringFEC | CallingFEC | None = None
        if wantsFEC:
            self._fec = AnsweringFEC() if answering else CallingFEC(shards)
        mtu = settings.mtu - port.overhead - (FEC_HEADER if wantsFEC else 0)
        self._longestSegment = mtu - OVERHEAD
        congestion = port.layers.congestion.build(settings.sndwnd)
        self.recognises = answering and settings.compressor == Settings.compressor
        self.compressor: ICompressor | None = None
        if self.recognises or not settings.nocomp:
            self.compressor = CheckedCompressor(port.layers.compressor.build(), port.compressorFaults)
        self.arq = ARQ(conv, mtu, tuningOf(settings), congestion, around.counters)
        self.session = KCPSession(
            self.arq,
            port.schedule,
            self._outbound(),
            self._send,
            self._over,
            _asAddress(port.transport.getHost(), conv),
            _asAddress(self._remote, conv),
        )
        self.session.setRate(settings.ratelimit)
        self.session.watchPath(self._pathFault)

    def begin(self, mux: SmuxSession, above: IProtocol) -> None:
        """Start the session with ``above`` on it, which has ``mux`` in it.  Raises what ``above`` raises, and
        ConnectionLost where it ended the session at once; nothing is left of it then, and ``finished`` not called."""
        self.mux = mux
        finished, self._finished = self._finished, _ignore
        _opened(self._port.around.counters, mux.isClient)
        try:
            self.session.start(above)
        except Exception:
            self.session.connectionLost(Failure())
            raise
        if not self.session.connected:
            raise ConnectionLost("ended by a layer above KCP as soon as it began")
        self._finished = finished

    def datagramsReceived(self, batch: Batch) -> None:
        """Opened datagrams of this peer."""
        counters = self._port.around.counters
        counters.InPkts += len(batch)
        counters.InBytes += sum(batch.ends) - sum(batch.starts)
        arrived, recovered = self._decoder.decode(batch)
        self.session.datagramsReceived(arrived, recovered)
        if self._fec is not None:
            self._chooseFEC(self._fec)

    def hasMoved(self) -> None:
        """The peer has another address.  By now a retransmission may be seconds away: send the oldest again with what
        answers it, and its ack will show the others lost."""
        if self.arq.unacknowledged:
            self.arq.probe()

    def isNews(self, buffer: BytesLike, start: int, end: int) -> bool:
        """Whether a segment of an opened datagram fits this conversation as it is now."""
        begin = payloadStart(buffer, start, end)
        if begin is None:
            return False
        return any(seen.conv == self.conv and self.arq.isNews(seen) for seen in glimpses(buffer, begin, end))

    def queued(self) -> tuple[int, int, int]:
        """Segments waiting to be sent, waiting to be read, and in flight."""
        return -(-self.arq.unsent // self._longestSegment), self.arq.unread, self.arq.unacknowledged

    def connectionLost(self, reason: Failure) -> None:
        """End the session at once, for ``reason``."""
        self.session.connectionLost(reason)

    def _chooseFEC(self, fec: AnsweringFEC | CallingFEC) -> None:
        """Send with other parameters where what arrives says so."""
        isOurs = self.mux is not None and self.mux.peerAnnounced
        chosen = fec.choose(self._decoder, isOurs, self.session.spoken)
        if (self._encoder.parameters or NO_FEC) != chosen:
            try:
                self._encoder.reconfigure(*chosen)
            except ValueError:  # what could be built before cannot any more, and the log knows: go on as we are
                self._fec = None
                return
            self.session.batch = self._outbound()
        if fec.mismatch != self._mismatch:
            self._mismatch = fec.mismatch
            if fec.mismatch is not None:
                self._sayMismatch(fec.mismatch)

    def _sayMismatch(self, seen: tuple[int, int]) -> None:
        settings, remote = self._port.settings, self._remote
        self._port.around.findings.warn(
            ("FEC", remote and remote[0], seen),
            "{peer} sends {theirs}, and we are set to {data}/{parity}: where they differ, an old kcptun (Debian's) "
            "corrupts streams when packets get lost, so we send none: give both ends the same --datashard and "
            "--parityshard",
            peer=shown(remote),
            theirs="no FEC" if seen == NO_FEC else "FEC {}/{}".format(*seen),
            data=settings.datashard,
            parity=settings.parityshard,
        )

    def _outbound(self) -> Batch:
        """The port's batch with just the room that this conversation's headers take."""
        return self._port.plainBatch if self._encoder.parameters is None else self._port.fecBatch

    def _send(self, batch: Batch) -> None:
        self._encoder.encode(batch, self._port.schedule.now())
        self._port.send(batch, self.address)

    def _pathFault(self, session: KCPSession, fault: PathFault) -> None:
        self.pathFaulty(fault)
        PathLog(self._port.around.findings).faultFound(self.conv, self.address or self._remote, fault)

    def _over(self, session: KCPSession) -> None:
        self._port.around.counters.CurrEstab -= 1
        self._finished(self)


def buildMux(
    conversation: Conversation, settings: Settings, around: Surroundings, streamFactory: IProtocolFactory | None = None
) -> SmuxSession:
    """Put smux, and snappy where it is wanted, on a conversation's session, and start it.

    ``streamFactory`` builds the protocols of streams that the peer opens: with
    one, this is the answering end, which takes smux's version and compression from the first bytes
    that it hears.  Raises what layers from outside raise as they begin; nothing is left of the conversation then."""
    answering = streamFactory is not None
    if streamFactory is not None and settings.QPP:
        streamFactory = PaddedFactory(streamFactory, padsOf(settings.key, settings.QPPCount))
    mux = SmuxSession(
        around.clock,
        around.counters,
        version=None if answering else settings.smuxver,
        frameSize=settings.framesize,
        streamBuffer=settings.streambuf,
        sessionBuffer=settings.smuxbuf,
        keepalive=settings.keepalive,
        streamFactory=streamFactory,
        schedule=conversation.schedule,
    )
    above = conversation.layers.session(mux)
    if conversation.compressor is not None:
        above = CompressedTransport(above, around.counters, conversation.recognises, conversation.compressor)
    conversation.begin(mux, above)
    return mux


def padded(protocol: IProtocol, settings: Settings) -> IProtocol:
    """``protocol`` as a stream of a calling end takes it: behind QPP where that is wanted."""
    return PaddedStream(protocol, padsOf(settings.key, settings.QPPCount)) if settings.QPP else protocol


@lru_cache(maxsize=2)
def padsOf(key: str, count: int) -> Pads:
    """The pads of a key, kept because they are the same for all sessions and take their time."""
    return Pads(key.encode("utf-8", "surrogateescape"), count)


def peek(buffer: BytesLike, start: int, end: int) -> Glimpse | None:
    """What the KCP segment shows that an opened datagram begins with, FEC or not; None where there
    is none (a parity shard, or rubbish)."""
    begin = payloadStart(buffer, start, end)
    return None if begin is None else glimpse(buffer, begin, end)


def looksRight(buffer: BytesLike, start: int, end: int) -> bool:
    """Whether an opened datagram is what a peer sends, as far as can be seen: of parity, two bytes."""
    begin = payloadStart(buffer, start, end)
    return begin is None or isWhole(buffer, begin, end)


def tuningOf(settings: Settings) -> Tuning:
    """The ARQ's tuning for kcptun's options.  docs/kcp.rst explains each."""
    return Tuning(
        interval=float(settings.interval),
        resend=settings.resend,
        minRTO=30.0 if settings.nodelay else 100.0,
        backoff=1.5 if settings.nodelay else 2.0,
        ackNoDelay=settings.acknodelay,
        sendWindow=settings.sndwnd,
        receiveWindow=settings.rcvwnd,
    )


def _opened(counters: Counters, calling: bool) -> None:
    if calling:
        counters.ActiveOpens += 1
    else:
        counters.PassiveOpens += 1
    counters.CurrEstab += 1
    counters.MaxConn = max(counters.MaxConn, counters.CurrEstab)


def _asAddress(address: Any, conv: int) -> KCPAddress | None:
    """A session's end at a socket's address, or at an IAddress that has host and port."""
    if address is None:
        return None
    host, port = address[:2] if isinstance(address, tuple) else (address.host, address.port)
    return KCPAddress(host, port, conv)


def _drop(batch: Batch) -> None:
    """Nobody is there yet."""


def _ignore(*facts: Any) -> None:
    """Nobody wants to know."""


_log = Logger()
