"""The KCP layer: an ARQ driven by real time, as an ITransport for the protocol above.

The ARQ (kcpstack/kernels/arq.py) is a pure state machine; this layer is its driver.  It asks the
schedule for the time, flushes after everything that happens, keeps the one timeout the ARQ asks
for, and turns windows into Twisted's producers and consumers:

- ``write`` queues; what is written in one turn of the reactor leaves together at its end;
- a registered producer is paused while about one window of bytes waits to be sent for the first time
  (HIGH_WATER at most): enough to keep the path full, and little for urgent things to wait behind;
- ``pauseProducing`` leaves arrived bytes in the ARQ, whose window then closes the peer's hand.

Where a rate is set, the pacer (kcpstack/kernels/pacing.py) says how many datagrams a flush may make, and
when to come again; a segment's timer runs from when it left, so waiting for the pacer is never taken for loss.

It knows neither the protocol above nor what is below: ``send`` takes outbound batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress, IProducer, IProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from kcpstack.batch import Batch
from kcpstack.interfaces import IARQ, ISessionTransport
from kcpstack.kernels.pacing import Pacer
from kcpstack.kernels.pathcheck import PathCheck, PathFault
from kcpstack.schedule import Schedule

__all__ = ["KCPSession"]

SILENCE = 3000.0  # ms; four transmissions at least were lost by then, or their acks


@implementer(ISessionTransport)
class KCPSession:
    """One session, from its first datagram to ``connectionLost`` of the protocol above.

    ``batch`` is the outbound batch to fill, shared by all sessions of a port and empty between
    calls; ``send(batch)`` sends what was put in it, and leaves it as it went out, with all headers
    and parity: the pacer counts that.  ``finished(session)`` is called once, when the
    session is over and may be forgotten.  ``local`` and ``remote`` are what ``getHost`` and ``getPeer`` return."""

    disconnecting = False

    def __init__(
        self,
        arq: IARQ,
        schedule: Schedule,
        batch: Batch,
        send: Callable[[Batch], None],
        finished: Callable[[KCPSession], None],
        local: IAddress | None = None,
        remote: IAddress | None = None,
    ) -> None:
        self.arq = arq
        self.connected = False
        self.spoken = False  # has the protocol above been given anything?
        self._schedule = schedule
        self.batch = batch
        self._send = send
        self._finished = finished
        self._local = local
        self._remote = remote
        self._protocol: IProtocol  # from start on
        self._producer: Any = None  # IPushProducer or IPullProducer, as it said when it was registered
        self._producerPaused = False
        self._streaming = True
        self._paused = False
        self._busy = False  # a flush follows at the end of the call we are in
        self._handing = False  # the protocol above is being given something, or could not take it
        self._ending = False
        self._pacer: Pacer | None = None
        self._heldUntil: float | None = None  # the pacer lets nothing out before
        self._pathCheck: PathCheck | None = None
        self._faultFound: Callable[[KCPSession, PathFault], None] | None = None
        self._lingerUntil: float | None = None
        self._lingerLeft = 0  # bytes unsent and segments unacknowledged, when we last looked
        self._silenceFound: Callable[[KCPSession], None] | None = None
        self._patience = SILENCE
        self.silent = False  # has the peer left us waiting for longer than it should?

    def __repr__(self) -> str:
        return f"<KCP session {self.arq.conv} with {self._remote}>"

    @property
    def established(self) -> bool:
        """Whether the peer has shown that it knows this session."""
        return self.arq.heardAt is not None

    def start(self, protocol: IProtocol) -> None:
        """Make ``protocol`` the one above."""
        self._protocol = protocol
        self.connected = True
        protocol.makeConnection(self)

    def watch(self, silenceFound: Callable[[KCPSession], None], patience: float = SILENCE) -> None:
        """Call ``silenceFound(session)`` when the peer has left us waiting for ``patience`` ms (or some
        RTOs, on a long path), once for each silence."""
        self._silenceFound = silenceFound
        self._patience = patience

    def watchPath(self, faultFound: Callable[[KCPSession, PathFault], None]) -> None:
        """Call ``faultFound(session, fault)`` when it is certain why the path is silent
        (kcpstack/kernels/pathcheck.py); for each fault once, until it has healed."""
        self._pathCheck = PathCheck(self.arq)
        self._faultFound = faultFound

    def setRate(self, rate: float | None) -> None:
        """Send at most ``rate`` bytes a second from now on, counted as UDP payload with all headers, parity
        and acks; None or 0: as fast as the windows let us."""
        now = self._schedule.now()
        if not rate:
            self._pacer = None
        elif self._pacer is None:
            self._pacer = Pacer(rate, now)
        else:
            self._pacer.setRate(rate, now)
        self._heldUntil = None
        if self.connected:
            self._schedule.soon(self)

    # ------------------------------------------------------------ from below

    def datagramsReceived(self, arrived: Batch, recovered: Batch | None = None) -> None:
        """KCP datagrams of this session: those that arrived, and those that FEC rebuilt."""
        if not self.connected:
            return
        self._turn(self._schedule.now(), arrived, recovered)

    def due(self, now: float) -> None:
        """Deliver and send what there is.  The schedule calls this too, when the turn in which we
        wrote is over, or a timeout has come."""
        self._turn(now)

    def _turn(self, now: float, arrived: Batch | None = None, recovered: Batch | None = None) -> None:
        """Take in what has arrived, and what was rebuilt; deliver and send what there is.

        What the protocol above, the congestion control or the layers below raise ends this session and no other."""
        try:
            self._busy = True
            if arrived:
                self.arq.datagramsReceived(arrived, now)
            if recovered:
                self.arq.datagramsReceived(recovered, now, True)
            self._deliver()
            if self.connected:
                self._flush(now)
        except Exception:  # noqa: BLE001 - a stranger's protocol or layer must not stop the port
            self._failed()
        finally:
            self._busy = False

    def _failed(self) -> None:
        """The exception now being handled ends the session."""
        _log.failure("{session} ends: something above or below it raised", session=self)
        self.connectionLost(Failure())

    def _deliver(self) -> None:
        self._handing = True
        while not self._paused and self.connected and not self._ending and self.arq.unread:
            data = b"".join(self.arq.read(DELIVERY))
            if data:
                self.spoken = True
                self._protocol.dataReceived(data)
        self._handing = False  # not where it raised: it gets no more

    def _flush(self, now: float) -> None:
        """Send all that may leave, let the producer refill, and set the timeout."""
        more = True
        self._heldUntil = None
        while more and self.connected:
            if self._pacer is None:
                more = self.arq.flush(now, self.batch)
            else:
                most = self._pacer.allowance(now)
                if not most:
                    self._heldUntil = self._pacer.readyAt(now)
                    break
                more = self.arq.flush(now, self.batch, most)
            if self.batch:
                self._sendBatch()
            if self._producerPaused and self.arq.unsent <= self._highWater() // 2:
                more = self._resumeProducer() or more
        if self.disconnecting:
            self._lingered(now)
        if self.connected:
            self._listen(now)
        if self.connected and self._pathCheck is not None:
            self._checkPath(now, self._pathCheck)
        if self.connected:
            self._schedule.at(self, self._nextDue())

    def _sendBatch(self) -> None:
        batch = self.batch
        try:
            self._send(batch)
            if self._pacer is not None:
                self._pacer.sent(sum(batch.ends) - sum(batch.starts))
        finally:
            batch.clear()

    def _checkPath(self, now: float, check: PathCheck) -> None:
        """Let the check look where something is wrong, and only there."""
        if not (self.arq.strained or (check.lookAt is not None and now >= check.lookAt)):
            return
        fault = check.look(now, self.batch.headroom)
        self._schedule.soon(self)  # it may want to probe
        if fault is not None and self._faultFound is not None:
            self._faultFound(self, fault)

    def _listen(self, now: float) -> None:
        """Find out that the peer is silent, or no more."""
        if self._silenceFound is None:
            return
        tiredAt = self._tiredAt()
        silent = tiredAt is not None and now >= tiredAt
        if silent and not self.silent:
            self._silenceFound(self)
        self.silent = silent

    def _tiredAt(self) -> float | None:
        since = self.arq.silentSince()
        return None if since is None else since + max(self._patience, SILENCE_RTOS * self.arq.rto)

    def _nextDue(self) -> float | None:
        due = self.arq.nextTimeout() if self._heldUntil is None else self._heldUntil
        others = self._lingerUntil, None if self._pathCheck is None else self._pathCheck.lookAt
        for time in others:
            if time is not None and (due is None or time < due):
                due = time
        if self._silenceFound is not None and not self.silent:
            time = self._tiredAt()
            if time is not None and (due is None or time < due):
                due = time
        return due

    # ------------------------------------------------------------ ITransport

    def write(self, data: bytes) -> None:
        if self.connected and not self.disconnecting:
            self.arq.write(data)
            self._written()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def getPeer(self) -> Any:
        return self._remote

    def getHost(self) -> Any:
        return self._local

    def loseConnection(self) -> None:
        """Stop once all that was written is acknowledged, or when the peer has taken no more of it
        for LINGER."""
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            self._lingerUntil = self._schedule.now() + LINGER
            self._schedule.soon(self)

    def abortConnection(self) -> None:
        self.connectionLost(Failure(ConnectionAborted("aborted on our side")))

    def connectionLost(self, reason: Failure) -> None:
        """Be over, for ``reason``; tell the protocol above and whoever keeps the sessions.

        What has arrived in order is handed up before, though we be paused: the peer that has had our ack for it may have
        left in peace.  Not so where we abort, or the protocol above was the reason."""
        if not self.connected or self._ending:
            self._handing = False  # whoever is being given the rest wants no more of it
            return
        self._ending = True
        if not self._handing and not reason.check(ConnectionAborted):
            self._handTheRest()
        self.connected = False
        self.spoken = False
        self._schedule.forget(self)
        self._producer = None
        try:
            self._protocol.connectionLost(reason)
        except Exception:  # noqa: BLE001 - as above
            _log.failure("The protocol of {session} raised when it ended", session=self)
        self._finished(self)

    def _handTheRest(self) -> None:
        self._handing = True
        try:
            while self._handing and self.arq.unread:
                self._protocol.dataReceived(b"".join(self.arq.read(DELIVERY)))
        except Exception:  # noqa: BLE001 - as above
            _log.failure("The protocol of {session} raised when it was given the rest", session=self)

    def _lingered(self, now: float) -> None:
        left = self.arq.unsent + self.arq.unacknowledged
        if left != self._lingerLeft:
            self._lingerLeft = left
            self._lingerUntil = now + LINGER
        if not left and self.arq.nextTimeout() is None:  # our last acks have left as well
            self.connectionLost(Failure(ConnectionDone()))
        elif self._lingerUntil is not None and now >= self._lingerUntil:
            unsure = f"{self.arq.unsent} bytes unsent, {self.arq.unacknowledged} segments unacknowledged"
            self.connectionLost(Failure(ConnectionLost(f"closed with {unsure}")))

    # ------------------------------------------------------------ flow control

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        if self._producer is not None:
            raise RuntimeError(f"{self!r} has a producer already: {self._producer!r}")
        if not self.connected:
            producer.stopProducing()
            return
        self._producer = producer
        self._streaming = streaming
        self._producerPaused = False
        if not streaming:
            self._producerPaused = True
            self._schedule.soon(self)

    def unregisterProducer(self) -> None:
        self._producer = None
        self._producerPaused = False

    def _written(self) -> None:
        if self._producer is not None and not self._producerPaused and self._enoughWaits():
            self._producerPaused = True
            if self._streaming:
                self._producer.pauseProducing()
        if self.connected and not self._busy:
            self._schedule.soon(self)

    def _enoughWaits(self) -> bool:
        try:
            return self.arq.unsent >= self._highWater()
        except Exception:  # noqa: BLE001 - of the congestion control, which is nothing to whoever writes
            self._failed()
            return False

    def _highWater(self) -> int:
        most = HIGH_WATER if self._pacer is None else min(HIGH_WATER, int(self._pacer.rate * HIGH_WATER_SECONDS))
        return max(HIGH_WATER_MIN, min(most, self.arq.window))

    def _resumeProducer(self) -> bool:
        """Ask the producer for more.  True where it wrote some at once."""
        before = self.arq.unsent
        self._producerPaused = not self._streaming
        self._producer.resumeProducing()
        return self.arq.unsent > before

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        if self._paused:
            self._paused = False
            if self.arq.unread:
                self._schedule.soon(self)

    def stopProducing(self) -> None:
        self.loseConnection()


HIGH_WATER = 128 * 1024  # bytes unsent; more than a full flush, so that none ends short while there is more to come
HIGH_WATER_MIN = 8 * 1024  # bytes unsent; one frame of a multiplexer
HIGH_WATER_SECONDS = 0.1  # of a pacer's rate; what is urgent above us waits no longer behind what is here
DELIVERY = 64 * 1024  # bytes handed up at once: compressed, they may be twenty times as many above
SILENCE_RTOS = 5
LINGER = 5000.0  # ms; a peer that acknowledges nothing for so long is not there to be waited for

_log = Logger()
