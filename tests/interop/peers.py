"""Real kcptun processes, Go's and ours, joined to tunnels with a bad link in them.

::

    def test_something(tunnel):                        # the fixture in conftest.py
        it = tunnel(OURS, GO, Wire(crypt="xor", fec=(5, 2)))
        it.transfer(upload=1_000_000, streams=4)       # raises unless every byte arrived
        it.link.set(**BAD)
        it.transfer(download=100_000)

    this test -> client -> [bad link] -> server -> target (a thread of this test)

Every process listens on an ephemeral port of loopback, which is read from /proc once it is open, so
tests may run side by side.  Processes end with the tunnel; should the test die, the kernel ends them.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from traffic import Target, Transfer, TransferFailed, transfer

__all__ = ["BAD", "GO", "OURS", "Link", "Process", "Tunnel", "Wire", "waitUntil"]

CHECKOUT = Path(__file__).resolve().parents[2]
GO, OURS = "go", "ours"
BAD = {"loss": 5, "reorder": 5, "duplicate": 2, "corrupt": 1}  # percent
START_SECONDS = 30  # until a process must listen; a slow machine may be starting several at once
ASK_AGAIN_SECONDS = 0.3  # each time that one of ours is asked again, it waits for less (docs/closing.rst)
STOP_SECONDS = 10  # until a process that was asked to end is killed


@dataclass(frozen=True)
class Wire:
    """The options that both ends must agree on, and some that they need not."""

    crypt: str = "aes"
    fec: tuple[int, int] = (10, 3)
    compression: bool = True
    smux: int = 1
    mode: str = "fast"
    mtu: int = 1350
    key: str = "it's a secrect"
    extra: tuple[str, ...] = ()  # more options, as they are

    def options(self) -> list[str]:
        """In the spelling that Go's processes and ours both take."""
        words = ["--crypt", self.crypt, "--datashard", str(self.fec[0]), "--parityshard", str(self.fec[1])]
        words += ["--smuxver", str(self.smux), "--mode", self.mode, "--mtu", str(self.mtu), "--key", self.key]
        return words + ([] if self.compression else ["--nocomp"]) + list(self.extra)


