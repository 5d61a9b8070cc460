"""A range of UDP ports as one: what a server listens on for clients that change ports.

A datagram transport over one UDPTransport for each port.  Nothing above needs to know: a peer's
address has one element more than a socket gives it, the number of our port that it has called, and
answers leave from that port::

    ("192.0.2.7", 40001, 3004)               host, port, and our port 3004
    ("2001:db8::7", 40001, 0, 0, 3004)       host, port, flow, scope, and our port 3004

So one socket of a peer that calls two ports is two addresses, and its session moves between them as it
does between any two (fanout.py).
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from itertools import repeat
from typing import Any

from twisted.internet import defer
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import CannotListenError
from zope.interface import implementer

from kcpstack.batch import Batch, PeerAddress
from kcpstack.counters import Counters
from kcpstack.interfaces import IDatagramReceiver, IDatagramTransport, ITrafficMarking
from kcpstack.layers.datagram import Shared, UDPTransport

__all__ = ["UDPRange"]


@implementer(IDatagramTransport, ITrafficMarking)
class UDPRange:
    """UDP sockets on ``reactor`` at ``host`` and each of ``ports`` (a range of numbers from 1 on).

    ``sockets`` are given where they are open already, one for each of ``ports``, as UDPTransport takes them.  The other
    arguments are UDPTransport's; ``buffers`` is for each socket.  All sockets share one read buffer, so a thousand of them cost a thousand file descriptors and little else."""

    overhead = 0

    def __init__(
        self,
        reactor: Any,
        counters: Counters,
        host: str,
        ports: Sequence[int],
        buffers: int = 0,
        offload: bool = True,
        dscp: int = 0,
        sockets: Sequence[socket.socket] = (),
    ) -> None:
        shared = Shared(reactor)
        self._host = host
        self._sockets = {
            port: UDPTransport(
                reactor, counters, host, port, buffers=buffers, offload=offload, dscp=dscp, shared=shared, sock=sock
            )
            for port, sock in zip(ports, sockets or repeat(None))
        }

    def startListening(self, receiver: IDatagramReceiver) -> None:
        """Open all ports, or none.  Raises CannotListenError that names the port which cannot be had."""
        opened: list[UDPTransport] = []
        for port, transport in self._sockets.items():
            try:
                transport.startListening(_Door(port, receiver))
            except CannotListenError as error:
                for earlier in opened:
                    earlier.stopListening()
                raise self._explained(error, len(opened)) from None
            opened.append(transport)

    def send(self, batch: Batch, address: PeerAddress | None) -> None:
        """See IDatagramTransport.  Leaves from the port that ``address`` names last."""
        assert address is not None  # a port that listens has no fixed peer
        self._sockets[address[-1]].send(batch, address[:-1])

    def getHost(self) -> IPv4Address | IPv6Address:
        """The first port's address."""
        return next(iter(self._sockets.values())).getHost()

    def ports(self) -> list[int]:
        """The numbers of all ports."""
        return list(self._sockets)

    def setDSCP(self, dscp: int) -> None:
        """Mark what is sent from now on with ``dscp``, 0 to 63."""
        for transport in self._sockets.values():
            transport.setDSCP(dscp)

    def stopListening(self) -> defer.Deferred[None]:
        """Close all ports at once."""
        for transport in self._sockets.values():
            transport.stopListening()
        return defer.succeed(None)

    def _explained(self, error: CannotListenError, opened: int) -> CannotListenError:
        """``error``, with the reason in the user's terms where it is the number of ports."""
        reason = error.socketError
        if reason.errno not in (errno.EMFILE, errno.ENFILE):
            return error
        why = (
            f"{os.strerror(reason.errno)}: {opened} of {len(self._sockets)} ports could be opened; "
            "raise the limit (ulimit -n) or take a shorter range"
        )
        return CannotListenError(self._host, error.port, OSError(reason.errno, why))


@implementer(IDatagramReceiver)
class _Door:
    """What one port delivers to: puts its number behind each address, and hands on."""

    def __init__(self, port: int, receiver: IDatagramReceiver) -> None:
        self._suffix = (port,)
        self._receiver = receiver

    def datagramsReceived(self, batch: Batch) -> None:
        addresses = batch.addresses
        if not addresses:
            return
        first = addresses[0]
        if addresses.count(first) == len(addresses):  # as nearly always
            batch.addresses = [first + self._suffix] * len(addresses)
        else:
            named = {address: address + self._suffix for address in set(addresses)}
            batch.addresses = [named[address] for address in addresses]
        self._receiver.datagramsReceived(batch)

    def connectionRefused(self) -> None:
        self._receiver.connectionRefused()
