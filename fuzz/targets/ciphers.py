"""Sealed datagrams, with every cipher of ours (kcpstack/ciphers)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any
from zlib import crc32

from fuzz.records import Fields, record, records
from fuzz.vectors import VECTORS, sealed
from kcpstack.batch import inboundBatch, outboundBatch
from kcpstack.ciphers import batchCipher, derivePass, findCipher

CRYPTS = (
    *("aes", "aes-128", "aes-192", "aes-128-gcm", "sm4", "twofish", "blowfish", "cast5", "3des"),
    *("tea", "xtea", "salsa20", "xor", "none", "null"),
)
UNCHECKED = ("null",)
IGNORED = {
    "aes-128-gcm": 0,
    "3des": 8,
    "blowfish": 8,
    "cast5": 8,
    "tea": 8,
    "xtea": 8,
}  # bytes in front; 16 for others
KEY = derivePass("it's a secrect")
OURS, OURS_ALTERED, ANY, CHECKED = range(4)
PLAIN_MAX = 1472


@cache
def cipherOf(crypt: str) -> Any:
    return batchCipher(findCipher(crypt).build(KEY, bytes))


def check(data: bytes) -> None:
    """Ours open, altered ones are refused, what is left stays in order with its addresses; a batch is what
    its datagrams are one by one; nothing raises."""
    crypt = CRYPTS[data[0] % len(CRYPTS)] if data else "aes"
    cipher = cipherOf(crypt)
    datagrams: list[bytes] = []
    plain: list[bytes | None] = []  # what must come out; None where that is not known
    refused: list[bool] = []  # must be
    for op, argument in records(data[1:]):
        op %= 4
        datagrams.append(argument)
        plain.append(None)
        refused.append(False)
        if op in (OURS, OURS_ALTERED):
            plain[-1] = argument[:PLAIN_MAX]
            datagrams[-1] = ours = seal(cipher, argument[:PLAIN_MAX])
            if op == OURS_ALTERED:
                plain[-1] = None
                datagrams[-1] = altered(ours, Fields(argument), IGNORED.get(crypt, 16))
                refused[-1] = crypt not in UNCHECKED and datagrams[-1] != ours
        elif op == CHECKED and crypt == "none":  # a right checksum in front of anything
            datagrams[-1] = bytes(16) + crc32(argument).to_bytes(4, "little") + argument
    opened = openAll(cipher, datagrams)
    for number, datagram in enumerate(datagrams):
        alone = openAll(cipher, [datagram]).get(0)
        assert alone == opened.get(number), "a batch is not what its datagrams are"
        if plain[number] is not None:
            assert opened.get(number) == plain[number], "one of ours did not open"
        if refused[number]:
            assert number not in opened, "an altered datagram was taken"
        if number in opened:
            assert len(opened[number]) == len(datagram) - cipher.overhead


def seal(cipher: Any, datagram: bytes) -> bytes:
    batch = outboundBatch(PLAIN_MAX + 64, cipher.overhead)
    batch.append(datagram)
    cipher.sealBatch(batch)
    return bytes(next(iter(batch)))


def altered(datagram: bytes, fields: Fields, ignored: int) -> bytes:
    """A few bytes changed behind the first ``ignored``, or some at the end cut off."""
    changed = bytearray(datagram)
    behind = len(changed) - ignored
    if fields.flag():
        return bytes(changed[: -1 - fields.below(behind)]) if behind > 0 else bytes(changed)
    for _ in range(1 + fields.below(3)):
        if behind > 0:
            changed[ignored + fields.below(behind)] ^= fields.number()
    return bytes(changed)


def openAll(cipher: Any, datagrams: list[bytes]) -> dict[int, bytes]:
    """What was taken, by its number."""
    addresses: list[Any] = list(range(len(datagrams)))
    batch = inboundBatch(datagrams, addresses)
    count = cipher.openBatch(batch)
    numbers: list[Any] = batch.addresses or []
    assert count + len(batch) == len(datagrams) and len(numbers) == len(batch) == len(batch.ends)
    assert numbers == sorted(set(numbers)), "the order has changed"
    return {number: bytes(one) for number, one in zip(numbers, batch)}


def seeds() -> Iterator[bytes]:
    for number, crypt in enumerate(CRYPTS):
        mixed = (
            record(OURS, b"hello")
            + record(ANY, b"short")
            + record(OURS_ALTERED, b"\0\1\2\3\4 and more")
            + record(OURS)
        )
        yield (
            bytes([number])
            + mixed
            + record(CHECKED, b"x" * 30)
            + record(OURS_ALTERED, b"\1\2 cut")
            + record(OURS, b"z" * 90)
        )
    for name, vector in VECTORS.items():
        datagrams = sealed(name, "up")[:4] + sealed(name, "down")[:2]
        yield bytes([CRYPTS.index(vector["crypt"])]) + b"".join(
            record(ANY, datagram[:400]) for datagram in datagrams
        )
