"""UDP transports for tests: real sockets on loopback, with a reactor that turns when the test says so."""

from __future__ import annotations

from twisted.internet.task import Clock

from kcpstack.batch import Batch, outboundBatch
from kcpstack.counters import Counters
from kcpstack.layers.datagram import UDPTransport


class FakeReactor(Clock):
    """Knows who wants to read and write; the test calls them."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set = set()
        self.writers: set = set()

    def addReader(self, reader):
        self.readers.add(reader)

    def removeReader(self, reader):
        self.readers.discard(reader)

    def addWriter(self, writer):
        self.writers.add(writer)

    def removeWriter(self, writer):
        self.writers.discard(writer)

    def readAll(self):
        """Let everybody read what has come."""
        for reader in list(self.readers):
            reader.doRead()


class Receiver:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.datagrams: list[tuple[bytes, object]] = []
        self.batches = 0
        self.refusals = 0

    def datagramsReceived(self, batch: Batch) -> None:
        self.batches += 1
        assert len(batch.addresses) == len(batch)
        self.datagrams.extend(zip(map(bytes, batch), batch.addresses))

    def connectionRefused(self) -> None:
        self.refusals += 1


class Ends:
    """A listening transport and one connected to it."""

    def __init__(self, offload: bool, host: str = "127.0.0.1") -> None:
        self.reactor = FakeReactor()
        self.server = UDPTransport(self.reactor, Counters(), host, 0, buffers=1 << 22, offload=offload)
        self.heard = Receiver()
        self.server.startListening(self.heard)
        peer = (host, self.server.getHost().port)
        self.client = UDPTransport(self.reactor, Counters(), peer=peer, buffers=1 << 22, offload=offload)
        self.answered = Receiver()
        self.client.startListening(self.answered)

    def pump(self) -> None:
        for transport in (self.client, self.server):
            transport.doRead()

    def close(self) -> None:
        self.client.stopListening()
        self.server.stopListening()


class FaultySocket:
    """A socket whose sendmsg answers from a list of errors (None: works), then works.  ``sent`` has the
    lengths of each send that worked, with "GSO" where it was a run."""

    def __init__(self, real, errors) -> None:
        self.real = real
        self.errors = list(errors)
        self.sent: list = []

    def sendmsg(self, pieces, control=(), *others):
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        self.sent.append(("GSO" if control else "one", sum(map(len, pieces))))
        return self.real.sendmsg(pieces, control, *others)

    def __getattr__(self, name):
        return getattr(self.real, name)


def batchOf(sizes: list[int]) -> Batch:
    batch = outboundBatch(1500, 28)
    for index, size in enumerate(sizes):
        batch.append(bytes((index + i) & 255 for i in range(size)))
    return batch



def payloads(heard: Receiver) -> list[bytes]:
    """What ``heard`` was given, without addresses."""
    return [datagram for datagram, _ in heard.datagrams]
