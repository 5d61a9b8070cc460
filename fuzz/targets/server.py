"""A whole server on virtual time, ``crypt`` null: strangers at several addresses send it any datagrams, and
an honest client beside them gets through.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from twisted.internet import defer
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock

from fuzz.failures import noneLogged
from fuzz.records import Fields, record, records
from fuzz.vectors import DIRECTIONS, INSIDE, opened, stream
from kcpstack.batch import inboundBatch
from kcpstack.client import Client
from kcpstack.counters import Counters
from kcpstack.kernels.segment import ACK, ASK, HEADER, PUSH, TELL
from kcpstack.layers.snappy import SnappyCodec
from kcpstack.options import Address, ClientSettings, ServerSettings
from kcpstack.seams import layersOf
from kcpstack.server import Server
from kcpstack.stack import Surroundings
from kcpstack.testing.network import SimulatedNetwork, advanceUntil

SERVER = ("10.0.0.1", 29900)
STRANGERS = 4
SAID = b"what an honest client says " * 60
PATIENCE = 60.0  # virtual seconds for the honest client
SILENCE = 300.0  # virtual seconds after which nobody's session is left
ANY, SEGMENT, STREAM, SHARD, TIME = range(5)
DELIVER = 128


class Echo(Protocol):
    """What the server does with each stream."""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


class Asking(Protocol):
    """The honest application."""

    received = b""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(SAID)

    def dataReceived(self, data: bytes) -> None:
        self.received += data


class Sink:
    """What a stranger hears."""

    def datagramsReceived(self, batch: Any) -> None:
        """It does not listen."""

    def connectionRefused(self) -> None:
        raise AssertionError("the server has gone")


class Stranger:
    """Somebody at an address, who can keep a conversation going as well."""

    def __init__(self, network: SimulatedNetwork, number: int) -> None:
        self.transport = network.transport((f"10.0.1.{number}", 4000))
        self.transport.startListening(Sink())
        self.conv = 0x1000 + number
        self.nextSN = 0
        self.codec = SnappyCodec()
        self.waiting: list[bytes] = []

    def push(self, data: bytes) -> bytes:
        self.nextSN += 1
        return HEADER.pack(self.conv, PUSH, 0, 128, self.nextSN, self.nextSN - 1, 0, len(data)) + data

    def restart(self) -> None:
        self.conv += 16
        self.nextSN = 0

    def send(self) -> None:
        self.transport.send(inboundBatch(self.waiting), SERVER)
        self.waiting.clear()


class World:
    def __init__(self, fields: Fields) -> None:
        self.clock = Clock()
        self.network = SimulatedNetwork(self.clock, 1, delay=5.0)
        shards = fields.pick(({}, {"datashard": 3, "parityshard": 1}))
        options: dict[str, Any] = {
            "crypt": "null",
            "mode": "fast2",
            "interval": 20,
            "nodelay": 1,
            "resend": 2,
            "nc": 1,
        }
        options.update(
            {"datashard": 0, "parityshard": 0}, **shards, nocomp=fields.flag(), smuxver=fields.pick((1, 2))
        )
        self.counters = Counters()
        around = Surroundings(self.clock, self.counters, random.Random(1).randbytes, lambda settings: LAYERS)
        self.server = Server(ServerSettings(**options), around, self.network.transport(SERVER), self)
        self.server.open()
        self.client = Client(
            ClientSettings(remoteaddr=Address(*SERVER), **options),
            Surroundings(self.clock, Counters(), random.Random(2).randbytes, lambda settings: LAYERS),
            lambda peer: self.network.transport(peer=peer),
            defer.succeed,
        )
        self.strangers = [Stranger(self.network, number) for number in range(STRANGERS)]

    def buildProtocol(self, address: Any) -> Protocol:
        return Echo()

    def doStart(self) -> None:
        """A factory's."""

    doStop = doStart

    def step(self, op: int, fields: Fields) -> None:
        if op == TIME:
            advanceUntil(self.clock, lambda: False, fields.number() / 20)
            return
        stranger = fields.pick(self.strangers)
        if op == ANY:
            datagram = fields.rest()
        elif op == STREAM:
            how = fields.number()
            if how & 2:
                stranger.restart()
            data = fields.rest()[:1400]
            datagram = stranger.push(stranger.codec.compress(data) if how & 1 else data)
        else:
            numbers = fields.pick((PUSH, PUSH, ACK, ASK, TELL)), 0, fields.number(2), fields.number(2)
            datagram = (
                HEADER.pack(stranger.conv, *numbers, fields.number(), fields.number(), 0) + fields.rest()
            )
        if op == SHARD:
            kind, seqid = fields.pick((0xF1, 0xF2, 0xF3)), stranger.nextSN
            stranger.nextSN += 1
            size = (len(datagram) + 2).to_bytes(2, "little")
            datagram = seqid.to_bytes(4, "little") + bytes([kind, 0]) + size + datagram
        if HONEST not in datagram:  # who can guess that is no stranger, without encryption
            stranger.waiting.append(datagram)

    def deliver(self) -> None:
        for stranger in self.strangers:
            if stranger.waiting:
                stranger.send()
        advanceUntil(self.clock, lambda: False, 0.006)
        assert len(self.server.conversations()) <= self.counters.PassiveOpens


