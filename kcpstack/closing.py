"""How a client or a server closes: streams get some time to end, and what is cut then is counted.

::

    waiting     nothing new is taken; streams go on, sessions end when they are empty
    delivering  instead of that, for endpoints: only what closed streams have still to send is waited for
    cutting     what was left is aborted; FAREWELL seconds for the peers to learn of it
    over        every session and connection is gone

docs/closing.rst tells what that means for applications.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from kcpstack.layers.kcp import KCPSession
from kcpstack.layers.relay import RelayFactory
from kcpstack.layers.smux import SmuxSession
from kcpstack.schedule import Schedule

__all__ = ["FAREWELL", "Drain", "Outcome", "endNow"]


class Outcome(NamedTuple):
    """What a closing left undone: all counts are 0 where nothing was."""

    seconds: float  # that streams had to end
    why: str = ""  # what ended that time, where something ended it
    sessions: int = 0  # ended with streams or bytes on them
    streams: int = 0  # that were cut
    connections: int = 0  # that were cut while the application had still to take the rest of an ended stream
    lost: int = 0  # streams whose session failed meanwhile
    unacknowledged: int = 0  # bytes of our applications that their peers are not known to have
    undelivered: int = 0  # bytes that had arrived for our applications, and were not taken

    @property
    def complete(self) -> bool:
        """Whether every stream ended by itself and all its bytes arrived."""
        return not any(self[2:])

    def __str__(self) -> str:
        if self.complete:
            return "every stream had ended and everything was acknowledged"
        when = f"after {self.seconds:.0f} s" if self.seconds >= 0.5 else "at once"
        when += f" ({self.why})" if self.why else ""
        said = []
        if self.streams:
            said.append(f"{_were(self.streams, 'stream')} cut {when}")
        if self.connections:
            said.append(f"{_were(self.connections, 'connection')} cut {when} in the rest of an ended stream")
        if self.lost:
            said.append(f"{_were(self.lost, 'stream')} lost with a session that failed")
        said.append(f"{self.unacknowledged:,} bytes of theirs were not yet acknowledged")
        if self.undelivered:
            said.append(f"{self.undelivered:,} bytes for our applications were not yet taken")
        if not (self.streams or self.connections or self.lost):
            said.insert(0, f"every stream had ended {when}")
        return "; ".join(said)


class Drain:
    """One closing.

    ``muxes()`` gives the sessions of now; ``endAll()`` ends them at once, and returns None or a Deferred of
    when the sockets are closed.  ``relays`` is the relay factory whose connections are on the
    streams, where there is one.  Whoever makes a Drain calls ``sessionEnded`` after each session."""

    def __init__(
        self,
        clock: IReactorTime,
        muxes: Callable[[], list[SmuxSession]],
        endAll: Callable[[], Deferred[None] | None],
        relays: RelayFactory | None = None,
    ) -> None:
        self._clock = clock
        self._muxes = muxes
        self._endAll = endAll
        self._relays = relays
        self._relaysEmpty = relays is None
        self._began = clock.seconds()
        self._outcome: Outcome | None = None  # once it is known
        self._lost = self._unacknowledged = 0  # of sessions that failed while we waited
        self._aborted = 0  # streams that nobody had closed, before the cut
        self._timer: IDelayedCall | None = None
        self._over = False
        self._closed: Outcome | None = None  # once the sockets are closed, too
        self._waiters: list[Deferred[Outcome]] = []

    def begin(self, seconds: float) -> None:
        """Let nothing new in, and cut after ``seconds``."""
        if self._relays is not None:
            self._relays.whenEmpty().addCallback(self._relaysEmptied)
        if self._over:  # there was nothing to wait for
            return
        if seconds <= 0:
            self._cut("closewait 0")
            return
        self._timer = self._clock.callLater(seconds, self._cut, "closewait")
        streams = sum(mux.streamCount for mux in self._muxes())
        if streams:
            _log.info(
                "Closing: {streams} {have} {seconds:.0f} s to end (--closewait); ask again to cut now",
                streams=streams,
                have="stream has" if streams == 1 else "streams have",
                seconds=seconds,
            )
        for mux in self._muxes():
            mux.retire()
        self._check()

    def deliver(self, seconds: float, owes: Callable[[], bool]) -> None:
        """Let nothing new in, and abort the streams that nobody has closed.  Cut when the peers have all of the others,
        which is when ``owes()`` is false, and after ``seconds``."""
        if not owes():
            self._cut("nothing was closed that its peer had not got")
            return
        muxes = self._muxes()
        self._aborted = sum(mux.streamCount for mux in muxes)
        for mux in muxes:
            mux.cut(spareClosed=True)
        self._aborted -= sum(mux.streamCount for mux in muxes)
        _log.info("Closing: what was closed has {seconds:.0f} s to reach its peers", seconds=seconds)
        self._deliverUntil(self._clock.seconds() + seconds, owes)

    def _deliverUntil(self, end: float, owes: Callable[[], bool]) -> None:
        if self._clock.seconds() < end and owes():
            self._timer = self._clock.callLater(LOOK_AGAIN, self._deliverUntil, end, owes)
        else:
            self._cut("what was closed was waited for")

    def whenOver(self) -> Deferred[Outcome]:
        """Fires when everything is closed."""
        waiter: Deferred[Outcome] = Deferred()
        if self._closed is not None:
            waiter.callback(self._closed)
        else:
            self._waiters.append(waiter)
        return waiter

    def cutNow(self) -> None:
        """Wait no longer: for streams, or where these are cut already, for the peers to learn of it."""
        if self._over:
            return
        if self._outcome is None:
            self._cut("asked again")
        else:
            self._end()

    def endNow(self) -> None:
        """Wait for nobody any more."""
        if self._outcome is None:
            self._cut("closed at once")
        if not self._over:
            self._end()

    def sessionEnded(self, mux: SmuxSession) -> None:
        """``mux`` is over, and not among ``muxes()`` any more."""
        if self._outcome is None:
            self._lost += mux.streamsLost
            self._unacknowledged += mux.unacknowledged
        self._check()

    def _relaysEmptied(self, result: None) -> None:
        self._relaysEmpty = True
        self._check()

    def _check(self) -> None:
        if self._relaysEmpty and not self._over and not self._muxes():
            self._end()

    def _cut(self, why: str) -> None:
        """Count what there is, abort it, and tell the peers."""
        self._stopTimer()
        self._outcome = self._counted(why)
        self._timer = self._clock.callLater(FAREWELL, self._end)
        if self._relays is not None:
            self._relays.abort()
        for mux in self._muxes():
            mux.cut()
        self._check()

    def _counted(self, why: str = "") -> Outcome:
        muxes = self._muxes()
        unacknowledged = [mux.unacknowledged for mux in muxes]
        return Outcome(
            self._clock.seconds() - self._began,
            why,
            sum(1 for mux, count in zip(muxes, unacknowledged) if mux.streamCount or count),
            sum(mux.streamCount for mux in muxes) + self._aborted,
            self._relays.streamless if self._relays is not None else 0,
            self._lost,
            sum(unacknowledged) + self._unacknowledged,
            sum(mux.unread for mux in muxes),
        )

    def _end(self) -> None:
        self._over = True
        self._stopTimer()
        outcome = self._outcome = self._outcome or self._counted()
        (_log.info if outcome.complete else _log.warn)("Closed: {outcome}", outcome=outcome)
        ended = maybeDeferred(self._endAll)
        ended.addErrback(lambda failure: _log.failure("A socket could not be closed", failure))
        ended.addCallback(self._ended, outcome)

    def _stopTimer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _ended(self, result: object, outcome: Outcome) -> None:
        self._closed = outcome
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(outcome)


def endNow(mux: SmuxSession, session: KCPSession, schedule: Schedule) -> None:
    """End a session at once, with its streams; what tells the peer of it leaves in one flush, as far as
    the windows let it."""
    mux.cut()
    session.setRate(None)
    mux.flush()
    if session.connected:
        session.due(schedule.now())
    session.abortConnection()


def _were(count: int, noun: str) -> str:
    return f"1 {noun} was" if count == 1 else f"{count:,} {noun}s were"


# s; for the peers to acknowledge what tells them of a cut: some round trips, and little to whoever waits.
FAREWELL = 1.0
LOOK_AGAIN = 0.05  # s; whoever stops a program hardly notices, and an end of a session is told at once anyway

_log = Logger()
