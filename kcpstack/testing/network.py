"""A whole network in one process, on virtual time: what layers and stacks are tested over.

::

    clock = twisted.internet.task.Clock()
    network = SimulatedNetwork(clock, seed=7, delay=30, loss=0.05)
    server = network.transport(("10.0.0.1", 29900))
    client = network.transport(peer=("10.0.0.1", 29900))
    ...                                       # wire them up, start the application
    assert advanceUntil(clock, lambda: application.done, seconds=600)

Nothing is real: no sockets, no waiting.  Thousands of virtual seconds pass as fast as the code
under test runs.  What happens depends only on the seed and on the calls made: the same again gives
the same trace.  So a failing test prints its seed (and ``network.history()``), which replays it.

Faults are set for all directions with ``network.configure(loss=0.1)`` or for one with
``network.direction(client, server).configure(loss=0.1)``, at any time.  For what they are, see
:class:`kcpstack.testing.impairment.Faults`.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Callable, NamedTuple

from twisted.internet import defer
from twisted.internet.address import IPv4Address
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from zope.interface import implementer

from kcpstack.batch import Batch, PeerAddress, inboundBatch
from kcpstack.counters import Counters
from kcpstack.interfaces import IDatagramReceiver, IDatagramTransport
from kcpstack.testing.impairment import Decision, Faults, Impairment, InFlight

__all__ = ["Address", "SimulatedNetwork", "SimulatedTransport", "advanceUntil"]

Address = tuple[str, int]  # (host, port), as a socket gives it


class SimulatedNetwork:
    """Carries datagrams between the transports it makes, on ``clock``.

    ``faults`` (fields of Faults) hold in every direction until changed.  ``trace`` holds what became of
    the last TRACE_LENGTH datagrams, and ``undeliverable`` counts those that found nobody at their address
    (or somebody connected to another peer).  With ``refuses`` set, a transport connected to such an
    address hears ``connectionRefused``, as where no firewall swallows the ICMP message."""

    def __init__(self, clock: Clock, seed: object, **faults: Any) -> None:
        self.clock = clock
        self.seed = seed
        self.trace: deque[Decision] = deque(maxlen=TRACE_LENGTH)
        self.undeliverable = 0
        self.refuses = False
        self._faults = faults
        self._transports: list[SimulatedTransport] = []
        self._listening: dict[Address, SimulatedTransport] = {}
        self._directions: dict[tuple[int, int], Impairment] = {}
        Faults(**faults)  # complain now rather than at the first datagram

    def transport(
        self,
        address: Address | None = None,
        peer: Address | None = None,
        counters: Counters | None = None,
    ) -> SimulatedTransport:
        """Make a transport at ``address`` (None: a fresh one), connected to ``peer`` if given: then
        it takes nothing from others.  Transports are numbered in the order in which they are made,
        and a direction's faults depend on these numbers, not on the addresses."""
        number = len(self._transports)
        if address is None:
            address = (f"10.99.{number >> 8}.{number & 255}", FRESH_PORT)
        transport = SimulatedTransport(self, number, address, peer, counters or Counters())
        self._transports.append(transport)
        return transport

    def direction(self, source: SimulatedTransport, destination: SimulatedTransport) -> Impairment:
        """The path from one transport to another, to be configured and asked for its tally."""
        key = (source.number, destination.number)
        if key not in self._directions:
            name = f"{source.number}->{destination.number}"
            self._directions[key] = Impairment(self.seed, name, Faults(**self._faults), self.trace)
        return self._directions[key]

    def configure(self, **changes: Any) -> None:
        """Change some faults in all directions, from the next datagram on."""
        self._faults = {**self._faults, **changes}
        for impairment in self._directions.values():
            impairment.configure(**changes)

    def cut(self, one: SimulatedTransport, other: SimulatedTransport) -> None:
        """Let nothing more pass between two transports.  What is under way arrives."""
        self.direction(one, other).configure(cut=True)
        self.direction(other, one).configure(cut=True)

    def heal(self, one: SimulatedTransport, other: SimulatedTransport) -> None:
        """Undo ``cut``."""
        self.direction(one, other).configure(cut=False)
        self.direction(other, one).configure(cut=False)

    def tallies(self) -> dict[str, dict[str, int]]:
        """What was done so far, by direction (``"0->1"``: from transport 0 to transport 1)."""
        return {impairment.direction: impairment.tally.asDict() for impairment in self._directions.values()}

    def history(self, last: int = 50) -> str:
        """The seed, the tallies and the end of the trace, for the message of a failing test."""
        lines = [f"SimulatedNetwork: seed {self.seed!r}, {self.clock.seconds():.3f} virtual seconds"]
        for direction, tally in self.tallies().items():
            lines.append(f"{direction}: " + " ".join(f"{name}={n}" for name, n in tally.items() if n))
        for time, direction, number, length, verdict in list(self.trace)[-last:]:
            lines.append(f"{time:12.3f} ms  {direction} #{number} {length} bytes {verdict or 'carried'}")
        return "\n".join(lines)

    # ------------------------------------------------------------ for the transports

    def bind(self, transport: SimulatedTransport, address: Address) -> None:
        """Deliver to ``transport`` what goes to ``address``.  Raises CannotListenError."""
        if address in self._listening:
            raise CannotListenError(address[0], address[1], OSError("address in use"))
        self._listening[address] = transport

    def unbind(self, address: Address) -> None:
        self._listening.pop(address, None)

    def carry(self, source: SimulatedTransport, datagram: bytes, address: Address) -> None:
        """Send one datagram on its way."""
        destination = self._listening.get(address)
        if destination is None:
            self.undeliverable += 1
            if self.refuses:
                self.clock.callLater(0, source.refused)
            return
        now = self.clock.seconds() * 1000
        for due, arrived in self.direction(source, destination).offer(datagram, now):
            destination.expect(due, Parcel(arrived, source.address, address))


