"""The pacer: never faster than asked for, beyond a burst that is known; and, in the long run, not slower."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcpstack.kernels.pacing import DATAGRAM, LATENESS, Pacer

RATES = st.sampled_from([500, 10_000, 50_000, 123_457, 1_000_000, 12_500_000, 100_000_000])
ROUNDED = 1e-6  # relative


def excess(sends: list[tuple[float, int]], rate: float) -> float:
    """By how much the window that sent most surpassed ``rate``: bytes over all windows that begin and end at a send."""
    worst = lowest = 0.0
    total = 0
    for now, size in sends:
        lowest = min(lowest, total - rate * now / 1000)
        total += size
        worst = max(worst, total - rate * now / 1000 - lowest)
    return worst


@given(RATES, st.lists(st.tuples(st.floats(0, 200), st.floats(0, 1)), max_size=60))
def test_no_window_gets_more_than_the_rate_and_a_burst_when_asked_at_any_time(rate, steps):
    pacer = Pacer(rate, 0.0)
    now, sends = 0.0, []
    for pause, share in steps:
        now += pause
        size = int(pacer.allowance(now) * DATAGRAM * share)
        pacer.sent(size)
        sends.append((now, size))
    assert excess(sends, rate) <= pacer.burst * (1 + ROUNDED)


@given(RATES, st.lists(st.tuples(st.floats(0, 200), st.integers(0, 20_000)), max_size=60))
def test_a_late_wake_up_and_parity_on_top_add_no_more_than_they_may(rate, steps):
    pacer = Pacer(rate, 0.0)
    now, sends, most = 0.0, [], 0
    for late, parity in steps:
        while pacer.allowance(now):
            size = pacer.allowance(now) * DATAGRAM + parity
            most = max(most, parity)
            pacer.sent(size)
            sends.append((now, size))
        now = pacer.readyAt(now) + late
    owed = rate * LATENESS / 1000
    assert excess(sends, rate) <= (pacer.burst + owed + most) * (1 + ROUNDED)


@pytest.mark.parametrize("rate", [10_000, 50_000, 1_000_000, 12_500_000, 100_000_000])
@pytest.mark.parametrize("lateness", [0.0, 1.0, 10.0, LATENESS])
def test_whoever_always_has_more_gets_the_whole_rate_even_when_woken_late(rate, lateness):
    rng = random.Random(rate)
    pacer = Pacer(rate, 0.0)
    now, total, calls = 0.0, 0, 0
    while now < 20_000:
        count = pacer.allowance(now)
        if count:
            size = sum(rng.randint(60, DATAGRAM) for _ in range(min(count, 64)))
            pacer.sent(size)
            total += size
            calls += 1
        else:
            now = max(pacer.readyAt(now), now + lateness * rng.random())
    assert total == pytest.approx(rate * now / 1000, rel=0.02)


@pytest.mark.parametrize("rate,datagrams", [(20_000, 1), (1_000_000, 2), (10_000_000, 26), (100_000_000, 43)])
def test_a_wake_up_is_worth_it_and_slow_rates_send_one_datagram_at_a_time(rate, datagrams):
    pacer = Pacer(rate, 0.0)
    pacer.sent(int(pacer.burst))
    now = 0.0
    for _ in range(20):
        now = pacer.readyAt(now)
        assert pacer.allowance(now) == datagrams
        pacer.sent(datagrams * DATAGRAM)


def test_credit_is_there_at_the_time_told_however_large_the_clock_and_whatever_the_rate():
    for rate in (1, 7, 999, 123_456.789, 33e6, 4e9):
        for origin in (0.0, 1.8e12):
            pacer = Pacer(rate, origin)
            now = origin
            for _ in range(50):
                pacer.sent(int(pacer.allowance(now) or 1) * DATAGRAM)
                now = pacer.readyAt(now)
                assert pacer.allowance(now) > 0


def test_a_new_rate_holds_from_then_on_and_brings_no_burst():
    pacer = Pacer(1_000_000, 0.0)
    pacer.sent(int(pacer.burst))
    pacer.setRate(10_000, 0.0)
    assert pacer.allowance(0.0) == 0
    assert pacer.readyAt(0.0) == pytest.approx(150, abs=1)
    pacer.setRate(100_000, 0.0)
    assert pacer.readyAt(0.0) == pytest.approx(15, abs=1)
    pacer.setRate(100, 1e9)
    assert pacer.allowance(1e9) == 2


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_rate_that_would_never_send_is_refused(rate):
    with pytest.raises(ValueError, match="above 0"):
        Pacer(rate, 0.0)


@settings(max_examples=50)
@given(RATES, st.integers(1, 1_000_000))
def test_what_was_overdrawn_is_paid_before_anything_else_leaves(rate, debt):
    pacer = Pacer(rate, 0.0)
    pacer.sent(int(pacer.burst) + debt)
    ready = pacer.readyAt(0.0)
    assert ready >= debt / rate * 1000
    assert pacer.allowance(ready * 0.9) == 0 < pacer.allowance(ready)
