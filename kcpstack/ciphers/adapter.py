"""An IPacketCipher made into an IBatchCipher: a Python call or two for each datagram.

Importing this module registers the adapter, so that ``IBatchCipher(cipher)`` takes both shapes.

Such a cipher comes from anywhere, so it gets copies and its answers are checked: nothing that it
keeps or returns can reach into a batch, and nothing that it does while opening can stop a tunnel.
"""

from __future__ import annotations

from twisted.logger import Logger
from twisted.python.components import registerAdapter
from twisted.python.reflect import qual
from zope.interface import implementer

from kcpstack.batch import Batch
from kcpstack.ciphers.refusals import keepOnly
from kcpstack.interfaces import IBatchCipher, IPacketCipher
from kcpstack.lograte import FaultLog

__all__ = ["PacketCipherAdapter"]


@implementer(IBatchCipher)
class PacketCipherAdapter:
    """Seals and opens each datagram of a batch with an IPacketCipher.

    - Sealing raises RuntimeError, with the cipher's class in its text, where the cipher raises or
      returns a wrong length: that is a fault in the cipher which no later datagram would repair.
    - While opening, an exception or a wrong length counts as a refusal, and is logged at a bounded
      rate: whatever a peer sends, the tunnel goes on.

    Raises RuntimeError when made, where ``overhead`` is not an int from 0.
    """

    _log = Logger()

    def __init__(self, cipher: IPacketCipher) -> None:
        self._cipher = cipher
        self._name = qual(type(cipher))
        self._faults = FaultLog(self._log, f"The cipher {self._name}")
        self.overhead = cipher.overhead
        if not isinstance(self.overhead, int) or self.overhead < 0:
            raise RuntimeError(f"{self._name}.overhead is {self.overhead!r}, not an int from 0")

    def sealBatch(self, batch: Batch) -> None:
        buffer = batch.buffer
        for i, (start, end) in enumerate(zip(batch.starts, batch.ends)):
            sealed = self._seal(bytes(buffer[start:end]))
            start -= self.overhead
            buffer[start:end] = sealed
            batch.starts[i] = start

    def openBatch(self, batch: Batch) -> int:
        buffer = batch.buffer
        kept = []
        for i, (start, end) in enumerate(zip(batch.starts, batch.ends)):
            opened = self._open(bytes(buffer[start:end]))
            if opened is not None:
                end = batch.ends[i] = start + len(opened)
                buffer[start:end] = opened
                kept.append(i)
        refused = len(batch) - len(kept)
        if refused:
            keepOnly(batch, kept)
        return refused

    def _seal(self, datagram: bytes) -> bytes:
        try:
            # bytes() alone would take an int for a length.
            sealed = bytes(memoryview(self._cipher.seal(memoryview(datagram))))
        except Exception as error:
            raise RuntimeError(f"{self._name}.seal failed: {error!r}") from error
        if len(sealed) != len(datagram) + self.overhead:
            raise RuntimeError(
                f"{self._name}.seal made {len(sealed)} bytes of {len(datagram)},"
                f" and its overhead is {self.overhead}"
            )
        return sealed

    def _open(self, sealed: bytes) -> bytes | None:
        try:
            opened = self._cipher.open(memoryview(sealed))
            if opened is None:
                return None
            opened = bytes(memoryview(opened))
            if len(opened) != len(sealed) - self.overhead:
                raise RuntimeError(
                    f"{self._name}.open made {len(opened)} bytes of {len(sealed)},"
                    f" and its overhead is {self.overhead}"
                )
            return opened
        except Exception:  # noqa: BLE001 - a stranger's cipher must not stop the tunnel
            self._faults.failed("to open what arrived, which counts as refused")
            return None


registerAdapter(PacketCipherAdapter, IPacketCipher, IBatchCipher)
