"""Writing to TCP at once, where nothing waits before.

Twisted's transports keep what is written until the kernel says, in the next turn of the reactor, that it has room: two
system calls to ask, a round of the reactor to hear, for a connection that nearly always has room.  A relay's bytes have
come a long way and somebody may wait for the answer, so they are offered to the kernel first, and only what it
does not take is left to the transport.
"""

from __future__ import annotations

import contextlib
from typing import Any

from twisted.internet import tcp, unix

__all__ = ["writeNow"]


def writeNow(transport: Any, data: bytes) -> None:
    """``transport.write(data)``, whatever transport that is; in this call, as far as the kernel takes it, where
    it is one of Twisted's own on a socket, in the clear, with nothing to be sent before."""
    if type(transport) in DIRECT and _idle(transport):
        with contextlib.suppress(OSError):  # of any kind: the reactor meets it again, and knows what to do
            sent = transport.socket.send(data)
            if sent == len(data):
                return
            data = data[sent:]
    transport.write(data)


def _idle(transport: Any) -> bool:
    """Whether a byte written now would be the next on the wire."""
    return (
        transport.connected
        and not transport.disconnecting
        and not transport._writeDisconnected
        and not transport._tempDataBuffer
        and not transport.dataBuffer
        and not transport.TLS
    )


# What these have in common (``socket``, ``dataBuffer``, ``_tempDataBuffer``) is Twisted's twisted.internet.abstract; a
# subclass of somebody's, or a wrapper such as TLS, may put something between.
DIRECT = (tcp.Server, tcp.Client, unix.Server, unix.Client)
