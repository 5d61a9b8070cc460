"""The fate of datagrams on a bad path is a matter of seed, direction and number, and of nothing else."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcpstack.testing.impairment import Faults, Impairment, InFlight

EVERYTHING = {"loss": 0.05, "reorder": 0.05, "duplicate": 0.02, "corrupt": 0.01}


def fates(impairment, count, spacing=1.0, length=100):
    return [impairment.offer(bytes(length), n * spacing) for n in range(count)]


def test_a_perfect_path_carries_everything_at_once_unchanged():
    assert fates(Impairment(1, "up"), 50) == [[(float(n), bytes(100))] for n in range(50)]


def test_the_same_seed_and_direction_give_the_same_fates():
    faults = Faults(**EVERYTHING, delay=20, jitter=5, rate=100_000)
    assert fates(Impairment(3, "up", faults), 2000) == fates(Impairment(3, "up", faults), 2000)


def test_another_seed_or_direction_gives_other_fates():
    faults = Faults(loss=0.5)
    first = fates(Impairment(3, "up", faults), 100)
    assert first != fates(Impairment(4, "up", faults), 100)
    assert first != fates(Impairment(3, "down", faults), 100)


@given(st.sampled_from(["reorder", "duplicate", "corrupt", "delay", "jitter", "mtu"]), st.integers(0, 300))
@settings(max_examples=25)
def test_switching_another_effect_on_does_not_change_which_datagrams_are_lost(effect, when):
    values = {"reorder": 0.3, "duplicate": 0.3, "corrupt": 0.3, "delay": 10, "jitter": 3, "mtu": 50}
    plain = Impairment(5, "up", Faults(loss=0.2))
    other = Impairment(5, "up", Faults(loss=0.2))
    for n in range(400):
        if n == when:
            other.configure(**{effect: values[effect]})
        assert bool(plain.offer(bytes(40), n)) == bool(other.offer(bytes(40), n))


def test_loss_switched_on_later_hits_the_same_datagrams_as_loss_from_the_start():
    early, late = Impairment(6, "up", Faults(loss=0.2)), Impairment(6, "up")
    first = fates(early, 500)
    second = fates(late, 200)
    late.configure(loss=0.2)
    second += [late.offer(bytes(100), float(n)) for n in range(200, 500)]
    assert first[200:] == second[200:]


@pytest.mark.parametrize("effect,counted", [
    ("loss", "lost"), ("reorder", "reordered"), ("duplicate", "duplicated"), ("corrupt", "corrupted"),
])
def test_every_chance_is_met_about_as_often_as_asked(effect, counted):
    impairment = Impairment(7, "up", Faults(**{effect: 0.1}))
    fates(impairment, 10_000)
    assert 900 < getattr(impairment.tally, counted) < 1100


def test_bursts_keep_the_mean_loss_and_have_the_length_asked_for():
    impairment = Impairment(8, "up", Faults(loss=0.1, burst=5))
    lost = [not arrivals for arrivals in fates(impairment, 50_000)]
    runs = sum(1 for before, now in zip([False] + lost, lost) if now and not before)
    assert 0.09 < sum(lost) / len(lost) < 0.11
    assert 4.5 < sum(lost) / runs < 5.5


@given(st.binary(min_size=1, max_size=60), st.integers(0, 1000))
@settings(max_examples=50)
def test_a_corrupted_datagram_differs_in_exactly_one_byte(datagram, seed):
    [(_, arrived)] = Impairment(seed, "up", Faults(corrupt=1)).offer(datagram, 0.0)
    assert len(arrived) == len(datagram)
    assert sum(a != b for a, b in zip(arrived, datagram)) == 1


def test_an_empty_datagram_survives_corruption():
    assert Impairment(1, "up", Faults(corrupt=1)).offer(b"", 0.0) == [(0.0, b"")]


def test_a_reordered_datagram_is_held_back_and_nothing_waits_for_it():
    impairment = Impairment(9, "up", Faults(delay=10, reorder=0.2, hold=30))
    dues = [arrivals[0][0] - n for n, arrivals in enumerate(fates(impairment, 100))]
    assert set(dues) == {10.0, 40.0}


def test_a_copy_comes_with_or_after_its_original():
    impairment = Impairment(9, "up", Faults(duplicate=1, hold=30))
    for n, arrivals in enumerate(fates(impairment, 100)):
        first, copy = arrivals
        assert first[1] == copy[1] and n == first[0] <= copy[0] < n + 30


def test_jitter_stays_in_its_bounds_and_keeps_the_order():
    impairment = Impairment(10, "up", Faults(delay=50, jitter=20))
    dues = [arrivals[0][0] for arrivals in fates(impairment, 2000, spacing=0.7)]
    assert dues == sorted(dues)
    delays = [due - n * 0.7 for n, due in enumerate(dues)]
    assert min(delays) >= 30 - 1e-6 and max(delays) <= 70 + 1e-6
    assert max(delays) - min(delays) > 20


def test_the_bottleneck_serves_its_rate_and_drops_what_would_wait_too_long():
    impairment = Impairment(11, "up", Faults(rate=100_000, queue=10))
    arrived = [arrivals[0][0] for arrivals in fates(impairment, 100, spacing=0) if arrivals]
    assert arrived == pytest.approx([float(n + 1) for n in range(11)])  # 100 bytes take a ms
    assert impairment.tally.queueFull == 89


def test_a_cut_and_a_size_limit_drop_and_are_counted_apart():
    impairment = Impairment(12, "up", Faults(mtu=99))
    assert fates(impairment, 3) == [[], [], []]
    impairment.configure(cut=True, mtu=0)
    assert fates(impairment, 2) == [[], []]
    impairment.configure(cut=False)
    assert fates(impairment, 1) == [[(0.0, bytes(100))]]
    assert (impairment.tally.tooLong, impairment.tally.cut) == (3, 2)


def test_the_tally_accounts_for_every_datagram():
    impairment = Impairment(13, "up", Faults(**EVERYTHING, burst=3, rate=90_000, mtu=200))
    arrivals = sum(len(fate) for fate in fates(impairment, 5000))
    tally = impairment.tally
    assert tally.offered == 5000 and tally.offeredBytes == 500_000
    assert tally.carried == arrivals and tally.carriedBytes == arrivals * 100
    assert tally.offered == tally.carried - tally.duplicated + tally.lost + tally.queueFull
    assert tally.lost and tally.queueFull


def test_the_trace_holds_the_last_decisions_and_no_more():
    trace = deque(maxlen=10)
    fates(Impairment(14, "up", Faults(loss=1.0), trace), 25)
    assert [(decision.number, decision.verdict) for decision in trace] == [(n, "lost") for n in range(15, 25)]


@pytest.mark.parametrize("wrong", [
    {"loss": 1.5}, {"corrupt": -0.1}, {"delay": -1}, {"burst": 0.5, "loss": 0.1}, {"burst": 2, "loss": 0.9},
    {"rate": float("nan")},
])
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError):
        Faults(**wrong)


def test_an_unknown_fault_is_refused():
    with pytest.raises(TypeError):
        Impairment(1, "up").configure(losss=0.1)


@given(st.lists(st.integers(0, 20), max_size=60), st.integers(1, 7))
def test_things_in_flight_come_out_in_order_of_time_then_of_adding(dues, limit):
    inFlight = InFlight()
    for number, due in enumerate(dues):
        inFlight.add(due, (due, number))
    taken = []
    while inFlight.nextDue is not None:
        some = inFlight.take(inFlight.nextDue, limit)
        assert 1 <= len(some) <= limit
        taken += some
    assert taken == sorted((due, number) for number, due in enumerate(dues))
