"""Real programs over kcp: endpoints: a web server and its client, SSH, one's own protocol, and Go's kcptun at the other end.

They are those of examples/, where docs/your-protocol-over-kcp.rst has its code from, each in a process of its own."""

from __future__ import annotations

import hashlib
import random
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from peers import CHECKOUT, Process, _goProgram, waitUntil

TWISTD = [sys.executable, str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile="]
EXAMPLES = CHECKOUT / "examples"
STOPPED = -signal.SIGTERM  # twistd ends as the signal would have ended it, once all is closed
SECONDS = 60  # until a program that ends by itself must have
STOP_SECONDS = 5  # until one that was asked to has

# Says when there is a connection.
LISTENER = """
import sys
from twisted.internet import defer, endpoints, protocol, task

class Telling(protocol.Protocol):
    def connectionMade(self):
        print("a connection", flush=True)

async def main(reactor, where):
    await endpoints.serverFromString(reactor, where).listen(protocol.Factory.forProtocol(Telling))
    await defer.Deferred()

task.react(lambda *arguments: defer.ensureDeferred(main(*arguments)), sys.argv[1:])
"""

# Asks one thing, and says when the answer begins and why it ends.
CALLER = """
import sys
from twisted.internet import defer, endpoints, protocol, task

class Asking(protocol.Protocol):
    def __init__(self, question):
        self.question = question
        self.received = 0
        self.ended = defer.Deferred()

    def connectionMade(self):
        self.transport.write(self.question)

    def dataReceived(self, data):
        if not self.received:
            print("the answer begins", flush=True)
        self.received += len(data)

    def connectionLost(self, reason):
        print("ended:", reason.type.__name__, flush=True)
        self.ended.callback(None)

async def main(reactor, where, question):
    protocol = Asking(question.encode())
    await endpoints.connectProtocol(endpoints.clientFromString(reactor, where), protocol)
    await protocol.ended

task.react(lambda *arguments: defer.ensureDeferred(main(*arguments)), sys.argv[1:])
"""


class Programs:
    """Starts programs, each with a log of its own in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.started: list[Process] = []

    def start(self, *command: str, **settings) -> Process:
        self.started.append(Process(list(command), self.directory / f"{len(self.started)}.log", **settings))
        return self.started[-1]

    def example(self, name: str, *arguments: str, **settings) -> Process:
        return self.start(sys.executable, str(EXAMPLES / name), *arguments, **settings)

    def code(self, program: str, *arguments: str) -> Process:
        return self.start(sys.executable, "-c", program, *arguments)

    def end(self, process: Process) -> None:
        """Ask once: a reactor that is asked again while it stops logs a traceback.  Then see to it."""
        if process.status is None:
            process.signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
        process.stop()

    def finish(self, name: str, *arguments: str, **settings) -> list[str]:
        """The lines that an example writes until it has ended by itself."""
        process = self.example(name, *arguments, **settings)
        assert process.wait(SECONDS) == 0, str(process)
        return [line for line in process.written().splitlines() if "readBody" not in line]


@pytest.fixture
def programs(tmp_path):
    """What the test starts is ended, and must not have logged a traceback."""
    them = Programs(tmp_path)
    yield them
    for process in them.started:
        them.end(process)
        print(process)  # pytest shows this only where the test failed
    assert not [process for process in them.started if "Traceback" in process.written()]


def test_ones_own_protocol_by_endpoint_strings_alone(programs):
    server = programs.example("endpoint_server.py", "kcp:0:key=ours:crypt=aes-128-gcm:interface=127.0.0.1")
    where = f"kcp:127.0.0.1:{server.port('udp')}:key=ours:crypt=aes-128-gcm"
    assert programs.finish("endpoint_client.py", where, "hello", "you") == [
        f"connected to 127.0.0.1:{server.port('udp')}",
        "HELLO",
        "YOU",
        "ended: a clean end",
    ]


def test_nobody_there_is_said_in_a_line(programs):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    client = programs.example("endpoint_client.py", f"kcp:127.0.0.1:{port}:key=ours", "hello")
    assert client.wait(SECONDS) == 1
    assert f"no server listens at 127.0.0.1:{port}" in client.written()


def test_a_client_hears_that_its_server_was_shut_down(programs):
    server = programs.code(LISTENER, "kcp:0:key=ours:interface=127.0.0.1")
    where = f"kcp:127.0.0.1:{server.port('udp')}:key=ours"
    client = programs.example("endpoint_client.py", where)  # says nothing, so the connection stays
    waitUntil(lambda: "a connection" in server.written() and "connected to" in client.written(), SECONDS)
    server.signal(signal.SIGTERM)
    assert client.wait(10) == 0
    assert client.written().endswith("ended: the other end was shut down\n")


@contextmanager
def served(programs, tmp_path, keywords: str = "", **files: int):
    """A directory with files of random bytes behind ``twistd web``; gives the port and the lines to expect."""
    site = tmp_path / "site"
    site.mkdir()
    expected = []
    for seed, (name, size) in enumerate(files.items()):
        body = random.Random(seed).randbytes(size)
        (site / name).write_bytes(body)
        expected.append(f"200 {size} {hashlib.sha256(body).hexdigest()} {name}")
    listen = f"kcp:0:key=ours:interface=127.0.0.1{keywords}"
    web = programs.start(*TWISTD, "web", "--listen", listen, "--path", str(site))
    yield web, expected


@pytest.mark.parametrize("mux", ["yes", "no"])
def test_twistd_web_serves_a_directory_to_an_agent_and_stops_when_asked(programs, tmp_path, mux):
    with served(programs, tmp_path, big=20_000_000, small=100, other=300_000, empty=0) as (web, expected):
        where = f"kcp:127.0.0.1:{web.port('udp')}:key=ours:mux={mux}"
        names = [line.split()[-1] for line in expected]
        assert programs.finish("web_client.py", where, *names, *names) == expected * 2
        web.signal(signal.SIGTERM)
        assert web.wait(5) == STOPPED


def test_twistd_web_stops_quickly_in_the_middle_of_a_download(programs, tmp_path):
    with served(programs, tmp_path, ":ratelimit=500000", big=20_000_000) as (web, _):
        where = f"kcp:127.0.0.1:{web.port('udp')}:key=ours"
        client = programs.code(CALLER, where, "GET /big HTTP/1.0\r\n\r\n")
        waitUntil(lambda: "the answer begins" in client.written(), SECONDS)  # it takes 40 s
        web.signal(signal.SIGTERM)
        assert web.wait(5) == STOPPED
        assert client.wait(10) == 0
        assert client.written().endswith("ended: PeerClosedDown\n")


def test_ssh_over_kcp(programs, tmp_path):
    server = programs.example("ssh_server.py", "kcp:0:key=ours:interface=127.0.0.1", "alice", "wonderland")
    where = f"kcp:127.0.0.1:{server.port('udp')}:key=ours"
    waitUntil(lambda: server.written().endswith("\n"), SECONDS)
    login = (where, server.written().split()[-1], "alice", "wonderland")
    lines = programs.finish("ssh_client.py", *login, "count", "50000")
    assert lines == [str(number) for number in range(50_000)]
    body = random.Random(1).randbytes(3_000_000)
    (tmp_path / "body").write_bytes(body)
    with open(tmp_path / "body", "rb") as stdin:
        lines = programs.finish("ssh_client.py", *login, "digest", str(len(body)), stdin=stdin)
    assert lines == [hashlib.sha256(body).hexdigest()]


# ------------------------------------------------------------------ Go's kcptun at the other end

GO_OPTIONS = ["--key", "ours", "--crypt", "aes-128", "--mode", "fast2", "--datashard", "5", "--parityshard", "2"]
OUR_OPTIONS = "key=ours:crypt=aes-128:mode=fast2:datashard=5:parityshard=2:smuxver=1"


def test_a_server_of_ours_serves_gos_client(programs):
    server = programs.example("endpoint_server.py", f"kcp:0:{OUR_OPTIONS}:interface=127.0.0.1")
    remote = f"127.0.0.1:{server.port('udp')}"
    client = programs.start(*_goProgram("client"), "--localaddr", "127.0.0.1:0", "--remoteaddr", remote, *GO_OPTIONS)
    port = client.port("tcp")
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
            for word in (b"hello\r\n", b"w" * 10_000 + b"\r\n"):
                connection.sendall(word)
                received = b""
                while len(received) < len(word):
                    received += connection.recv(65536)
                assert received == word.upper()


@pytest.mark.parametrize("mux", ["yes", "no"])
def test_a_client_of_ours_connects_through_gos_server(programs, mux):
    target = programs.example("endpoint_server.py", "tcp:0:interface=127.0.0.1")
    server = programs.start(
        *_goProgram("server"), "--listen", "127.0.0.1:0", "--target", f"127.0.0.1:{target.port('tcp')}", *GO_OPTIONS
    )
    where = f"kcp:127.0.0.1:{server.port('udp')}:{OUR_OPTIONS}:mux={mux}"
    words = [str(number) * 100 for number in range(20)]
    lines = programs.finish("endpoint_client.py", where, *words)
    assert lines[1:] == [*words, "ended: a clean end"]


def test_a_web_server_behind_an_endpoint_is_reached_through_gos_client(programs, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    body = random.Random(1).randbytes(3_000_000)
    (site / "big").write_bytes(body)
    listen = f"kcp:0:{OUR_OPTIONS}:interface=127.0.0.1"
    web = programs.start(*TWISTD, "web", "--listen", listen, "--path", str(site))
    remote = f"127.0.0.1:{web.port('udp')}"
    client = programs.start(*_goProgram("client"), "--localaddr", "127.0.0.1:0", "--remoteaddr", remote, *GO_OPTIONS)
    lines = programs.finish("web_client.py", f"tcp:127.0.0.1:{client.port('tcp')}", "big", "big")
    assert lines == [f"200 {len(body)} {hashlib.sha256(body).hexdigest()} big"] * 2
