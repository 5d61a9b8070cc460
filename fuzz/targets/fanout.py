"""Whose an opened datagram is: kcpstack/layers/fanout.py, with members that only take note."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fuzz.records import Fields, record, records
from fuzz.vectors import INSIDE, opened
from kcpstack.batch import Batch, inboundBatch
from kcpstack.counters import Counters
from kcpstack.kernels.segment import HEADER
from kcpstack.layers.fanout import FIRST_SN_MAX, Fanout
from kcpstack.stack import peek

ADDRESSES = tuple((f"10.0.0.{number}", 1000) for number in range(6))
SEGMENT, ANY, SHARD, DELIVER, FORGET, NEWS = range(6)


class Silent:
    """A log that keeps nothing."""

    def info(self, format: str, **values: Any) -> None:
        assert format.format(**values)


class Member:
    def __init__(self, address: Any, conv: int) -> None:
        self.address = address
        self.conv = conv
        self.taken = 0
        self.lost = 0
        self.news = False

    def hasMoved(self) -> None:
        """Nothing is on its way."""

    def isNews(self, buffer: Any, start: int, end: int) -> bool:
        return self.news

    def datagramsReceived(self, batch: Batch) -> None:
        assert not self.lost, "a member that was lost gets more"
        self.taken += len(batch)

    def connectionLost(self, reason: Any) -> None:
        self.lost += 1


class Port:
    """A fan-out, and all members that it ever had."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.made: list[Member] = []
        self.gone: set[Member] = set()
        self.came = 0
        self.fanout = Fanout(self.accept, peek, self.counters, Silent())

    def accept(self, address: Any, conv: int) -> Member:
        assert conv not in {member.conv for member in self.fanout.members()}, "two members with one conv"
        self.made.append(Member(address, conv))
        return self.made[-1]

    def deliver(self, datagrams: list[tuple[Any, bytes]]) -> None:
        self.came += len(datagrams)
        self.fanout.datagramsReceived(
            inboundBatch([one for _, one in datagrams], [address for address, _ in datagrams])
        )
        now = self.fanout.members()
        assert len(self.fanout) == len(now) == len({member.conv for member in now})
        assert sum(member.taken for member in self.made) + self.counters.InErrs == self.came, (
            "datagrams went astray"
        )
        for member in self.made:
            assert member.lost == (member not in now and member not in self.gone)


def check(data: bytes) -> None:
    """Each datagram goes to one member or is counted; only a push near its beginning makes a member."""
    port = Port()
    waiting: list[tuple[Any, bytes]] = []
    convs: set[int] = set()  # of which a beginning was shown
    for op, argument in records(data):
        fields = Fields(argument)
        address = fields.pick(ADDRESSES)
        op %= 6
        if op in (SEGMENT, SHARD, ANY):
            datagram = fields.rest() if op == ANY else segment(fields, op == SHARD)
            waiting.append((address, datagram))
            seen = peek(datagram, 0, len(datagram))
            if seen is not None and seen.cmd == 81 and not seen.una and seen.sn < FIRST_SN_MAX:
                convs.add(seen.conv)
        elif op == DELIVER:
            port.deliver(waiting)
            waiting = []
        elif port.fanout.members():
            member = fields.pick(port.fanout.members()[:256])
            if op == FORGET:
                port.gone.add(member)
                port.fanout.forget(member)
            else:
                member.news = fields.flag()
    port.deliver(waiting)
    assert {member.conv for member in port.made} <= convs, "a member was made of something else"


def segment(fields: Fields, shard: bool) -> bytes:
    """A KCP segment with one of a few convs, or any; as a data shard too."""
    conv = fields.number(4) if fields.flag() else fields.below(4)
    cmd = fields.pick((81, 82, 83, 84, 80, 85))
    sn, una = (0, 0) if fields.flag() else (fields.number(4), fields.number(4))
    body = HEADER.pack(conv, cmd, 0, 32, fields.number(4), sn, una, 0)
    return (
        fields.take(4).ljust(4, b"\0") + b"\xf1\0" + (len(body) + 2).to_bytes(2, "little") + body
        if shard
        else body
    )


def seeds() -> Iterator[bytes]:
    for name in INSIDE:
        steps = [
            record(ANY, bytes([number % 3]) + one[:120]) for number, one in enumerate(opened(name, "up")[:12])
        ]
        yield (record(DELIVER)).join(steps)
        yield b"".join(steps)
    push = {conv: bytes([0, conv, 0, 1]) for conv in range(4)}
    yield b"".join(
        record(SEGMENT, bytes([at]) + push[conv]) + record(DELIVER) for at in range(4) for conv in range(4)
    )
    yield (
        record(SHARD, b"\0" + push[1])
        + record(DELIVER)
        + record(NEWS, b"\0\0\1")
        + record(SEGMENT, b"\1" + push[1])
        + record(DELIVER)
    )
    yield (
        record(SEGMENT, b"\0" + push[1])
        + record(DELIVER)
        + record(FORGET, b"\0\0")
        + record(SEGMENT, b"\0" + push[2])
    )
