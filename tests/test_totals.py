"""The counters of several workers are those of one server, whatever becomes of the workers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcpstack.counters import FORMER, OWN, SNMP
from kcpstack.totals import NOW, OF_ONE, Totals

GROWING = [name for name in (*SNMP, *FORMER, *OWN) if name not in (*NOW, *OF_ONE, "MaxConn")]


def test_what_grows_is_added_up_and_stays_when_a_worker_is_gone():
    it = Totals()
    it.told(1, {"BytesSent": 5, "MuxErrs": 1})
    it.told(2, {"BytesSent": 7})
    assert (it.sum().BytesSent, it.sum().MuxErrs) == (12, 1)
    it.ended(1)
    assert (it.sum().BytesSent, it.sum().MuxErrs) == (12, 1)
    it.told(1, {"BytesSent": 1})  # the next of that number
    assert it.sum().BytesSent == 13


@pytest.mark.parametrize("name", NOW)
def test_what_is_there_now_goes_with_the_worker(name):
    it = Totals()
    it.told(1, {name: 3})
    it.told(2, {name: 4})
    assert getattr(it.sum(), name) == 7
    it.ended(2)
    assert getattr(it.sum(), name) == 3


def test_the_most_sessions_at_once_are_those_of_all_workers():
    it = Totals()
    it.told(1, {"CurrEstab": 3, "MaxConn": 3})
    it.told(2, {"CurrEstab": 2, "MaxConn": 2})
    it.told(1, {"CurrEstab": 0, "MaxConn": 3})
    it.told(2, {"CurrEstab": 3, "MaxConn": 3})
    assert it.sum().MaxConn == 5  # and not 6, which there never were
    it.ended(1)
    assert it.sum().MaxConn == 5


def test_a_session_that_came_and_went_between_two_reports_counts_in_the_most():
    it = Totals()
    it.told(1, {"CurrEstab": 0, "MaxConn": 2})
    assert it.sum().MaxConn == 2


def test_what_is_of_one_decoder_is_that_of_the_worker_that_received_last():
    it = Totals()
    it.told(1, {"InPkts": 1, "FECShardMin": 10, "FECShardSet": 2})
    it.told(2, {"InPkts": 1, "FECShardMin": 70, "FECShardSet": 1})
    assert (it.sum().FECShardMin, it.sum().FECShardSet) == (70, 1)
    it.told(1, {"InPkts": 1, "FECShardMin": 10, "FECShardSet": 2})
    assert it.sum().FECShardMin == 70
    it.told(1, {"InPkts": 2, "FECShardMin": 11, "FECShardSet": 2})
    assert (it.sum().FECShardMin, it.sum().FECShardSet) == (11, 2)


def test_names_that_are_not_known_are_left_out():
    it = Totals()
    it.told(1, {"OfTheNextRelease": 5})
    assert "OfTheNextRelease" not in it.sum().asDict()


counts = st.dictionaries(st.sampled_from([*GROWING, *NOW, "MaxConn"]), st.integers(0, 1000))
events = st.lists(st.tuples(st.integers(1, 3), st.one_of(st.none(), counts)), max_size=30)


@given(events)
def test_no_counter_ever_goes_back(happened):
    it = Totals()
    living: dict[int, dict[str, int]] = {}
    before = it.sum().asDict()
    for number, more in happened:
        if more is None:
            living.pop(number, None)
            it.ended(number)
        else:
            told = living.setdefault(number, {})
            for name, value in more.items():
                told[name] = value if name in NOW else told.get(name, 0) + value
            it.told(number, dict(told))
        after = it.sum().asDict()
        assert all(after[name] >= before[name] for name in [*GROWING, "MaxConn"])
        assert all(after[name] == sum(each.get(name, 0) for each in living.values()) for name in NOW)
        before = after
