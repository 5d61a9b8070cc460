"""Which FEC parameters an end sends with, seeing what its peer sends.

A receiver of ours learns the parameters of any sender.  An old Go receiver does not: with parameters other than
its own, on a path that loses, it rebuilds garbage, and the streams on it break (docs/fec.rst has numbers).  What
a Go peer sends with is also what it receives with, so nobody here sends any FEC before it knows its peer:

- the end that was called (a server) sends as its peer does;
- the calling end sends as it was told to a peer of our kind, and to one that shows the same parameters.  To
  any other it sends none.  (To begin with its own parameters, and follow the server's later, was worse than
  either.)

The choice is (d, p), or NO_FEC.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["NO_FEC", "PARITY_MAX", "AnsweringFEC", "CallingFEC"]

NO_FEC = (0, 0)  # parameters that turn an encoder off


class Hearing(Protocol):
    """What is asked of the decoder that a peer's datagrams go through."""

    @property
    def parameters(self) -> tuple[int, int] | None:
        """The peer's data and parity shards, once they are certain."""

    @property
    def heard(self) -> bool:
        """Whether anything came with FEC."""


class AnsweringFEC:
    """Sends as the peer does, unless that would make much of little."""

    mismatch: tuple[int, int] | None = None

    def choose(self, decoder: Hearing, isOurs: bool, spoken: bool) -> tuple[int, int]:
        """See CallingFEC."""
        seen = decoder.parameters or NO_FEC
        return seen if seen[1] <= PARITY_MAX * seen[0] else NO_FEC


class CallingFEC:
    """Sends with ``own`` where that can do no harm.  ``mismatch``: what the peer turned out to send with
    (NO_FEC for none), where that is something else and the peer is not known to bear ours."""

    def __init__(self, own: tuple[int, int]) -> None:
        self.mismatch: tuple[int, int] | None = None
        self._own = own
        self._choice = NO_FEC
        self._plain = 0  # batches without any FEC since the peer has spoken

    def choose(self, decoder: Hearing, isOurs: bool, spoken: bool) -> tuple[int, int]:
        """What to send with from now on; to be asked for each batch that arrives.

        ``decoder`` is the FECDecoder that it went through, ``isOurs`` whether the peer has shown that it is
        of our kind, and ``spoken`` whether anything of the stream above has come: who is of our kind shows
        that first."""
        if isOurs:
            self.mismatch = None
            self._choice = self._own
            return self._choice
        seen = decoder.parameters
        if seen is None and spoken and not decoder.heard:
            self._plain += 1
            seen = NO_FEC if self._plain >= PLAIN_ENOUGH else None
        if seen is not None:
            self.mismatch = None if seen == self._own else seen
            self._choice = self._own if self.mismatch is None else NO_FEC
        return self._choice


PARITY_MAX = 3  # times the data shards; a peer that asks for more (up to 255 are possible) wants an amplifier
PLAIN_ENOUGH = 8  # batches; the first may be late ones