# Found once: that takes as long as all the rest.
LAYERS = layersOf(ServerSettings(crypt="null"))

# The conv of the honest client's session, as a datagram has it.
HONEST = random.Random(2).randbytes(4)


def check(data: bytes) -> None:
    with noneLogged():
        world = World(Fields(data[:4]))
        asking = Asking()
        world.client.openStream(asking)
        for op, argument in records(data[4:]):
            world.step((op & ~DELIVER) % 5, Fields(argument))
            if op & DELIVER:
                world.deliver()
        world.deliver()
        assert advanceUntil(world.clock, lambda: len(asking.received) >= len(SAID), PATIENCE), (
            "the honest client waits"
        )
        assert asking.received == SAID
        late = Asking()
        world.client.openStream(late)
        assert advanceUntil(world.clock, lambda: late.received == SAID, PATIENCE), "a later stream waits"
        gone(world)


def gone(world: World) -> None:
    """With nobody there any more, nothing is left."""
    world.client.close()
    assert advanceUntil(world.clock, lambda: not world.server.conversations(), SILENCE), (
        "a session of nobody stays"
    )
    world.server.close()
    advanceUntil(world.clock, lambda: False, 10.0)
    assert world.counters.CurrEstab == 0
    assert world.clock.getDelayedCalls() == [], "timers are left"


def seeds() -> Iterator[bytes]:
    for number, name in enumerate(INSIDE):
        sent = [
            record(DELIVER | ANY, bytes([number]) + datagram[:200]) for datagram in opened(name, "up")[:8]
        ]
        yield bytes([number & 1, 0, number >> 1]) + b"\0" + b"".join(sent)
        for direction in DIRECTIONS:
            pushed = stream(name, direction)[:400]
            pieces = [pushed[at : at + 100] for at in range(0, len(pushed), 100)]
            yield (
                bytes(4)
                + b"".join(record(DELIVER | STREAM, b"\1\0" + piece) for piece in pieces)
                + record(TIME, b"\xff")
            )
    frame = b"\1\0\0\0\3\0\0\0" + b"\1\2\5\0\3\0\0\0hello" + b"\1\1\0\0\3\0\0\0"
    yield bytes(4) + record(DELIVER | STREAM, b"\0\0" + frame) + record(DELIVER | STREAM, b"\0\2" + frame)
    yield (
        bytes(4)
        + record(DELIVER | STREAM, b"\2\1" + frame)
        + record(SEGMENT, b"\2\2\0\0\0\0\1")
        + record(DELIVER | SHARD, b"\2\0\1")
    )
    for wrong in (b"\2\4\3\0\3\0\0\0abc", b"\2\0\1\0\3\0\0\0a", b"\1\4\x08\0\3\0\0\0" + bytes(8)):
        opening = bytes([wrong[0]]) + b"\0\0\0\3\0\0\0"
        yield bytes(4) + record(DELIVER | STREAM, b"\0\0" + opening + wrong) + record(TIME, b"\x10")
    yield b"\1\0\1\0" + record(DELIVER | SHARD, b"\3\0\x20\0\1\0\0\0") * 6 + record(TIME, b"\x80")
