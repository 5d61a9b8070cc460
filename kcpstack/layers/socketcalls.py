"""The two system calls of the datagram layer, for runs of datagrams in a batch.

``socketCalls(sock)`` gives the compiled form (kcpstack/kernels/socketcalls.pyx) where there is one, and this one else.
"""

from __future__ import annotations

import socket
from typing import Any, Protocol

from kcpstack.batch import Batch, PeerAddress
from kcpstack.layers.offload import CONTROL_BYTES, runControl, segmentSize

__all__ = ["Calls", "SocketCalls", "socketCalls"]


class Calls(Protocol):
    """What both forms do."""

    def sendRun(self, batch: Batch, first: int, after: int, size: int, address: PeerAddress | None) -> OSError | None:
        """Send the datagrams ``first`` to ``after - 1`` of a batch in one call: one, or a run of at most GSO_SEGMENTS
        that are ``size`` bytes long but for the last.  ``address`` is None on a connected socket.  Returns the error that
        kept them from leaving.  Raises ValueError where the host of ``address`` is a name, which only Python's
        own sockets look up."""

    def receive(self, batch: Batch, position: int, reserve: int, reads: int) -> tuple[int, int, OSError | None]:
        """Receive into ``batch.buffer`` from ``position`` on, with ``reserve`` bytes for each call, and append what
        comes to the lists of ``batch``; ``reads`` calls at most, and as many as find something and fit the buffer.
        Returns (where the free part begins, calls left, the error that ended it: BlockingIOError where no more has
        come)."""


class SocketCalls:
    """``sock`` is a socket, or behaves like one."""

    def __init__(self, sock: Any) -> None:
        self._socket = sock

    def sendRun(self, batch: Batch, first: int, after: int, size: int, address: PeerAddress | None) -> OSError | None:
        """See Calls."""
        control = runControl(size) if after - first > 1 else []
        with memoryview(batch.buffer) as view:
            pieces = [view[start:end] for start, end in zip(batch.starts[first:after], batch.ends[first:after])]
            try:
                if address is None:
                    self._socket.sendmsg(pieces, control)
                else:
                    self._socket.sendmsg(pieces, control, 0, address)
            except OSError as error:
                return error.with_traceback(None)  # whose frames would hold on to the batch's buffer, which may grow
            finally:
                for piece in pieces:
                    piece.release()
        return None

    def receive(self, batch: Batch, position: int, reserve: int, reads: int) -> tuple[int, int, OSError | None]:
        """See Calls."""
        starts, ends, addresses = batch.starts, batch.ends, batch.addresses
        assert addresses is not None
        with memoryview(batch.buffer) as view:
            while reads and position + reserve <= len(view):
                reads -= 1
                try:
                    length, control, _flags, address = self._socket.recvmsg_into(
                        [view[position : position + reserve]], CONTROL_BYTES
                    )
                except OSError as error:
                    return position, reads, error.with_traceback(None)
                size = segmentSize(control) or length
                end = position + length
                for start in range(position, end, size) if length else ():
                    starts.append(start)
                    ends.append(min(start + size, end))
                    addresses.append(address)
                position = end
        return position, reads, None


try:
    from kcpstack.kernels import socketcalls as compiled
except ImportError:
    compiled = None  # type: ignore[assignment]


def socketCalls(sock: Any) -> Calls:
    """The calls of ``sock``: what only behaves like a socket is called in Python."""
    calls: Calls = compiled.NativeCalls(sock) if compiled is not None and type(sock) is socket.socket else SocketCalls(sock)
    return calls
