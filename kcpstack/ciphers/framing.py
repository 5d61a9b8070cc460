"""The header that most methods put in front of a datagram before they encrypt all of it.

::

    nonce (16 random bytes) | crc32 (u32, little endian, IEEE, of all that follows it) | rest

(protocol.md, "crypt").  Nobody reads the nonce: it is there so that equal datagrams look different
under a cipher whose every block depends on the one before.

Done in C where that was compiled (kcpstack/kernels/native.pyx); ``framePlain`` and ``unframePlain`` are the same in Python.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from zlib import crc32

from kcpstack.batch import Batch
from kcpstack.ciphers.refusals import keepOnly

try:
    from kcpstack.kernels import native
except ImportError:
    native = None  # type: ignore[assignment]

__all__ = ["HEADER_LENGTH", "NONCE_LENGTH", "frame", "framePlain", "unframe", "unframePlain"]

NONCE_LENGTH = 16
_HEADER = struct.Struct(f"<{NONCE_LENGTH}sI")
_CHECKSUM = struct.Struct("<I")
HEADER_LENGTH = _HEADER.size


def frame(batch: Batch, randomBytes: Callable[[int], bytes]) -> None:
    """Put the header in front of every datagram, each of which has HEADER_LENGTH bytes of room there.

    Asks for the nonces of the whole batch in one call of ``randomBytes``.
    """
    (framePlain if native is None else native.frame)(batch, randomBytes(NONCE_LENGTH * len(batch)))


def framePlain(batch: Batch, nonces: bytes) -> None:
    """As ``frame``, with the nonces of all datagrams given."""
    buffer = batch.buffer
    starts = [start - HEADER_LENGTH for start in batch.starts]
    position = 0
    with memoryview(buffer) as view:
        for start, end in zip(starts, batch.ends):
            nonce = nonces[position : position + NONCE_LENGTH]
            _HEADER.pack_into(buffer, start, nonce, crc32(view[start + HEADER_LENGTH : end]))
            position += NONCE_LENGTH
    batch.starts = starts


def unframe(batch: Batch) -> int:
    """Take the header off every datagram, and those that are too short for one or whose checksum is
    wrong out of the batch.  Returns how many were taken out.
    """
    refused: int = (unframePlain if native is None else native.unframe)(batch)
    return refused


def unframePlain(batch: Batch) -> int:
    """As ``unframe``."""
    buffer = batch.buffer
    kept = []
    with memoryview(buffer) as view:
        for i, (start, end) in enumerate(zip(batch.starts, batch.ends)):
            body = start + HEADER_LENGTH
            if body <= end and _CHECKSUM.unpack_from(buffer, start + NONCE_LENGTH)[0] == crc32(view[body:end]):
                kept.append(i)
    refused = len(batch) - len(kept)
    if refused:
        keepOnly(batch, kept)
    batch.starts = [start + HEADER_LENGTH for start in batch.starts]
    return refused
