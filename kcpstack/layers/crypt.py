"""The crypt layer: batches sealed on the way down, opened on the way up.  One for each UDP port.

It belongs to the port and not to a session, because a server has to open a datagram before it can
tell whose it is.
"""

from __future__ import annotations

from twisted.logger import Logger
from twisted.python.reflect import qual

from kcpstack.batch import Batch
from kcpstack.ciphers import batchCipher
from kcpstack.counters import Counters
from kcpstack.interfaces import IBatchCipher, IPacketCipher
from kcpstack.lograte import FaultLog

__all__ = ["CryptLayer"]


class CryptLayer:
    """A cipher (either shape), and the count of what it refuses (InCsumErrors).

    ``overhead`` is the cipher's: bytes of room that each outbound datagram needs in front.  The
    batches remain their owner's.
    """

    _log = Logger()

    def __init__(self, cipher: IPacketCipher | IBatchCipher, counters: Counters) -> None:
        self._cipher = batchCipher(cipher)
        self._counters = counters
        self._faults = FaultLog(self._log, f"The cipher {qual(type(cipher))}")
        self.overhead = self._cipher.overhead

    def seal(self, batch: Batch) -> None:
        """Seal every datagram of an outbound batch in place.  Raises what the cipher raises: a
        fault in it, or a datagram longer than it can take.
        """
        self._cipher.sealBatch(batch)

    def open(self, batch: Batch) -> int:
        """Open every datagram of an inbound batch, which loses those that are not ours (from its
        ``addresses`` as well) and may change its ``buffer``.  Returns how many it lost.  Never raises:
        where a cipher does, against its contract, all of the batch counts as refused.
        """
        arrived = len(batch)
        try:
            refused = self._cipher.openBatch(batch)
        except Exception:  # noqa: BLE001 - a stranger's cipher must not stop the tunnel
            self._faults.failed("to open a batch, which counts as refused")
            refused = arrived
            batch.starts = []
            batch.ends = []
            batch.addresses = None if batch.addresses is None else []
        self._counters.InCsumErrors += refused
        return refused
