"""A stranger's compressor made safe: its faults end the session that it compresses, and nothing else.

What it is given comes from the network; so its refusals are ordinary, and its faults are logged at a rate that no peer
can drive up, however often it comes back.
"""

from __future__ import annotations

from typing import Any

from twisted.python.reflect import qual
from zope.interface import implementer

from kcpstack.interfaces import ICompressor
from kcpstack.lograte import FaultLog

__all__ = ["CheckedCompressor"]


@implementer(ICompressor)
class CheckedCompressor:
    """``compressor``, whose answers are checked: they are bytes.

    Where it raises, or returns what is not like bytes, ``faults`` is told and RuntimeError raised.  The two have then
    lost each other, so it is not to be used again.  A ValueError of ``decompress`` is the peer's fault, and passed on."""

    def __init__(self, compressor: ICompressor, faults: FaultLog) -> None:
        self._compressor = compressor
        self._faults = faults

    def compress(self, data: bytes) -> bytes:
        """See ICompressor."""
        try:
            return _asBytes(self._compressor.compress(data))
        except Exception as error:
            raise self._fault("compress", error) from error

    def decompress(self, data: bytes) -> bytes:
        """See ICompressor."""
        try:
            return _asBytes(self._compressor.decompress(data))
        except ValueError:
            raise
        except Exception as error:
            raise self._fault("decompress", error) from error

    def _fault(self, operation: str, error: Exception) -> RuntimeError:
        self._faults.failed(f"to {operation}, which ends the session")
        return RuntimeError(f"{qual(type(self._compressor))}.{operation} failed: {error!r}")


def _asBytes(answer: Any) -> bytes:
    return answer if type(answer) is bytes else bytes(memoryview(answer))  # bytes() alone would take an int for a length
