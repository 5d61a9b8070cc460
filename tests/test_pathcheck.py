"""Why a path is silent, from the ARQ's own facts: one scripted peer, one clock."""

from __future__ import annotations

import pytest

from kcpstack.batch import inboundBatch, outboundBatch
from kcpstack.counters import Counters
from kcpstack.kernels.arq import ARQ, Tuning
from kcpstack.kernels.congestion import FixedWindow
from kcpstack.kernels.pathcheck import REST_LONG, PathCheck, PathFault, Verdict
from kcpstack.kernels.segment import ACK, ASK, HEADER, OVERHEAD, PUSH, TELL

CONV = 7
HEADROOM = 20
LONG = 1300  # bytes of a datagram, without what the layers below add


class Scripted:
    """An ARQ and its check, and a peer that does what ``answer`` says.

    ``answer(cmd, length, sn, ts)`` is called for each segment sent (``length``: of its datagram) and
    returns datagrams that arrive 10 ms later."""

    def __init__(self, answer) -> None:
        self.arq = ARQ(CONV, LONG, Tuning(resend=2), FixedWindow(1000), Counters())
        self.check = PathCheck(self.arq)
        self.answer = answer
        self.now = 0.0
        self.sent: list[tuple[float, int, int]] = []  # when, cmd, length of the datagram
        self.arriving: list[tuple[float, bytes]] = []

    def run(self, seconds: float) -> list[PathFault]:
        """Let time pass; return the faults that were found."""
        faults = []
        end = self.now + seconds * 1000
        while self.now < end:
            due, self.arriving = (
                [datagram for at, datagram in self.arriving if at <= self.now],
                [(at, datagram) for at, datagram in self.arriving if at > self.now],
            )
            self.arq.datagramsReceived(inboundBatch(due), self.now)
            if self.arq.strained or (self.check.lookAt is not None and self.now >= self.check.lookAt):
                fault = self.check.look(self.now, HEADROOM)
                faults += [fault] if fault else []
            self.flush()
            self.now += 5
        return faults

    def flush(self) -> None:
        batch = outboundBatch(1500, HEADROOM)
        while self.arq.flush(self.now, batch):
            pass
        for datagram in batch:
            position = 0
            while position < len(datagram):
                _, cmd, _, _, ts, sn, _, length = HEADER.unpack_from(datagram, position)
                self.sent.append((self.now, cmd, len(datagram)))
                position += OVERHEAD + length
                arrivals = self.answer(cmd, len(datagram), sn, ts) or []
                self.arriving += [(self.now + 10, arrival) for arrival in arrivals]


def segment(cmd: int, sn: int = 0, ts: int = 0, una: int = 0, data: bytes = b"") -> bytes:
    return HEADER.pack(CONV, cmd, 0, 128, ts, sn, una, len(data)) + data


def carriesUpTo(limit: int):
    """A peer that acknowledges and answers whatever is not longer than ``limit``."""

    def answer(cmd, length, sn, ts):
        if length <= limit:
            return {PUSH: [segment(ACK, sn, ts)], ASK: [segment(TELL)]}.get(cmd)
        return None

    return answer


def nothing(cmd, length, sn, ts):
    return None


def test_what_is_longer_than_the_path_carries_is_found_with_its_length():
    it = Scripted(carriesUpTo(1200))
    it.arq.write(bytes(1000))
    it.run(0.1)
    it.arq.write(bytes(3 * (LONG - OVERHEAD)))
    (fault,) = it.run(10)
    assert fault[0] is Verdict.TOO_LARGE
    assert (fault.size, fault.passed) == (LONG + HEADROOM, 1000 + OVERHEAD + HEADROOM)


@pytest.mark.parametrize("length", [100, 500])
def test_what_every_path_carries_has_another_reason_to_vanish(length):
    it = Scripted(carriesUpTo(OVERHEAD))
    it.arq.write(bytes(length))
    assert it.run(60) == []


