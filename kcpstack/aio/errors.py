"""Twisted's reasons as the exceptions that asyncio programs expect."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.internet import error
from twisted.python.failure import Failure

from kcpstack.errors import PeerBrokeProtocol, PeerSilent

__all__ = ["asyncioError"]


def asyncioError(reason: Failure) -> BaseException:
    """``reason`` as what asyncio would raise, with the original as its ``__cause__``.

    All that Twisted says of connections and ports becomes an OSError, of the subclass that fits:
    ConnectionRefusedError, TimeoutError, ConnectionResetError, ConnectionAbortedError, socket.gaierror.  What is no
    word of Twisted's (a ValueError of a wrong option, say) stays what it is."""
    value: Any = reason.value
    cause: BaseException = value
    if isinstance(cause, error.DNSLookupError):
        known: OSError = socket.gaierror(socket.EAI_NONAME, str(cause))
    else:
        number = _errnoOf(cause)
        if number is None:
            return cause
        known = OSError(number, str(cause) or os.strerror(number))  # OSError itself picks the subclass
    known.__cause__ = cause
    return known


def _errnoOf(cause: BaseException) -> int | None:
    if isinstance(cause, OSError):
        return None
    if isinstance(cause, error.CannotListenError):
        return getattr(cause.socketError, "errno", None) or errno.EADDRNOTAVAIL
    said = getattr(cause, "osError", None)  # of a ConnectError that repeats the system's
    if isinstance(said, int):
        return said
    return next((number for kind, number in ERRNOS if isinstance(cause, kind)), None)


# From the special to the general: the first that fits counts.
ERRNOS: list[tuple[type[BaseException], int]] = [
    (error.ConnectionRefusedError, errno.ECONNREFUSED),
    (error.TimeoutError, errno.ETIMEDOUT),
    (error.TCPTimedOutError, errno.ETIMEDOUT),
    (PeerSilent, errno.ETIMEDOUT),
    (PeerBrokeProtocol, errno.ECONNABORTED),
    (error.NoRouteError, errno.ENETUNREACH),
    (error.ConnectionAborted, errno.ECONNABORTED),
    (error.ConnectionLost, errno.ECONNRESET),
    (error.ConnectError, errno.ECONNREFUSED),
    (error.ConnectionClosed, errno.ECONNRESET),
]
