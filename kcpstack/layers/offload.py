"""GSO and GRO: runs of datagrams that cross in one system call.

A system call costs more than a datagram.  Linux takes a run of equal datagrams in a single ``sendmsg``
(UDP_SEGMENT, "GSO": the last may be shorter) and hands over what came in sequence from one peer in
a single ``recvmsg`` (UDP_GRO).  Elsewhere, and where it refuses, datagrams cross one by one.

What a refused send means:

- EIO: the device does not compute checksums.  No more GSO;
- EMSGSIZE (seen on Linux 6.18; EINVAL in older ones): a datagram of the run does not fit the MTU of the path to
  this one peer.  Sent alone it crosses as fragments, which the kernel makes of datagrams but not of segments.

Source: udp(7), and Linux Documentation/networking/segmentation-offloads.rst.
"""

from __future__ import annotations

import errno
import socket
import struct

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from kcpstack.addresses import shown
from kcpstack.batch import PeerAddress
from kcpstack.lograte import BoundedLog

__all__ = ["CONTROL_BYTES", "Control", "GRO_BYTES", "Segmentation", "coalesce", "runControl", "runEnd", "segmentSize"]

# Ancillary data of a socket call: level, kind and content of each.
Control = list[tuple[int, int, bytes]]


class Segmentation:
    """Which runs may go in one send.  One object for all sockets of a kind, so that each need not
    find out again.

    A host that refused a run is spared runs of datagrams as long or longer for REFUSAL_LASTS seconds:
    paths change, and to ask costs one failed system call."""

    def __init__(self, clock: IReactorTime) -> None:
        self.possible = False
        self._probed = False
        self._clock = clock
        self._log = BoundedLog(_log, clock)
        self._refusals: dict[str | None, tuple[int, float]] = {}  # host: (bytes, until), the oldest first

    def probe(self, sock: socket.socket) -> None:
        """Find out, once, whether the kernel has GSO."""
        if self._probed:
            return
        self._probed = True
        try:
            sock.getsockopt(SOL_UDP, UDP_SEGMENT)
            self.possible = True
        except OSError:
            _log.info("no UDP segmentation offload here: sending datagrams one by one")

    def allows(self, address: PeerAddress | None, size: int) -> bool:
        """Whether a run of datagrams of ``size`` bytes to ``address`` (as ``send`` takes it) may go as one."""
        if not self._refusals or not self.possible:
            return self.possible
        host = _host(address)
        refusal = self._refusals.get(host)
        if refusal is None or size < refusal[0]:
            return True
        if self._clock.seconds() < refusal[1]:
            return False
        del self._refusals[host]
        return True

    def refused(self, error: OSError, address: PeerAddress | None, size: int) -> bool:
        """Such a run failed with ``error``.  Returns whether it is the run that was refused: then its
        datagrams can go one by one."""
        if error.errno == errno.EIO:
            self.possible = False
            _log.info("the device refuses GSO sends ({why}): sending one by one from now on", why=error.strerror)
            return True
        if error.errno not in (errno.EMSGSIZE, errno.EINVAL):
            return False
        host = _host(address)
        self._refusals.pop(host, None)
        if len(self._refusals) >= REFUSALS_MAX:
            del self._refusals[next(iter(self._refusals))]
        self._refusals[host] = (size, self._clock.seconds() + REFUSAL_LASTS)
        self._log.info(
            "the path to {peer} takes no datagrams of {size} bytes whole ({why}): sending them one by one, as "
            "fragments; a lower --mtu would avoid that",
            peer=shown(address) if address else "the server",
            size=size,
            why=error.strerror,
        )
        return True


def coalesce(sock: socket.socket) -> bool:
    """Ask for GRO on a socket.  Returns whether the kernel has it."""
    try:
        sock.setsockopt(SOL_UDP, UDP_GRO, 1)
    except OSError:
        return False
    return True


def runEnd(starts: list[int], ends: list[int], index: int) -> int:
    """The index after the run that begins at ``index`` and can go in one GSO send."""
    size = ends[index] - starts[index]
    if size <= 0:
        return index + 1
    limit = min(len(starts), index + min(GSO_SEGMENTS, GSO_BYTES // size))
    after = index + 1
    while after < limit:
        length = ends[after] - starts[after]
        if length != size:
            return after + 1 if 0 < length < size else after
        after += 1
    return max(after, index + 1)


def runControl(size: int) -> Control:
    """The ancillary data that makes one send a run of datagrams of ``size`` bytes."""
    return [(SOL_UDP, UDP_SEGMENT, struct.pack("=H", size))]


def segmentSize(control: Control) -> int:
    """The length of the datagrams that GRO put together, from what came with them; 0 where it did not."""
    for level, kind, data in control:
        if level == SOL_UDP and kind == UDP_GRO and len(data) >= 4:
            return int(struct.unpack_from("=i", data)[0])
    return 0


def _host(address: PeerAddress | None) -> str | None:
    """What shares a path: all ports of a host."""
    return address[0] if address else None


# Linux, include/uapi/linux/udp.h; the socket module names them only from Python 3.12 on.
SOL_UDP = 17
UDP_SEGMENT = 103
UDP_GRO = 104
CONTROL_BYTES = socket.CMSG_SPACE(4) if hasattr(socket, "CMSG_SPACE") else 0

GSO_SEGMENTS = 64  # the kernel's limit in one send (UDP_MAX_SEGMENTS, before Linux 6.9)
GSO_BYTES = 65_507  # the longest UDP payload over IPv4
GRO_BYTES = 65_536  # what one coalesced receive may need

REFUSAL_LASTS = 60.0  # s; the kernel itself forgets what it learned of a path after 10 minutes
REFUSALS_MAX = 1024  # hosts; those beyond it cost a failed system call a run

_log = Logger()
