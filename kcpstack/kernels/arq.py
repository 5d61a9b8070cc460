"""KCP's ARQ: reliable, ordered bytes over datagrams that are lost, reordered and doubled.

A pure state machine (IARQ): it is told the time, does no I/O and schedules nothing, so that every
run can be replayed.  The theory, in four rules:

**Numbers do not wrap inside.**  ``sn``, ``una`` and ``ts`` are 32 bits on the wire; what arrives is
widened to the nearest full number (:func:`kcpstack.kernels.segment.nearest`).

**Every transmission has a number of its own**, and that number travels as ``ts``, which the peer only
echoes.  So an ack tells not just which segment arrived but which sending of it: the round trip
is exact even for segments sent twice (no Karn ambiguity), and the numbers order all sendings.  Where a
round trip longer than the RTO has everything sent twice, the first acks say so, and the RTO grows.

**Loss shows in the order of sending.**  An acknowledged transmission has overtaken all lower numbers
still out.  One that has been overtaken by ``resend`` ack datagrams is lost.  Older transmissions have been
overtaken at least as often as newer ones, so the lost are always the head of a list in order of
sending, and no scan of the window is ever needed.  What nothing overtakes is caught by its timer,
on the same list: all transmissions with the same number of time-outs behind them share one
timeout, so the oldest expires first.

**Acks wait a little, unless something is wrong.**  They leave with data, or when ACK_EVERY have
gathered, or after ``interval``; at once when a segment is out of order or came twice, for the
sender needs to know.

Source of the wire: docs/wire.rst.  What a mode's numbers mean: docs/kcp.rst.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from dataclasses import dataclass
from typing import Any

from zope.interface import implementer

from kcpstack.batch import Batch
from kcpstack.counters import Counters
from kcpstack.interfaces import IARQ, ICongestionControl
from kcpstack.kernels.segment import ACK, ASK, HEADER, MASK, OVERHEAD, PUSH, TELL, Glimpse, Packer, nearest

__all__ = ["ARQ", "Tuning"]


@dataclass(frozen=True)
class Tuning:
    """What a mode is made of.  docs/kcp.rst tells how kcptun's modes map to these."""

    interval: float = 50.0  # ms; longest an ack waits, and the least allowance for jitter in the RTO
    resend: int = 0  # ack datagrams that must overtake a transmission before it counts as lost; 0: never
    minRTO: float = 100.0  # ms
    backoff: float = 2.0  # 2: each time-out doubles the RTO; 1.5: each adds half of it
    ackNoDelay: bool = False  # acknowledge at the end of every turn
    sendWindow: int = 128  # segments
    receiveWindow: int = 512  # segments


class _Segment:
    """One segment of ours, from its first sending until it is acknowledged."""

    __slots__ = ("sn", "data", "number", "sent", "timeouts", "earlier")

    def __init__(self, sn: int, data: Any) -> None:
        self.sn = sn
        self.data = data
        self.number = 0  # of its latest transmission; ACKNOWLEDGED once it needs no more
        self.sent = 0.0  # when that was, ms
        self.timeouts = 0  # in a row, since it was last sent for another reason
        self.earlier: tuple[tuple[int, float], ...] = ()  # number and time of the transmissions before

    def sentAt(self, number: int) -> float | None:
        """When the transmission with this number was; None where it was not of this segment."""
        if number == self.number:
            return self.sent
        return next((sent for earlier, sent in self.earlier if earlier == number), None)


