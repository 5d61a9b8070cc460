"""Opened datagrams with FEC: a whole FECDecoder (kcpstack/layers/fec.py and what is beside it), fed by a real
encoder over a bad path, and by a stranger.
"""

from __future__ import annotations

from collections.abc import Iterator

from fuzz.records import Fields, record, records
from fuzz.vectors import DIRECTIONS, INSIDE, opened
from kcpstack.batch import inboundBatch, outboundBatch
from kcpstack.counters import Counters
from kcpstack.layers.fec import FEC_HEADER, HELD_SHARDS, SHARD_MAX, FECDecoder, FECEncoder
from kcpstack.layers.fec_groups import KEPT_GROUPS, modulus

LAYOUTS = ((3, 2), (10, 3), (1, 1), (2, 1), (1, 3), (5, 5), (12, 4), (20, 10), (30, 2), (128, 128))
SIZE_MAX = 1500 - 28
# Steps.  After one with the highest bit, what has gathered is delivered, as one batch.
SENT, LOST, HELD_BACK, LET_GO, TWICE, PAUSE, RECONFIGURED, ANY_DATAGRAM, FORGED_SHARD, ALTERED = range(10)
DELIVER = 128


def check(data: bytes) -> None:
    path = Path(Fields(data[:4]))
    for op, argument in records(data[4:]):
        path.step(op & ~DELIVER, Fields(argument))
        if op & DELIVER:
            path.deliver()
    path.deliver()


class Path:
    """Both ends, and what is known of each datagram: every payload of the encoder is unlike all others."""

    def __init__(self, fields: Fields) -> None:
        self.layout = fields.pick(LAYOUTS)
        self.encoder = FECEncoder(*self.layout)
        total = sum(self.layout)
        self.encoder._next = (modulus(total) - fields.below(40) * total) % modulus(
            total
        )  # near the wrap, too
        self.encoder._latest = 0.0  # it has sent up to there
        self.counters = Counters()
        self.decoder = FECDecoder(self.counters)
        self.honest = True
        self.steady = True  # the encoder's layout has never changed
        self.now = 0
        self.sent: list[bytes] = []
        self.held: list[bytes] = []
        self.under: list[bytes] = []  # way
        self.payloads: set[bytes] = set()
        self.arrived: set[bytes] = set()

    def step(self, op: int, fields: Fields) -> None:
        op %= 10
        if op in (SENT, LOST, HELD_BACK, TWICE):
            made = self.send(fields)
            mask = fields.number(2)
            for number, datagram in enumerate(made):
                kept = op if mask >> number % 16 & 1 or number == 0 else SENT
                self.under += [datagram] * {SENT: 1, TWICE: 2}.get(kept, 0)
                if kept == HELD_BACK:
                    self.held.append(datagram)
        elif op == LET_GO:
            self.under += self.held[:: -1 if fields.flag() else 1]
            self.held.clear()
        elif op == PAUSE:
            self.now += fields.number(2)
        elif op == RECONFIGURED:
            self.steady = False
            self.encoder.reconfigure(*fields.pick(LAYOUTS))
        else:
            self.forge(op, fields)

    def send(self, fields: Fields) -> list[bytes]:
        """The datagrams that the encoder makes of a new payload: its own, and parity where a group ends."""
        batch = outboundBatch(1500, FEC_HEADER)
        size = fields.number(2)
        payload = (
            len(self.payloads).to_bytes(3, "little")
            + b"P"
            + b"\x51"
            + bytes(size % (SIZE_MAX if size > 0xE000 else 100))
        )
        self.payloads.add(payload)
        batch.append(payload)
        self.encoder.encode(batch, self.now)
        self.sent += [bytes(datagram) for datagram in batch]
        return [bytes(datagram) for datagram in batch]

    def forge(self, op: int, fields: Fields) -> None:
        self.honest = False
        if op == ANY_DATAGRAM:
            self.under.append(fields.rest())
        elif op == FORGED_SHARD:
            near = int.from_bytes(self.sent[-1][:4], "little") if self.sent else 0
            seqid = (near + fields.number() - 128) & 0xFFFFFFFF if fields.flag() else fields.number(4)
            kind = fields.pick((0xF1, 0xF2, 0xF3))
            body = fields.rest()
            size = (len(body) + 2).to_bytes(2, "little") if kind == 0xF1 else b""
            self.under.append(seqid.to_bytes(4, "little") + bytes([kind, 0]) + size + body)
        elif self.sent:
            altered = bytearray(self.sent[-1 - fields.below(len(self.sent)) % len(self.sent)])
            for _ in range(fields.below(4)):
                altered[fields.below(len(altered)) % len(altered)] = fields.number()
            self.under.append(bytes(altered))

    def deliver(self) -> None:
        datagrams, self.under = self.under, []
        before = self.counters.InErrs
        expected = [payload for payload in map(payloadOf, datagrams) if payload is not None]
        arrived, recovered = self.decoder.decode(inboundBatch(datagrams))
        assert [bytes(one) for one in arrived] == expected, "not what the datagrams carry"
        assert self.counters.InErrs - before <= len(datagrams)
        self.arrived.update(expected)
        self.judge([bytes(one) for one in recovered])

    def judge(self, recovered: list[bytes]) -> None:
        parameters = self.decoder.parameters
        bound = HELD_SHARDS if parameters is None else KEPT_GROUPS * (parameters[0] - 1)
        assert self.decoder.shardsHeld <= bound, "too many shards are kept"
        assert parameters is None or (min(parameters) >= 1 and sum(parameters) <= 256)
        assert all(len(one) <= SHARD_MAX for one in recovered)
        if not self.honest:
            return
        assert set(recovered) <= self.payloads, "something came out that nobody put in"
        assert self.arrived.isdisjoint(recovered), "something came up twice"
        assert len(set(recovered)) == len(recovered)
        self.arrived.update(recovered)
        if self.steady:
            assert parameters in (None, self.layout)
            assert not self.counters.FECErrs


def payloadOf(datagram: bytes) -> bytes | None:
    """What KCP gets of a datagram, as docs/wire.rst has it."""
    kind = datagram[4:6]
    if kind in (b"\xf2\0", b"\xf3\0"):
        return None
    if kind != b"\xf1\0":
        return datagram
    size = int.from_bytes(datagram[6:8], "little") if len(datagram) >= 8 else 0
    return datagram[8 : 6 + size] if 2 <= size <= len(datagram) - 6 else None


def seeds() -> Iterator[bytes]:
    for name in INSIDE:
        for direction in DIRECTIONS:
            datagrams = opened(name, direction)[:14]
            yield bytes(4) + b"".join(record(DELIVER | ANY_DATAGRAM, datagram[:60]) for datagram in datagrams)
    for layout in range(len(LAYOUTS) - 1):
        steady = record(DELIVER | SENT, b"\x05\0\xff\xff") * 40
        lossy = (record(DELIVER | SENT, b"\x09\0") * 2 + record(LOST, b"\x02\0")) * 10
        yield bytes([layout, 1, 0, 0]) + steady + lossy
        yield (
            bytes([layout, 0, 0, 0])
            + steady
            + record(HELD_BACK, b"\x04\0")
            + steady[:70]
            + record(DELIVER | LET_GO, b"\1")
        )
        yield (
            bytes([layout, 3, 0, 0])
            + steady
            + record(FORGED_SHARD, b"\x80\1\1abc") * 3
            + record(ALTERED, b"\0\2\3\4\5\6")
        )
        yield (
            bytes([layout, 3, 0, 0]) + steady + record(RECONFIGURED, b"\2") + record(PAUSE, b"\0\3") + steady
        )
