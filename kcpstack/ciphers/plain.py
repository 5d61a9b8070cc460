"""The two methods that encrypt nothing: ``none`` has the header, ``null`` has not even that."""

from __future__ import annotations

from collections.abc import Callable

from zope.interface import implementer

from kcpstack.batch import Batch
from kcpstack.ciphers.framing import HEADER_LENGTH, frame, unframe
from kcpstack.interfaces import IBatchCipher

__all__ = ["NoneCipher", "NullCipher"]


@implementer(IBatchCipher)
class NoneCipher:
    """nonce | crc32 | datagram in the clear: finds damage, hides nothing."""

    overhead = HEADER_LENGTH

    def __init__(self, randomBytes: Callable[[int], bytes]) -> None:
        self._randomBytes = randomBytes

    def sealBatch(self, batch: Batch) -> None:
        frame(batch, self._randomBytes)

    def openBatch(self, batch: Batch) -> int:
        return unframe(batch)


@implementer(IBatchCipher)
class NullCipher:
    """The bare datagram: takes whatever arrives.  Only newer peers have it."""

    overhead = 0

    def sealBatch(self, batch: Batch) -> None:
        """A datagram is its own sealed form."""

    def openBatch(self, batch: Batch) -> int:
        return 0
