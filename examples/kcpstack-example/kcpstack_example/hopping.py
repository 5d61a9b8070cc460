"""A datagram transport that hops over a range of UDP ports, for ``--transport hop``.

For networks where whoever watches slows down or cuts what stays on one port for long.  With ``--remoteaddr
host:3000-3009`` here and ``--listen :3000-3009`` there, a client sends from one socket of its own to one of
the server's ports for TURN seconds, then to another, at random.  The server answers from the port that was
called last.

Why turns, and not another port for each datagram: a burst leaves in one system call and in one order, and a
NAT that gives each of our peer's ports a port of its own (a symmetric one) moves the session once a turn, not
with each datagram.

Why one socket: the server tells peers apart by (host, port), whichever of its own ports they call, so a
session stays where it is while its client hops.

A port that is filtered costs a turn of datagrams, which the layers above send again: one that has been called
and has not answered is left out for RETRY seconds, while there are others.  Should none answer, all are tried
in turn.  Where only the answers are filtered, a client that downloads has nothing to say any more, and would
not hop: so a server that hears nothing for PATIENCE seconds answers from the ports that were called before,
in turn.

Anybody can send in a peer's name, without the key and to a port of his choice.  So a datagram counts as a
call only where the layers above believed it: its address is still in the batch when they are done.  With
``--crypt null`` or ``none`` they believe all.

With one port on either end this is plain UDP there.  Each end also understands a peer with plain UDP.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from zope.interface import implementer

from kcpstack.batch import Batch, PeerAddress
from kcpstack.interfaces import (
    IDatagramReceiver,
    IDatagramTransport,
    IDatagramTransportFactory,
    ITrafficMarking,
)
from kcpstack.layers.datagram import UDPTransport
from kcpstack.layers.portrange import UDPRange
from kcpstack.seams import TRANSPORTS
from kcpstack.transports import TransportContext

__all__ = ["HopFactory", "HoppingClient", "HoppingServer"]

TURN = 0.3  # s; some round trips, and less than a sender waits before it takes a path for dead
RETRY = 60.0  # s; a filtered port costs a turn each time that it is tried
PATIENCE = 0.6  # s
RECENT = 8  # ports of a peer's last turns; what it called long before, its NAT may have forgotten
STRANGERS_MAX = 1024  # addresses that have called and not been answered: forgeries, but for a few
PEERS_MAX = 65_536  # addresses that have been answered: who can speak to the layers above

Calls = tuple[tuple[int, ...], float]  # our ports that somebody has called, once each, the latest last; when


@implementer(IDatagramTransport, ITrafficMarking, IDatagramReceiver)
class HoppingClient:
    """Calls the server at ``host`` (numeric) on one of ``ports`` after another, ``first`` first.

    What comes from anywhere else is dropped and counted (InErrs): its socket is not connected."""

    overhead = 0

    def __init__(self, context: TransportContext, host: str, first: int, ports: range) -> None:
        anyHost = "::" if ":" in host else "0.0.0.0"
        self._udp = UDPTransport(
            context.reactor,
            context.counters,
            anyHost,
            buffers=context.buffers,
            dscp=context.dscp,
            shared=context.shared,
        )
        self._reactor = context.reactor
        self._counters = context.counters
        self._randomBytes = context.randomBytes
        self._host = host
        self._ports = ports
        self._port = first
        self._peer: PeerAddress = (host, first)  # as the layers above know it
        self._turnEnds: float | None = None
        self._unanswered: dict[int, float] = {}  # when each port was called that has not answered since
        self._receiver: IDatagramReceiver

    def startListening(self, receiver: IDatagramReceiver) -> None:
        """See IDatagramTransport."""
        self._receiver = receiver
        self._udp.startListening(self)

    def send(self, batch: Batch, address: PeerAddress | None) -> None:
        """See IDatagramTransport.  There is one fixed peer, whatever ``address`` says."""
        now = self._reactor.seconds()
        if self._turnEnds is None or now >= self._turnEnds:
            if self._turnEnds is not None:
                self._port = self._nextPort(now)
            self._turnEnds = now + TURN
            self._unanswered[self._port] = now
        self._udp.send(batch, (self._host, self._port))

    def getHost(self) -> IAddress:
        """The socket's own address."""
        return self._udp.getHost()

    def stopListening(self) -> Deferred[None]:
        """Close the socket at once."""
        return self._udp.stopListening()

    def setDSCP(self, dscp: int) -> None:
        """See ITrafficMarking."""
        self._udp.setDSCP(dscp)

    def datagramsReceived(self, batch: Batch) -> None:
        """Datagrams for our socket: the server's go up, as if all came from one port.  Where none of them is
        believed, no port has answered."""
        addresses = batch.addresses or []
        servers = set(filter(self._isServers, set(addresses)))
        kept = [i for i, address in enumerate(addresses) if address in servers]
        if len(kept) < len(addresses):
            self._counters.InErrs += len(addresses) - len(kept)
            batch.starts = [batch.starts[i] for i in kept]
            batch.ends = [batch.ends[i] for i in kept]
        batch.addresses = [self._peer] * len(kept)
        if not kept:
            return
        self._receiver.datagramsReceived(batch)
        if believed(batch, self._peer):
            for address in servers:
                self._unanswered.pop(address[1], None)

    def connectionRefused(self) -> None:
        """See IDatagramReceiver.  A socket that is not connected hears of none."""
        self._receiver.connectionRefused()

    def _isServers(self, address: PeerAddress) -> bool:
        host, port = address[:2]
        return port in self._ports and (host == self._host or plainHost(host) == plainHost(self._host))

    def _nextPort(self, now: float) -> int:
        """Any port but this one that is not known to be silent, or else the one whose silence is the
        oldest."""
        shunned = {port for port, called in self._unanswered.items() if now - called < RETRY}
        candidates = [port for port in self._ports if port not in shunned and port != self._port]
        if candidates:
            return candidates[int.from_bytes(self._randomBytes(4), "little") % len(candidates)]
        if self._port not in shunned:
            return self._port
        return min(shunned, key=self._unanswered.__getitem__)


