"""What is no good: datagrams that are taken out of a batch."""

from __future__ import annotations

from kcpstack.batch import Batch

__all__ = ["keepOnly"]


def keepOnly(batch: Batch, kept: list[int]) -> None:
    """Take out of ``batch`` all datagrams but those with the numbers ``kept`` (in order)."""
    batch.starts = [batch.starts[i] for i in kept]
    batch.ends = [batch.ends[i] for i in kept]
    if batch.addresses is not None:
        batch.addresses = [batch.addresses[i] for i in kept]
