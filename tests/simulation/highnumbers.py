"""Sessions whose numbers are about to wrap: what takes terabytes to get to otherwise, from the first datagram on.

Both ends of all sessions made inside ``numbersBefore(left)`` behave as if they had 2**32 - ``left`` segments and
transmissions, and nearly all FEC groups there are, behind them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from openarq import OpenARQ

from kcpstack import server, stack
from kcpstack.kernels.segment import MASK
from kcpstack.layers.fec import FECEncoder
from kcpstack.layers.fec_groups import modulus

__all__ = ["numbersBefore"]

GROUPS_LEFT = 2  # of FEC, before its numbers wrap


@contextmanager
def numbersBefore(left: int) -> Iterator[None]:
    """``left`` segments before the wrap; where it is 0, nothing is changed."""
    if not left:
        yield
        return
    first = MASK + 1 - left

    class LateARQ(OpenARQ):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self._una = self._nxt = self._remoteUna = self._arrived.nxt = first
            self._flights.number = first

    class LateEncoder(FECEncoder):
        def reconfigure(self, dataShards: int, parityShards: int) -> None:
            before = self.parameters
            super().reconfigure(dataShards, parityShards)
            total = dataShards + parityShards
            if before is None and self.parameters is not None and self._latest is None:
                self._next = modulus(total) - GROUPS_LEFT * total

    def peek(*arguments: Any) -> Any:
        """A server takes a session for a new one by the numbers that it begins with."""
        seen = stack.peek(*arguments)
        return seen and seen._replace(sn=seen.sn - first & MASK, una=seen.una - first & MASK)

    made = mock.patch.multiple(stack, ARQ=LateARQ, FECEncoder=LateEncoder)
    with made, mock.patch.object(server, "peek", peek):
        yield
