"""The wire of every cipher, one datagram and one block at a time: protocol.md, word for word.

Slow and plain on purpose: what our own ciphers do to whole batches is compared with this.  Nothing here
is shared with them but cryptography's block ciphers, which are used here one block at a time.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.modes import ECB

from kcpstack.ciphers.library import findAlgorithm

__all__ = ["NONCE_LENGTHS", "encryptorOf", "nonceOf", "openedBy", "salsa20", "sealedBy"]

IV = bytes.fromhex("a7734f9c12ac1b01a415f2c1fc78e66b")
NONCE_LENGTHS = {"aes-128-gcm": 12}  # bytes; all others with a nonce have 16
XOR_LENGTH = 1500

LIBRARY = {  # name: cryptography's name, bytes of the key, bytes of a block
    "aes": ("AES", 32, 16),
    "aes-192": ("AES", 24, 16),
    "aes-128": ("AES", 16, 16),
    "sm4": ("SM4", 16, 16),
    "blowfish": ("Blowfish", 32, 8),
    "cast5": ("CAST5", 16, 8),
    "3des": ("TripleDES", 24, 8),
}


def sealedBy(name: str, nonce: bytes, datagram: bytes, key: bytes) -> bytes:
    """Return what a sender of the cipher ``name`` makes of ``datagram`` with this nonce."""
    if name == "null":
        return datagram
    if name == "aes-128-gcm":
        return nonce + AESGCM(key[:16]).encrypt(nonce, datagram, None)
    return _transformed(name, nonce + struct.pack("<I", zlib.crc32(datagram)) + datagram, key, True)


def openedBy(name: str, sealed: bytes, key: bytes) -> bytes | None:
    """Return what a receiver takes out of ``sealed``; None where it drops it."""
    if name == "null":
        return sealed
    if name == "aes-128-gcm":
        try:
            return AESGCM(key[:16]).decrypt(sealed[:12], sealed[12:], None) if len(sealed) >= 28 else None
        except InvalidTag:
            return None
    if len(sealed) < 20 or (name == "xor" and len(sealed) > XOR_LENGTH):
        return None
    packet = _transformed(name, sealed, key, False)
    return packet[20:] if packet[16:20] == struct.pack("<I", zlib.crc32(packet[20:])) else None


def nonceOf(name: str, sealed: bytes, key: bytes) -> bytes:
    """Return the nonce with which a peer sealed this."""
    if name in NONCE_LENGTHS:
        return sealed[: NONCE_LENGTHS[name]]
    return b"" if name == "null" else _transformed(name, sealed[:16], key, False)


def _transformed(name: str, packet: bytes, key: bytes, encrypting: bool) -> bytes:
    """A packet, header and all, encrypted or decrypted."""
    if name == "none":
        return packet
    if name == "xor":
        table = hashlib.pbkdf2_hmac("sha1", key, b"sH3CIVoF#rWLtJo6", 32, XOR_LENGTH)
        return bytes(a ^ b for a, b in zip(packet, table))
    if name == "salsa20":
        return packet[:8] + salsa20(key, packet[:8], packet[8:])
    encryptBlock, blockLength = encryptorOf(name, key)
    previous = IV[:blockLength]
    result = b""
    for i in range(0, len(packet), blockLength):
        block = packet[i : i + blockLength]
        out = bytes(a ^ b for a, b in zip(block, encryptBlock(previous)))
        result += out
        previous = out if encrypting else block
    return result


def encryptorOf(name: str, key: bytes) -> tuple[Callable[[bytes], bytes], int]:
    """A block cipher with its key taken from the pass: one block in, one out; and a block's length."""
    algorithm, keyLength, blockLength = LIBRARY[name]
    make: Any = findAlgorithm(algorithm, keyLength)
    return Cipher(make(key[:keyLength]), ECB()).encryptor().update, blockLength


# ------------------------------------------------------------------ Salsa20 (Bernstein's specification)


def salsa20(key: bytes, nonce: bytes, data: bytes) -> bytes:
    """``data`` XOR the keystream of Salsa20/20 from its beginning."""
    k = struct.unpack("<8I", key)
    constants = struct.unpack("<4I", b"expand 32-byte k")
    stream = b""
    for counter in range(-(-len(data) // 64)):
        n = (*struct.unpack("<2I", nonce), counter, 0)
        state = [constants[0], *k[:4], constants[1], *n, constants[2], *k[4:], constants[3]]
        mixed = _mixed(list(state))
        stream += struct.pack("<16I", *(a + b & 0xFFFFFFFF for a, b in zip(state, mixed)))
    return bytes(a ^ b for a, b in zip(data, stream))


def _mixed(x: list[int]) -> list[int]:
    columns = [(0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11)]
    rows = [(0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14)]
    for _ in range(10):
        for a, b, c, d in columns + rows:
            x[b] ^= _rotated(x[a] + x[d], 7)
            x[c] ^= _rotated(x[b] + x[a], 9)
            x[d] ^= _rotated(x[c] + x[b], 13)
            x[a] ^= _rotated(x[d] + x[c], 18)
    return x


def _rotated(word: int, left: int) -> int:
    word &= 0xFFFFFFFF
    return (word << left | word >> 32 - left) & 0xFFFFFFFF
