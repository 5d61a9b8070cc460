"""Our own ciphers by their ``--crypt`` names, for ``twisted.plugins`` to find.

Lengths of keys are those of protocol.md, "crypt": each takes its key from the front of the pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.ciphers.algorithms import AES
from zope.interface import implementer

from kcpstack.ciphers.cfb import fromAlgorithm
from kcpstack.ciphers.plain import NoneCipher, NullCipher
from kcpstack.ciphers.xor import XORCipher
from kcpstack.interfaces import ICipherFactory

__all__ = ["CipherFactory", "aes", "aes128", "aes192", "none", "null", "xor"]


@implementer(ICipherFactory)
class CipherFactory:
    """A name, and the function ``(key, randomBytes) -> cipher`` that it stands for."""

    def __init__(self, name: str, make: Callable[[bytes, Callable[[int], bytes]], Any]) -> None:
        self.name = name
        self._make = make

    def __repr__(self) -> str:
        return f"<CipherFactory {self.name}>"

    def build(self, key: bytes, randomBytes: Callable[[int], bytes]) -> Any:
        return self._make(key, randomBytes)


aes = CipherFactory("aes", lambda key, randomBytes: fromAlgorithm(AES(key[:32]), randomBytes))
aes192 = CipherFactory("aes-192", lambda key, randomBytes: fromAlgorithm(AES(key[:24]), randomBytes))
aes128 = CipherFactory("aes-128", lambda key, randomBytes: fromAlgorithm(AES(key[:16]), randomBytes))
xor = CipherFactory("xor", XORCipher)
none = CipherFactory("none", lambda key, randomBytes: NoneCipher(randomBytes))
null = CipherFactory("null", lambda key, randomBytes: NullCipher())