def test_each_question_is_short_and_alone_and_beside_a_long_datagram_that_is_alone_too():
    it = Scripted(carriesUpTo(1200))
    it.arq.write(bytes(5000))
    it.arriving.append((1500.0, segment(PUSH, 0, 1, data=b"so that there are acks to go along")))
    it.run(3)
    asked = [length for _, cmd, length in it.sent if cmd == ASK]
    assert len(asked) > 3 and set(asked) == {OVERHEAD}
    for when in {when for when, cmd, _ in it.sent if cmd == ASK}:
        assert LONG in {length for at, cmd, length in it.sent if at == when and cmd == PUSH}


def test_a_peer_that_sends_new_things_and_answers_nothing_does_not_hear_us():
    it = Scripted(nothing)
    it.arq.write(b"anybody?")
    it.arriving += [(index * 700.0, segment(PUSH, index, 1, data=b"new")) for index in range(20)]
    (fault,) = it.run(10)
    assert fault.verdict is Verdict.UNHEARD
    assert fault.seconds >= 6 and fault.questions >= 12


def test_a_peer_that_repeats_what_it_was_acknowledged_does_not_hear_our_answers():
    it = Scripted(nothing)
    it.arriving += [(at, segment(PUSH, 0, 1, data=b"first")) for at in (0, 200, 600, 1400, 3000, 6200)]
    (fault,) = it.run(10)
    assert fault.verdict is Verdict.DEAF and fault.repeats >= 3


def test_a_peer_that_is_not_heard_at_all_is_only_silent_and_asked_less_and_less_often():
    it = Scripted(nothing)
    it.arq.write(bytes(5000))
    assert it.run(120) == []
    asked = [when for when, cmd, _ in it.sent if cmd == ASK]
    assert sum(when > 10_000 for when in asked) <= 60
    rests = [later - earlier for earlier, later in zip(asked, asked[1:]) if later - earlier > REST_LONG * 0.9]
    assert rests


def test_where_a_short_segment_waits_any_answer_ends_the_doubt():
    it = Scripted(carriesUpTo(OVERHEAD))
    it.arq.write(b"a retransmission or three")
    it.run(1.5)
    assert [cmd for _, cmd, _ in it.sent].count(ASK) == 1
    assert it.arq.answeredAt is not None and it.check.fault is None


def test_where_long_segments_wait_an_ack_of_one_ends_the_doubt():
    def answer(cmd, length, sn, ts):
        asked = [cmd for _, cmd, _ in it.sent].count(ASK)
        return [segment(ACK, sn, ts)] if cmd == PUSH and asked == 3 else [segment(TELL)] if cmd == ASK else None

    it = Scripted(answer)
    it.arq.write(bytes(1200))
    assert it.run(10) == []
    assert [cmd for _, cmd, _ in it.sent].count(ASK) <= 4
    assert it.check.lookAt is None and it.arq.unacknowledged == 0


def test_a_peer_that_lost_its_memory_answers_nothing_that_counts():
    """After a restart it knows no una: it is silent, however it answers."""

    def answer(cmd, length, sn, ts):
        if sn == 0 and cmd == PUSH:
            return [segment(ACK, sn, ts, una=1)]
        return [segment(TELL, una=0)] if cmd == ASK else None

    it = Scripted(answer)
    it.arq.write(b"first")
    it.run(0.1)
    it.arq.write(bytes(1200))
    assert it.run(60) == []
    assert it.arq.answeredAt < 1000


def test_copies_made_by_the_network_start_no_questions_where_something_new_follows():
    it = Scripted(nothing)
    for index in range(50):
        push = segment(PUSH, index, index + 1, data=b"x")
        it.arriving += [(index * 20.0, push), (index * 20.0 + 5, push), (index * 20.0 + 5, push)]
    assert it.run(5) == []
    assert ASK not in {cmd for _, cmd, _ in it.sent}
