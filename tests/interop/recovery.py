"""How long a tunnel of real processes takes to carry new connections again, and what becomes of an open one.

``python tests/interop/recovery.py`` plays every disturbance on our pair, on Debian's and on our client with
Debian's server, and prints a table (docs/recovery.rst has one).  It takes some 15 minutes; words behind it
choose rows by their names.
"""

from __future__ import annotations

import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from peers import GO, OURS, Tunnel, Wire

PROBE_PAUSE = 0.25  # seconds between two attempts
PROBE_TIMEOUT = 1.0  # for one small question and answer over a fresh connection
LONGEST = 120.0  # seconds after which we call it hung


class EchoTarget:
    """Answers whatever comes."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.option = f"127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listening.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                while data := connection.recv(4096):
                    connection.sendall(data)
        except OSError:
            pass

    def close(self) -> None:
        self._listening.close()


@dataclass
class Outcome:
    """``recovered``: seconds from the end of the disturbance until a fresh connection worked, None
    for more than LONGEST.  ``stream``: what became of one that was open, by the same clock."""

    recovered: float | None
    stream: str


def works(port: int) -> bool:
    """Whether a fresh connection carries a question and its answer."""
    try:
        with socket.create_connection(("127.0.0.1", port), PROBE_TIMEOUT) as connection:
            connection.settimeout(PROBE_TIMEOUT)
            connection.sendall(b"?")
            return connection.recv(1) == b"?"
    except OSError:
        return False


class OpenStream(threading.Thread):
    """A connection that asks twice a second, and notes what becomes of it."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._connection = socket.create_connection(("127.0.0.1", port), 10)
        self._connection.settimeout(LONGEST)
        self.answered = 0
        self.ended: float | None = None
        self.start()

    def run(self) -> None:
        try:
            while True:
                self._connection.sendall(b"!")
                if not self._connection.recv(1):
                    break
                self.answered += 1
                time.sleep(0.5)
        except OSError:
            pass
        self.ended = time.monotonic()

    def fate(self, since: float, patience: float) -> str:
        """What became of it, after at most ``patience`` seconds."""
        before, end = self.answered, time.monotonic() + patience
        while time.monotonic() < end:
            if self.ended is not None:
                after = self.ended - since
                return f"closed after {after:.0f} s" if after >= 0 else f"closed {-after:.0f} s before"
            if self.answered > before + 1:
                return "went on"
            time.sleep(0.1)
        return f"hung for {time.monotonic() - since:.0f} s"


def measure(tunnel: Tunnel, disturb: Callable[[Tunnel], None], patience: float = LONGEST) -> Outcome:
    """Disturb a tunnel in which a stream is open, and wait for it to work again."""
    end = time.monotonic() + 20
    while not works(tunnel.port):
        assert time.monotonic() < end, "the tunnel did not work to begin with"
    stream = OpenStream(tunnel.port)
    while stream.answered < 2:
        time.sleep(0.05)
    disturb(tunnel)
    since = time.monotonic()
    while not works(tunnel.port):
        if time.monotonic() - since > patience:
            return Outcome(None, stream.fate(since, 1))
        time.sleep(PROBE_PAUSE)
    recovered = time.monotonic() - since
    return Outcome(recovered, stream.fate(since, patience))


def restartServer(tunnel: Tunnel) -> None:
    port = tunnel.server.port("udp")
    tunnel.server.kill()
    tunnel.startServer(port)


def renewServer(tunnel: Tunnel) -> None:
    port = tunnel.server.port("udp")
    tunnel.server.stop()
    tunnel.startServer(port)


def rebind(tunnel: Tunnel) -> None:
    tunnel.link.rebind()


def cut(seconds: float) -> Callable[[Tunnel], None]:
    def disturb(tunnel: Tunnel) -> None:
        tunnel.link.set(loss=100)
        time.sleep(seconds)
        tunnel.link.set(loss=0)

    return disturb


def suspend(seconds: float) -> Callable[[Tunnel], None]:
    def disturb(tunnel: Tunnel) -> None:
        tunnel.client.signal(signal.SIGSTOP)
        time.sleep(seconds)
        tunnel.client.signal(signal.SIGCONT)

    return disturb


DISTURBANCES: dict[str, Callable[[Tunnel], None]] = {
    "server killed and started again": restartServer,
    "server stopped (SIGTERM) and started again": renewServer,
    "source port changed under way": rebind,
    "path cut for 2 s": cut(2),
    "path cut for 10 s": cut(10),
    "path cut for 60 s": cut(60),
    "client suspended for 10 s": suspend(10),
    "client suspended for 60 s": suspend(60),
}


def main() -> None:
    pairs = [(OURS, OURS), (GO, GO), (OURS, GO)]
    print("| disturbance | " + " | ".join(f"{client} client, {server} server" for client, server in pairs) + " |")
    print("| --- |" + " --- |" * len(pairs))
    words = sys.argv[1:]
    for name, disturb in DISTURBANCES.items():
        if words and not any(word in name for word in words):
            continue
        cells = []
        for client, server in pairs:
            target = EchoTarget()
            with tempfile.TemporaryDirectory() as folder:
                tunnel = Tunnel(Path(folder) / "t", client, server, Wire(mode="fast2"), targetOption=target.option)
                tunnel.start()
                try:
                    outcome = measure(tunnel, disturb)
                finally:
                    tunnel.stop()
                    target.close()
            took = "never" if outcome.recovered is None else f"{outcome.recovered:.1f} s"
            cells.append(f"{took}; stream {outcome.stream}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
