"""KCP's ARQ: reliable, ordered bytes over datagrams that are lost, reordered and doubled.

A pure state machine (IARQ): it is told the time, does no I/O and schedules nothing, so that every
run can be replayed.  This file cuts, sends and takes acks; the rest of the theory lies beside it:

- kcpstack/kernels/flights.py: every transmission has a number of its own, and what is lost shows in
  the order of sending;
- kcpstack/kernels/reassembly.py: what arrives, and when its acks leave;
- kcpstack/kernels/roundtrip.py: how long to wait for an ack.

**Numbers do not wrap inside.**  ``sn``, ``una`` and ``ts`` are 32 bits on the wire; what arrives is
widened to the nearest full number (:func:`kcpstack.kernels.segment.nearest`).

Source of the wire: docs/wire.rst.  What a mode's numbers mean: docs/kcp.rst.  Compiled with arq.pxd (docs/kernels.rst).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

try:
    import cython
except ImportError:
    from kcpstack.kernels import interpreted as cython

from zope.interface import classImplements

from kcpstack.batch import Batch
from kcpstack.counters import Counters
from kcpstack.interfaces import IARQ, ICongestionControl
from kcpstack.kernels.flights import ACKNOWLEDGED, Flights, Segment
from kcpstack.kernels.reassembly import Reassembly
from kcpstack.kernels.roundtrip import RoundTrip
from kcpstack.kernels.segment import ACK, ASK, MASK, OVERHEAD, PUSH, TELL, Glimpse, Packer, nearest

if not cython.compiled:
    from kcpstack.kernels.segment import readHeader

__all__ = ["ARQ", "FLUSH_DATAGRAMS", "Tuning"]

# About two GSO sends, which share what a call costs.  Fewer than fill what the layer above keeps waiting (kcp.HIGH_WATER), at
# any mtu: a flush that takes all there is ends in a short segment, though more is to come.
FLUSH_DATAGRAMS = 88


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


class ARQ:
    """One conversation.  ``mtu`` bounds the datagrams made, in bytes; ``conv`` is on all of them."""

    def __init__(
        self, conv: int, mtu: int, tuning: Tuning, congestion: ICongestionControl, counters: Counters
    ) -> None:
        if mtu <= OVERHEAD:
            raise ValueError(f"an mtu of {mtu} leaves no room for data behind a header of {OVERHEAD}")
        self.conv = conv
        self.unsent = 0
        self.heardAt: float | None = None
        self.answeredAt: float | None = None
        self.strained = False
        self.longestArrived = 0
        self._waitingSince: float | None = None  # since when una is behind nxt
        self._mtu = mtu
        self._mss = mtu - OVERHEAD
        self._tuning = tuning
        self._congestion = congestion
        self._counters = counters
        # Sending.
        self._queue: deque[bytes] = deque()  # written, not yet cut into segments
        self._taken = 0  # bytes of the first of these that segments have
        self._segments: dict[int, Segment] = {}  # sn: sent and not acknowledged
        self._una = 0  # all below are acknowledged
        self._nxt = 0  # sn of the next new segment
        self._lost: deque[Segment] = deque()  # to be sent again, lowest sn first
        self._roundTrip = RoundTrip(tuning.minRTO, tuning.interval, tuning.backoff)
        self._flights = Flights(tuning.resend, self._roundTrip)
        self._remoteWindow = REMOTE_WINDOW_FIRST
        self._remoteUna = 0  # the highest una heard: windows that come with a lower one are old
        self._probeAt: float | None = None
        self._probeWait = 0.0
        self._ask = False
        self._retry = False  # the oldest segment, whatever its timer says
        # Receiving.
        self._arrived = Reassembly(tuning.receiveWindow, tuning.interval, tuning.ackNoDelay, counters)
        self._tell = False
        self._told = tuning.receiveWindow  # the window we last announced
        self._segmentsSent = 0  # pushes of the flush under way

    # ------------------------------------------------------------ what the layer above uses

    @property
    def srtt(self) -> float | None:
        """The smoothed round trip in ms, or None before the first sample."""
        return self._roundTrip.srtt

    @property
    def rto(self) -> float:
        """The retransmission timeout in ms, before any backoff."""
        return self._roundTrip.rto

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
        return len(self._arrived.unread)

    @property
    def repeats(self) -> int:
        """Pushes that came again since the last new one."""
        return self._arrived.repeats

    def write(self, data: bytes) -> None:
        """Queue ``data`` to be sent."""
        if type(data) is not bytes:
            data = bytes(memoryview(data))  # bytes() alone would take an int for a length
        if data:
            self._queue.append(data)
            self.unsent += len(data)
            self._counters.BytesSent += len(data)

    def read(self, most: int) -> list[bytes]:
        """Take what is in order.  Where that opens a window that was nearly closed, the next flush
        tells the peer."""
        chunks = self._arrived.read(most)
        window = self._tuning.receiveWindow
        if self._told <= window // 4 and self._arrived.freeWindow() >= window // 2:
            self._tell = True
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
            return self._arrived.expects(seen.sn) or self._arrived.isLater(seen.ts)
        return una > self._una or (seen.cmd == ACK and nearest(seen.sn, self._una) in self._segments)

    def nextTimeout(self) -> float | None:
        """The earliest of: acks that have waited enough, a retransmission timer, a window probe."""
        due = self._arrived.ackAt
        if self._probeAt is not None and (due is None or self._probeAt < due):
            due = self._probeAt
        expires = self._flights.nextTimeout()
        if expires is not None and (due is None or expires < due):
            due = expires
        return due

    # ------------------------------------------------------------ receiving

    def datagramsReceived(self, batch: Batch, now: float, recovered: bool = False) -> None:
        """See IARQ.  Raises IndexError where a datagram is not inside the batch's buffer."""
        size = len(batch.buffer)
        for start, end in zip(batch.starts, batch.ends):
            if not 0 <= start <= end <= size:
                raise IndexError(f"a datagram from {start} to {end} in a buffer of {size} bytes")
            if not self._datagramReceived(batch.buffer, start, end, now, recovered):
                self._counters.KCPInErrors += 1
        if self._arrived.turnOver():
            self.strained = True

    def _datagramReceived(self, buffer: bytearray, start: int, end: int, now: float, recovered: bool) -> bool:
        """Take the segments of one datagram.  False where it, or its rest, is no KCP of ours."""
        una = -1
        newest = -1  # highest transmission number this datagram acknowledges
        newestSent: float | None = None
        fits = answers = False
        segments = acknowledged = 0
        at = start
        while end - at >= _OVERHEAD:
            conv, cmd, _frg, window, ts, sn, wireUna, length = readHeader(buffer, at)
            body = at + _OVERHEAD
            if conv != self.conv or length > min(end - body, _DATA_MAX) or not _PUSH <= cmd <= _TELL:
                break
            segments += 1
            una = nearest(wireUna, self._una)
            if not recovered and self._remoteUna <= una <= self._nxt:
                self._remoteUna = una
                self._remoteWindow = window
                self.heardAt = now
                fits = True
            if cmd == _PUSH:
                self._arrived.pushReceived(sn, ts, buffer, body, body + length, now)
            elif cmd == _ACK:
                number = self._numberOf(sn, ts)
                segment = self._segments.pop(nearest(sn, self._una), None) if number >= 0 else None
                if number > newest:
                    newest = number
                    newestSent = None if segment is None else segment.sentAt(number)
                if segment is not None:
                    self._settle(segment)
                    acknowledged += 1
            elif cmd == _ASK:
                self._tell = True
            else:
                answers = True
            at = body + length
        self._counters.InSegs += segments
        if acknowledged:
            self._congestion.acknowledged(acknowledged, len(self._segments), now)
        if newestSent is not None and not recovered:
            self._roundTrip.take(now - newestSent)  # one sample a datagram: acks that came together say the same
        if una > self._una:
            newest = max(newest, self._unaReceived(una, now))
            answers = True
        if newest >= 0:
            self._flights.overtaken(newest)
            answers = True
        if answers and fits:
            self.answeredAt = now
        if self._una == self._nxt:
            self._waitingSince = None
        return at == end

    def _numberOf(self, wireSN: int, ts: int) -> int:
        """The number of the transmission that an ack answers, -1 where it was not ours."""
        number = nearest(ts, self._flights.number - 1)
        if 0 < number < self._flights.number and 0 <= nearest(wireSN, self._una) < self._nxt:
            return number
        self._counters.AcksIgnored += 1
        return -1

    def _settle(self, segment: Segment) -> None:
        """One segment arrived, as its own ack says."""
        segment.number = _ACKNOWLEDGED
        self.longestArrived = max(self.longestArrived, len(segment.data))

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
                if not segment.earlier and segment.number > newest:
                    newest = segment.number
                segment.number = _ACKNOWLEDGED
        self._una = una
        if count:
            self._congestion.acknowledged(count, len(self._segments), now)
        return newest

    # ------------------------------------------------------------ sending

    def flush(self, now: float, batch: Batch, most: int = FLUSH_DATAGRAMS) -> bool:
        """See IARQ.  In this order: acks, then window probes, then segments sent again, then new
        ones.  At most about ``most`` datagrams at a call."""
        self._findLost(now, early=not (self.unsent and self._sendRoom() > 0))
        self._probeClosedWindow(now)
        room = self._sendRoom()  # what was found lost has changed it
        pushes = bool(self._lost) or (self.unsent > 0 and room > 0)
        acks = self._arrived.owesAcks(now, withData=pushes)
        if not (pushes or acks or self._ask or self._tell):
            return False
        self._told = self._arrived.freeWindow()
        packer = Packer(batch, self._mtu)
        most = min(most, FLUSH_DATAGRAMS)
        more = False
        if acks:  # half of the datagrams at most: where the pace is slow, they must not crowd out the data
            acksMost = (most + 1) // 2 * (self._mtu // _OVERHEAD)
            more = self._arrived.putAcks(packer, self.conv, self._told, acksMost)
        self._putProbes(packer)
        if self._retry:
            self._retryOldest(now, packer)
        while self._lost and packer.done < most:
            segment = self._lost.popleft()
            if segment.number != _ACKNOWLEDGED:
                self._transmit(segment, now, packer)
                if len(segment.earlier) >= STRAIN:
                    self.strained = True
        while self.unsent and room > 0 and packer.done < most:
            segment = Segment(self._nxt, self._cut())
            self._segments[self._nxt] = segment
            self._nxt += 1
            room -= 1
            self._transmit(segment, now, packer)
        packer.finish()
        self._counters.OutSegs += self._segmentsSent
        self._segmentsSent = 0
        return more or bool(self._lost) or (self.unsent > 0 and room > 0)

    def _sendRoom(self) -> int:
        """How many new segments the windows let out now."""
        window = min(self._tuning.sendWindow, self._remoteWindow, self._congestion.window)
        return self._una + window - self._nxt

    def _transmit(self, segment: Segment, now: float, packer: Packer) -> None:
        if self._waitingSince is None:
            self._waitingSince = now
        number = self._flights.depart(segment, now)
        packer.put(
            self.conv, PUSH, self._told, number & _MASK, segment.sn & _MASK, self._arrived.nxt & _MASK, segment.data
        )
        if len(segment.data) == self._mss:
            packer.finish()  # it is full: so the packer knows how many there are
        self._segmentsSent += 1

    def _cut(self) -> bytes:
        """Take the next segment's data from the queue: a full one, or all there is."""
        queue, mss = self._queue, self._mss
        head = queue[0]
        begin = self._taken
        end = begin + mss
        if end < len(head):
            self._taken = end
            data = head[begin:end]
        elif end == len(head) or len(queue) == 1:
            self._taken = 0
            queue.popleft()
            data = head[begin:] if begin else head
        else:
            data = self._cutAcross()
        self.unsent -= len(data)
        return data

    def _cutAcross(self) -> bytes:
        """A segment's data from several pieces of the queue."""
        queue = self._queue
        pieces: list[bytes] = []
        wanted = self._mss
        while wanted and queue:
            piece = queue[0][self._taken : self._taken + wanted]
            wanted -= len(piece)
            self._taken += len(piece)
            if self._taken == len(queue[0]):
                self._taken = 0
                queue.popleft()
            pieces.append(piece)
        return b"".join(pieces)

    def _putProbes(self, packer: Packer) -> None:
        """Each in a datagram of its own: what tells whether a path carries anything at all must be short."""
        for wanted, cmd in ((self._ask, ASK), (self._tell, TELL)):
            if wanted:
                packer.finish()
                packer.put(self.conv, cmd, self._told, 0, 0, self._arrived.nxt & _MASK)
                packer.finish()
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

    def _findLost(self, now: float, early: bool) -> None:
        """Move what is lost to ``_lost``, count it and tell the congestion control."""
        found, skipped, timedOut = self._flights.takeLost(now, early)
        if not found:
            return
        self._lost = deque(sorted([*self._lost, *found], key=_bySN))
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

    # ------------------------------------------------------------ finding out why nothing is acknowledged

    def oldest(self) -> Segment | None:
        """See IARQ."""
        for segment in self._segments.values():
            return segment
        return None

    def inFlight(self, length: int, most: int) -> list[Segment]:
        """See IARQ."""
        found: list[Segment] = []
        for segment in self._segments.values():
            if len(found) >= most:
                break
            if len(segment.data) >= length:
                found.append(segment)
        return found

    def probe(self) -> None:
        """See IARQ."""
        self._ask = True
        self._retry = bool(self._segments)

    @property
    def probing(self) -> bool:
        """See IARQ."""
        return self._ask or self._retry

    def _retryOldest(self, now: float, packer: Packer) -> None:
        """Send the oldest segment again, in a datagram of its own, so that its length is the datagram's."""
        self._retry = False
        segment = self.oldest()
        if segment is None:
            return
        if segment in self._lost:
            self._lost.remove(segment)
        else:
            self._counters.RetransSegs += 1
            self._counters.LostSegs += 1
        packer.finish()
        self._transmit(segment, now, packer)
        packer.finish()


def _bySN(segment: Segment) -> int:
    return segment.sn


# Times in ms, as KCP has them (docs/wire.rst); a peer's own are not visible on the wire.
PROBE_FIRST = 500.0
PROBE_MAX = 120_000.0

REMOTE_WINDOW_FIRST = 32  # segments, until the peer has said its own
DATA_MAX = 1500  # bytes in a segment; no peer has a larger mtu, and windows bound segments, not bytes
STRAIN = 2  # transmissions of one segment before its latest; a single loss is nothing

# For C, as in kcpstack/kernels/segment.py.
_OVERHEAD = OVERHEAD
_MASK = MASK
_PUSH, _ACK, _ASK, _TELL = PUSH, ACK, ASK, TELL
_DATA_MAX = DATA_MAX
_ACKNOWLEDGED = ACKNOWLEDGED

classImplements(ARQ, IARQ)
