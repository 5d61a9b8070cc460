"""A trace of what crosses between layers, in a pcap-ng file that Wireshark opens (docs/read-a-trace.rst).

::

    trace = openTrace("tunnel.pcapng", reactor)
    around = Surroundings(reactor, counters, os.urandom, lambda settings: traced(layersOf(settings), trace))
    transport = TracingLayer(transport, trace)
    ...
    trace.close()

Each place where something was seen is an interface of the file: "wire", "opened", "smux" and so on, with the name of the
end in front where one was given.  The dissectors for their headers are in ``kcptun.lua``, beside this module
(``DISSECTORS`` is its path).

**A trace contains what the cipher is there to hide**: the users' bytes in the clear.  Keep it as you keep them.

What is written depends on what crossed and on the clock, and on nothing else: two runs of a simulation with one seed give
the same file.  A trace never disturbs what it traces: a file that cannot be written ends the trace, with one line in
the log.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from twisted.logger import Logger

from kcpstack.testing import pcapng
from kcpstack.testing.tracedlayers import adapterFor

if TYPE_CHECKING:
    from kcpstack.seams import Layers

__all__ = ["DISSECTORS", "FILE_LIMIT", "PACKET_LIMIT", "Place", "Trace", "TracingLayer", "openTrace", "traced"]

DISSECTORS = Path(__file__).with_name("kcptun.lua")  # for Wireshark's -X lua_script:...

PACKET_LIMIT = 262_144  # bytes; Wireshark opens no file with longer packets
FILE_LIMIT = 1 << 30  # bytes; one that is forgotten must not fill the disk


class Trace:
    """One pcap-ng file, on ``clock`` (IReactorTime).

    ``file`` is any binary file object, written to in whole blocks and never read; it remains yours until ``close``,
    which closes it.  At most ``packetLimit`` bytes of each packet are kept, and nothing is written that would
    make the file longer than ``fileLimit`` bytes, but for how many were left out, which ``close`` writes."""

    def __init__(
        self, file: BinaryIO, clock: Any, packetLimit: int = PACKET_LIMIT, fileLimit: int = FILE_LIMIT
    ) -> None:
        self.written = 0  # bytes
        self._file: BinaryIO | None = file
        self._clock = clock
        self._packetLimit = min(packetLimit, PACKET_LIMIT)
        self._fileLimit = fileLimit
        self._places: dict[str, Place] = {}
        self._numbers = 0
        self._write(pcapng.sectionHeader("kcpstack", WARNING))

    def place(self, name: str, dissector: str) -> Place:
        """The interface ``name``, whose packets are for the Wireshark dissector of that name.  The same for the same
        name."""
        if name not in self._places:
            self._places[name] = Place(self, len(self._places), name, dissector)
            self._write(pcapng.interfaceDescription(name, pcapng.UPPER_PDU, self._packetLimit, dissector))
        return self._places[name]

    def newNumber(self) -> int:
        """A number for one more object that is traced, from 1: it tells sessions apart that know no address."""
        self._numbers += 1
        return self._numbers

    def record(self, place: Place, head: bytes, data: Any, outbound: bool | None, comment: str) -> None:
        """Write a packet of ``head`` and ``data`` (bytes-like, copied), as one that was seen now."""
        place.seen += 1
        if self._file is None:
            place.leftOut += 1
            return
        kept = b"".join((head, data[: max(0, self._packetLimit - len(head))]))
        block = pcapng.enhancedPacket(
            place.number, self._now(), kept, len(head) + len(data), outbound, comment
        )
        if self.written + len(block) > self._fileLimit:
            place.leftOut += 1
        else:
            self._write(block)

    def close(self) -> None:
        """Write how much was seen and left out at each place, and close the file.  What is seen later is not
        traced."""
        for place in self._places.values():
            self._write(pcapng.interfaceStatistics(place.number, self._now(), place.seen, place.leftOut))
        if self._file is not None:
            file, self._file = self._file, None
            try:
                file.close()
            except OSError as error:
                _log.warn("The trace may be incomplete: {error}", error=error)

    def _now(self) -> int:
        seconds: float = self._clock.seconds()
        return round(seconds * 1_000_000)

    def _write(self, block: bytes) -> None:
        if self._file is None:
            return
        try:
            count = self._file.write(block)
            if count != len(block):  # what came after the rest of it, nobody could read
                raise OSError(f"{count} of {len(block)} bytes were written")
        except (OSError, ValueError) as error:  # ValueError: somebody has closed it
            self._file = None
            _log.warn("The trace ends here: {error}", error=error)
        else:
            self.written += count


class Place:
    """One interface of a trace.  ``Trace.place`` makes it."""

    def __init__(self, trace: Trace, number: int, name: str, dissector: str) -> None:
        self.trace = trace
        self.number = number
        self.name = name
        self.dissector = dissector
        self.seen = 0
        self.leftOut = 0

    def saw(
        self,
        data: Any,
        outbound: bool | None = None,
        source: Any = None,
        destination: Any = None,
        comment: str = "",
    ) -> None:
        """``data`` (bytes-like) was seen here, on its way out, in (False), or in no direction (None).

        ``source`` and ``destination`` are addresses, tuples as of sockets or IAddress, or None where they are
        not known here."""
        try:
            data = memoryview(data)
        except TypeError as error:  # a layer has broken its contract: that is for others to judge
            data, comment = b"", f"not shown: {error!r}"
        tags = pcapng.upperPDU(self.dissector, endpoint(source), endpoint(destination), outbound)
        self.trace.record(self, tags, data, outbound, comment)


def openTrace(
    path: str, clock: Any, packetLimit: int = PACKET_LIMIT, fileLimit: int = FILE_LIMIT
) -> Trace:
    """A trace in a new file (or what was in it is lost) that only its owner may read, whatever others may do in its
    directory.  Raises OSError where there is anything but a plain file of ours.

    Nothing is kept back in a buffer: what was seen is in the file at once, and a process that is killed loses
    none of it."""
    return Trace(open(_openOurs(path), "wb", buffering=0), clock, packetLimit, fileLimit)


def _openOurs(path: str) -> int:
    """The descriptor of an empty file that is ours and that nobody else may open.  Raises OSError."""
    try:
        descriptor = os.open(path, OPENING, 0o600)
    except OSError as error:
        if error.errno in UNFIT:
            raise OSError(error.errno, f"{UNFIT[error.errno]}; {WOULD_DO}", path) from None
        raise
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, f"not a plain file; {WOULD_DO}", path)
        if found.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, f"the file of another user; {WOULD_DO}", path)
        os.fchmod(descriptor, 0o600)
        os.ftruncate(descriptor, 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def TracingLayer(
    layer: Any, trace: Trace, end: str = "", *, place: str | None = None, dissector: str | None = None, peer: Any = None
) -> Any:
    """A layer that does what ``layer`` does, provides what it provides, and records in ``trace`` what crosses it.

    ``layer`` provides one of these; factories and endpoints give what they make in a TracingLayer each:

    ========================================================  ==========  ==========================================
    interface                                                 place       what is recorded
    ========================================================  ==========  ==========================================
    IDatagramTransport, IDatagramTransportFactory             wire        sealed datagrams, as the network has them
    IPacketCipher, IBatchCipher, ICipherFactory               opened      datagrams before sealing and after opening
    IErasureCode, IErasureCodeFactory                         erasure     the shards of each call
    IARQ                                                      kcp         KCP datagrams, those rebuilt by FEC too
    ICongestionControl, ICongestionControlFactory             congestion  what it is told, and its window then
    ICompressor, ICompressorFactory                           compressed  the compressed bytes
    IProtocol, IProtocolFactory, IStreamClientEndpoint,       stream      the bytes of a session or stream, seen by
    IStreamServerEndpoint, IRelayTarget                                   the protocol on it
    ========================================================  ==========  ==========================================

    ``end`` names the end, for traces that have both: its place is then "client wire".  ``place`` and ``dissector`` are
    others than these; any dissector that Wireshark has by that name will do, "http" say.  ``peer`` is the fixed peer
    of a datagram transport, which itself does not tell.  Raises TypeError for any other layer."""
    adapter, defaultPlace, defaultDissector = adapterFor(layer)
    where = trace.place(f"{end} {place or defaultPlace}".strip(), dissector or defaultDissector)
    return adapter(layer, where, peer) if peer is not None else adapter(layer, where)


def traced(layers: Layers, trace: Trace, end: str = "") -> Layers:
    """``layers`` with each of them in a TracingLayer, and smux's frames at the place "smux"."""
    def session(protocol: Any) -> Any:
        return TracingLayer(layers.session(protocol), trace, end, place="smux", dissector="kcptun.smux")

    return replace(
        layers,
        cipher=TracingLayer(layers.cipher, trace, end),
        erasure=TracingLayer(layers.erasure, trace, end),
        compressor=TracingLayer(layers.compressor, trace, end),
        congestion=TracingLayer(layers.congestion, trace, end),
        session=session,
    )


def endpoint(address: Any) -> tuple[str, int] | None:
    """Host and port of an address where they are numbers, else None."""
    if isinstance(address, tuple):
        host, port = address[:2]
    else:
        host, port = getattr(address, "host", None), getattr(address, "port", None)
    try:
        return str(ipaddress.ip_address(str(host).partition("%")[0])), int(port)  # without the zone of fe80::1%eth0
    except (TypeError, ValueError):
        return None


WARNING = "Contains the plain text of a tunnel."

# Emptied only once it is known whose it is; O_NONBLOCK, lest a FIFO without a reader keeps us waiting.
OPENING = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
UNFIT = {errno.ELOOP: "a symbolic link", errno.EISDIR: "a directory", errno.ENXIO: "not a plain file"}
WOULD_DO = "give the name of a new file, or of a plain file of this user's"

_log = Logger()
