"""Whole tunnels with a layer that misbehaves: nothing escapes, the others go on, and all is closed in the end."""

from __future__ import annotations

import random
from typing import Any

import pytest
from tunnel import Tunnel
from twisted.internet import defer

from kcpstack.client import Client
from kcpstack.options import ClientSettings
from kcpstack.seams import layersOf
from kcpstack.stack import Surroundings
from kcpstack.testing.faulty import FaultyLayer

DATA = random.Random(1).randbytes(40_000)


class BadTunnel(Tunnel):
    """A tunnel with two clients.  The layers of the server or of one client (``end``) are faulty, or all their
    transports are."""

    def __init__(self, faulty: FaultyLayer, end: str, **options: Any) -> None:
        super().__init__(listening=False, mode=options.pop("mode", "fast2"), **options)
        self.faulty = faulty
        self.end = end
        bad, good = (lambda settings: faulty.layers(layersOf(settings))), layersOf
        newTransport = self.network.transport
        if end == "transport":
            self.network.transport = lambda *named: faulty.transport(newTransport(*named), self.clock)
        self.serverLayers = bad if end == "server" else good
        self.startServer()
        self.network.transport = newTransport
        self.badClient, self.goodClient = self.clientOf(1, bad if end == "client" else good), self.clientOf(2, good)

    def clientOf(self, seed: int, layers: Any) -> Client:
        around = Surroundings(self.clock, self.counters, random.Random(f"client {seed}").randbytes, layers)
        settings = ClientSettings(**self.clientOptions, **self.options)
        return Client(settings, around, self.newSocket, lambda host: defer.succeed(host))

    def newSocket(self, peer: Any) -> Any:
        socket = super().newSocket(peer)
        return self.faulty.transport(socket, self.clock) if self.end == "transport" else socket

    def openOn(self, client: Client, asks: bytes) -> Any:
        self.client = client
        return self.open(asks)

    def close(self) -> None:
        """End everything; nothing may be left but what the simulated network itself has under way."""
        for client in (self.badClient, self.goodClient):
            client.close()
        self.server.close()
        self.advance(5)
        assert [call for call in self.clock.getDelayedCalls() if call.active()] == [], self.faulty.history()
        assert self.counters.CurrEstab == 0, self.faulty.history()
        assert self.server.conversations() == []
        assert self.goodClient.links == self.badClient.links == []


def play(tunnel: BadTunnel, seconds: float = 90) -> list[Any]:
    """Streams on the bad client, one after the other, while time passes.  Whatever is raised and not caught
    reaches the clock, and fails the test."""
    streams = []
    for _ in range(6):
        streams.append(tunnel.openOn(tunnel.badClient, DATA[:9000]))
        tunnel.advance(seconds / 6)
    return streams


