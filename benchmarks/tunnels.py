"""Tunnels of processes for benchmarks: Go's kcptun, and ours as users start it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

__all__ = ["CHECKOUT", "GO", "OURS", "PURE", "WRONG", "Child", "Tunnel", "WrongData", "freePort"]

CHECKOUT = Path(__file__).resolve().parents[1]
GO, OURS, PURE = "go", "ours", "interpreted"
START = 20.0  # s until a process must listen
TICKS = os.sysconf("SC_CLK_TCK")
WRONG = 3  # exit status of flows.py


class WrongData(Exception):
    """What arrived is not what was sent."""


def freePort(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port of loopback that nobody has, just now."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Child:
    """A process, with its log in a file of its own."""

    def __init__(self, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        self.command = list(command)
        self.log = tempfile.NamedTemporaryFile("w+b", prefix="kcpstack-bench-", suffix=".log")  # noqa: SIM115
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if "flows.py" in " ".join(self.command) else self.log,
            stderr=self.log,
            cwd=CHECKOUT,
            env={**os.environ, **(environment or {})},
        )
        self.pid = self.process.pid

    def cpu(self) -> float:
        """Seconds of processor that it has used, all threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self, field: str = "VmHWM") -> float:
        """Megabytes: the most it has ever had, or ``VmRSS`` for now."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) / 1024
        return 0.0

    def ask(self) -> tuple[int, float]:
        """Bytes received so far, and when: of a process of flows.py.  Raises WrongData where that is why it has died, and
        RuntimeError where it is not."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(b"\n")
            self.process.stdin.flush()
            count, moment = self.process.stdout.readline().split()
        except (OSError, ValueError):
            self.process.wait(1)
            kind = WrongData if self.process.returncode == WRONG else RuntimeError
            raise kind(f"{' '.join(self.command)} died: {self.said()}") from None
        return int(count), float(moment)

    def said(self) -> str:
        """The end of its log."""
        self.log.flush()
        return Path(self.log.name).read_text(errors="replace")[-2000:]

    def check(self) -> None:
        """Raises RuntimeError where it has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(f"{' '.join(self.command)} ended with status {self.process.returncode}: {self.said()}")

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ask it to end; kill it where it does not."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(0.5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


class Tunnel:
    """A client of one kind and a server of one kind, GO, OURS or PURE; it leads from ``port`` to ``target``."""

    def __init__(self, clientKind: str, serverKind: str, target: int, options: Sequence[str], server: Sequence[str] = ()) -> None:
        self.port, udp = freePort(), freePort(socket.SOCK_DGRAM)
        listen = ["--listen", f"127.0.0.1:{udp}", "--target", f"127.0.0.1:{target}", *server]
        call = ["--localaddr", f"127.0.0.1:{self.port}", "--remoteaddr", f"127.0.0.1:{udp}"]
        self.server = _end(serverKind, "server", [*listen, *options])
        self.client = _end(clientKind, "client", [*call, *options])
        self.ends = (self.client, self.server)
        try:
            self._await()
        except BaseException:
            self.stop()
            raise

    def _await(self) -> None:
        deadline = time.monotonic() + START
        while time.monotonic() < deadline:
            for end in self.ends:
                end.check()
            if _listens(self.port):
                time.sleep(0.5)  # the server's socket is open by now, too
                return
            time.sleep(0.05)
        raise RuntimeError(f"nothing listens on {self.port}: {self.client.said()}")

    def stop(self) -> None:
        """End both."""
        for end in self.ends:
            end.stop()


def _end(kind: str, role: str, options: list[str]) -> Child:
    if kind == GO:
        if shutil.which(f"kcptun-{role}") is None:
            sys.exit(f"no kcptun-{role} here: tools/go-peer.sh installs it")
        return Child([f"kcptun-{role}", *options])
    environment = {"KCPSTACK_PURE": "1" if kind == PURE else ""}
    twistd = str(Path(sys.executable).with_name("twistd"))
    return Child([twistd, "--nodaemon", "--pidfile=", "kcptun", role, *options], environment)


def _listens(port: int) -> bool:
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        if any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in lines):
            return True
    return False
