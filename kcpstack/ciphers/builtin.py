"""Our own ciphers by their ``--crypt`` names, for ``twisted.plugins`` to find.

Lengths of keys are those of protocol.md, "crypt": each takes its key from the front of the pass.

Every command imports this to learn the names, so what is slow to import waits until a cipher is built.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers.algorithms import AES
from zope.interface import implementer

from kcpstack.ciphers.aead import GCMCipher
from kcpstack.ciphers.cfb import IV, fromAlgorithm
from kcpstack.ciphers.library import Unavailable, findAlgorithm
from kcpstack.ciphers.native import aesCFB, aesGCM
from kcpstack.ciphers.plain import NoneCipher, NullCipher
from kcpstack.ciphers.xor import XORCipher
from kcpstack.interfaces import IBatchCipher, ICipherFactory

__all__ = [
    "CipherFactory",
    "aes",
    "aes128",
    "aes128gcm",
    "aes192",
    "blowfish",
    "cast5",
    "none",
    "null",
    "salsa20",
    "sm4",
    "tea",
    "tripleDES",
    "twofish",
    "unavailable",
    "xor",
    "xtea",
]

unavailable: dict[str, str] = {}
"""Names of ours that nothing stands for here, each with the reason.  The objects are None."""


@implementer(ICipherFactory)
class CipherFactory:
    """A name, and the function ``(key, randomBytes) -> cipher`` that it stands for."""

    def __init__(self, name: str, make: Callable[[bytes, Callable[[int], bytes]], IBatchCipher]) -> None:
        self.name = name
        self._make = make

    def __repr__(self) -> str:
        return f"<CipherFactory {self.name}>"

    def build(self, key: bytes, randomBytes: Callable[[int], bytes]) -> IBatchCipher:
        return self._make(key, randomBytes)


def _fromLibrary(name: str, algorithmName: str, keyLength: int) -> CipherFactory | None:
    """Return the factory of one of cryptography's block ciphers; None where it is not to be had."""
    try:
        algorithm = findAlgorithm(algorithmName, keyLength)
    except Unavailable as reason:
        unavailable[name] = str(reason)
        return None

    def make(key: bytes, randomBytes: Callable[[int], bytes]) -> IBatchCipher:
        return fromAlgorithm(algorithm(key[:keyLength]), randomBytes)

    return CipherFactory(name, make)


def _tea(key: bytes, randomBytes: Callable[[int], bytes]) -> IBatchCipher:
    from kcpstack.ciphers.columns import ColumnCFBCipher
    from kcpstack.kernels.tea import TEACipher

    return ColumnCFBCipher(TEACipher(key[:16], cycles=8), randomBytes)


def _xtea(key: bytes, randomBytes: Callable[[int], bytes]) -> IBatchCipher:
    from kcpstack.ciphers.columns import ColumnCFBCipher
    from kcpstack.kernels.tea import XTEACipher

    return ColumnCFBCipher(XTEACipher(key[:16], cycles=32), randomBytes)


def _twofish(key: bytes, randomBytes: Callable[[int], bytes]) -> IBatchCipher:
    from kcpstack.ciphers.columns import ColumnCFBCipher
    from kcpstack.kernels.twofish import TwofishCipher

    return ColumnCFBCipher(TwofishCipher(key[:32]), randomBytes)


def _salsa20(key: bytes, randomBytes: Callable[[int], bytes]) -> IBatchCipher:
    from kcpstack.ciphers.salsa20 import Salsa20Cipher

    return Salsa20Cipher(key[:32], randomBytes)


def _aes(name: str, keyLength: int) -> CipherFactory:
    def make(key: bytes, randomBytes: Callable[[int], bytes]) -> IBatchCipher:
        key = key[:keyLength]
        return aesCFB(key, IV, randomBytes) or fromAlgorithm(AES(key), randomBytes)

    return CipherFactory(name, make)


def _gcm(key: bytes, randomBytes: Callable[[int], bytes]) -> IBatchCipher:
    return aesGCM(key[:16], randomBytes) or GCMCipher(key[:16], randomBytes)


aes = _aes("aes", 32)
aes192 = _aes("aes-192", 24)
aes128 = _aes("aes-128", 16)
aes128gcm = CipherFactory("aes-128-gcm", _gcm)
blowfish = _fromLibrary("blowfish", "Blowfish", 32)
cast5 = _fromLibrary("cast5", "CAST5", 16)
tripleDES = _fromLibrary("3des", "TripleDES", 24)
sm4 = _fromLibrary("sm4", "SM4", 16)
tea = CipherFactory("tea", _tea)
xtea = CipherFactory("xtea", _xtea)
twofish = CipherFactory("twofish", _twofish)
salsa20 = CipherFactory("salsa20", _salsa20)
xor = CipherFactory("xor", XORCipher)
none = CipherFactory("none", lambda key, randomBytes: NoneCipher(randomBytes))
null = CipherFactory("null", lambda key, randomBytes: NullCipher())
