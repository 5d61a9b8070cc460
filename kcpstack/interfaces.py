"""Every seam of the stack, with its contract.

From the wire up::

    IDatagramTransport   sends and receives batches of (address, datagram)
    IBatchCipher         seals and opens a batch       (IPacketCipher: the one-datagram form)
    IErasureCode         parity from data shards, and data shards back
    IARQ                 bytes above, datagrams below; told the time, never asks for it
    ICongestionControl   how much may be in flight
    ICompressor          a byte stream to a smaller one, and back

Each of them has a factory, found through ``twisted.plugin`` by its name (docs/layers.rst), but for the ARQ.
So is IRelayTarget, what the server connects streams to.

Above KCP it is plain Twisted: a session is an ``ITransport``, smux is an ``IProtocol`` on it, and
each of its streams is an ``IStreamTransport``, so that any protocol can sit there.

Units, everywhere: lengths in bytes, times in milliseconds (floats) unless a name says seconds (what
Twisted's clocks use), windows in segments.  ``now`` is milliseconds from any fixed origin and never
goes back.  A *datagram* is a bytes-like object; a *batch* is
:class:`kcpstack.batch.Batch`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IConsumer, IPushProducer, IStreamClientEndpoint, ITransport
from twisted.plugin import IPlugin
from zope.interface import Attribute, Interface

from kcpstack.batch import Batch, PeerAddress

if TYPE_CHECKING:
    from kcpstack.kernels.flights import Segment
    from kcpstack.kernels.segment import Glimpse
    from kcpstack.transports import TransportContext

__all__ = [
    "IARQ",
    "IBatchCipher",
    "ICipherFactory",
    "ICompressor",
    "ICompressorFactory",
    "ICongestionControl",
    "ICongestionControlFactory",
    "IDatagramReceiver",
    "IDatagramTransport",
    "IDatagramTransportFactory",
    "IErasureCode",
    "IErasureCodeFactory",
    "ILayerFactory",
    "IPacketCipher",
    "IRelayTarget",
    "ISessionTransport",
    "ISharedListening",
    "ITrafficMarking",
    "IStreamTransport",
]


class ILayerFactory(IPlugin):
    """Makes one kind of layer.  A provider of one of the factory interfaces below, in any
    ``twisted.plugins`` module, is found by its name, and that name works in the option of its kind.
    ``kcptun layers`` lists them all."""

    name: str = Attribute("The name for the option: a str, lower case, not empty, without colons.")


# ------------------------------------------------------------------ below KCP


class IDatagramTransport(Interface):
    """A way to send and receive datagrams, in batches.  The bottom of the stack.

    An *address* is a tuple that begins with a host (str, numeric) and a port (int); what follows is the
    transport's own, and all of it hashable: datagrams with equal addresses come from one peer.  Addresses
    should stay the same while the peer does, since a session moves with its address (docs/layers.rst)."""

    overhead: int = Attribute(
        "Bytes that it puts around each datagram, as part of --mtu: an int, 0 for plain UDP.  As many are "
        "free in front of each datagram of an outbound batch."
    )

    def startListening(receiver: IDatagramReceiver) -> None:
        """Begin to deliver to ``receiver`` (IDatagramReceiver).  Raises what opening can raise,
        e.g. ``twisted.internet.error.CannotListenError``."""

    def send(batch: Batch, address: PeerAddress | None) -> None:
        """Send the datagrams of ``batch``, in order, to ``address`` (None where the transport has
        one fixed peer).  The buffer is the caller's again on return.

        Never raises for a condition of the network: what cannot be sent now is kept up to a bound
        or dropped and counted (OutErrs), as any network may."""

    def getHost() -> IAddress:
        """The local address, while it listens: an IAddress with ``host`` and ``port``."""

    def stopListening() -> Deferred[None]:
        """Close.  Returns a Deferred that fires when nothing more will be delivered."""


class ITrafficMarking(Interface):
    """What a datagram transport provides as well, where --dscp can change while it is open."""

    def setDSCP(dscp: int) -> None:
        """Mark what is sent from now on with ``dscp``, 0 to 63."""


class IDatagramReceiver(Interface):
    """What a datagram transport delivers to."""

    def datagramsReceived(batch: Batch) -> None:
        """Datagrams have arrived, with ``batch.addresses`` filled in.  The batch and its buffer
        are the transport's again on return; until then the receiver may change both.

        The addresses of datagrams that the cipher refuses are gone from ``batch.addresses`` on return (or it
        is None, of a receiver that does not say).  A transport that learns anything from who calls should
        look there: all else may be forged."""

    def connectionRefused() -> None:
        """The network said that nobody listens at our fixed peer (ICMP).  A hint: it can be
        forged, and the peer may come back."""


class IDatagramTransportFactory(ILayerFactory):
    """Makes the datagram transports of one name, for ``--transport``.

    ``context`` is a :class:`kcpstack.transports.TransportContext`: the reactor, counters, random bytes, and
    the options of sockets.  ``ports`` (a range) are all those of --remoteaddr or --listen.  Nothing is opened
    before ``startListening``."""

    overhead: int = Attribute("As of the transports that it makes.")

    def dial(context: TransportContext, host: str, port: int, ports: range) -> IDatagramTransport:
        """Return an IDatagramTransport with one fixed peer, the server at ``host`` (numeric).  ``port`` is
        the one of ``ports`` that this session tries: what has only one port at a time takes that.  Called for
        each session."""

    def listen(context: TransportContext, host: str, ports: range) -> IDatagramTransport:
        """Return an IDatagramTransport for a server at ``host`` (numeric or a name; empty for every
        address)."""


class ISharedListening(Interface):
    """What a factory of datagram transports provides as well, where several processes can listen on the same ports
    (--workers)."""

    def listenOn(context: TransportContext, sockets: Sequence[socket.socket]) -> IDatagramTransport:
        """As ``listen``, on UDP sockets that are open already, do not block, and are bound, each to one of the ports and
        in their order.  The transport closes them; other processes have others at the same ports, and each gets
        the datagrams of some peers: all that come from one address and port to one of ours."""


class IPacketCipher(Interface):
    """One datagram sealed or opened at a time: all that a cipher of your own must provide.

    Whatever is not an IBatchCipher is adapted to one, at the price of a Python call a datagram.
    """

    overhead: int = Attribute("How many bytes longer a sealed datagram is: an int, always the same.")

    def seal(datagram: memoryview) -> bytes:
        """Return the sealed form (bytes) of a datagram (a read-only memoryview, yours until you
        return).  len(result) is len(datagram) + overhead."""

    def open(datagram: memoryview) -> bytes | None:
        """Return the datagram (bytes) inside a sealed one (a read-only memoryview, yours until
        you return), or None where it is not one of ours: forged, damaged or sealed with another
        key.  Must not raise, whatever the bytes."""


class IBatchCipher(Interface):
    """A whole batch sealed or opened in place."""

    overhead: int = Attribute("Bytes that sealing puts in front of (or around) each datagram: an int.")

    def sealBatch(batch: Batch) -> None:
        """Seal every datagram of an outbound batch.  Each has at least ``overhead`` bytes of room
        in front of its start; afterwards starts[i] is lower by ``overhead`` (ends[i] may move as
        well, within the datagram's slot, as long as the length grows by exactly ``overhead``).
        Bytes between datagrams may be overwritten."""

    def openBatch(batch: Batch) -> int:
        """Open every datagram of an inbound batch and take out those that are not ours (from
        ``addresses`` as well, where it is not None), keeping the order of the others.  ``buffer``
        may be replaced.  Returns how many were taken out.  Never raises, whatever the bytes."""


class ICipherFactory(ILayerFactory):
    """Makes the ciphers of one name, for ``--crypt``."""

    def build(key: bytes, randomBytes: Callable[[int], bytes]) -> IPacketCipher | IBatchCipher:
        """Return an IPacketCipher or IBatchCipher.

        ``key`` is 32 bytes (what kcptun derives from ``--key``: use what you need of it) and
        ``randomBytes(n)`` returns n random bytes fit for nonces.  Called for each port: by a server once, by
        a client for each session.  All ciphers of a tunnel, at both ends and after each restart, have one
        key, so no two of them may use a nonce twice.  Raises ValueError, with what would do, where this
        machine has no such cipher."""


class IErasureCode(Interface):
    """An (n, d) erasure code over byte strings: any ``dataShards`` of n shards give all back."""

    dataShards: int = Attribute("d, how many data shards make a group: an int from 1.")
    parityShards: int = Attribute("p, how many parity shards are made of them: an int from 1.")

    def encode(shards: Sequence[bytes]) -> list[bytes]:
        """Return the p parity shards (list of bytes, each as long as the longest data shard) of d
        data shards (list of bytes; shorter ones count as padded with zero bytes)."""

    def reconstruct(shards: dict[int, bytes]) -> dict[int, bytes]:
        """Return ``{index: bytes}`` with every missing data shard.

        ``shards`` is a dict {index in the group: bytes}; 0 to d-1 are data, d to d+p-1 parity, and
        shorter ones count as padded with zero bytes.  Raises ValueError where fewer than d are
        there or an index is out of range."""


class IErasureCodeFactory(ILayerFactory):
    """Makes the erasure codes of one name, for ``--erasure``."""

    def build(dataShards: int, parityShards: int) -> IErasureCode:
        """Return an IErasureCode.  Raises ValueError, with what would do, where it has none for these
        numbers.  Called for each session and direction; one object may serve many.

        The numbers are the user's, or the peer's, who may choose them and which shards are lost at will: any
        two from 1 on with a sum of 256 at most.  Refuse what costs too much.  A call of ``build``, and one of
        ``encode`` or ``reconstruct`` for shards of 1500 bytes, holds up every session while it runs:
        milliseconds are usual, and more than some tens of them too much."""


class ICongestionControl(Interface):
    """How many segments may be in flight.  One object a session; the ARQ tells it what happens.

    ``now`` is in milliseconds; ``inFlight`` counts segments sent and not yet acknowledged, after what is
    told: those that are lost count, until they are acknowledged."""

    window: int = Attribute("Segments that may be in flight now: an int from 1.")

    def acknowledged(segments: int, inFlight: int, now: float) -> None:
        """``segments`` more have been acknowledged."""

    def skipped(segments: int, inFlight: int, now: float) -> None:
        """``segments`` were found lost because later ones were acknowledged."""

    def timedOut(segments: int, inFlight: int, now: float) -> None:
        """``segments`` were found lost because their timer ran out."""


class ICongestionControlFactory(ILayerFactory):
    """Makes the congestion controls of one name, for ``--congestion``."""

    def build(sendWindow: int) -> ICongestionControl:
        """Return a new ICongestionControl, whose window is at most ``sendWindow`` (--sndwnd) segments.
        Called for each session."""


class IARQ(Interface):
    """Reliable bytes over unreliable datagrams: a pure state machine.

    It has no clock, does no I/O and calls nothing but its congestion control.  Whoever drives it
    keeps this order: after any call of ``datagramsReceived``, ``write`` or ``read``, and when
    ``nextTimeout`` comes due, call ``flush`` until it returns False; then ask ``nextTimeout``.

    Work per call is bounded by what crosses in that call, never by the window; but for ``inFlight``."""

    conv: int = Attribute("The number of the conversation, on every datagram: an int.")
    srtt: float | None = Attribute("The smoothed round trip in ms, or None before the first sample.")
    rto: float = Attribute("The retransmission timeout in ms, before any backoff.")
    heardAt: float | None = Attribute(
        "When the peer last sent what fits what it acknowledged before, or None: a ``now``."
    )
    answeredAt: float | None = Attribute(
        "When the peer last showed that it hears us: by an ack, or by telling its window.  A ``now``, or "
        "None."
    )
    strained: bool = Attribute(
        "True once a segment had to be sent three times, or the peer has sent three times what it need not "
        "have: a reason to ask why.  Whoever does sets it to False."
    )
    probing: bool = Attribute("Whether a probe has still to leave: a bool.")
    repeats: int = Attribute("Pushes that came again since the last one that was new: an int.")
    longestArrived: int = Attribute(
        "Data bytes of the longest segment of ours that was acknowledged by itself: an int."
    )
    unsent: int = Attribute("Bytes written and not yet sent for the first time: an int.")
    window: int = Attribute("Bytes that may be in flight now, as far as the windows let them: an int.")
    unacknowledged: int = Attribute("Segments sent and not yet acknowledged: an int.")
    unread: int = Attribute("Segments received in order and not yet read: an int.")

    def write(data: bytes) -> None:
        """Queue bytes to be sent.  Never refuses: look at ``unsent`` before.  The data (bytes) is
        kept without a copy."""

    def datagramsReceived(batch: Batch, now: float, recovered: bool = False) -> None:
        """Take in datagrams.  With ``recovered`` they were rebuilt by FEC, of unknown age: their
        window and their timing are not believed.  Bad ones are counted (KCPInErrors)."""

    def read(most: int) -> list[bytes]:
        """Take bytes received in order and not yet read, as a list of bytes: whole segments, until
        they are ``most`` bytes or more; empty where there are none."""

    def flush(now: float, batch: Batch, most: int = 88) -> bool:
        """Append to ``batch`` (outbound) datagrams that should leave now: about ``most`` (from 1), and in any
        case a bounded number.  Returns True where there is more to append."""

    def silentSince() -> float | None:
        """Since when the peer, although it has not yet all that we sent, has sent nothing that fits
        what it acknowledged before (a restarted peer does not remember), as a ``now``; None where it
        has all."""

    def oldest() -> Segment | None:
        """The segment in flight with the lowest sn, or None: an object with ``data`` (bytes-like), ``sn``,
        ``sent`` and ``firstSent`` (each a ``now``) and ``acknowledged`` (bool, which turns True when it
        is)."""

    def inFlight(length: int, most: int) -> list[Segment]:
        """The first ``most`` segments in flight with ``length`` bytes of data or more, as a list of such
        objects.  Looks at the whole window: not for every datagram."""

    def probe() -> None:
        """With the next flush, send the oldest segment again and ask for the peer's window, each in a
        datagram of its own: what comes back tells whether the path carries short datagrams, and that
        segment's length."""

    def isNews(seen: Glimpse) -> bool:
        """Whether a :class:`kcpstack.kernels.segment.Glimpse` of a datagram shows that its sender
        takes part in this conversation now: it brings or acknowledges what is still missing, or was
        sent after all that has arrived.  A datagram that was recorded and sent again does none of that."""

    def nextTimeout() -> float | None:
        """When ``flush`` must be called even if nothing happens, as a ``now``; None where nothing
        is waiting."""


# ------------------------------------------------------------------ above KCP


class ICompressor(Interface):
    """A compressed form of one connection's byte stream, both directions.  One per session."""

    def compress(data: bytes) -> bytes:
        """Return the compressed bytes of ``data`` (bytes), complete: the peer can restore all of
        it without waiting for more."""

    def decompress(data: bytes) -> bytes:
        """Return the bytes restored from what arrived (bytes, cut anywhere, some 64 KiB at most); possibly
        none yet.  Raises ValueError where the stream is damaged: it is then of no more use.  What is kept for
        later is bounded, and so is how much a byte may become."""


class ICompressorFactory(ILayerFactory):
    """Makes the compressors of one name, for ``--compressor``."""

    def build() -> ICompressor:
        """Return a new ICompressor.  Called for each session."""


class ISessionTransport(ITransport, IConsumer, IPushProducer):
    """A KCP session: one reliable byte stream in each direction, for any IProtocol.

    KCP has no close on the wire.  ``loseConnection`` waits until all that was written has been
    acknowledged, for a bounded time, and then forgets the session; the peer is not told.
    ``pauseProducing`` closes our receive window as unread data fills it."""

    def abortConnection() -> None:
        """Forget the session at once; what was not acknowledged may be lost."""


class IStreamTransport(ITransport, IConsumer, IPushProducer):
    """One stream of a multiplexed session.  Half-close as Twisted's TCP has it: a protocol that
    provides IHalfCloseableProtocol hears ``readConnectionLost`` when the peer has ended its
    direction; any other is closed then."""

    streamID: int = Attribute("The stream's number on the wire: an int.")

    def loseWriteConnection() -> None:
        """End our direction once all that was written has gone out; go on receiving."""

    def abortConnection() -> None:
        """Close both directions at once; drop what was not yet handed to the session."""


class IRelayTarget(ILayerFactory):
    """What a server connects streams to.  ``--target @NAME`` or ``--target @NAME:ARGUMENT`` selects it."""

    def endpoint(reactor: Any, argument: str) -> IStreamClientEndpoint:
        """Return an IStreamClientEndpoint, which is connected for each stream.  ``argument`` is the text
        after the colon, or empty.  Raises ValueError, with what would do, where it is wrong."""
