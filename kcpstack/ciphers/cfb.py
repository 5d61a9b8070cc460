"""Block ciphers in cipher feedback mode (CFB, full-block feedback), a whole batch in one call.

The wire (protocol.md, "crypt") has each datagram, header included, encrypted on its own from one
fixed IV, its last block cut short.  Here all datagrams of all batches go through one running
context instead, each beginning at a block boundary, and a peer cannot tell.  In CFB ::

    ciphertext[n] = plaintext[n] XOR E(ciphertext[n - 1]), where ciphertext[-1] is the IV

so only a datagram's first block comes out differently where the contexts of the two ends differ, and
that block is nonce: random bytes which nobody reads.  Every later one depends on nothing but the
ciphertext in front of it.  This needs no more than that a block is not longer than the nonce.

One call per batch costs two to five times less than a context and a call for each datagram (by the
version of cryptography).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher
from zope.interface import implementer

from kcpstack.batch import Batch, BytesLike
from kcpstack.ciphers.framing import HEADER_LENGTH, frame, unframe
from kcpstack.interfaces import IBatchCipher

try:
    from cryptography.hazmat.decrepit.ciphers.modes import CFB
except ImportError:  # cryptography before it moved there
    from cryptography.hazmat.primitives.ciphers.modes import CFB

__all__ = ["CFB", "IV", "CFBCipher", "fromAlgorithm", "gather"]

IV = bytes.fromhex("a7734f9c12ac1b01a415f2c1fc78e66b")  # protocol.md; its front for shorter blocks

# Bytes that are encrypted in about the time that it takes to copy one datagram out of the batch and
# back: how much between datagrams is worth encrypting to spare the copies.
COPY_WORTH = 512


def fromAlgorithm(algorithm: Any, randomBytes: Callable[[int], bytes]) -> CFBCipher:
    """Make a CFBCipher of one of cryptography's block ciphers with its key, ``AES(key)`` for one."""
    blockLength = algorithm.block_size // 8
    return CFBCipher(Cipher(algorithm, CFB(IV[:blockLength])), blockLength, randomBytes)


@implementer(IBatchCipher)
class CFBCipher:
    """nonce | crc32 | datagram, encrypted with a block cipher in CFB mode.

    ``cipher`` has ``encryptor()`` and ``decryptor()`` as cryptography's Cipher has them: what they
    return has ``update_into(data, buffer)``, which must cope with both being the same memory, and
    ``update(data)``, both with the CFB state running on from call to call.  ``blockLength`` is in
    bytes, 8 or 16.
    """

    overhead = HEADER_LENGTH

    def __init__(self, cipher: Any, blockLength: int, randomBytes: Callable[[int], bytes]) -> None:
        self._blockLength = blockLength
        self._randomBytes = randomBytes
        self._encryptor = cipher.encryptor()
        self._decryptor = cipher.decryptor()

    def sealBatch(self, batch: Batch) -> None:
        if not batch.starts:
            return
        frame(batch, self._randomBytes)
        if _suitsOneCall(batch, self._blockLength):
            self._transform(self._encryptor, batch.buffer, min(batch.starts), max(batch.ends))
            return
        gathered, positions = gather(batch, self._blockLength)
        self._transform(self._encryptor, gathered, 0, len(gathered) - self._blockLength)
        with memoryview(gathered) as view:
            for position, start, end in zip(positions, batch.starts, batch.ends):
                batch.buffer[start:end] = view[position : position + end - start]

    def openBatch(self, batch: Batch) -> int:
        if not batch.starts:
            return 0
        if _suitsOneCall(batch, self._blockLength):
            self._transform(self._decryptor, batch.buffer, min(batch.starts), max(batch.ends))
        else:
            gathered, positions = gather(batch, self._blockLength)
            self._transform(self._decryptor, gathered, 0, len(gathered) - self._blockLength)
            batch.ends = [p + end - start for p, start, end in zip(positions, batch.starts, batch.ends)]
            batch.starts = positions
            batch.buffer = gathered
        return unframe(batch)

    def _transform(self, context: Any, buffer: bytearray, begin: int, end: int) -> None:
        """Run ``context`` over ``buffer[begin:end]`` in place, in whole blocks.

        Up to a block less one byte after ``end`` may be overwritten.
        """
        blockLength = self._blockLength
        whole = -(-(end - begin) // blockLength) * blockLength
        # Older versions of cryptography (42 for one) want blockLength - 1 bytes of room to spare in
        # update_into; what lies too near to the end of the buffer for that goes the long way.
        room = (len(buffer) - begin - blockLength + 1) // blockLength * blockLength
        direct = max(0, min(whole, room))
        middle = begin + direct
        with memoryview(buffer) as view:
            if direct:
                context.update_into(view[begin:middle], view[begin:])
            if middle < end:
                rest = bytes(view[middle:end]).ljust(whole - direct, b"\0")
                view[middle:end] = context.update(rest)[: end - middle]


def _suitsOneCall(batch: Batch, blockLength: int) -> bool:
    """Whether all datagrams lie whole blocks apart, and close enough to be worth one call where
    they are.
    """
    if len({start % blockLength for start in batch.starts}) > 1:
        return False
    between = max(batch.ends) - min(batch.starts) - sum(batch.ends) + sum(batch.starts)
    return between <= COPY_WORTH * len(batch.starts)


def gather(batch: Batch, blockLength: int) -> tuple[bytearray, list[int]]:
    """Copy all datagrams into one buffer, each from a block boundary, one block to spare at the end.

    Returns the buffer and where each datagram starts in it.
    """
    padding = [bytes(i) for i in range(blockLength)]
    pieces: list[BytesLike] = []
    positions = []
    position = 0
    with memoryview(batch.buffer) as view:
        for start, end in zip(batch.starts, batch.ends):
            unfilled = (start - end) % blockLength
            pieces.append(view[start:end])
            pieces.append(padding[unfilled])
            positions.append(position)
            position += end - start + unfilled
        pieces.append(bytes(blockLength))
        return bytearray().join(pieces), positions
