"""Go's time layouts: every element of its documentation, and what is none."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcpstack.gotime import expand

INDIA = timezone(timedelta(hours=5, minutes=30), "IST")
MOMENT = datetime(2026, 3, 5, 14, 7, 9, 120_000, INDIA)  # a Thursday

moments = st.datetimes(timezones=st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m))))


@pytest.mark.parametrize(
    "layout,expected",
    [
        ("./snmp-20060102.log", "./snmp-20260305.log"),
        ("2006 06", "2026 26"),
        ("January Jan 01 1", "March Mar 03 3"),
        ("Monday Mon", "Thursday Thu"),
        ("02 _2 2", "05  5 5"),
        ("002 __2", "064  64"),
        ("15 03 3", "14 02 2"),
        ("04 4 05 5", "07 7 09 9"),
        ("3PM 3pm", "2PM 2pm"),
        ("MST -0700 -07:00 -07", "IST +0530 +05:30 +05"),
        ("Z0700 Z07:00 Z07", "+0530 +05:30 +05"),
        ("-07:00:00 -070000 Z07:00:00 Z070000", "+05:30:00 +053000 +05:30:00 +053000"),
        ("05.000 05,0 .000000000", "09.120 09,1 .120000000"),
        ("05.999 05,9 05.99999", "09.12 09,1 09.12"),
        ("2006-01-02T15:04:05Z07:00", "2026-03-05T14:07:09+05:30"),
    ],
)
def test_each_element_is_what_it_is_at_that_moment(layout, expected):
    assert expand(layout, MOMENT) == expected


@pytest.mark.parametrize("text", ["Janet", "Month", "snmp", "P.M.", "0", "00", "07", "9", ".0007", "Z", "-7", "MS"])
def test_what_is_no_element_stays(text):
    assert expand(text, MOMENT.replace(microsecond=0)) == text


@pytest.mark.parametrize(
    "layout,expected", [("_2006", "_2026"), ("20200", "50500"), ("012", "035"), ("__2006", " 64026"), ("115", "314")]
)
def test_it_is_read_from_left_to_right_the_longest_element_first(layout, expected):
    assert expand(layout, MOMENT) == expected


def test_midnight_and_noon_are_twelve():
    assert [expand("3PM", MOMENT.replace(hour=hour)) for hour in (0, 1, 12, 23)] == ["12AM", "1AM", "12PM", "11PM"]


def test_no_nines_where_the_second_is_whole_but_all_the_noughts():
    assert expand("05.999 05.000", MOMENT.replace(microsecond=0)) == "09 09.000"


def test_an_offset_of_zero_is_Z_where_the_layout_has_Z():
    assert expand("Z07:00 Z0700 -07:00 MST", MOMENT.replace(tzinfo=timezone.utc)) == "Z Z +00:00 UTC"
    assert expand("Z07 MST", MOMENT.replace(tzinfo=None)) == "Z UTC"


def test_a_zone_without_a_name_shows_its_offset():
    assert expand("MST", MOMENT.replace(tzinfo=timezone(-timedelta(hours=3)))) == "-0300"


@given(moments)
def test_a_moment_can_be_read_back_from_what_was_written(moment):
    text = expand("2006-01-02 15:04:05.000000-07:00", moment)
    assert datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f%z") == moment


@given(moments)
def test_the_twelve_hours_the_weekday_and_the_day_of_the_year_say_the_same(moment):
    text = expand("2006 002 Monday 03 PM", moment)
    again = datetime.strptime(text, "%Y %j %A %I %p")
    assert (again.date(), again.hour) == (moment.date(), moment.hour)


@given(st.text(alphabet="abcdefgh/ %{}\\:", max_size=30), moments)
def test_other_text_is_left_alone(text, moment):
    assert expand(text, moment) == text


@given(st.text(), moments)
def test_no_text_is_too_strange(text, moment):
    assert isinstance(expand(text, moment), str)
