"""FaultyLayer: what it does is repeatable, and without faults it is as good as what it wraps."""

from __future__ import annotations

import random
from typing import Any

import pytest
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from kcpstack.builtin import fixed, reedsolomon, slowstart, snappy
from kcpstack.ciphers import builtin
from kcpstack.interfaces import (
    IBatchCipher,
    ICipherFactory,
    ICompressor,
    ICompressorFactory,
    ICongestionControl,
    ICongestionControlFactory,
    IDatagramTransport,
    IErasureCode,
    IErasureCodeFactory,
)
from kcpstack.testing.ciphers import CipherConformance
from kcpstack.testing.compressors import CompressorConformance
from kcpstack.testing.congestion import CongestionConformance
from kcpstack.testing.datagrams import DatagramTransportConformance
from kcpstack.testing.erasure import ErasureCodeConformance
from kcpstack.testing.faulty import FaultyLayer
from kcpstack.testing.network import SimulatedNetwork

NONE: dict[str, float] = {}
DATA = random.Random(1).randbytes(40_000)


# ------------------------------------------------------------------ the layer itself


def test_the_same_seed_spoils_the_same_calls() -> None:
    def spoiled() -> list[str]:
        layer = FaultyLayer(5, {"open.raise": 0.1, "lose": 0.2})
        for _ in range(300):
            for operation in ("open", "send", "encode"):
                layer.spoils(operation)
        return [str(each) for each in layer.trace]

    assert spoiled() == spoiled()
    assert len(spoiled()) > 100


def test_one_fault_does_not_move_another() -> None:
    def lost(faults: dict[str, float]) -> list[int]:
        layer = FaultyLayer(5, faults)
        found = [layer.spoils("send") for _ in range(500)]
        return [each.number for each in found if each is not None and each.fault == "lose"]

    assert lost({"lose": 0.1}) == lost({"lose": 0.1, "repeat": 0.5, "open.raise": 1.0})


def test_a_spoiling_can_be_replayed_in_detail() -> None:
    layer = FaultyLayer(5, {"compress.corrupt": 1.0})
    first = [layer.spoils("compress").spoiled(DATA[:100]) for _ in range(20)]
    again = FaultyLayer(5, {"compress.corrupt": 1.0})
    assert first == [again.spoils("compress").spoiled(DATA[:100]) for _ in range(20)]
    assert all(sum(a != b for a, b in zip(each, DATA)) == 1 for each in first)


def test_faults_are_counted_and_traced() -> None:
    layer = FaultyLayer(5, {"send.lose": 0.5})
    for _ in range(100):
        layer.spoils("send")
    assert layer.calls["send"] == 100
    assert layer.counts == {"send.lose": len(layer.trace)}
    assert "seed 5" in layer.history() and "send #" in layer.history()


@pytest.mark.parametrize("wrong", [{"loose": 0.1}, {"send.refuse": 0.1}, {"lose": 1.5}, {"lose": -1}])
def test_unknown_faults_and_impossible_chances_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        FaultyLayer(1, wrong)


def test_every_seam_has_a_faulty_form() -> None:
    layer = FaultyLayer(1, NONE)
    clock = Clock()
    for interface, provider in (
        (ICipherFactory, builtin.aes),
        (IBatchCipher, builtin.aes.build(bytes(32), bytes)),
        (IErasureCodeFactory, reedsolomon),
        (IErasureCode, reedsolomon.build(3, 2)),
        (ICompressorFactory, snappy),
        (ICompressor, snappy.build()),
        (ICongestionControlFactory, fixed),
        (ICongestionControl, fixed.build(10)),
    ):
        assert verifyObject(interface, layer.wrap(provider))
    assert verifyObject(IDatagramTransport, layer.transport(SimulatedNetwork(clock, 1).transport(), clock))
    with pytest.raises(TypeError):
        layer.wrap(object())


# Without faults it is as good as what it wraps: all suites say so.
GOOD = FaultyLayer(1, NONE)


class TestCipherWithoutFaults(CipherConformance):
    factory = GOOD.wrap(builtin.aes)


class TestErasureCodeWithoutFaults(ErasureCodeConformance):
    factory = GOOD.wrap(reedsolomon)


class TestCompressorWithoutFaults(CompressorConformance):
    factory = GOOD.wrap(snappy)


class TestControlWithoutFaults(CongestionConformance):
    factory = GOOD.wrap(slowstart)


class TestTransportWithoutFaults(DatagramTransportConformance):
    def newServer(self) -> Any:
        self.clock, self.heard = Clock(), GOOD
        self.network = SimulatedNetwork(self.clock, 1, delay=5.0)
        return GOOD.transport(self.network.transport(("10.0.0.1", 29900), counters=self.counters), self.clock)

    def newClient(self, server: Any) -> Any:
        host = server.getHost()
        transport = self.network.transport(peer=(host.host, host.port), counters=self.counters)
        return GOOD.transport(transport, self.clock)

    def passTime(self) -> None:
        self.clock.advance(0.01)
