"""--ratelimit on virtual time: what a session puts on the wire, headers, parity and acks included."""

from __future__ import annotations

import pytest
from conversations import Ends

from kcpstack.kernels.pacing import DATAGRAM, Pacer
from kcpstack.kernels.reassembly import ACKS_KEPT

WIDE = {"sndwnd": 4096, "rcvwnd": 4096, "crypt": "null", "nocomp": True}
PARITY = 3 * DATAGRAM  # what FEC 10/3 puts on top of a flush
ROUNDED = 1e-6  # relative


def excess(sends: list[tuple[float, int]], rate: float) -> float:
    """By how many bytes the window that sent most surpassed ``rate``, over all windows from one send to another."""
    worst = lowest = 0.0
    total = 0
    for now, size in sends:
        lowest = min(lowest, total - rate * now / 1000)
        total += size
        worst = max(worst, total - rate * now / 1000 - lowest)
    return worst


def burst(rate: float) -> float:
    """What may leave at once after a pause: the pacer's burst, and a flush that ends in one more datagram."""
    return (Pacer(rate, 0.0).burst + DATAGRAM) * (1 + ROUNDED)


def rateOf(sends: list[tuple[float, int]], since: float, until: float) -> float:
    """Bytes a second between two times (ms)."""
    return sum(size for now, size in sends if since < now <= until) / (until - since) * 1000


@pytest.mark.option("ratelimit")
@pytest.mark.parametrize(
    "rate,seconds", [(10_000, 120), (50_000, 60), (1_000_000, 4), (12_500_000, 0.4), (100_000_000, 0.2)]
)
@pytest.mark.parametrize("fec", [(0, 0), (10, 3)], ids=["plain", "fec"])
@pytest.mark.parametrize("way", ["up", "down"])
def test_a_bulk_transfer_takes_its_rate_and_no_more(rate, seconds, fec, way):
    ends = Ends(faults={"delay": 2.0}, datashard=fec[0], parityshard=fec[1], **WIDE)
    ends.meet()
    sender, transport = (ends.client, ends.clientTransport) if way == "up" else (ends.server, ends.serverTransport)
    sender.session.setRate(rate)
    transport.sends.clear()
    sender.pour()
    ends.run(0.1)
    began = ends.clock.seconds() * 1000
    ends.run(seconds)
    assert rateOf(transport.sends, began, ends.clock.seconds() * 1000) == pytest.approx(rate, rel=0.02)
    assert excess(transport.sends, rate) <= burst(rate) + (PARITY * 7 if fec[0] else 0)


def test_without_a_limit_a_window_leaves_at_once():
    ends = Ends(**WIDE)
    ends.meet()
    ends.client.session.setRate(50_000)
    ends.client.session.setRate(0)
    ends.clientTransport.sends.clear()
    ends.client.write(2_000_000)
    ends.run(0.001)
    assert sum(size for _, size in ends.clientTransport.sends) > 2_000_000


def test_a_slow_session_sends_datagram_by_datagram():
    ends = Ends(**WIDE, datashard=0, parityshard=0)
    ends.meet()
    ends.client.session.setRate(50_000)
    ends.clientTransport.sends.clear()
    ends.client.pour()
    ends.run(5)
    assert len(ends.clientTransport.sends) > 150
    assert max(size for _, size in ends.clientTransport.sends) <= 2 * DATAGRAM
    assert all(size <= DATAGRAM for _, size in ends.clientTransport.sends[2:])


def test_a_fast_session_still_sends_in_runs():
    ends = Ends(faults={"delay": 2.0}, **WIDE, datashard=0, parityshard=0)
    ends.meet()
    ends.client.session.setRate(50_000_000)
    ends.clientTransport.sends.clear()
    ends.client.pour()
    ends.run(0.2)
    sizes = [size for _, size in ends.clientTransport.sends]
    assert sum(sizes) / len(sizes) > 20 * DATAGRAM


@pytest.mark.parametrize("mode", ["normal", "fast", "fast2", "fast3"])
@pytest.mark.parametrize("rate", [20_000, 1_000_000])
def test_what_waits_for_the_pacer_is_not_taken_for_lost(mode, rate):
    ends = Ends(mode=mode, **WIDE)
    ends.meet()
    ends.client.session.setRate(rate)
    ends.server.session.setRate(rate)
    ends.client.pour()
    ends.run(10)
    assert ends.client.arq._counters.RetransSegs == 0
    assert ends.server.received > 0.7 * rate * 10 / 1.3