@implementer(IDatagramTransport, ITrafficMarking, IDatagramReceiver)
class HoppingServer:
    """Listens at ``host`` on all of ``ports``, and answers each peer from the port that it has called last.

    Who may be a stranger is remembered apart, so that no flood of forged addresses makes it forget a peer."""

    overhead = 0

    def __init__(self, context: TransportContext, host: str, ports: range) -> None:
        self._reactor = context.reactor
        self._udp = UDPRange(
            self._reactor, context.counters, host, ports, buffers=context.buffers, dscp=context.dscp
        )
        self._strangers: OrderedDict[PeerAddress, Caller] = OrderedDict()  # who has not been answered yet
        self._peers: OrderedDict[PeerAddress, Caller] = OrderedDict()  # and who has
        self._first = ports[0]
        self._receiver: IDatagramReceiver

    def startListening(self, receiver: IDatagramReceiver) -> None:
        """See IDatagramTransport.  Opens all ports, or none."""
        self._receiver = receiver
        self._udp.startListening(self)

    def send(self, batch: Batch, address: PeerAddress | None) -> None:
        """See IDatagramTransport."""
        assert address is not None  # a port that listens has no fixed peer
        now = self._reactor.seconds()
        caller = (
            self._peers.pop(address, None) or self._strangers.pop(address, None) or Caller(self._first, now)
        )
        keep(self._peers, address, caller, PEERS_MAX)
        self._udp.send(batch, (*address, caller.answerFrom(now)))

    def getHost(self) -> IAddress:
        """The first port's address."""
        return self._udp.getHost()

    def stopListening(self) -> Deferred[None]:
        """Close all ports at once."""
        return self._udp.stopListening()

    def setDSCP(self, dscp: int) -> None:
        """See ITrafficMarking."""
        self._udp.setDSCP(dscp)

    def datagramsReceived(self, batch: Batch) -> None:
        """Datagrams for one of our ports, which UDPRange puts behind each address: it is taken off, and
        remembered where one from there is believed."""
        now = self._reactor.seconds()
        called = batch.addresses or []
        known: list[tuple[PeerAddress, Caller, Calls]] = []  # and their calls so far
        for address in dict.fromkeys(called):
            peer, port = address[:-1], address[-1]
            caller = self._peers.get(peer) or self._strangers.get(peer)
            if caller is not None:
                known.append((peer, caller, caller.calls))
                caller.called(port, now)
            else:
                keep(self._strangers, peer, Caller(port, now), STRANGERS_MAX)
        batch.addresses = [address[:-1] for address in called]
        self._receiver.datagramsReceived(batch)
        for peer, caller, calls in reversed(known):
            if not believed(batch, peer):
                caller.calls = calls

    def connectionRefused(self) -> None:
        """See IDatagramReceiver."""
        self._receiver.connectionRefused()


class Caller:
    """Which of our ports a peer has called, and when it did so last: ``calls``, which is replaced and never
    changed."""

    __slots__ = ("calls",)

    def __init__(self, port: int, now: float) -> None:
        self.calls: Calls = ((port,), now)

    def called(self, port: int, now: float) -> None:
        """It has called ``port``."""
        ports = self.calls[0]
        if port != ports[-1]:
            ports = (*(each for each in ports if each != port), port)[-RECENT:]
        self.calls = (ports, now)

    def answerFrom(self, now: float) -> int:
        """The port to answer from."""
        ports, heardAt = self.calls
        silent = now - heardAt - PATIENCE
        back = 0 if silent < 0 else 1 + int(silent / TURN)
        return ports[-1 - back % len(ports)]


@implementer(IDatagramTransportFactory)
class HopFactory:
    """Hops where there are several ports; where there is one, plain UDP does."""

    name = "hop"
    overhead = 0

    def dial(self, context: TransportContext, host: str, port: int, ports: range) -> Any:
        """See IDatagramTransportFactory."""
        if len(ports) > 1:
            return HoppingClient(context, host, port, ports)
        return TRANSPORTS.find("udp").dial(context, host, port, ports)

    def listen(self, context: TransportContext, host: str, ports: range) -> Any:
        """See IDatagramTransportFactory."""
        if len(ports) > 1:
            return HoppingServer(context, host, ports)
        return TRANSPORTS.find("udp").listen(context, host, ports)


def keep(callers: OrderedDict[PeerAddress, Caller], address: PeerAddress, caller: Caller, most: int) -> None:
    """Remember ``caller`` as the latest, and no more than ``most``."""
    callers[address] = caller
    if len(callers) > most:
        callers.popitem(last=False)


def believed(batch: Batch, peer: PeerAddress) -> bool:
    """Whether the receiver left datagrams of ``peer`` in ``batch``.  Where it left no addresses, that is
    unknown."""
    return batch.addresses is None or peer in batch.addresses


def plainHost(host: str) -> str:
    """A numeric host as a socket writes it, but for the zone."""
    return str(ipaddress.ip_address(host.partition("%")[0]))
