"""Which FEC parameters an end sends with, seeing what its peer sends.

Our receiver learns the parameters of any sender.  An old Go receiver does not: with parameters other than its
own, on a path that loses, it rebuilds garbage and the streams on it break (docs/fec.rst has numbers).  What
a Go peer sends with is also what it receives with, so

- the answering end (a server) sends as its peer does, and nothing until that is known;
- the calling end sends as it was told, and stops where the peer turns out to send otherwise.  Following
  would be no better: the old receiver has by then left its own parameters behind, and does not find back.

Both are given the decoder's knowledge and choose (d, p); NO_FEC is for none.
"""

from __future__ import annotations

from typing import Any

__all__ = ["NO_FEC", "PARITY_MAX", "AnsweringFEC", "CallingFEC"]

NO_FEC = (0, 0)  # parameters that turn an encoder off


class AnsweringFEC:
    """Sends as the peer does, unless that would make much of little."""

    def choose(self, decoder: Any, now: float) -> tuple[int, int]:
        """What to send with from now on.  ``decoder`` is the FECDecoder of what arrives, just asked."""
        seen: tuple[int, int] = decoder.parameters or NO_FEC
        return seen if seen[1] <= PARITY_MAX * seen[0] else NO_FEC

    def sent(self, count: int, now: float) -> None:
        """So many datagrams are being sent: nothing follows."""


class CallingFEC:
    """Sends with ``own``, until the peer turns out to send otherwise; ``mismatch`` is then what it sends with.

    ``doubted``: it did so when it was last called, so this end begins without FEC.

    A peer of ours answers without FEC until it knows our parameters, so that there is none yet says
    nothing; but where there is none long after it must know them, there will be none."""

    def __init__(self, own: tuple[int, int], doubted: bool = False) -> None:
        self.mismatch: tuple[int, int] | None = None
        self._own = own
        self._choice = NO_FEC if doubted else own
        self._unsaid = GROUPS_TO_LEARN * sum(own)  # datagrams to send before the peer must know our parameters
        self._knownAt: float | None = None
        self._mayBeSilent = own[1] > PARITY_MAX * own[0]  # see AnsweringFEC

    def choose(self, decoder: Any, now: float) -> tuple[int, int]:
        """What to send with from now on.  ``decoder`` is the FECDecoder of what arrives, just asked."""
        seen = decoder.parameters
        if seen is None and self._neverComes(decoder, now):
            seen = NO_FEC
        if seen is not None:
            self.mismatch = None if seen == self._own else seen
            self._choice = self._own if self.mismatch is None else NO_FEC
        return self._choice

    def sent(self, count: int, now: float) -> None:
        """So many datagrams are being sent."""
        if self._unsaid > 0:
            self._unsaid -= count
            self._knownAt = now

    def _neverComes(self, decoder: Any, now: float) -> bool:
        if decoder.heard or self._unsaid > 0 or self._mayBeSilent or self._choice == NO_FEC:
            return False
        return self._knownAt is not None and now - self._knownAt > ANSWER_TIME


PARITY_MAX = 3  # times the data shards; a peer that asks for more (up to 255 are possible) wants an amplifier
GROUPS_TO_LEARN = 8  # a receiver of ours needs three, where a fifth is lost
ANSWER_TIME = 2000.0  # ms; what was sent before our peer knew us has arrived by then
