"""Go's time layouts: a moment written as the reference time, Mon Jan 2 15:04:05 MST 2006, is in the layout.

kcptun expands the file name of ``--snmplog`` so.  English names whatever the locale; a pure function.
Source: the documentation of Go's package time, checked against the file names of Debian's kcptun
(tests/interop/test_snmp_interop.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

__all__ = ["expand"]

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

Element = Callable[[datetime], str]


def expand(layout: str, moment: datetime) -> str:
    """``layout`` with every element replaced by what it is at ``moment``; all else stays.

    A naive ``moment`` counts as UTC."""
    return _ELEMENT.sub(lambda found: _written(found.group(), moment), layout)


def _written(element: str, moment: datetime) -> str:
    if element in _FIELDS:
        return _FIELDS[element](moment)
    if element[0] in ".,":
        return _fraction(element, moment)
    return _offset(element, moment)


def _hour12(moment: datetime) -> int:
    return moment.hour % 12 or 12


def _dayOfYear(moment: datetime) -> int:
    return moment.timetuple().tm_yday


def _noon(moment: datetime) -> str:
    return "PM" if moment.hour >= 12 else "AM"


def _zone(moment: datetime) -> str:
    """The zone's abbreviation; where it has none (Python makes up "UTC+05:30"), its offset, as in Go."""
    name = "UTC" if moment.tzinfo is None else moment.tzname()
    return _offset("-0700", moment) if not name or name.startswith(("UTC+", "UTC-")) else name


def _offsetSeconds(moment: datetime) -> int:
    offset = moment.utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0


def _offset(element: str, moment: datetime) -> str:
    """An offset from UTC, with as much and as many colons as ``element`` has."""
    seconds = _offsetSeconds(moment)
    if element[0] == "Z" and seconds == 0:
        return "Z"
    minutes, second = divmod(abs(seconds), 60)
    parts = [f"{minutes // 60:02}", f"{minutes % 60:02}", f"{second:02}"]
    digits = sum(character.isdigit() for character in element)
    return ("-" if seconds < 0 else "+") + (":" if ":" in element else "").join(parts[: digits // 2])


def _fraction(element: str, moment: datetime) -> str:
    """The fraction of the second after a point or comma: as many digits as there are 0s, nine
    at most; or 9s, which leave out zeros at the end."""
    digits = f"{moment.microsecond:06}000"[: len(element) - 1]
    if element[1] == "9":
        digits = digits.rstrip("0")
    return element[0] + digits if digits else ""


_FIELDS: dict[str, Element] = {
    "2006": lambda moment: f"{moment.year:04}",
    "06": lambda moment: f"{moment.year % 100:02}",
    "January": lambda moment: MONTHS[moment.month - 1],
    "Jan": lambda moment: MONTHS[moment.month - 1][:3],
    "01": lambda moment: f"{moment.month:02}",
    "1": lambda moment: f"{moment.month}",
    "Monday": lambda moment: DAYS[moment.weekday()],
    "Mon": lambda moment: DAYS[moment.weekday()][:3],
    "02": lambda moment: f"{moment.day:02}",
    "_2": lambda moment: f"{moment.day:2}",
    "2": lambda moment: f"{moment.day}",
    "002": lambda moment: f"{_dayOfYear(moment):03}",
    "__2": lambda moment: f"{_dayOfYear(moment):3}",
    "15": lambda moment: f"{moment.hour:02}",
    "03": lambda moment: f"{_hour12(moment):02}",
    "3": lambda moment: f"{_hour12(moment)}",
    "04": lambda moment: f"{moment.minute:02}",
    "4": lambda moment: f"{moment.minute}",
    "05": lambda moment: f"{moment.second:02}",
    "5": lambda moment: f"{moment.second}",
    "PM": _noon,
    "pm": lambda moment: _noon(moment).lower(),
    "MST": _zone,
}

# Go reads a layout from left to right and takes the longest element; "Jan" and "Mon" are none where a lower
# case letter goes on, nor is a fraction where another digit does.
_ELEMENT = re.compile(
    r"January|Jan(?![a-z])|Monday|Mon(?![a-z])|MST"
    r"|002|0[1-6]|15|1|2006|2|__2|_2(?!006)|[345]|PM|pm"
    r"|-07:00:00|-070000|-07:00|-0700|-07|Z07:00:00|Z070000|Z07:00|Z0700|Z07"
    r"|[.,](?:0+|9+)(?![0-9])"
)
