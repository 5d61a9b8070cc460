"""The wire of every cipher, one datagram and one block at a time: protocol.md, word for word.

Slow and plain on purpose: what our own ciphers do to whole batches is compared with this.  Nothing here
is shared with them but cryptography's block ciphers, which are used here one block at a time.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.modes import ECB

from kcpstack.ciphers.library import findAlgorithm

__all__ = [
    "NONCE_LENGTHS",
    "encryptorOf",
    "nonceOf",
    "openedBy",
    "salsa20",
    "sealedBy",
    "tea",
    "twofish",
    "xtea",
]

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
    if name in OWN:
        return OWN[name](key)
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


# ------------------------------------------------------------------ TEA and XTEA (Wheeler and Needham)

DELTA = 0x9E3779B9


def tea(key: bytes, block: bytes, cycles: int) -> bytes:
    k = struct.unpack(">4I", key)
    y, z = struct.unpack(">2I", block)
    total = 0
    for _ in range(cycles):
        total = (total + DELTA) % 2**32
        y = (y + ((z * 16 + k[0]) ^ (z + total) ^ (z // 32 + k[1]))) % 2**32
        z = (z + ((y * 16 + k[2]) ^ (y + total) ^ (y // 32 + k[3]))) % 2**32
    return struct.pack(">2I", y, z)


def xtea(key: bytes, block: bytes, cycles: int) -> bytes:
    k = struct.unpack(">4I", key)
    y, z = struct.unpack(">2I", block)
    total = 0
    for _ in range(cycles):
        y = (y + (((z * 16 ^ z // 32) + z) ^ (total + k[total % 4]))) % 2**32
        total = (total + DELTA) % 2**32
        z = (z + (((y * 16 ^ y // 32) + y) ^ (total + k[total // 2**11 % 4]))) % 2**32
    return struct.pack(">2I", y, z)


# ------------------------------------------------------------------ Twofish, section 4 of its paper

NIBBLES = (
    ("817D6F320B59ECA4", "ECB81235F4A6709D", "BA5E6D90C8F32471", "D7F4126E9B3085CA"),
    ("28BDF76E31940AC5", "1E2B4C376DA5F908", "4C75169A0ED82B3F", "B951C3DE647F208A"),
)
MDS = ["01EF5B5B", "5BEFEF01", "EF5B01EF", "EF01EF5B"]
RS = ["01A455875A58DB9E", "A45682F31EC668E5", "02A1FCC147AE3D19", "A455875A58DB9E03"]


@cache
def q(which: int, x: int) -> int:
    a, b = divmod(x, 16)
    for first, second in (NIBBLES[which][:2], NIBBLES[which][2:]):
        a, b = a ^ b, (a ^ (b >> 1 | b << 3) ^ 8 * a) % 16
        a, b = int(first[a], 16), int(second[b], 16)
    return 16 * b + a


@cache
def product(a: int, b: int, polynomial: int) -> int:
    result = 0
    for bit in range(8):
        if b >> bit & 1:
            result ^= a << bit
    for bit in range(15, 7, -1):
        if result >> bit & 1:
            result ^= polynomial << bit - 8
    return result


def times(matrix: list[str], vector: bytes, polynomial: int) -> bytes:
    result = []
    for row in matrix:
        total = 0
        for factor, value in zip(bytes.fromhex(row), vector):
            total ^= product(factor, value, polynomial)
        result.append(total)
    return bytes(result)


@lru_cache(maxsize=20_000)
def h(x: int, keys: tuple[bytes, ...]) -> int:
    """The function h for four words of key, the L0 to L3 of the paper."""
    y = struct.pack("<I", x)
    for order, key in zip(((1, 0, 0, 1), (1, 1, 0, 0), (0, 1, 0, 1), (0, 0, 1, 1)), reversed(keys)):
        y = bytes(q(which, value) ^ k for which, value, k in zip(order, y, key))
    y = bytes(q(which, value) for which, value in zip((1, 0, 1, 0), y))
    return int.from_bytes(times(MDS, y, 0x169), "little")


@lru_cache(maxsize=64)
def twofishKey(key: bytes) -> tuple[list[int], tuple[bytes, ...]]:
    """The subkeys K, and the words S."""
    words = [key[i : i + 4] for i in range(0, 32, 4)]
    subkeys = []
    for i in range(20):
        a = h(2 * i * 0x01010101, tuple(words[0::2]))
        b = _rotated(h((2 * i + 1) * 0x01010101, tuple(words[1::2])), 8)
        subkeys += [(a + b) % 2**32, _rotated(a + 2 * b, 9)]
    s = [times(RS, key[i : i + 8], 0x14D) for i in range(0, 32, 8)]
    return subkeys, tuple(reversed(s))


def twofish(key: bytes, block: bytes) -> bytes:
    k, s = twofishKey(key)
    r = [word ^ subkey for word, subkey in zip(struct.unpack("<4I", block), k)]
    for n in range(16):
        t0, t1 = h(r[0], s), h(_rotated(r[1], 8), s)
        f0, f1 = (t0 + t1 + k[2 * n + 8]) % 2**32, (t0 + 2 * t1 + k[2 * n + 9]) % 2**32
        r = [_rotated(r[2] ^ f0, 31), _rotated(r[3], 1) ^ f1, r[0], r[1]]
    return struct.pack("<4I", *(word ^ subkey for word, subkey in zip(r[2:] + r[:2], k[4:])))


OWN: dict[str, Callable[[bytes], tuple[Callable[[bytes], bytes], int]]] = {
    "tea": lambda key: (lambda block: tea(key[:16], block, 8), 8),
    "xtea": lambda key: (lambda block: xtea(key[:16], block, 32), 8),
    "twofish": lambda key: (lambda block: twofish(key[:32], block), 16),
}
