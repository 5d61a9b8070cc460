"""The method ``salsa20``: a stream cipher, keyed anew for each datagram by the front of its nonce.

::

    8 bytes, in the clear | 8 bytes | crc32 | datagram    the first 16 are the usual random nonce

(protocol.md, "crypt".)  The first 8 bytes are Salsa20's nonce; its keystream, from its beginning, covers
all that follows.  So the header is the usual one, and each datagram is a call of its own.

cryptography has ChaCha20 and no Salsa20, and PyNaCl binds none of libsodium's bare streams.  pycryptodome
has it, is kept well, and does a datagram in a few microseconds; what is compiled does a batch (kcpstack/kernels/native.pyx).
"""

from __future__ import annotations

from collections.abc import Callable

from zope.interface import implementer

from kcpstack.batch import Batch
from kcpstack.ciphers.framing import HEADER_LENGTH, frame, unframe
from kcpstack.ciphers.refusals import keepOnly
from kcpstack.interfaces import IBatchCipher

try:
    from Crypto.Cipher import Salsa20
except ImportError:  # where a distribution packages it under its other name, as Debian does
    from Cryptodome.Cipher import Salsa20  # type: ignore[no-redef]  # the same module

try:
    from kcpstack.kernels import native
except ImportError:
    native = None  # type: ignore[assignment]

__all__ = ["Salsa20Cipher", "transformPlain"]

CLEAR_LENGTH = 8  # bytes: Salsa20's nonce


@implementer(IBatchCipher)
class Salsa20Cipher:
    """nonce | crc32 | datagram, XOR a keystream but for the first half of the nonce.

    ``key`` has 32 bytes.
    """

    overhead = HEADER_LENGTH

    def __init__(self, key: bytes, randomBytes: Callable[[int], bytes]) -> None:
        self._key = key
        self._randomBytes = randomBytes

    def sealBatch(self, batch: Batch) -> None:
        frame(batch, self._randomBytes)
        self._transform(batch)

    def openBatch(self, batch: Batch) -> int:
        # Without this, what is shorter than its nonce would reach into its neighbour.
        kept = [i for i, (s, e) in enumerate(zip(batch.starts, batch.ends)) if e - s >= HEADER_LENGTH]
        tooShort = len(batch) - len(kept)
        if tooShort:
            keepOnly(batch, kept)
        self._transform(batch)
        return tooShort + unframe(batch)

    def _transform(self, batch: Batch) -> None:
        (transformPlain if native is None else native.salsa20)(batch, self._key)


def transformPlain(batch: Batch, key: bytes) -> None:
    """XOR each datagram, of CLEAR_LENGTH bytes at least, with its keystream."""
    new = Salsa20.new
    with memoryview(batch.buffer) as view:
        for start, end in zip(batch.starts, batch.ends):
            body = start + CLEAR_LENGTH
            view[body:end] = new(key, bytes(view[start:body])).encrypt(bytes(view[body:end]))
