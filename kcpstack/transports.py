"""What datagram transports are made with.

Public, for whoever writes an ``IDatagramTransportFactory``: ``TransportContext`` may gain attributes, and loses none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kcpstack.counters import Counters
from kcpstack.layers.datagram import Shared

__all__ = ["TransportContext"]


@dataclass(frozen=True)
class TransportContext:
    """What the transports of one process, or of one endpoint, are made with.

    ``reactor`` provides IReactorTime and IReactorFDSet, ``counters`` is what to count in, ``randomBytes(n)``
    returns n random bytes, ``buffers`` is --sockbuf in bytes and ``dscp`` --dscp.  ``shared`` is what all sockets of a
    process may have in common: UDPTransport takes it."""

    reactor: Any
    counters: Counters
    randomBytes: Callable[[int], bytes]
    buffers: int = 0
    dscp: int = 0
    shared: Shared | None = None
