"""A cipher: ChaCha20-Poly1305 (RFC 8439), for ``--crypt chacha20-poly1305``.

On the wire::

    nonce, 12 bytes | ciphertext, as long as the datagram | tag, 16 bytes

Two datagrams sealed under one key with one nonce give both away, and with them the means to forge more.  Here
nobody can agree on nonces: all sessions, in both directions and after each restart, use the one key that
comes of ``--key``.  Twelve random bytes for each datagram would do for 2**32 datagrams (then two of them are
equal with a chance of 2**-33), which a fast tunnel has sent in some hours.  So a nonce is

    prefix, 8 random bytes, new for each cipher | number of the datagram, 4 bytes

Within a cipher no number comes twice: after the last one it takes another prefix.  Two ciphers meet only
where their prefixes do: of 2**20 sessions any two, with a chance of 2**-25.

The prefix goes in the clear, so that whoever watches sees which datagrams one cipher sealed.  A datagram that
is recorded and sent again opens again: KCP above knows what it had.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from zope.interface import implementer

from kcpstack.interfaces import ICipherFactory, IPacketCipher

__all__ = ["ChaChaCipher", "ChaChaFactory"]

PREFIX, NUMBER = 8, 4  # bytes
NONCE = PREFIX + NUMBER
TAG = 16
NUMBERS = 1 << 8 * NUMBER  # datagrams under one prefix


@implementer(IPacketCipher)
class ChaChaCipher:
    """One end's.  ``aead`` has the key, and ``randomBytes(n)`` returns n random bytes."""

    overhead = NONCE + TAG

    def __init__(self, aead: ChaCha20Poly1305, randomBytes: Callable[[int], bytes]) -> None:
        self._aead = aead
        self._randomBytes = randomBytes
        self._prefix = randomBytes(PREFIX)
        self._next = 0

    def seal(self, datagram: memoryview) -> bytes:
        """See IPacketCipher."""
        if self._next == NUMBERS:
            self._prefix = self._randomBytes(PREFIX)
            self._next = 0
        nonce = self._prefix + self._next.to_bytes(NUMBER, "big")
        self._next += 1
        return nonce + self._aead.encrypt(nonce, datagram, None)

    def open(self, datagram: memoryview) -> bytes | None:
        """See IPacketCipher."""
        if len(datagram) < self.overhead:
            return None
        try:
            return self._aead.decrypt(datagram[:NONCE], datagram[NONCE:], None)
        except InvalidTag:
            return None


@implementer(ICipherFactory)
class ChaChaFactory:
    """The whole of ``key`` is the cipher's key."""

    name = "chacha20-poly1305"

    def build(self, key: bytes, randomBytes: Callable[[int], bytes]) -> ChaChaCipher:
        """See ICipherFactory.  Raises ValueError where this machine's OpenSSL has no such cipher."""
        try:
            return ChaChaCipher(ChaCha20Poly1305(key), randomBytes)
        except UnsupportedAlgorithm:
            raise ValueError("this OpenSSL has no ChaCha20-Poly1305: take aes-128-gcm") from None
