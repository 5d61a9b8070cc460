"""KCP datagrams: a whole ARQ (kcpstack/kernels/arq.py) and its path check, as a session drives them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fuzz.records import Fields, record, records
from fuzz.vectors import DIRECTIONS, INSIDE, opened
from kcpstack.batch import inboundBatch, outboundBatch
from kcpstack.counters import Counters
from kcpstack.kernels.arq import ARQ, DATA_MAX, Tuning
from kcpstack.kernels.congestion import FixedWindow, SlowStart
from kcpstack.kernels.pathcheck import PathCheck
from kcpstack.kernels.reassembly import ACKS_KEPT
from kcpstack.kernels.segment import ACK, ASK, HEADER, MASK, OVERHEAD, PUSH, TELL, glimpse, isWhole, nearest

MTUS = (25, 60, 200, 1400)
WINDOWS = (1, 2, 8, 32, 128)
HEADROOM = 28
PATTERN = bytes(position * 7 + (position >> 8) & 255 for position in range(8192))  # what is written
FLUSHES_MAX = 500  # in a row; what was written, and acks, are far less
ANY, SEGMENT, WRITE, READ, PASS, DUE, ACK_SENT, PROBE = range(8)
RECOVERED = 64
SAME_BATCH = 128


def check(data: bytes) -> None:
    driven = Driven(Fields(data[:6]))
    for op, argument in records(data[6:]):
        driven.step(op, Fields(argument))
    driven.deliver(False)
    driven.flush()
    for _ in range(20):  # whatever was said, the timers go on and each call ends
        driven.passUntilDue()
        driven.flush()


class Driven:
    """An ARQ, the model of what its peer may have meant, and of what it has sent."""

    def __init__(self, fields: Fields) -> None:
        self.conv = fields.pick((1, 0x80000000, MASK))
        self.mtu = fields.pick(MTUS)
        tuning = Tuning(
            interval=fields.pick((10.0, 50.0)),
            resend=fields.pick((0, 1, 2)),
            backoff=fields.pick((1.5, 2.0)),
            ackNoDelay=fields.flag(),
            sendWindow=WINDOWS[self.mtu % 5],
            receiveWindow=WINDOWS[self.mtu % 4],
        )
        self.tuning = tuning
        congestion: Any = SlowStart(tuning.sendWindow) if self.mtu == 200 else FixedWindow(tuning.sendWindow)
        self.counters = Counters()
        self.arq = ARQ(self.conv, self.mtu, tuning, congestion, self.counters)
        self.check = PathCheck(self.arq)
        self.batch = outboundBatch(1500, HEADROOM)
        self.now = 1000.0
        self.waiting: list[bytes] = []
        self.meant: dict[int, set[bytes]] = {}  # by sn on the wire: what a plausible segment said
        self.readSN = 0
        self.written = b""
        self.sent: dict[int, bytes] = {}  # our pushes by sn
        self.lastTS = 0

    def step(self, op: int, fields: Fields) -> None:
        kind = op & 63
        recovered = bool(op & RECOVERED)
        if kind % 8 == ANY:
            self.waiting.append(fields.rest())
        elif kind % 8 == SEGMENT:
            self.waiting.append(self.segments(fields))
        elif kind % 8 == WRITE:
            begin = len(self.written) % len(PATTERN)
            piece = (PATTERN + PATTERN)[begin : begin + fields.number(2) % 3000]
            self.written += piece
            self.arq.write(piece)
        elif kind % 8 == READ:
            self.read(fields.number(2))
        elif kind % 8 == PASS:
            self.now += fields.number(2) / 8
        elif kind % 8 == DUE:
            self.passUntilDue()
        elif kind % 8 == ACK_SENT:
            self.waiting.append(self.acks(fields))
        else:
            self.arq.probe()
        if not op & SAME_BATCH:
            self.deliver(recovered)
            self.flush()

    def segments(self, fields: Fields) -> bytes:
        """Segments of our conv, whose numbers are near those that make a difference."""
        made = b""
        for _ in range(1 + fields.below(4)):
            cmd = fields.pick((PUSH, PUSH, ACK, ASK, TELL))
            sn = (self.readSN + fields.number() - 32) & MASK if fields.flag() else fields.number(4)
            una = (self.arq._una + fields.number() - 32) & MASK
            body = fields.take(fields.below(40)) if cmd == PUSH else b""
            lie = fields.number()
            length = len(body) if lie < 240 else len(body) + lie - 248 & MASK
            made += HEADER.pack(self.conv, cmd, 0, fields.number(2), fields.number(2), sn, una, length) + body
        return made

    def acks(self, fields: Fields) -> bytes:
        """Acks of what we sent, the way a peer would."""
        made = b""
        for _ in range(1 + fields.below(8)):
            sn = fields.number() % (len(self.sent) + 1)
            una = min(len(self.sent), self.arq._una + fields.below(3))
            made += HEADER.pack(
                self.conv, ACK, 0, fields.number(), (self.lastTS - fields.below(5)) & MASK, sn, una, 0
            )
        return made

    def deliver(self, recovered: bool) -> None:
        datagrams, self.waiting = self.waiting, []
        for datagram in datagrams:
            self.mean(datagram)
            seen = glimpse(datagram, 0, len(datagram))
            if seen is not None:
                self.arq.isNews(seen)
        errors = self.counters.KCPInErrors
        self.arq.datagramsReceived(inboundBatch(datagrams), self.now, recovered)
        assert 0 <= self.counters.KCPInErrors - errors <= len(datagrams)
        self.bounded()

    def mean(self, datagram: bytes) -> None:
        """Take note of the plausible pushes in a datagram: all in front of the first fault."""
        while len(datagram) >= OVERHEAD:
            conv, cmd, _frg, _wnd, _ts, sn, _una, length = HEADER.unpack_from(datagram)
            if (
                conv != self.conv
                or not PUSH <= cmd <= TELL
                or length > min(DATA_MAX, len(datagram) - OVERHEAD)
            ):
                return
            if cmd == PUSH:
                self.meant.setdefault(sn, set()).add(datagram[OVERHEAD : OVERHEAD + length])
            datagram = datagram[OVERHEAD + length :]

    def read(self, most: int) -> None:
        unread = self.arq.unread
        chunks = self.arq.read(most)
        assert len(chunks) <= unread and (chunks or not unread or not most)
        for chunk in chunks:
            assert chunk in self.meant.get(self.readSN & MASK, ()), "something was read that nobody sent"
            self.readSN += 1
        assert sum(map(len, chunks[:-1])) < max(most, 1)

    def bounded(self) -> None:
        arq, window = self.arq, self.tuning.receiveWindow
        assert arq.unread <= window and len(arq._arrived.early) <= window, "more is kept than the window lets"
        assert len(arq._arrived._acks) <= ACKS_KEPT
        assert arq.unacknowledged <= self.tuning.sendWindow
        assert arq.unread + len(arq._arrived.early) == 0 or self.meant
        assert arq.unsent + sum(map(len, self.sent.values())) == len(self.written), "bytes went astray"

    def flush(self) -> None:
        """As KCPSession does: until there is no more, then the path check; no timeout may be due then."""
        for _ in range(3):
            self.flushAll()
            check, before = self.check, self.check.fault
            if not (self.arq.strained or (check.lookAt is not None and self.now >= check.lookAt)):
                break
            fault = check.look(self.now, HEADROOM)
            assert fault is None or fault is not before
        self.flushAll()
        for due in (self.arq.nextTimeout(), self.check.lookAt):
            assert due is None or due > self.now, "a timeout that is due would be called for ever"

    def flushAll(self) -> None:
        for _ in range(FLUSHES_MAX):
            more = self.arq.flush(self.now, self.batch)
            assert len(self.batch) <= 64 + 8 and (self.batch or not more), (
                "too many datagrams, or none for ever"
            )
            for datagram in self.batch:
                self.leave(bytes(datagram))
            self.batch.clear()
            if not more:
                break
        else:
            raise AssertionError("there is always more to flush")
        self.bounded()

    def leave(self, datagram: bytes) -> None:
        """What leaves is whole, ours, short enough, and says of each sn always the same."""
        assert len(datagram) <= self.mtu and isWhole(datagram, 0, len(datagram))
        while datagram:
            conv, cmd, _frg, _wnd, ts, sn, una, length = HEADER.unpack_from(datagram)
            assert conv == self.conv
            assert nearest(una, self.readSN) <= self.readSN + self.arq.unread, (
                "more is acknowledged than arrived"
            )
            if cmd == PUSH:
                assert length
                body = datagram[OVERHEAD : OVERHEAD + length]
                self.lastTS = ts
                if sn not in self.sent:
                    assert sn == len(self.sent)
                    begin = sum(map(len, self.sent.values()))
                    assert body == self.written[begin : begin + length], "other bytes than were written"
                assert self.sent.setdefault(sn, body) == body, "one sn, two contents"
            datagram = datagram[OVERHEAD + length :]

    def passUntilDue(self) -> None:
        times = [time for time in (self.arq.nextTimeout(), self.check.lookAt) if time is not None]
        self.now = max(self.now, min(times, default=self.now))


def seeds() -> Iterator[bytes]:
    for name in INSIDE:
        for direction in DIRECTIONS:
            steps = []
            for datagram in opened(name, direction)[:10]:
                kcp = bytearray(datagram[8:] if datagram[4:6] == b"\xf1\0" else datagram)
                kcp[:4] = (1).to_bytes(4, "little")
                steps.append(record(ANY, bytes(kcp[:1400])) + record(READ, b"\xff\xff"))
            yield b"\0\3\1\2\1\0" + b"".join(steps)
    talk = (
        record(WRITE, b"\x00\x02")
        + record(DUE) * 2
        + record(ACK_SENT, b"\2\0\x20\0\1\x20\1\1\x20\2")
        + record(DUE)
    )
    push = record(SEGMENT, b"\1\0\1\x20\x20\3abc\0\x20\0\1\0\0\1\x22\x20\2de\0\x20\0\2\0")
    push += record(READ, b"\x10\0")
    lie = record(SEGMENT, b"\0\0\1\x20\x20\3abc\xff\x20\0\1\0") + record(READ, b"\x10\0")
    for number in range(4):
        yield (
            bytes([number, number, 0, number, number, number])
            + talk * 3
            + push * 2
            + record(PROBE)
            + record(PASS, b"\0\x20") * 3
        )
        yield (
            bytes([2, number, 1, 2, 0, 1])
            + record(SEGMENT, b"\0\3\1\x20\x20\0\0\0\0\0")
            + lie
            + talk
            + record(DUE) * 20
        )
