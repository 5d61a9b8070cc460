"""Sessions on layers that are not ours, and what becomes of them when such a layer fails."""

from __future__ import annotations

import random
import zlib
from dataclasses import replace
from typing import Any

import pytest
from tunnel import Tunnel
from twisted.internet.error import ConnectionLost
from twisted.logger import LogLevel, capturedLogs

from kcpstack.kernels.congestion import FixedWindow
from kcpstack.kernels.reedsolomon import ReedSolomon
from kcpstack.seams import layersOf

LOSSY = {"loss": 0.05, "reorder": 0.02, "corrupt": 0.01}
DATA = random.Random(1).randbytes(50_000) + bytes(50_000)


def plain(settings: Any) -> Any:
    """Ours, whatever the options name."""
    return layersOf(replace(settings, compressor="snappy"))


class Factory:
    name = "theirs"

    def __init__(self, build: Any) -> None:
        self.build = build


class Mirrored(ReedSolomon):
    """Another code: the same with parity the other way round."""

    def encode(self, shards):
        return super().encode(shards)[::-1]

    def reconstruct(self, shards):
        last = 2 * self.dataShards + self.parityShards - 1
        return super().reconstruct({i if i < self.dataShards else last - i: shard for i, shard in shards.items()})


class Deflate:
    """zlib, flushed after each write."""

    def __init__(self) -> None:
        self._out, self._in = zlib.compressobj(), zlib.decompressobj()

    def compress(self, data: bytes) -> bytes:
        return self._out.compress(data) + self._out.flush(zlib.Z_SYNC_FLUSH)

    def decompress(self, data: bytes) -> bytes:
        return self._in.decompress(data)


class TwoSegments(FixedWindow):
    def __init__(self, sendWindow: int) -> None:
        super().__init__(2)


def having(**layers: Any) -> Any:
    factories = {name: Factory(build) for name, build in layers.items()}
    return lambda settings: replace(plain(settings), **factories)


def echoed(tunnel: Tunnel) -> None:
    first = tunnel.open(b"so that both ends know each other, and send FEC")
    assert tunnel.run(lambda: first.received)
    tunnel.advance(1)
    stream = tunnel.open(DATA)
    assert tunnel.run(lambda: len(stream.received) == len(DATA), seconds=600)
    assert bytes(stream.received) == DATA


def test_another_erasure_code_on_both_ends_repairs_what_is_lost() -> None:
    tunnel = Tunnel(faults=LOSSY, layers=having(erasure=Mirrored), mode="fast2")
    echoed(tunnel)
    assert tunnel.counters.FECRecovered > 0
    assert tunnel.counters.FECErrs == 0


def test_another_erasure_code_on_one_end_costs_repairs_and_no_bytes() -> None:
    tunnel = Tunnel(faults=LOSSY, layers=having(erasure=Mirrored), serverLayers=layersOf, mode="fast2")
    echoed(tunnel)


@pytest.mark.option("compressor")
def test_another_compressor_is_what_the_session_carries() -> None:
    tunnel = Tunnel(layers=having(compressor=Deflate), compressor="theirs")
    echoed(tunnel)
    assert tunnel.counters.OutBytes < 75_000  # of 100,000, half of them zeros


def test_another_compressor_can_be_left_out_on_both_ends() -> None:
    def unwanted() -> None:
        raise AssertionError("nobody wants to compress")

    echoed(Tunnel(layers=having(compressor=unwanted), compressor="theirs", nocomp=True))


def test_another_congestion_control_holds_the_flight() -> None:
    tunnel = Tunnel(layers=having(congestion=TwoSegments))
    stream = tunnel.open(DATA)
    most = 0
    while len(stream.received) < len(DATA):
        tunnel.advance(0.005)
        most = max(most, *(link.conversation.arq.unacknowledged for link in tunnel.client.links))
    assert most == 2


# ------------------------------------------------------------------ those that fail


class Failing:
    """An erasure code, a compressor or a congestion control that fails."""

    dataShards, parityShards = 10, 3

    def __getattr__(self, name: str) -> Any:
        raise ZeroDivisionError(name)


class FailingLater(FixedWindow):
    def acknowledged(self, segments: int, inFlight: int, now: float) -> None:
        raise ZeroDivisionError("acknowledged")


class NoRepair(ReedSolomon):
    def reconstruct(self, shards: Any) -> Any:
        raise ZeroDivisionError("reconstruct")


FAILING = {
    "erasure": lambda *numbers: Failing(),
    "compressor": lambda: Failing(),
    "congestion": FailingLater,
}


@pytest.mark.parametrize("kind", FAILING)
def test_a_servers_layer_that_fails_ends_its_sessions_and_not_the_server(kind: str) -> None:
    options = {"compressor": "theirs"} if kind == "compressor" else {}
    tunnel = Tunnel(
        layers=plain if kind != "compressor" else having(compressor=Deflate),
        serverLayers=having(**{kind: FAILING[kind]}),
        faults={"loss": 0.02},
        **options,
    )
    with capturedLogs() as logged:
        streams = [tunnel.open(DATA) for _ in range(6)]  # enough that the server ends a group of FEC
        tunnel.run(lambda: all(stream.lost for stream in streams), seconds=120)
        assert any("log_failure" in event for event in logged)
    assert all(event["log_level"] <= LogLevel.critical for event in logged)
    tunnel.client.close()
    tunnel.server.port.layers = tunnel.layers(tunnel.server.port.settings)
    tunnel.server.port.newCode = ReedSolomon
    tunnel.client = tunnel.newClient()
    echoed(tunnel)


@pytest.mark.parametrize("kind", FAILING)
def test_a_clients_layer_that_fails_ends_its_streams_with_a_reason(kind: str) -> None:
    options = {"compressor": "theirs"} if kind == "compressor" else {}
    tunnel = Tunnel(layers=having(**{kind: FAILING[kind]}), serverLayers=plain, **options)
    with capturedLogs() as logged:
        stream = tunnel.open(DATA)
        assert tunnel.run(lambda: stream.lost, seconds=120)
    assert any("log_failure" in event for event in logged)
    assert stream.lost.check(ConnectionLost, ZeroDivisionError, RuntimeError)


def test_a_code_that_cannot_repair_leaves_it_to_kcp() -> None:
    tunnel = Tunnel(layers=having(erasure=NoRepair), faults=LOSSY, mode="fast2")
    with capturedLogs() as logged:
        echoed(tunnel)
    failures = [event for event in logged if "log_failure" in event]
    assert 1 <= len(failures) <= 6


def test_a_server_whose_code_lacks_the_clients_numbers_answers_without_fec() -> None:
    def onlyTwo(data: int, parity: int) -> Any:
        if (data, parity) != (2, 2):
            raise ValueError("give 2 and 2")
        return ReedSolomon(data, parity)

    def servers(settings: Any) -> Any:
        return having(erasure=onlyTwo)(settings)

    tunnel = Tunnel(layers=layersOf, serverLayers=servers, faults=LOSSY, mode="fast2")
    with capturedLogs() as logged:
        echoed(tunnel)
    said = [event for event in logged if "has no code" in (event["log_format"] or "")]
    assert len(said) == 1
    assert tunnel.counters.FECParityShards == 0
