"""Blocks of a pcap-ng file, which Wireshark opens, and what Wireshark wants in front of a PDU that it is to decode.

Pure functions from facts to bytes: a file is one ``sectionHeader``, an ``interfaceDescription`` for each place where
packets were seen, ``enhancedPacket`` for each packet (with the number of its interface, counted from 0 in the order
of their descriptions), and at the end ``interfaceStatistics`` where packets were left out.

A packet of link type UPPER_PDU begins with ``upperPDU``: tags that name the dissector for what follows, and the
addresses between which it went, so that no lower protocol has to be invented.

Sources: draft-ietf-opsawg-pcapng, sections 3 and 4; Wireshark, wsutil/exported_pdu_tlvs.h.
"""

from __future__ import annotations

import socket
import struct
from functools import lru_cache

__all__ = [
    "UPPER_PDU",
    "enhancedPacket",
    "interfaceDescription",
    "interfaceStatistics",
    "sectionHeader",
    "upperPDU",
]

UPPER_PDU = 252  # LINKTYPE_WIRESHARK_UPPER_PDU

Endpoint = tuple[str, int]  # a numeric host and a port; of either family


def sectionHeader(application: str, comment: str = "") -> bytes:
    """The beginning of a file that ``application`` writes.  Of the machine it says nothing, so that the same run
    gives the same file."""
    fixed = struct.pack("<IHHq", BYTE_ORDER_MAGIC, 1, 0, UNKNOWN_LENGTH)
    return _block(SECTION_HEADER, fixed + _options((SHB_USERAPPL, _text(application)), (COMMENT, _text(comment))))


def interfaceDescription(name: str, linkType: int, snapLength: int, description: str = "") -> bytes:
    """A place where packets are seen.  ``snapLength`` is the most bytes of each that are kept; times are in
    microseconds."""
    fixed = struct.pack("<HHI", linkType, 0, snapLength)
    return _block(INTERFACE_DESCRIPTION, fixed + _options((IF_NAME, _text(name)), (IF_DESCRIPTION, _text(description))))


def enhancedPacket(
    interface: int, microseconds: int, data: bytes, length: int, outbound: bool | None = None, comment: str = ""
) -> bytes:
    """One packet: ``data`` is what was kept of its ``length`` bytes, ``microseconds`` when it was seen, since 1970.
    ``outbound`` is None where it has no direction."""
    flags = b"" if outbound is None else struct.pack("<I", OUTBOUND if outbound else INBOUND)
    options = _options((EPB_FLAGS, flags), (COMMENT, _text(comment)))
    time = microseconds >> 32, microseconds & 0xFFFFFFFF
    fixed = struct.pack("<IIIII", interface, *time, len(data), length)
    return _block(ENHANCED_PACKET, b"".join((fixed, data, bytes(-len(data) % 4), options)))


def interfaceStatistics(interface: int, microseconds: int, seen: int, leftOut: int) -> bytes:
    """How many packets were ``seen`` at an interface by that time, and how many of these are not in the file."""
    fixed = struct.pack("<III", interface, microseconds >> 32, microseconds & 0xFFFFFFFF)
    counts = (ISB_RECEIVED, struct.pack("<Q", seen)), (ISB_DROPPED, struct.pack("<Q", leftOut))
    return _block(INTERFACE_STATISTICS, fixed + _options(*counts))


@lru_cache(maxsize=1024)
def upperPDU(
    dissector: str, source: Endpoint | None = None, destination: Endpoint | None = None, outbound: bool | None = None
) -> bytes:
    """The tags in front of a PDU for Wireshark's dissector of that name.

    An end that is None is not known, and Wireshark shows none.  Ports are UDP's.  Raises OSError where a host is not
    numeric."""
    tags = [_tag(TAG_DISSECTOR, dissector.encode("ascii"))]
    for end, byFamily, port in ((source, TAGS_SOURCE, TAG_SOURCE_PORT), (destination, TAGS_TARGET, TAG_TARGET_PORT)):
        if end is not None:
            family = socket.AF_INET6 if ":" in end[0] else socket.AF_INET
            tags.append(_tag(byFamily[family], socket.inet_pton(family, end[0])))
            tags.append(_tag(port, struct.pack(">I", end[1])))
    if source or destination:
        tags.append(_tag(TAG_PORT_TYPE, struct.pack(">I", PORT_TYPE_UDP)))
    if outbound is not None:
        tags.append(_tag(TAG_DIRECTION, struct.pack(">I", SENT if outbound else RECEIVED)))
    return b"".join(tags) + _tag(TAG_END, b"")


def _block(kind: int, body: bytes) -> bytes:
    """A block: its length stands on both sides, so that a file can be read backwards."""
    length = struct.pack("<I", len(body) + 12)
    return b"".join((struct.pack("<I", kind), length, body, length))


def _options(*options: tuple[int, bytes]) -> bytes:
    """The options that are not empty, and the end of all options; nothing where there is none."""
    said = [
        struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4) for code, value in options if value
    ]
    return b"".join((*said, END_OF_OPTIONS)) if said else b""


def _text(text: str) -> bytes:
    return text.encode("utf-8", "replace")[:LONGEST_TEXT]


def _tag(code: int, value: bytes) -> bytes:
    """A tag of an upper PDU.  The padding counts in its length, and network order holds, whatever the file's is."""
    value += bytes(-len(value) % 4)
    return struct.pack(">HH", code, len(value)) + value


SECTION_HEADER, INTERFACE_DESCRIPTION, INTERFACE_STATISTICS, ENHANCED_PACKET = 0x0A0D0D0A, 1, 5, 6
BYTE_ORDER_MAGIC = 0x1A2B3C4D
UNKNOWN_LENGTH = -1  # of the section: it is still being written

END_OF_OPTIONS = bytes(4)
COMMENT = 1
SHB_USERAPPL = 4
IF_NAME, IF_DESCRIPTION = 2, 3
EPB_FLAGS, INBOUND, OUTBOUND = 2, 1, 2
ISB_RECEIVED, ISB_DROPPED = 4, 5
LONGEST_TEXT = 65532  # bytes; a length has 16 bits, and the next option starts at a multiple of 4

TAG_END, TAG_DISSECTOR = 0, 12
TAGS_SOURCE = {socket.AF_INET: 20, socket.AF_INET6: 22}
TAGS_TARGET = {socket.AF_INET: 21, socket.AF_INET6: 23}
TAG_PORT_TYPE, TAG_SOURCE_PORT, TAG_TARGET_PORT, TAG_DIRECTION = 24, 25, 26, 35
PORT_TYPE_UDP = 3
SENT, RECEIVED = 0, 1  # as Wireshark's point-to-point protocols have it
