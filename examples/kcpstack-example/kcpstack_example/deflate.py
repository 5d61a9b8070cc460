"""A compressor: deflate by the standard library's zlib (RFC 1950, 1951), for ``--compressor zlib``.

Each write ends with a sync flush, so that the peer can restore all of it at once.  A flush costs five bytes
and what would have been gained over the border, which buys that a tunnel does not wait.

Deflate makes up to 1032 bytes of one; a peer that has the key could fill our memory with that.  We write
BLOCK bytes between two flushes at most, so what we restore of a peer like us is bounded far lower; more is
refused.
"""

from __future__ import annotations

import zlib

from zope.interface import implementer

from kcpstack.interfaces import ICompressor, ICompressorFactory

__all__ = ["DeflateCodec", "DeflateFactory"]

BLOCK = 2048  # plain bytes between two flushes
BLOCK_LEAST = 16  # bytes that such a block takes: eight matches of 258 bytes are 13, and a flush is 5
LEVEL = 6  # zlib's own compromise


@implementer(ICompressor)
class DeflateCodec:
    """Both directions of one session's stream.  Kept for later: zlib's window of 32 KiB each way, and its
    state."""

    def __init__(self) -> None:
        self._packer = zlib.compressobj(LEVEL)
        self._restorer = zlib.decompressobj()
        self._damage: str | None = None

    def compress(self, data: bytes) -> bytes:
        """See ICompressor."""
        parts: list[bytes] = []
        for start in range(0, len(data), BLOCK):
            parts += (
                self._packer.compress(data[start : start + BLOCK]),
                self._packer.flush(zlib.Z_SYNC_FLUSH),
            )
        return b"".join(parts)

    def decompress(self, data: bytes) -> bytes:
        """See ICompressor.  What one call returns is at most BLOCK for each BLOCK_LEAST bytes, and a
        BLOCK."""
        if self._damage is None and data:
            try:
                restored = self._restorer.decompress(data, BLOCK + len(data) * BLOCK // BLOCK_LEAST)
            except zlib.error as error:
                self._damage = f"a damaged zlib stream ({error})"
            else:
                if self._restorer.unconsumed_tail:
                    self._damage = "a zlib stream that grows by more than ours do"
                elif self._restorer.eof:  # which none of ours has
                    self._damage = "a zlib stream that ends"
                else:
                    return restored
        if self._damage is not None:
            raise ValueError(self._damage)
        return b""


@implementer(ICompressorFactory)
class DeflateFactory:
    """Streams at zlib's usual level."""

    name = "zlib"

    def build(self) -> DeflateCodec:
        """See ICompressorFactory."""
        return DeflateCodec()