SEAMS = {
    "a cipher that raises": {"seal.raise": 0.02, "open.raise": 0.05},
    "a cipher that refuses": {"open.refuse": 0.3},
    "a cipher that damages": {"seal.corrupt": 0.2, "open.corrupt": 0.1},
    "a cipher with wrong lengths": {"seal.shorten": 0.1, "seal.lengthen": 0.1, "open.shorten": 0.1, "open.lengthen": 0.1},
    "a cipher that cannot be built": {"buildCipher.raise": 1.0},
    "an erasure code that raises": {"encode.raise": 0.1, "reconstruct.raise": 0.5},
    "an erasure code that refuses": {"reconstruct.refuse": 0.5, "buildCode.refuse": 0.5},
    "an erasure code that damages": {"encode.corrupt": 0.5, "reconstruct.corrupt": 0.5},
    "an erasure code with wrong lengths": {"encode.shorten": 0.2, "reconstruct.lengthen": 0.5, "reconstruct.shorten": 0.5},
    "an erasure code that forgets shards": {"encode.lose": 0.2, "reconstruct.lose": 0.5},
    "an erasure code that cannot be built": {"buildCode.raise": 1.0},
    "a compressor that raises": {"compress.raise": 0.03, "decompress.raise": 0.03},
    "a compressor that refuses": {"decompress.refuse": 0.3},
    "a compressor that damages": {"compress.corrupt": 0.05, "decompress.corrupt": 0.05},
    "a compressor with wrong lengths": {
        "compress.shorten": 0.03, "compress.lengthen": 0.03, "decompress.shorten": 0.03, "decompress.lengthen": 0.03,
    },
    "a compressor that loses": {"compress.lose": 0.05, "decompress.lose": 0.05},
    "a compressor that cannot be built": {"buildCompressor.raise": 1.0},
    "a congestion control that raises": {"event.raise": 0.1, "window.raise": 0.01},
    "a congestion control that is deaf": {"event.lose": 0.5, "event.repeat": 0.5},
    "a congestion control with impossible windows": {"window.shorten": 0.3, "window.lengthen": 0.3},
    "a congestion control that cannot be built": {"buildControl.raise": 1.0},
    "a session that raises": {"dataReceived.raise": 0.1},
    "a session that damages": {"dataReceived.corrupt": 0.05, "write.corrupt": 0.05},
    "a session that loses and repeats": {"dataReceived.lose": 0.05, "write.repeat": 0.05, "write.shorten": 0.05},
    "everything a little": {"raise": 0.003, "corrupt": 0.003, "lose": 0.003, "shorten": 0.003, "lengthen": 0.003},
}  # fmt: skip
TRANSPORTS = {
    "a transport that raises": {"send.raise": 0.05},
    "a transport that loses, delays and repeats": {"lose": 0.1, "delay": 0.1, "repeat": 0.1},
    "a transport that damages": {"send.corrupt": 0.1, "receive.corrupt": 0.1, "receive.shorten": 0.1, "lengthen": 0.05},
}
LOSSY = {"loss": 0.05, "reorder": 0.05}


@pytest.mark.parametrize("faults", SEAMS.values(), ids=SEAMS.keys())
def test_a_bad_client_harms_nobody_else(faults: dict[str, float]) -> None:
    tunnel = BadTunnel(FaultyLayer(7, faults), "client", faults=LOSSY)
    neighbour = tunnel.openOn(tunnel.goodClient, DATA)
    play(tunnel)
    late = tunnel.openOn(tunnel.goodClient, DATA)
    assert tunnel.run(lambda: len(late.received) == len(DATA))
    assert tunnel.faulty.counts
    assert bytes(neighbour.received) == bytes(late.received) == DATA, tunnel.faulty.history()
    assert neighbour.lost is late.lost is None
    tunnel.close()


@pytest.mark.parametrize("faults", SEAMS.values(), ids=SEAMS.keys())
def test_a_bad_server_goes_on_once_its_layers_are_well_again(faults: dict[str, float]) -> None:
    layer = FaultyLayer(7, {name: 0.0 if name == "buildCipher.raise" else chance for name, chance in faults.items()})
    tunnel = BadTunnel(layer, "server", faults=LOSSY)
    play(tunnel)
    layer.setFaults({})
    tunnel.advance(70)
    late = tunnel.openOn(tunnel.goodClient, DATA)
    tunnel.run(lambda: len(late.received) == len(DATA))
    assert bytes(late.received) == DATA, layer.history()
    tunnel.close()


@pytest.mark.parametrize("faults", TRANSPORTS.values(), ids=TRANSPORTS.keys())
def test_a_bad_transport_harms_nothing_but_what_it_carries(faults: dict[str, float]) -> None:
    tunnel = BadTunnel(FaultyLayer(7, faults), "transport")
    play(tunnel)
    tunnel.faulty.setFaults({})
    tunnel.advance(70)
    late = tunnel.openOn(tunnel.goodClient, DATA)
    assert tunnel.run(lambda: len(late.received) == len(DATA)), tunnel.faulty.history()
    tunnel.close()


@pytest.mark.parametrize("end", ["client", "server"])
@pytest.mark.parametrize("seed", range(4))
def test_a_window_that_raises_reaches_nobody_whenever_it_does(seed: int, end: str) -> None:
    tunnel = BadTunnel(FaultyLayer(seed, {"window.raise": 0.05}), end, faults=LOSSY)
    play(tunnel)
    assert tunnel.faulty.counts
    tunnel.faulty.setFaults({})
    tunnel.close()