class Parcel(NamedTuple):
    """One datagram under way."""

    datagram: bytes
    source: Address  # as it looks from outside
    destination: Address  # a mapping that may be gone by the time the datagram gets there


@implementer(IDatagramTransport)
class SimulatedTransport:
    """One UDP socket in a SimulatedNetwork, which makes it.

    Delivery is always in a later turn of the clock than sending.  What is due at the same
    instant arrives as one batch, of at most BATCH_LIMIT datagrams."""

    overhead = 0

    def __init__(
        self,
        network: SimulatedNetwork,
        number: int,
        address: Address,
        peer: Address | None,
        counters: Counters,
    ) -> None:
        self.number = number
        self.address = address
        self._network = network
        self._clock = network.clock
        self._peer = peer
        self.counters = counters
        self._receiver: IDatagramReceiver | None = None
        self._inFlight = InFlight()
        self._wakeUp: IDelayedCall | None = None

    def rebind(self, address: Address) -> None:
        """Look like another address to everybody from now on, as if a NAT in front had forgotten its mapping.
        What is under way or sent to the old address does not arrive.  Raises CannotListenError."""
        if self._receiver is not None:
            self._network.bind(self, address)
            self._network.unbind(self.address)
        self.address = address

    # ------------------------------------------------------------ IDatagramTransport

    def startListening(self, receiver: IDatagramReceiver) -> None:
        """See IDatagramTransport.  Raises CannotListenError where the address is taken."""
        self._network.bind(self, self.address)
        self._receiver = receiver

    def send(self, batch: Batch, address: PeerAddress | None) -> None:
        """See IDatagramTransport.  Does nothing unless listening."""
        destination = self._peer if address is None else (address[0], address[1])
        if self._receiver is None or destination is None:
            return
        self.counters.OutPkts += len(batch)
        for datagram in batch:
            self.counters.OutBytes += len(datagram)
            if len(datagram) > LONGEST_DATAGRAM:
                self.counters.OutErrs += 1
                continue
            self._network.carry(self, bytes(datagram), destination)

    def getHost(self) -> IPv4Address:
        return IPv4Address("UDP", *self.address)

    def stopListening(self) -> defer.Deferred[None]:
        """Close at once.  The address is free again, and what was under way is lost."""
        if self._receiver is not None:
            self._receiver = None
            self._network.unbind(self.address)
            self._inFlight = InFlight()
            self._arm()
        return defer.succeed(None)

    # ------------------------------------------------------------ for the network

    def expect(self, due: float, parcel: Parcel) -> None:
        """A datagram arrives at ``due`` (ms)."""
        self._inFlight.add(due, parcel)
        self._arm()

    def refused(self) -> None:
        """Nobody listens where a datagram of ours went."""
        if self._receiver is not None and self._peer is not None:
            self._receiver.connectionRefused()

    def _arm(self) -> None:
        """Wake up when the first datagram is due, and not otherwise."""
        due = self._inFlight.nextDue
        if self._wakeUp is not None:
            if due is not None and self._wakeUp.getTime() <= due / 1000:
                return
            self._wakeUp.cancel()
            self._wakeUp = None
        if due is not None:
            delay = max(0.0, due / 1000 - self._clock.seconds())
            self._wakeUp = self._clock.callLater(delay, self._arrived)

    def _arrived(self) -> None:
        self._wakeUp = None
        now = self._clock.seconds() * 1000 + ROUNDING
        try:
            self._deliver(self._inFlight.take(now, BATCH_LIMIT))
        finally:
            self._arm()

    def _deliver(self, parcels: list[Parcel]) -> None:
        reached = [
            parcel
            for parcel in parcels
            if parcel.destination == self.address and self._peer in (None, parcel.source)
        ]
        self._network.undeliverable += len(parcels) - len(reached)
        if not reached or self._receiver is None:
            return
        self._receiver.datagramsReceived(
            inboundBatch([parcel.datagram for parcel in reached], [parcel.source for parcel in reached])
        )


def advanceUntil(clock: Clock, condition: Callable[[], object], seconds: float) -> bool:
    """Let virtual time pass, from one delayed call to the next, until ``condition()`` is true.

    Every call runs at its own time (one big ``clock.advance`` would show all of them its end).
    Returns whether the condition came true; if not, ``seconds`` have passed on the clock."""
    end = clock.seconds() + seconds
    while not condition():
        soonest = min((call.getTime() for call in clock.getDelayedCalls()), default=end)
        if soonest >= end:
            clock.advance(max(0.0, end - clock.seconds()))
            return bool(condition())
        clock.advance(max(0.0, soonest - clock.seconds()))
    return True


TRACE_LENGTH = 10_000  # decisions; some MB, and enough to see what led to a failure
BATCH_LIMIT = 64  # datagrams; about what one coalesced receive from the kernel can hold
LONGEST_DATAGRAM = 65_507  # bytes of UDP payload over IPv4
FRESH_PORT = 40_000  # of transports that did not ask for an address
ROUNDING = 1e-6  # ms; a due time computed back and forth between seconds and ms must not miss its turn
