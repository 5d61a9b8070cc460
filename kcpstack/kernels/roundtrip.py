"""The round trip, and how long to wait for an ack: RFC 6298 with KCP's floor for the variance."""

from __future__ import annotations

__all__ = ["RoundTrip"]


class RoundTrip:
    """An estimate in milliseconds, fed with samples.

    ``floor`` is the least ``rto``; ``jitter`` the least that it allows for the variance; ``backoff`` 2 doubles
    the wait with each time-out in a row, 1.5 adds half of ``rto`` each time."""

    __slots__ = ("srtt", "rto", "_rttvar", "_floor", "_jitter", "_doubles")

    def __init__(self, floor: float, jitter: float, backoff: float) -> None:
        self.srtt: float | None = None  # None before the first sample
        self.rto = max(RTO_FIRST, floor)
        self._rttvar = 0.0
        self._floor = floor
        self._jitter = jitter
        self._doubles = backoff >= 2

    def take(self, sample: float) -> None:
        """One more round trip was this long (RFC 6298, section 2)."""
        if self.srtt is None:
            self.srtt = sample
            self._rttvar = sample / 2
        else:
            self._rttvar += (abs(sample - self.srtt) - self._rttvar) / 4
            self.srtt += (sample - self.srtt) / 8
        self.rto = min(max(self.srtt + max(self._jitter, 4 * self._rttvar), self._floor), RTO_MAX)

    def timeoutAfter(self, timeouts: int) -> float:
        """How long to wait for the ack of a transmission after so many time-outs in a row."""
        if self._doubles:
            return min(self.rto * 2.0**timeouts, RTO_MAX)
        return min(self.rto * (1 + timeouts / 2), RTO_MAX)


# ms, as KCP has them (docs/wire.rst); a peer's own are not visible on the wire.
RTO_FIRST = 200.0
RTO_MAX = 60_000.0