def test_timers_that_run_out_while_the_pacer_holds_everything_back_send_each_segment_once():
    ends = Ends(**WIDE, datashard=0, parityshard=0)
    ends.meet()
    ends.client.pour()
    ends.run(0.03)  # a full window is out
    inFlight = ends.client.arq.unacknowledged
    ends.up.configure(cut=True)
    ends.client.session.setRate(20_000)
    ends.run(10)
    counters = ends.client.arq._counters
    assert counters.RetransSegs == counters.LostSegs <= inFlight + 20_000 * 10 / 1300
    assert len(set(ends.client.arq._lost)) == len(ends.client.arq._lost)
    ends.up.configure(cut=False)
    received = ends.server.received
    ends.run(10)
    assert ends.server.received - received > 0.9 * 20_000 * 10


@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_no_window_surpasses_the_rate_whatever_is_sent_and_lost(loss):
    ends = Ends(3, {"loss": loss, "jitter": 5.0}, datashard=10, parityshard=3)
    ends.meet()
    for end, rate in ((ends.client, 30_000), (ends.server, 200_000)):
        end.session.setRate(rate)
    for transport in (ends.clientTransport, ends.serverTransport):
        transport.sends.clear()
    ends.server.pour()
    for index in range(100):
        ends.clock.callLater(index * 0.3, ends.client.write, 5000 if index % 5 == 0 else 100)
    ends.run(40)
    assert excess(ends.clientTransport.sends, 30_000) <= burst(30_000) + PARITY
    assert excess(ends.serverTransport.sends, 200_000) <= burst(200_000) + PARITY
    assert ends.server.received == 1 + 20 * 5000 + 80 * 100


def test_a_question_between_the_bulk_waits_for_one_flush_and_little_that_was_written_before():
    ends = Ends(mode="fast3", datashard=0, parityshard=0)
    ends.meet()
    ends.client.session.setRate(50_000)
    ends.client.pour()
    ends.run(5)
    for _ in range(20):
        asked = ends.clock.seconds()
        ends.server.write(10)
        assert ends.until(lambda: not ends.server.arq.unacknowledged, 5)
        assert ends.clock.seconds() - asked <= 0.040 + 0.010 + 2 * DATAGRAM / 50_000  # path, interval, pace
        ends.run(0.123)
        assert ends.client.arq.unsent <= 8192 + 4096  # what is urgent above KCP waits behind no more


def test_acks_alone_keep_to_the_rate_too_and_everything_arrives():
    ends = Ends(faults={"loss": 0.05}, datashard=0, parityshard=0, sndwnd=1024, rcvwnd=1024)
    ends.meet()
    ends.client.session.setRate(2_000)
    ends.clientTransport.sends.clear()
    ends.server.write(1_000_000)
    assert ends.until(lambda: ends.client.received == 1_000_001, 300)
    assert excess(ends.clientTransport.sends, 2_000) <= burst(2_000)


def test_acks_that_a_slow_pace_keeps_waiting_are_bounded():
    ends = Ends(datashard=0, parityshard=0)
    ends.meet()
    ends.client.session.setRate(1)
    ends.client.write(10_000)
    ends.server.pour()
    most = 0
    for _ in range(200):
        ends.run(0.5)
        most = max(most, len(ends.client.arq._arrived._acks))
    assert 0 < most <= ACKS_KEPT


def test_another_rate_holds_at_once_and_none_lifts_the_limit():
    ends = Ends(**WIDE, datashard=0, parityshard=0)
    ends.meet()
    sends = ends.clientTransport.sends
    ends.client.session.setRate(1_000)
    ends.client.pour()
    ends.run(5)
    for rate in (200_000, 20_000, 400_000):
        ends.client.session.setRate(rate)
        ends.run(0.5)
        began = ends.clock.seconds() * 1000
        ends.run(4)
        assert rateOf(sends, began, ends.clock.seconds() * 1000) == pytest.approx(rate, rel=0.02)
    ends.client.session.setRate(None)
    ends.run(1)
    assert rateOf(sends, ends.clock.seconds() * 1000 - 500, ends.clock.seconds() * 1000) > 10_000_000


def test_an_idle_session_with_a_rate_has_no_timer():
    ends = Ends()
    ends.client.session.setRate(10_000)
    ends.meet()
    ends.client.write(100_000)
    assert ends.until(lambda: ends.server.received == 100_001 and not ends.client.arq.unacknowledged, 60)
    ends.run(5)
    assert ends.clock.getDelayedCalls() == []
