"""What is no good: datagrams that are taken out of a batch, ciphers that break their contract."""

from __future__ import annotations

from twisted.logger import Logger

from kcpstack.batch import Batch

__all__ = ["FaultLog", "keepOnly"]


def keepOnly(batch: Batch, kept: list[int]) -> None:
    """Take out of ``batch`` all datagrams but those with the numbers ``kept`` (in order)."""
    batch.starts = [batch.starts[i] for i in kept]
    batch.ends = [batch.ends[i] for i in kept]
    if batch.addresses is not None:
        batch.addresses = [batch.addresses[i] for i in kept]


class FaultLog:
    """Logs the exceptions of one cipher at a rate that no peer can drive up.

    Reports the first, the 10th, the 100th and so on, which needs no clock and stays at a line for
    each power of ten, however many datagrams arrive.
    """

    def __init__(self, log: Logger, cipher: str) -> None:
        self._log = log
        self._cipher = cipher
        self._count = 0
        self._reportAt = 1

    def failed(self) -> None:
        """The exception now being handled came out of the cipher."""
        self._count += 1
        if self._count == self._reportAt:
            self._reportAt *= 10
            self._log.failure(
                "The cipher {cipher} failed to open what arrived, which counts as refused"
                " (failure number {count})",
                cipher=self._cipher,
                count=self._count,
            )
