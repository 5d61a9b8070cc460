"""Addresses and numbers of options: kcpstack/options/addresses.py, values.py and kcpstack/addresses.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fuzz.records import Fields
from kcpstack.addresses import shown
from kcpstack.options.addresses import (
    PATH_MAX,
    PORT_MAX,
    Address,
    DialAddress,
    ListenAddress,
    RelayTarget,
    TargetAddress,
)
from kcpstack.options.values import WholeNumber, YesOrNo

KINDS = (
    ListenAddress(),
    ListenAddress(paths=True),
    ListenAddress(ranges=True),
    DialAddress(),
    DialAddress(ranges=True),
    TargetAddress(),
    WholeNumber(0, 1),
    WholeNumber(100, 1500, "bytes"),
    YesOrNo(),
)


def check(data: bytes) -> None:
    """A value, or a ValueError of one line that says what to give; what is written out is read the same."""
    fields = Fields(data)
    kind: Any = fields.pick(KINDS)
    text = fields.rest().decode("utf-8", "surrogateescape")
    try:
        value = kind.parse(text)
    except ValueError as error:
        advice = str(error)
        assert advice.startswith("give ") and advice.isprintable() and len(advice) < 200 + len(repr(text)), (
            advice
        )
        return
    if isinstance(kind, WholeNumber):
        assert kind.low <= value <= kind.high and value == int(text)
        return
    if isinstance(kind, YesOrNo):
        assert value is (text[:1] in "1tT")
        return
    assert kind.parse(str(value)) == value
    if isinstance(value, Address):
        assert shown(value).endswith(f":{value.port}")
        assert 0 <= value.port <= PORT_MAX and (not value.last or value.port < value.last <= PORT_MAX)
        assert value.ports and value.host.isprintable() and " " not in value.host
    elif not isinstance(value, RelayTarget):
        assert 0 < len(value.path.encode("utf-8", "surrogateescape")) <= PATH_MAX and "\0" not in value.path


def seeds() -> Iterator[bytes]:
    texts = (
        *(
            "127.0.0.1:29900",
            ":29900",
            "[::1]:29900",
            "example.org:3000-3010",
            "vps:4000",
            "/run/socket",
            "unix:here",
        ),
        *(
            "./here",
            "[::ffff:1.2.3.4%eth0]:1",
            "a..b:1",
            "host:0",
            "1",
            "-1",
            "+1400",
            "true",
            "F",
            "::1:5",
            "[x]:1",
            "@connect:vps",
            "@none",
        ),
    )
    for number in range(len(KINDS)):
        for text in texts:
            yield bytes([number]) + text.encode()
