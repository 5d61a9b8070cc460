"""What tests of datagram transports need on loopback: a clock that has sockets, a recorder, and free ports.

Public as names of kcpstack/testing/datagrams.py.
"""

from __future__ import annotations

import random
import select
import socket

from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.internet.task import Clock
from zope.interface import implementer

from kcpstack.batch import Batch, PeerAddress
from kcpstack.interfaces import IDatagramReceiver
from kcpstack.testing.checks import check

__all__ = ["LOCAL", "DatagramRecorder", "SocketClock", "freePorts"]


class SocketClock(Clock):
    """Virtual time and real sockets: a reactor as far as datagram transports need one (IReactorTime,
    IReactorFDSet).

    ``turn`` lets everybody read and write who can, and a little time pass."""

    def __init__(self) -> None:
        super().__init__()
        self._readers: dict[IReadDescriptor, None] = {}
        self._writers: dict[IWriteDescriptor, None] = {}

    def addReader(self, reader: IReadDescriptor) -> None:
        """See IReactorFDSet."""
        self._readers[reader] = None

    def removeReader(self, reader: IReadDescriptor) -> None:
        """See IReactorFDSet."""
        self._readers.pop(reader, None)

    def addWriter(self, writer: IWriteDescriptor) -> None:
        """See IReactorFDSet."""
        self._writers[writer] = None

    def removeWriter(self, writer: IWriteDescriptor) -> None:
        """See IReactorFDSet."""
        self._writers.pop(writer, None)

    def getReaders(self) -> list[IReadDescriptor]:
        """See IReactorFDSet."""
        return list(self._readers)

    def getWriters(self) -> list[IWriteDescriptor]:
        """See IReactorFDSet."""
        return list(self._writers)

    def removeAll(self) -> list[IReadDescriptor | IWriteDescriptor]:
        """See IReactorFDSet."""
        everybody: dict[IReadDescriptor | IWriteDescriptor, None] = dict.fromkeys(self._readers)
        everybody.update(dict.fromkeys(self._writers))
        self._readers.clear()
        self._writers.clear()
        return list(everybody)

    def turn(self, seconds: float = 0.01) -> None:
        """One round, as a reactor makes them."""
        readable, writable, _ = select.select(self.getReaders(), self.getWriters(), [], 0)
        for reader in readable:
            if reader in self._readers:
                reader.doRead()
        for writer in writable:
            if writer in self._writers:
                writer.doWrite()
        self.advance(seconds)


@implementer(IDatagramReceiver)
class DatagramRecorder:
    """Keeps what it is told: ``arrived`` has (datagram, address) pairs, ``batches`` the length of each batch.

    Then it spoils the batch, as any receiver may."""

    def __init__(self) -> None:
        self.arrived: list[tuple[bytes, PeerAddress]] = []
        self.batches: list[int] = []
        self.refusals = 0

    @property
    def datagrams(self) -> list[bytes]:
        """What arrived, without addresses."""
        return [datagram for datagram, _ in self.arrived]

    def datagramsReceived(self, batch: Batch) -> None:
        """See IDatagramReceiver."""
        addresses = batch.addresses
        check(addresses is not None, "a batch came without addresses")
        check(
            len(addresses or ()) == len(batch),
            f"{len(batch)} datagrams came with {len(addresses or ())} addresses",
        )
        self.batches.append(len(batch))
        self.arrived += zip(map(bytes, batch), addresses or ())
        for start, end in zip(batch.starts, batch.ends):
            batch.buffer[start:end] = b"!" * (end - start)
        batch.starts, batch.ends, batch.addresses = [], [], None

    def connectionRefused(self) -> None:
        """See IDatagramReceiver."""
        self.refusals += 1


def freePorts(count: int) -> range:
    """``count`` UDP ports in a row on which nobody listens now, and that the system deals out to nobody.

    Where processes look for some at once, chance keeps them apart: so there are no two runs with the same
    ports.  Raises RuntimeError where it finds none."""
    chance = random.SystemRandom()
    for _ in range(PORT_TRIES):
        first = chance.randrange(LOWEST, HIGHEST - count)
        sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
        try:
            for port, sock in enumerate(sockets, first):
                sock.bind((LOCAL, port))
            return range(first, first + count)
        except OSError:
            continue
        finally:
            for sock in sockets:
                sock.close()
    raise RuntimeError(f"no {count} free UDP ports in a row were found on {LOCAL}")


LOCAL = "127.0.0.1"
PORT_TRIES = 100
LOWEST, HIGHEST = 20_000, 32_768  # what Linux and others deal out begins there
