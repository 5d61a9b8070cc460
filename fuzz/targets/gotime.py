"""Go's time layouts: kcpstack/gotime.py."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

from fuzz.records import Fields
from kcpstack.gotime import expand

NEUTRAL = "/"  # is in no element, nor does any look for it behind itself
LONGEST = 9  # characters that one of a layout becomes at most: "1" is "12", "MST" is "+05:30:15"


def check(data: bytes) -> None:
    """Nothing raises; what is between slashes is expanded by itself; what has no element stays."""
    fields = Fields(data)
    seconds = fields.number(3) % (2 * 86399) - 86399
    zone = (
        None if fields.flag() else timezone(timedelta(seconds=seconds), fields.pick((None, "CET", "")) or "")
    )
    zone = timezone(timedelta(seconds=seconds)) if fields.flag() else zone
    moment = datetime(1 + fields.number(2) % 9999, 1, 1, tzinfo=zone) + timedelta(
        seconds=fields.number(3), microseconds=fields.number(3) % 1000000
    )
    layout = fields.rest().decode("utf-8", "surrogateescape")
    expanded = expand(layout, moment)
    assert expanded == NEUTRAL.join(expand(part, moment) for part in layout.split(NEUTRAL))
    assert len(expanded) <= LONGEST * len(layout)
    literal = "".join(character for character in layout if not (character.isdigit() or character in "JMPpZ"))
    assert expand(literal, moment) == literal
    assert expand("20060102150405", moment) == f"{moment.year:04}" + moment.strftime("%m%d%H%M%S")


def seeds() -> Iterator[bytes]:
    begin = bytes([40, 100, 1, 0, 1, 0, 0xD0, 7, 9, 9, 9, 5, 5, 5])
    elements = "January Jan 1 01 Monday Mon 2 _2 02 __2 002 15 3 03 4 04 5 05 2006 06 PM pm MST"
    offsets = " Z0700 Z070000 Z07 Z07:00 -0700 -07:00:00"
    yield begin + (elements + offsets).encode()
    yield begin + b"./snmp-20060102.log"
    yield bytes(14) + b"05.000 05,999 .0000000000 _2006 __2006 Jan_2/Mond Janet 0107"