@implementer(IARQ)
class ARQ:
    """One conversation.  ``mtu`` bounds the datagrams made, in bytes; ``conv`` is on all of them."""

    def __init__(
        self, conv: int, mtu: int, tuning: Tuning, congestion: ICongestionControl, counters: Counters
    ) -> None:
        if mtu <= OVERHEAD:
            raise ValueError(f"an mtu of {mtu} leaves no room for data behind a header of {OVERHEAD}")
        self.conv = conv
        self.srtt: float | None = None  # ms; None before the first sample
        self.rto = max(RTO_FIRST, tuning.minRTO)
        self.unsent = 0
        self.heardAt: float | None = None
        self._waitingSince: float | None = None  # since when una is behind nxt
        self._mtu = mtu
        self._mss = mtu - OVERHEAD
        self._tuning = tuning
        self._congestion = congestion
        self._counters = counters
        # Sending.
        self._queue: deque[memoryview] = deque()  # written, not yet cut into segments
        self._segments: dict[int, _Segment] = {}  # sn: sent and not acknowledged
        self._una = 0  # all below are acknowledged
        self._nxt = 0  # sn of the next new segment
        self._number = 1  # of the next transmission
        self._flights: list[deque[tuple[int, _Segment]]] = [deque()]  # by time-outs so far, in order sent
        self._lost: deque[_Segment] = deque()  # to be sent again, lowest sn first
        self._overtakers: list[int] = []  # highest numbers acknowledged, ascending, at most `resend`
        self._rttvar = 0.0
        self._remoteWindow = REMOTE_WINDOW_FIRST
        self._remoteUna = 0  # the highest una heard: windows that come with a lower one are old
        self._probeAt: float | None = None
        self._probeWait = 0.0
        # Receiving.
        self._rcvNxt = 0
        self._early: dict[int, bytes] = {}  # sn: beyond a hole, or beyond what may be unread
        self._unread: deque[bytes] = deque()
        self._acks: list[tuple[int, int]] = []  # (sn, ts) as they came, both as on the wire
        self._ackAt: float | None = None
        self._ackNow = False
        self._ask = False
        self._tell = False
        self._told = tuning.receiveWindow  # the window we last announced

    # ------------------------------------------------------------ what the layer above uses

    @property
    def unacknowledged(self) -> int:
        """Segments sent and not yet acknowledged."""
        return len(self._segments)

    @property
    def window(self) -> int:
        """Bytes that may be in flight."""
        return min(self._tuning.sendWindow, self._remoteWindow, self._congestion.window) * self._mss

    @property
    def unread(self) -> int:
        """Segments in order and not yet read."""
        return len(self._unread)

    def write(self, data: bytes) -> None:
        """Queue ``data`` to be sent."""
        if data:
            self._queue.append(memoryview(data))
            self.unsent += len(data)
            self._counters.BytesSent += len(data)

    def read(self, most: int) -> list[bytes]:
        """Take what is in order.  Where that opens a window that was nearly closed, the next flush
        tells the peer."""
        chunks: list[bytes] = []
        taken = 0
        while self._unread and taken < most:
            chunk = self._unread.popleft()
            taken += len(chunk)
            chunks.append(chunk)
        self._deliver()
        window = self._tuning.receiveWindow
        if self._told <= window // 4 and self._freeWindow() >= window // 2:
            self._tell = True
        self._counters.BytesReceived += taken
        return chunks

    def silentSince(self) -> float | None:
        """See IARQ."""
        waiting, heard = self._waitingSince, self.heardAt
        return waiting if waiting is None or heard is None else max(waiting, heard)

    def isNews(self, seen: Glimpse) -> bool:
        """See IARQ."""
        una = nearest(seen.una, self._una)
        if not self._una <= una <= self._nxt:
            return False
        if seen.cmd == PUSH:
            sn = nearest(seen.sn, self._rcvNxt)
            return self._rcvNxt <= sn < self._rcvNxt + self._tuning.receiveWindow and sn not in self._early
        return una > self._una or (seen.cmd == ACK and nearest(seen.sn, self._una) in self._segments)

    def nextTimeout(self) -> float | None:
        """The earliest of: acks that have waited enough, a retransmission timer, a window probe."""
        due = self._ackAt
        if self._probeAt is not None and (due is None or self._probeAt < due):
            due = self._probeAt
        for timeouts, flight in enumerate(self._flights):
            self._dropSettled(flight)
            if flight:
                expires = flight[0][1].sent + self._timeoutAfter(timeouts)
                if due is None or expires < due:
                    due = expires
        return due

    # ------------------------------------------------------------ receiving

    def datagramsReceived(self, batch: Batch, now: float, recovered: bool = False) -> None:
        """See IARQ."""
        view = memoryview(batch.buffer)
        for start, end in zip(batch.starts, batch.ends):
            if not self._datagramReceived(view, start, end, now, recovered):
                self._counters.KCPInErrors += 1
        view.release()
        if len(self._acks) >= ACK_EVERY or (self._acks and self._tuning.ackNoDelay):
            self._ackNow = True

    def _datagramReceived(self, view: memoryview, start: int, end: int, now: float, recovered: bool) -> bool:
        """Take the segments of one datagram.  False where it, or its rest, is no KCP of ours."""
        una = -1
        newest = -1  # highest transmission number this datagram acknowledges
        newestSent: float | None = None
        rightUpTo = start
        while end - rightUpTo >= OVERHEAD:
            conv, cmd, _frg, window, ts, sn, wireUna, length = HEADER.unpack_from(view, rightUpTo)
            body = rightUpTo + OVERHEAD
            if conv != self.conv or length > min(end - body, DATA_MAX) or not PUSH <= cmd <= TELL:
                break
            self._counters.InSegs += 1
            una = nearest(wireUna, self._una)
            if not recovered and self._remoteUna <= una <= self._nxt:
                self._remoteUna = una
                self._remoteWindow = window
                self.heardAt = now
            if cmd == PUSH:
                self._pushReceived(sn, ts, view[body : body + length], now)
            elif cmd == ACK:
                number, sent = self._ackReceived(sn, ts, now)
                if number > newest:
                    newest, newestSent = number, sent
            elif cmd == ASK:
                self._tell = True
            rightUpTo = body + length
        if newestSent is not None and not recovered:
            self._updateRTT(now - newestSent)  # one sample a datagram: acks that came together say the same
        if una > self._una:
            newest = max(newest, self._unaReceived(una, now))
        if newest >= 0:
            self._overtaken(newest)
        if self._una == self._nxt:
            self._waitingSince = None
        return rightUpTo == end

    def _ackReceived(self, wireSN: int, ts: int, now: float) -> tuple[int, float | None]:
        """One segment arrived.  Returns the number of the transmission that did it, -1 where it was
        not ours, and when it was sent, where that is still known."""
        number = nearest(ts, self._number - 1)
        sn = nearest(wireSN, self._una)
        if not 0 < number < self._number or not 0 <= sn < self._nxt:
            self._counters.AcksIgnored += 1
            return -1, None
        segment = self._segments.pop(sn, None)
        if segment is None:
            return number, None
        sent = segment.sentAt(number)
        segment.number = ACKNOWLEDGED
        self._congestion.acknowledged(1, len(self._segments), now)
        return number, sent

    def _unaReceived(self, una: int, now: float) -> int:
        """All segments below ``una`` arrived.  Returns the highest transmission number known from
        that, -1 where none is: of a segment sent twice nobody can say which sending it was."""
        if una > self._nxt:
            self._counters.AcksIgnored += 1
            return -1
        newest = -1
        count = 0
        for sn in range(self._una, una):
            segment = self._segments.pop(sn, None)
            if segment is not None:
                count += 1
                if not segment.earlier:
                    newest = max(newest, segment.number)
                segment.number = ACKNOWLEDGED
        self._una = una
        if count:
            self._congestion.acknowledged(count, len(self._segments), now)
        return newest

    def _overtaken(self, newest: int) -> None:
        """An ack datagram has overtaken all transmissions with lower numbers."""
        overtakers = self._overtakers
        if newest in overtakers:
            return
        insort(overtakers, newest)
        if len(overtakers) > max(1, self._tuning.resend):
            del overtakers[0]

    def _updateRTT(self, sample: float) -> None:
        """RFC 6298, section 2, with KCP's floor for the variance."""
        if self.srtt is None:
            self.srtt = sample
            self._rttvar = sample / 2
        else:
            self._rttvar += (abs(sample - self.srtt) - self._rttvar) / 4
            self.srtt += (sample - self.srtt) / 8
        rto = self.srtt + max(self._tuning.interval, 4 * self._rttvar)
        self.rto = min(max(rto, self._tuning.minRTO), RTO_MAX)

    def _pushReceived(self, wireSN: int, ts: int, data: memoryview, now: float) -> None:
        sn = nearest(wireSN, self._rcvNxt)
        if sn >= self._rcvNxt + self._tuning.receiveWindow or sn < 0:
            self._counters.RecvWindowDrops += 1
            return
        self._acks.append((wireSN, ts))
        if self._ackAt is None:
            self._ackAt = now + self._tuning.interval
        if sn < self._rcvNxt or sn in self._early:
            self._counters.RepeatSegs += 1
            self._ackNow = True
            return
        self._early[sn] = bytes(data)
        if sn == self._rcvNxt:
            self._deliver()
        if self._early:
            self._ackNow = True  # there is a hole: what came tells the sender where

    def _deliver(self) -> None:
        """Move what is in order to the reader, as far as the window lets it wait there."""
        early, unread = self._early, self._unread
        limit = self._tuning.receiveWindow
        while self._rcvNxt in early and len(unread) < limit:
            unread.append(early.pop(self._rcvNxt))
            self._rcvNxt += 1

    def _freeWindow(self) -> int:
        return min(max(0, self._tuning.receiveWindow - len(self._unread)), WINDOW_MAX)

    # ------------------------------------------------------------ sending

    def flush(self, now: float, batch: Batch) -> bool:
        """See IARQ.  In one datagram: acks, then window probes, then segments sent again, then new
        ones.  At most about FLUSH_DATAGRAMS at a call."""
        room = self._sendRoom()
        sendsNew = self.unsent > 0 and room > 0
        self._findLost(now, early=not sendsNew)
        self._probeClosedWindow(now)
        pushes = sendsNew or bool(self._lost)
        acks = bool(self._acks) and (
            pushes or self._ackNow or (self._ackAt is not None and now >= self._ackAt)
        )
        if not (pushes or acks or self._ask or self._tell):
            return False
        self._told = self._freeWindow()
        packer = Packer(batch, self._mtu)
        if acks:
            self._putAcks(packer)
        self._putProbes(packer)
        limit = len(batch) + FLUSH_DATAGRAMS
        while self._lost and len(batch) < limit:
            segment = self._lost.popleft()
            if segment.number != ACKNOWLEDGED:
                self._transmit(segment, now, packer)
        while self.unsent and room > 0 and len(batch) < limit:
            segment = _Segment(self._nxt, self._cut())
            self._segments[self._nxt] = segment
            self._nxt += 1
            room -= 1
            self._transmit(segment, now, packer)
        packer.finish()
        return bool(self._lost) or (self.unsent > 0 and room > 0)

    def _sendRoom(self) -> int:
        """How many new segments the windows let out now."""
        window = min(self._tuning.sendWindow, self._remoteWindow, self._congestion.window)
        return self._una + window - self._nxt

    def _transmit(self, segment: _Segment, now: float, packer: Packer) -> None:
        if self._waitingSince is None:
            self._waitingSince = now
        number = self._number
        self._number = number + 1
        if segment.number:
            segment.earlier = (*segment.earlier[-EARLIER_KEPT:], (segment.number, segment.sent))
        segment.number = number
        segment.sent = now
        self._flights[segment.timeouts].append((number, segment))
        data = segment.data
        header = HEADER.pack(
            self.conv, PUSH, 0, self._told, number & MASK, segment.sn & MASK, self._rcvNxt & MASK, len(data)
        )
        packer.put(header, data)
        self._counters.OutSegs += 1

    def _cut(self) -> Any:
        """Take the next segment's data from the queue: a full one, or all there is."""
        chunk = self._queue.popleft()
        if len(chunk) > self._mss:
            self._queue.appendleft(chunk[self._mss :])
            chunk = chunk[: self._mss]
        elif len(chunk) < self._mss and self._queue:
            pieces = [chunk]
            wanted = self._mss - len(chunk)
            while wanted and self._queue:
                chunk = self._queue.popleft()
                if len(chunk) > wanted:
                    self._queue.appendleft(chunk[wanted:])
                    chunk = chunk[:wanted]
                pieces.append(chunk)
                wanted -= len(chunk)
            chunk = b"".join(pieces)
        self.unsent -= len(chunk)
        return chunk

    def _putAcks(self, packer: Packer) -> None:
        """All acks that tell the peer something: una covers those below rcvNxt, but the last one
        stays, for its ts."""
        acks, self._acks = self._acks, []
        self._ackAt = None
        self._ackNow = False
        told, una = self._told, self._rcvNxt & MASK
        last = len(acks) - 1
        for index, (sn, ts) in enumerate(acks):
            if index == last or nearest(sn, self._rcvNxt) >= self._rcvNxt:
                packer.put(HEADER.pack(self.conv, ACK, 0, told, ts, sn, una, 0))
                self._counters.OutSegs += 1

    def _putProbes(self, packer: Packer) -> None:
        for wanted, cmd in ((self._ask, ASK), (self._tell, TELL)):
            if wanted:
                una = self._rcvNxt & MASK
                packer.put(HEADER.pack(self.conv, cmd, 0, self._told, 0, 0, una, 0))
                self._counters.OutSegs += 1
        self._ask = self._tell = False

    def _probeClosedWindow(self, now: float) -> None:
        """Ask for the peer's window while it is closed and we have something to send: what tells
        us that it has opened may be lost."""
        if self._remoteWindow > 0 or not self.unsent:
            self._probeAt = None
        elif self._probeAt is None:
            self._probeWait = PROBE_FIRST
            self._probeAt = now + PROBE_FIRST
        elif now >= self._probeAt:
            self._probeWait = min(self._probeWait * 1.5, PROBE_MAX)
            self._probeAt = now + self._probeWait
            self._ask = True

    # ------------------------------------------------------------ loss

    def _findLost(self, now: float, early: bool) -> None:
        """Move to ``_lost`` the transmissions overtaken often enough, and those out of time.

        ``early``: nothing new will be sent, so no further acks will come to count: one is enough."""
        overtakers = self._overtakers
        needed = 1 if early else self._tuning.resend
        threshold = overtakers[-needed] if 0 < needed <= len(overtakers) else -1
        found: list[_Segment] = []
        skipped = timedOut = 0
        for timeouts in range(len(self._flights)):
            flight = self._flights[timeouts]
            timeout = self._timeoutAfter(timeouts)
            self._dropSettled(flight)
            while flight:
                number, segment = flight[0]
                if number < threshold:
                    segment.timeouts = 0
                    skipped += 1
                elif segment.sent + timeout <= now:  # as nextTimeout computes it, rounding included
                    segment.timeouts = min(timeouts + 1, TIMEOUTS_COUNTED)
                    if segment.timeouts == len(self._flights):
                        self._flights.append(deque())
                    timedOut += 1
                else:
                    break
                found.append(segment)
                flight.popleft()
                self._dropSettled(flight)
        if found:
            self._count(skipped, timedOut, early, now)
            self._lost = deque(sorted([*self._lost, *found], key=_bySN))

    def _count(self, skipped: int, timedOut: int, early: bool, now: float) -> None:
        counters = self._counters
        counters.RetransSegs += skipped + timedOut
        counters.LostSegs += timedOut
        if early:
            counters.EarlyRetransSegs += skipped
        else:
            counters.FastRetransSegs += skipped
        inFlight = len(self._segments)
        if skipped:
            self._congestion.skipped(skipped, inFlight, now)
        if timedOut:
            self._congestion.timedOut(timedOut, inFlight, now)

    def _dropSettled(self, flight: deque[tuple[int, _Segment]]) -> None:
        """Forget transmissions at the head whose segment was acknowledged or sent again since."""
        while flight and flight[0][1].number != flight[0][0]:
            flight.popleft()

    def _timeoutAfter(self, timeouts: int) -> float:
        """The RTO of a transmission after so many time-outs in a row."""
        if self._tuning.backoff >= 2:
            return min(self.rto * (1 << timeouts), RTO_MAX)
        return min(self.rto * (1 + timeouts / 2), RTO_MAX)


def _bySN(segment: _Segment) -> int:
    return segment.sn


ACKNOWLEDGED = -1  # no transmission has this number

# Times in ms, as KCP has them (docs/wire.rst); a peer's own are not visible on the wire.
RTO_FIRST = 200.0
RTO_MAX = 60_000.0
PROBE_FIRST = 500.0
PROBE_MAX = 120_000.0

REMOTE_WINDOW_FIRST = 32  # segments, until the peer has said its own
DATA_MAX = 1500  # bytes in a segment; no peer has a larger mtu, and windows bound segments, not bytes
WINDOW_MAX = 0xFFFF  # segments; wnd has 16 bits
ACK_EVERY = 16  # pushes; few enough for the smallest window in use (32), many enough to be cheap
FLUSH_DATAGRAMS = 64  # one GSO send; more in a call would only delay the first
EARLIER_KEPT = 7  # transmissions of one segment; acks of older ones are too late to matter
TIMEOUTS_COUNTED = 64  # in a row; with the RTO's ceiling long reached, a bound on the lists
