"""The same UDP ports for several processes, by SO_REUSEPORT.

The kernel deals what comes to a port over the sockets that are bound to it, by a hash over both ends' addresses and
ports: so one peer's datagrams all go to one socket, for as long as there are as many sockets.  Whoever lets another
process read a socket keeps it open besides: a process that ends takes none away, and no peer is dealt anew.

Source: socket(7); net/ipv4/udp.c and net/core/sock_reuseport.c of Linux.  Elsewhere the option means other things.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Sequence
from itertools import chain

from twisted.internet.error import CannotListenError

from kcpstack.layers.udpsocket import openSocket

__all__ = ["CAN_SHARE", "openShared"]


def openShared(host: str, ports: Sequence[int], count: int, buffers: int) -> list[list[socket.socket]]:
    """``count`` lists of sockets, each with one at each of ``ports`` of ``host``, as ``openSocket`` opens them.

    Raises CannotListenError, which names the port; nothing is open then."""
    lists: list[list[socket.socket]] = [[] for _ in range(count)]
    for port in ports:
        try:
            where = _free(host, port)
            for sockets in lists:
                sockets.append(openSocket(*where, None, buffers, shared=True))
        except OSError as error:
            opened = sum(map(len, lists))
            for sock in chain.from_iterable(lists):
                sock.close()
            raise CannotListenError(host, port, _explained(error, opened, count * len(ports))) from None
    return lists


def _free(host: str, port: int) -> tuple[str, int]:
    """Host and port, a name resolved (once, for it may have several addresses) and port 0 replaced by one that the system
    chooses.  Raises OSError where anybody has that, sharing or not: a second server of this user would otherwise
    take a part of our peers, without a word."""
    with openSocket(host, port, None, 0) as probe:
        address, number = probe.getsockname()[:2]
        return (address if host and probe.family == socket.AF_INET else host), number


def _explained(error: OSError, opened: int, wanted: int) -> OSError:
    """``error``, in the user's terms where it is the number of sockets."""
    if error.errno not in (errno.EMFILE, errno.ENFILE):
        return error
    why = (
        f"{os.strerror(error.errno)}: {opened} of {wanted} sockets could be opened, one for each port and worker; "
        "raise the limit (ulimit -n), or take fewer"
    )
    return OSError(error.errno, why)


# Linux deals datagrams over all who share a port; the BSDs and macOS give them all to one.
CAN_SHARE = sys.platform == "linux" and hasattr(socket, "SO_REUSEPORT")
