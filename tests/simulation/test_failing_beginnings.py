"""Sessions whose layers fail as they begin: nothing is left of them, and the next is as good as ever."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tunnel import Tunnel
from twisted.internet.protocol import Protocol
from twisted.logger import capturedLogs

from kcpstack.seams import layersOf


class Between(Protocol):
    """Between smux and what is below it."""

    def __init__(self, mux: Any) -> None:
        self.mux = mux

    def makeConnection(self, transport: Any) -> None:
        self.mux.makeConnection(transport)

    def connectionLost(self, reason: Any = None) -> None:
        self.mux.connectionLost(reason)


class Raising(Between):
    def makeConnection(self, transport: Any) -> None:
        raise ZeroDivisionError("before smux has begun")


class RaisingLate(Between):
    def makeConnection(self, transport: Any) -> None:
        super().makeConnection(transport)
        raise ZeroDivisionError("after smux has begun")


class Aborting(Between):
    def makeConnection(self, transport: Any) -> None:
        super().makeConnection(transport)
        transport.abortConnection()


def notBuilt(mux: Any) -> Any:
    raise ZeroDivisionError("for smux")


FAILING = [notBuilt, lambda mux: None, Raising, RaisingLate, Aborting]
NAMES = ["cannot be built", "is none", "raises", "raises late", "aborts"]


class Well:
    """Makes sessions of ``session`` until it is well."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.isWell = False
        self.built = 0

    def layers(self, settings: Any) -> Any:
        return replace(layersOf(settings), session=self.build)

    def build(self, mux: Any) -> Any:
        self.built += 1
        return mux if self.isWell else self.session(mux)


def timers(tunnel: Tunnel) -> list[Any]:
    return [call for call in tunnel.clock.getDelayedCalls() if call.active()]


def echoes(tunnel: Tunnel) -> bool:
    stream = tunnel.open(b"question")
    return tunnel.run(lambda: bytes(stream.received) == b"question")


def close(tunnel: Tunnel) -> None:
    tunnel.client.close()
    tunnel.server.close()
    tunnel.advance(5)
    assert timers(tunnel) == []
    assert tunnel.counters.CurrEstab == tunnel.server.port.around.counters.CurrEstab == 0


@pytest.mark.parametrize("session", FAILING, ids=NAMES)
@pytest.mark.parametrize("nocomp", [False, True])
def test_a_server_refuses_a_session_that_fails_as_it_begins(session: Any, nocomp: bool) -> None:
    well = Well(session)
    tunnel = Tunnel(layers=layersOf, serverLayers=well.layers, nocomp=nocomp)
    stream = tunnel.open(b"question")
    with capturedLogs() as logged:
        tunnel.advance(9)
    assert well.built > 3
    assert tunnel.server.conversations() == []
    assert tunnel.server.port.around.counters.CurrEstab == 0
    said = [event["log_format"] for event in logged if "failed {what}" in event["log_format"]]
    assert 1 <= len(said) < well.built
    well.isWell = True
    assert tunnel.run(lambda: bytes(stream.received) == b"question") or stream.lost
    assert echoes(tunnel)
    close(tunnel)


@pytest.mark.parametrize("session", FAILING, ids=NAMES)
@pytest.mark.parametrize("nocomp", [False, True])
def test_a_client_drops_a_session_that_fails_as_it_begins(session: Any, nocomp: bool) -> None:
    well = Well(session)
    tunnel = Tunnel(layers=well.layers, serverLayers=layersOf, nocomp=nocomp)
    stream = tunnel.open(b"question")
    tunnel.advance(1)
    assert stream.lost is not None
    assert tunnel.client.links == []
    assert tunnel.counters.CurrEstab == 0
    assert timers(tunnel) == []
    well.isWell = True
    assert echoes(tunnel)
    close(tunnel)