class Process:
    """A child in a process group of its own, writing to ``log`` (a Path)."""

    def __init__(self, command: list[str], log: Path, **settings: Any) -> None:
        self.command = command
        self.log = log
        with open(log, "wb") as output:
            self._popen = subprocess.Popen(
                [*_diesWithUs(), *command],
                stderr=output,
                cwd=CHECKOUT,
                env={**os.environ, "PYTHONPATH": _path(), "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
                **{"stdin": subprocess.DEVNULL, "stdout": output, **settings},
            )
        self.pid = self._popen.pid
        self.input, self.output = self._popen.stdin, self._popen.stdout
        atexit.register(self.kill)

    def port(self, kind: str) -> int:
        """The port on which it listens; ``kind`` is "tcp" or "udp".  Waits until there is one."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            ports = _listening(self.pid, kind)
            if ports:
                return ports[0]
            if self.status is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"does not listen ({kind}, exit status {self.status}): {self}")

    @property
    def status(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._popen.poll()

    def wait(self, seconds: float) -> int:
        """The exit status, once it has ended.  Raises subprocess.TimeoutExpired."""
        return self._popen.wait(seconds)

    def signal(self, number: int) -> None:
        self._popen.send_signal(number)

    def stop(self) -> None:
        """Ask it to end, then to wait for no stream, then for no farewell; and see to it."""
        for patience in (ASK_AGAIN_SECONDS, ASK_AGAIN_SECONDS, STOP_SECONDS):
            if self.status is None:
                self.signal(signal.SIGTERM)
                try:
                    self.wait(patience)
                except subprocess.TimeoutExpired:
                    pass
        self.kill()

    def kill(self) -> None:
        """End it and whatever it started, at once."""
        atexit.unregister(self.kill)
        if self.status is None:
            os.killpg(self.pid, signal.SIGKILL)
            self._popen.wait()
        for stream in (self.input, self.output):
            if stream is not None:
                stream.close()

    def written(self) -> str:
        """What it wrote so far."""
        return self.log.read_text(errors="replace")

    def __str__(self) -> str:
        return f"$ {' '.join(self.command)}\n{self.written()[-LOG_SHOWN:]}"


class Link(Process):
    """The bad link to a UDP port on loopback, as a process (see kcpstack.testing.badlink), at ``listen`` or any
    port."""

    def __init__(self, port: int, log: Path, seed: int, listen: int = 0) -> None:
        command = [sys.executable, "-m", "kcpstack.testing.badlink", "--to", f"127.0.0.1:{port}"]
        command += ["--listen", f"127.0.0.1:{listen}", "--seed", str(seed), "--control"]
        super().__init__(command, log, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        first = self.output.readline()
        assert first.strip().isdigit(), f"the bad link did not start: {self}"
        self.listeningPort = int(first)

    def set(self, **faults: float) -> None:
        """Change faults: ``set(loss=5, delay_back=20)``, in percent and milliseconds."""
        self._tell(" ".join(f"{name.replace('_', '-')}={value}" for name, value in faults.items()))

    def rebind(self) -> None:
        """Go on from another source port."""
        self._tell("rebind")

    def tally(self) -> dict[str, Any]:
        """What it did so far."""
        return self._tell("tally")

    def _tell(self, line: str) -> dict[str, Any]:
        self.input.write(line.encode() + b"\n")
        self.input.flush()
        answer: dict[str, Any] = json.loads(self.output.readline())
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer


class Tunnel:
    """A target, a server, a bad link (at first a good one) and a client, as real processes.

    ``client`` and ``server`` are GO or OURS; ``serverWire`` is for servers whose options are not
    the client's.  ``targetOption`` replaces our own target by what ``--target`` says."""

    def __init__(
        self,
        directory: Path,
        client: str,
        server: str,
        wire: Wire = Wire(),
        serverWire: Wire | None = None,
        seed: int = 1,
        targetOption: str | None = None,
    ) -> None:
        self.wire = wire
        self.seed = seed
        self.target = Target()
        self._directory = directory
        self._kinds = {"client": client, "server": server}
        self._wires = {"client": wire, "server": serverWire or wire}
        self._targetOption = targetOption
        self.processes: dict[str, Process] = {}

    @property
    def client(self) -> Process:
        return self.processes["client"]

    @property
    def server(self) -> Process:
        return self.processes["server"]

    @property
    def link(self) -> Link:
        link = self.processes["link"]
        assert isinstance(link, Link)
        return link

    def start(self) -> None:
        """Start everything; returns when the client listens."""
        self._directory.mkdir()
        self.target.start()
        self.startServer()
        self.processes["link"] = Link(self.server.port("udp"), self._directory / "link.log", self.seed)
        self.startClient()

    def startServer(self, port: int = 0) -> None:
        """Start the server; again, on the same port, to see what a client makes of a restart."""
        target = self._targetOption or f"127.0.0.1:{self.target.port}"
        self._launch("server", ["--listen", f"127.0.0.1:{port}", "--target", target])
        self.server.port("udp")

    def startClient(self) -> None:
        remote = f"127.0.0.1:{self.link.listeningPort}"
        self._launch("client", ["--localaddr", "127.0.0.1:0", "--remoteaddr", remote])
        self.port = self.client.port("tcp")

    def _launch(self, role: str, words: list[str]) -> None:
        program = _goProgram(role) if self._kinds[role] == GO else _ourProgram(role)
        command = [*program, *words, *self._wires[role].options()]
        self.processes[role] = Process(command, self._directory / f"{role}.log")

    def transfer(self, upload: int = 0, download: int = 0, streams: int = 1, timeout: float = 60) -> Transfer:
        """See traffic.transfer.  Also fails where the target saw something odd."""
        result = transfer(self.port, upload, download, streams, self.seed, timeout)
        if self.target.complaints:
            raise TransferFailed("; ".join(self.target.complaints))
        return result

    def stop(self) -> list[str]:
        """End everything.  Returns complaints about our own processes: a traceback in the log, or
        an end that nobody asked for."""
        complaints = []
        for role in ("client", "link", "server"):
            process = self.processes.get(role)
            if process is None:
                continue
            early = process.status
            process.stop()
            if self._kinds.get(role) == GO:
                continue
            if early is not None:
                complaints.append(f"the {role} ended by itself with status {early}")
            if "Traceback" in process.written():
                complaints.append(f"the {role} logged a traceback")
        self.target.stop()
        return complaints

    def printLogs(self) -> None:
        """For a test that failed: what all of them wrote, and what the link did."""
        for role, process in self.processes.items():
            print(f"---- {role}, {process}")
        if "link" in self.processes and self.link.status is None:
            print(f"---- link, seed {self.seed}: {self.link.tally()}")


def waitUntil(condition: Callable[[], Any], seconds: float) -> None:
    """Raises AssertionError where ``condition()`` is not true within that time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def _path() -> str:
    """This checkout, and whatever the test has put on the path besides."""
    return os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))


def _goProgram(role: str) -> list[str]:
    program = shutil.which(f"kcptun-{role}")
    assert program, f"kcptun-{role} is not installed: apt install kcptun (make test does it where it may)"
    return [program]


def _ourProgram(role: str) -> list[str]:
    twistd = Path(sys.executable).with_name("twistd")
    return [sys.executable, str(twistd), "-n", "--pidfile=", "kcptun", role]


def _diesWithUs() -> list[str]:
    """A prefix that makes the kernel end the child when this process is gone."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


def _listening(pid: int, kind: str) -> list[int]:
    """The ports on which a process listens, from /proc (see proc(5))."""
    inodes = set()
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            name = os.readlink(entry.path)
            if name.startswith("socket:["):
                inodes.add(name[len("socket:[") : -1])
    except OSError:  # it has just ended, or closed the file we looked at
        pass
    state = {"tcp": "0A", "udp": "07"}[kind]  # listening; not connected
    ports = []
    for table in (f"/proc/net/{kind}", f"/proc/net/{kind}6"):
        if not os.path.exists(table):
            continue
        with open(table) as lines:
            next(lines)
            for line in lines:
                fields = line.split()
                if fields[3] == state and fields[9] in inodes:
                    ports.append(int(fields[1].rpartition(":")[2], 16))
    return ports


LOG_SHOWN = 8_000  # characters from the end of a log
