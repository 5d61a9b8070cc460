"""A layer that misbehaves on purpose: to see that what is around it goes on, and cleans up.

::

    faulty = FaultyLayer(seed=7, faults={"open.raise": 0.01, "encode.shorten": 0.05, "lose": 0.1})
    layers = lambda settings: faulty.layers(layersOf(settings))    # for Surroundings(layers=...)
    transport = faulty.transport(transport)
    ...
    print(faulty.counts, faulty.history())

A fault is named by itself (``"lose"``: wherever it exists), or with its operation (``"open.raise"``), and has a chance
from 0 to 1 for each call.  ``OPERATIONS`` lists what can happen where.  What becomes of call number *n* of an operation
depends on the seed, the operation and *n* alone; so a seed replays it, and switching one fault on does not move another.

The adapters behind it are in :mod:`kcpstack.testing.faultyseams`: one for each interface, which passes on all that it
does not spoil.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from kcpstack.interfaces import (
    IBatchCipher,
    ICipherFactory,
    ICompressor,
    ICompressorFactory,
    ICongestionControl,
    ICongestionControlFactory,
    IErasureCode,
    IErasureCodeFactory,
    IPacketCipher,
)
from kcpstack.seams import Layers
from kcpstack.testing import faultyseams as seams

__all__ = ["OPERATIONS", "FaultyLayer", "LayerFault", "Spoiling"]

# What can go wrong in each operation, in this order: the first that does counts.
OPERATIONS: dict[str, tuple[str, ...]] = {
    # IDatagramTransport: a whole call, or one datagram of its batch.
    "send": ("raise", "lose", "corrupt", "shorten", "lengthen", "repeat", "delay"),
    "receive": ("lose", "corrupt", "shorten", "lengthen", "repeat", "delay"),
    # ICipherFactory; IPacketCipher and IBatchCipher.
    "buildCipher": ("raise",),
    "seal": ("raise", "corrupt", "shorten", "lengthen"),
    "open": ("raise", "refuse", "corrupt", "shorten", "lengthen"),
    # IErasureCodeFactory; IErasureCode: a wrong number of shards, or one of a wrong length.
    "buildCode": ("raise", "refuse"),
    "encode": ("raise", "lose", "corrupt", "shorten", "lengthen"),
    "reconstruct": ("raise", "refuse", "lose", "corrupt", "shorten", "lengthen"),
    # ICompressorFactory; ICompressor.
    "buildCompressor": ("raise",),
    "compress": ("raise", "lose", "corrupt", "shorten", "lengthen"),
    "decompress": ("raise", "refuse", "lose", "corrupt", "shorten", "lengthen"),
    # ICongestionControlFactory; ICongestionControl: an event that is not heard; a window that is none.
    "buildControl": ("raise",),
    "event": ("raise", "lose", "repeat"),
    "window": ("raise", "shorten", "lengthen"),
    # IProtocol on an ISessionTransport.
    "dataReceived": ("raise", "lose", "corrupt", "shorten", "lengthen", "repeat"),
    "write": ("raise", "lose", "corrupt", "shorten", "lengthen", "repeat"),
}


class LayerFault(Exception):
    """What a faulty layer raises: no kind of exception that anybody waits for."""


class Spoiling(NamedTuple):
    """One fault: what is to go wrong, and where the details of it come from."""

    operation: str
    number: int  # of the call, from 0
    fault: str  # one of OPERATIONS[operation]
    seed: str

    def __str__(self) -> str:
        return f"{self.operation} #{self.number}: {self.fault}"

    def chance(self) -> random.Random:
        """The same for the same spoiling."""
        return random.Random(f"{self.seed}/{self.operation}/{self.number}")

    def error(self) -> LayerFault:
        """What to raise."""
        return LayerFault(str(self))

    def pick(self, count: int) -> int:
        """One of ``count`` things."""
        return self.chance().randrange(count)

    def spoiled(self, data: bytes) -> bytes:
        """``data`` corrupted (one byte), shortened or lengthened, whichever this is."""
        chance = self.chance()
        if self.fault == "lengthen":
            return data + chance.randbytes(chance.randint(1, 20))
        if self.fault == "shorten":
            return data[: chance.randrange(len(data))] if data else data
        changed = bytearray(data)
        if changed:
            changed[chance.randrange(len(changed))] ^= chance.randint(1, 255)
        return bytes(changed)


class FaultyLayer:
    """Decides what goes wrong, and makes faulty layers of good ones.  One may serve any number of them.

    ``faults`` maps names to chances; raises ValueError for a name that is none.  ``counts`` says how often each
    fault happened, ``calls`` how many calls each operation had, and ``trace`` holds the last TRACE_LENGTH
    spoilings."""

    def __init__(self, seed: Any, faults: Mapping[str, float]) -> None:
        self.seed = seed
        self.counts: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.trace: deque[Spoiling] = deque(maxlen=TRACE_LENGTH)
        self._chances: dict[str, list[tuple[str, float]]] = {}
        self._draws: dict[tuple[str, str], Callable[[], float]] = {
            (operation, fault): random.Random(f"{seed}/{operation}/{fault}").random
            for operation, names in OPERATIONS.items()
            for fault in names
        }
        self.setFaults(faults)

    def setFaults(self, faults: Mapping[str, float]) -> None:
        """Use these chances from the next call on, and no others."""
        known = {fault for names in OPERATIONS.values() for fault in names}
        known |= {f"{operation}.{fault}" for operation, names in OPERATIONS.items() for fault in names}
        for name, chance in faults.items():
            if name not in known:
                raise ValueError(f"no such fault: {name!r}; there are {', '.join(sorted(known))}")
            if not 0 <= chance <= 1:
                raise ValueError(f"{name} is a chance from 0 to 1, not {chance!r}")
        self._chances = {
            operation: [(fault, faults.get(f"{operation}.{fault}", faults.get(fault, 0.0))) for fault in names]
            for operation, names in OPERATIONS.items()
        }

    def spoils(self, operation: str) -> Spoiling | None:
        """What goes wrong in the next call of ``operation``, if anything.  Counted and traced."""
        number = self.calls[operation]
        self.calls[operation] = number + 1
        found = None
        for fault, chance in self._chances[operation]:
            if self._draws[operation, fault]() < chance and found is None:
                found = fault
        if found is None:
            return None
        spoiling = Spoiling(operation, number, found, str(self.seed))
        self.counts[f"{operation}.{found}"] += 1
        self.trace.append(spoiling)
        return spoiling

    def history(self, last: int = 50) -> str:
        """The seed, the counts and the end of the trace, for the message of a failing test."""
        counts = " ".join(f"{name}={count}" for name, count in sorted(self.counts.items()))
        return "\n".join([f"FaultyLayer: seed {self.seed!r}; {counts}", *map(str, list(self.trace)[-last:])])

    # ------------------------------------------------------------ wrapping

    def wrap(self, provider: Any) -> Any:
        """A faulty one of ``provider``, which provides one of the interfaces below; else TypeError."""
        for interface, wrapping in self._wrappings():
            if interface.providedBy(provider):
                return wrapping(provider)
        raise TypeError(f"{provider!r} provides no interface of which there is a faulty form")

    def layers(self, layers: Layers) -> Layers:
        """All factories of a stack, each with the faults of its operations."""
        return replace(
            layers,
            cipher=self.cipherFactory(layers.cipher),
            erasure=self.erasureFactory(layers.erasure),
            compressor=self.compressorFactory(layers.compressor),
            congestion=self.congestionFactory(layers.congestion),
            session=lambda mux: self.protocol(layers.session(mux)),
        )

    def transport(self, transport: Any, clock: Any) -> Any:
        """An IDatagramTransport; what is delayed comes DELAY seconds of ``clock`` (IReactorTime) later."""
        return seams.FaultyTransport(self, transport, clock)

    def cipher(self, cipher: Any) -> Any:
        """An IPacketCipher or IBatchCipher, of the same shape."""
        if IBatchCipher.providedBy(cipher):
            return seams.FaultyBatchCipher(self, cipher)
        return seams.FaultyPacketCipher(self, cipher)

    def cipherFactory(self, factory: Any) -> Any:
        """An ICipherFactory."""
        return seams.FaultyCipherFactory(self, factory)

    def erasureCode(self, code: Any) -> Any:
        """An IErasureCode."""
        return seams.FaultyErasureCode(self, code)

    def erasureFactory(self, factory: Any) -> Any:
        """An IErasureCodeFactory."""
        return seams.FaultyErasureCodeFactory(self, factory)

    def compressor(self, compressor: Any) -> Any:
        """An ICompressor."""
        return seams.FaultyCompressor(self, compressor)

    def compressorFactory(self, factory: Any) -> Any:
        """An ICompressorFactory."""
        return seams.FaultyCompressorFactory(self, factory)

    def congestionControl(self, control: Any) -> Any:
        """An ICongestionControl."""
        return seams.FaultyCongestionControl(self, control)

    def congestionFactory(self, factory: Any) -> Any:
        """An ICongestionControlFactory."""
        return seams.FaultyCongestionControlFactory(self, factory)

    def protocol(self, protocol: Any) -> Any:
        """An IProtocol for a session: between it and its ISessionTransport bytes go wrong in both directions."""
        return seams.FaultyProtocol(self, protocol)

    def _wrappings(self) -> list[tuple[Any, Callable[[Any], Any]]]:
        return [
            (ICipherFactory, self.cipherFactory),
            (IErasureCodeFactory, self.erasureFactory),
            (ICompressorFactory, self.compressorFactory),
            (ICongestionControlFactory, self.congestionFactory),
            (IBatchCipher, self.cipher),
            (IPacketCipher, self.cipher),
            (IErasureCode, self.erasureCode),
            (ICompressor, self.compressor),
            (ICongestionControl, self.congestionControl),
        ]


TRACE_LENGTH = 10_000  # spoilings; enough to see what led to a failure
