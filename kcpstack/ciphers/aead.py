"""The method ``aes-128-gcm``: encrypted and authenticated, one call a datagram.

::

    nonce (12 random bytes) | ciphertext | tag (16 bytes)

(protocol.md, "crypt"; no checksum, no associated data.)  Each datagram has a nonce and a tag of its own,
so there is no way to run a batch through one call.

Random nonces of 12 bytes are safe for about 2**32 datagrams under one key (NIST SP 800-38D, 8.3): with
full ones some 5 terabytes, both directions and all restarts counted.  The wire leaves no better choice.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from zope.interface import implementer

from kcpstack.batch import Batch
from kcpstack.ciphers.refusals import keepOnly
from kcpstack.interfaces import IBatchCipher

__all__ = ["GCMCipher"]

NONCE_LENGTH = 12
TAG_LENGTH = 16


@implementer(IBatchCipher)
class GCMCipher:
    """nonce | ciphertext | tag, with AES of as many bits as ``key`` has.

    Sealing uses only the room in front: the tag ends where the datagram ended.
    """

    overhead = NONCE_LENGTH + TAG_LENGTH

    def __init__(self, key: bytes, randomBytes: Callable[[int], bytes]) -> None:
        self._gcm = AESGCM(key)
        self._randomBytes = randomBytes

    def sealBatch(self, batch: Batch) -> None:
        nonces = self._randomBytes(NONCE_LENGTH * len(batch))
        encrypt = self._gcm.encrypt
        starts = [start - self.overhead for start in batch.starts]
        position = 0
        with memoryview(batch.buffer) as view:
            for start, body, end in zip(starts, batch.starts, batch.ends):
                nonce = nonces[position : position + NONCE_LENGTH]
                view[start:end] = nonce + encrypt(nonce, bytes(view[body:end]), None)
                position += NONCE_LENGTH
        batch.starts = starts

    def openBatch(self, batch: Batch) -> int:
        decrypt = self._gcm.decrypt
        kept = []
        with memoryview(batch.buffer) as view:
            for i, (start, end) in enumerate(zip(batch.starts, batch.ends)):
                if end - start < self.overhead:
                    continue
                body = start + NONCE_LENGTH
                try:
                    datagram = decrypt(bytes(view[start:body]), bytes(view[body:end]), None)
                except InvalidTag:
                    continue
                view[body : end - TAG_LENGTH] = datagram
                kept.append(i)
        refused = len(batch) - len(kept)
        if refused:
            keepOnly(batch, kept)
        batch.starts = [start + NONCE_LENGTH for start in batch.starts]
        batch.ends = [end - TAG_LENGTH for end in batch.ends]
        return refused
