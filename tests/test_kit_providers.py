"""Our own layers pass the suites that are shipped for others'."""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.internet.task import Clock

from kcpstack.builtin import connect, endpoint, fixed, reedsolomon, slowstart, snappy, udp
from kcpstack.counters import Counters
from kcpstack.kernels.arq import ARQ, Tuning
from kcpstack.testing.arqs import ARQConformance
from kcpstack.testing.compressors import CompressorConformance
from kcpstack.testing.congestion import CongestionConformance
from kcpstack.testing.datagrams import DatagramTransportConformance
from kcpstack.testing.erasure import ErasureCodeConformance
from kcpstack.testing.network import SimulatedNetwork
from kcpstack.testing.targets import RelayTargetConformance


class TestReedSolomonByItsFactory(ErasureCodeConformance):
    factory = reedsolomon


class TestSnappy(CompressorConformance):
    factory = snappy


class TestFixedWindow(CongestionConformance):
    factory = fixed
    reacts = False


class TestSlowStart(CongestionConformance):
    factory = slowstart


class OurARQ(ARQConformance):
    tuning: ClassVar[dict[str, Any]]

    def newARQ(self, mtu: int, sendWindow: int, receiveWindow: int, congestion: Any) -> ARQ:
        tuning = Tuning(sendWindow=sendWindow, receiveWindow=receiveWindow, **self.tuning)
        return ARQ(0xFEDCBA98, mtu, tuning, congestion, Counters())


class TestARQInModeManual(OurARQ):
    tuning: ClassVar[dict[str, Any]] = {}


class TestARQInModeFast3(OurARQ):
    tuning: ClassVar[dict[str, Any]] = {"interval": 10.0, "resend": 2, "minRTO": 30.0, "backoff": 1.5}


class TestARQThatAcknowledgesAtOnce(OurARQ):
    tuning: ClassVar[dict[str, Any]] = {"interval": 40.0, "resend": 2, "ackNoDelay": True}


class TestUDP(DatagramTransportConformance):
    factory = udp


class TestUDPRange(DatagramTransportConformance):
    factory = udp
    portCount = 3


class TestSimulatedTransport(DatagramTransportConformance):
    def newServer(self) -> Any:
        self.clock = Clock()
        self.network = SimulatedNetwork(self.clock, 1, delay=5.0)
        return self.network.transport(("10.0.0.1", 29900), counters=self.counters)

    def newClient(self, server: Any) -> Any:
        return self.network.transport(peer=server.address, counters=self.counters)

    def passTime(self) -> None:
        self.clock.advance(0.01)


class TestConnect(RelayTargetConformance):
    target = connect
    goodArguments = ("127.0.0.1:80", "[::1]:22", "unix:/run/x", "/run/x", "example.org:443")
    badArguments = ("", "nonsense", "127.0.0.1:", "127.0.0.1:99999")


class TestEndpoint(RelayTargetConformance):
    target = endpoint
    goodArguments = ("tcp:example.org:80", "unix:/run/x", "tcp:host=example.org:port=80:timeout=3")
    badArguments = ("", "nonsense", "tcp:", "tcp:example.org", "\\")
