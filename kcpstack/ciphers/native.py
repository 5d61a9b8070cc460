"""AES by the processor's own instructions: the compiled forms of cfb.py and aead.py, where they can be had.

``aesCFB`` and ``aesGCM`` return None where nothing was compiled, or this processor has no such instructions.  On the wire,
and to the caller, there is no difference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zope.interface import implementer

from kcpstack.batch import Batch
from kcpstack.ciphers.aead import NONCE_LENGTH as GCM_NONCE_LENGTH
from kcpstack.ciphers.aead import TAG_LENGTH
from kcpstack.ciphers.framing import HEADER_LENGTH, NONCE_LENGTH
from kcpstack.interfaces import IBatchCipher

try:
    from kcpstack.kernels import native
except ImportError:
    native = None  # type: ignore[assignment]

__all__ = ["NativeCipher", "aesCFB", "aesGCM"]


@implementer(IBatchCipher)
class NativeCipher:
    """``cipher`` has ``seal(batch, nonces)`` and ``open(batch)``; a datagram of its takes ``nonceLength`` random bytes."""

    def __init__(self, cipher: Any, overhead: int, nonceLength: int, randomBytes: Callable[[int], bytes]) -> None:
        self.overhead = overhead
        self._cipher = cipher
        self._nonceLength = nonceLength
        self._randomBytes = randomBytes

    def sealBatch(self, batch: Batch) -> None:
        if batch.starts:
            self._cipher.seal(batch, self._randomBytes(self._nonceLength * len(batch)))

    def openBatch(self, batch: Batch) -> int:
        refused: int = self._cipher.open(batch)
        return refused


def aesCFB(key: bytes, iv: bytes, randomBytes: Callable[[int], bytes]) -> NativeCipher | None:
    """What CFBCipher is with AES and ``key``."""
    cipher = _made("AESCFB", key, iv)
    return cipher and NativeCipher(cipher, HEADER_LENGTH, NONCE_LENGTH, randomBytes)


def aesGCM(key: bytes, randomBytes: Callable[[int], bytes]) -> NativeCipher | None:
    """What GCMCipher is with ``key``."""
    cipher = _made("AESGCM", key)
    return cipher and NativeCipher(cipher, GCM_NONCE_LENGTH + TAG_LENGTH, GCM_NONCE_LENGTH, randomBytes)


def _made(name: str, *arguments: bytes) -> Any:
    if native is None:
        return None
    try:
        return getattr(native, name)(*arguments)
    except ValueError:  # no such instructions
        return None
