"""Tunnels of real, installed processes on layers from outside, chosen by options alone."""

from __future__ import annotations

import errno
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from peers import BAD, OURS, Link, Process, Tunnel, Wire, waitUntil

from kcpstack.testing.datagrams import freePorts

LOCAL = "127.0.0.1"
PORTS = 4
PORT_TRIES = 3  # to start: between a look at ports and a process that has them, another test may take one
IN_USE = os.strerror(errno.EADDRINUSE)


class InstalledTunnel(Tunnel):
    """A tunnel of the processes that ``command``, an installed kcptun, makes."""

    def __init__(self, directory: Path, command: Path, wire: Wire, **settings: Any) -> None:
        super().__init__(directory, OURS, OURS, wire, **settings)
        self.folder = directory
        self.command = command

    def _launch(self, role: str, words: list[str]) -> None:
        alone = ["env", "-u", "PYTHONPATH", "-C", str(self.folder)]  # not this checkout's kcpstack
        command = [*alone, str(self.command), role, *words, *self.wire.options()]
        self.processes[role] = Process(command, self.folder / f"{role}.log")


class HoppingTunnel(InstalledTunnel):
    """One whose server listens on PORTS ports, and whose client calls ``extra`` more, where nobody listens.

    With ``links`` there is a bad link in front of each port, on a range of its own: so the server sees
    another address of the client behind each, as behind a symmetric NAT."""

    def __init__(
        self, directory: Path, command: Path, wire: Wire, extra: int = 0, links: bool = False
    ) -> None:
        super().__init__(directory, command, wire)
        self.ports = range(0)
        self.links: list[Link] = []
        self._extra = extra
        self._linked = links

    def start(self) -> None:
        self.folder.mkdir()
        self.target.start()
        for attempt in range(PORT_TRIES):
            try:
                called = self._listen()
                break
            except AssertionError:
                written = "".join(log.read_text() for log in self.folder.glob("*.log"))
                if attempt == PORT_TRIES - 1 or IN_USE not in written:
                    raise
                self._stopListening()
        self._launch(
            "client", ["--localaddr", f"{LOCAL}:0", "--remoteaddr", f"{LOCAL}:{called[0]}-{called[-1]}"]
        )
        self.port = self.client.port("tcp")

    def _listen(self) -> range:
        """Start all that listens on ports of our choice; return which of them the client calls.  Raises
        AssertionError where one of the processes does not begin: somebody may have been quicker."""
        ports = freePorts(PORTS + self._extra + (PORTS if self._linked else 0))
        self.ports = ports[: PORTS + self._extra]
        listen = f"{LOCAL}:{ports[0]}-{ports[PORTS - 1]}"
        self._launch("server", ["--listen", listen, "--target", f"{LOCAL}:{self.target.port}"])
        self.server.port("udp")
        if not self._linked:
            return self.ports
        for port, called in zip(self.ports, ports[-PORTS:]):
            self.links.append(Link(port, self.folder / f"link{port}.log", self.seed, called))
        return ports[-PORTS:]

    def _stopListening(self) -> None:
        for link in self.links:
            link.stop()
        self.links.clear()
        self.processes.pop("server").stop()

    def transferFor(self, seconds: float) -> None:
        """Transfer again and again for so long: a turn on a port is 0.3 s."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.transfer(upload=100_000, download=100_000, streams=2)

    def stop(self) -> list[str]:
        for link in self.links:
            link.stop()
        return super().stop()


@pytest.fixture
def begun(exampleCommand: Path, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """``begun(kind, wire, ...)``: a started tunnel of that class, ended after the test; it fails where one of
    the processes logged a traceback or ended by itself."""
    made: list[Tunnel] = []

    def begin(kind: Any, wire: Wire, **settings: Any) -> Any:
        made.append(kind(tmp_path / f"tunnel{len(made)}", exampleCommand, wire, **settings))
        made[-1].start()
        return made[-1]

    yield begin
    complaints = []
    for each in made:
        each.printLogs()
        complaints += each.stop()
    assert not complaints, "\n".join(complaints)


@pytest.mark.option("crypt", "erasure", "compressor", "congestion")
@pytest.mark.parametrize(
    "wire",
    [
        Wire(crypt="chacha20-poly1305"),
        Wire(fec=(5, 3), extra=("--erasure", "reedsolo")),
        Wire(extra=("--compressor", "zlib")),
        Wire(mode="normal", extra=("--congestion", "halving")),
        Wire(
            crypt="chacha20-poly1305",
            fec=(10, 5),
            smux=2,
            extra=("--erasure", "reedsolo", "--compressor", "zlib", "--congestion", "halving"),
        ),
    ],
    ids=["cipher", "erasure", "compressor", "congestion", "all"],
)
def test_a_tunnel_over_a_bad_path_carries_every_byte(begun: Callable[..., Any], wire: Wire) -> None:
    it = begun(InstalledTunnel, wire)
    it.link.set(**BAD)
    it.transfer(upload=150_000, download=150_000, streams=3)


@pytest.mark.option("transport")
def test_a_session_that_hops_does_not_move(begun: Callable[..., Any]) -> None:
    it = begun(HoppingTunnel, Wire(extra=("--transport", "hop")))
    it.transferFor(2.0)
    assert f"Listening on UDP {LOCAL}:{it.ports[0]}-{it.ports[-1]}," in it.server.written()
    assert "has moved" not in it.server.written()
    assert it.client.written().count("the server answered") == 1


@pytest.mark.option("transport")
def test_ports_that_nobody_answers_cost_no_byte(begun: Callable[..., Any]) -> None:
    it = begun(HoppingTunnel, Wire(extra=("--transport", "hop")), extra=3)
    it.transferFor(3.0)


@pytest.mark.option("transport")
def test_a_session_hops_over_several_bad_paths_and_nats(begun: Callable[..., Any]) -> None:
    it = begun(HoppingTunnel, Wire(extra=("--transport", "hop")), links=True)
    for link in it.links:
        link.set(**BAD)

    def hopped() -> bool:
        it.transfer(upload=100_000, download=100_000, streams=2)
        return sum(link.tally()["forward"]["carried"] > 0 for link in it.links) > 1

    waitUntil(hopped, 60)


@pytest.mark.option("target", "transport")
def test_the_server_itself_echoes_and_half_closes(begun: Callable[..., Any]) -> None:
    it = begun(InstalledTunnel, Wire(extra=("--transport", "hop")), targetOption="@echo")
    sent = random.Random(1).randbytes(300_000)
    with socket.create_connection((LOCAL, it.port), timeout=60) as connection:
        sender = threading.Thread(
            target=lambda: (connection.sendall(sent), connection.shutdown(socket.SHUT_WR))
        )
        sender.start()
        received = b""
        while data := connection.recv(65_536):
            received += data
        sender.join()
    assert received == sent
