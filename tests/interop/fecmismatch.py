"""What Debian's server makes of a client with other FEC parameters, and what our client can do about it.

``python tests/interop/fecmismatch.py`` uploads over a bad link (5 % loss, 5 % reordering, 2 % duplicates, 1 % corrupted)
from clients with FEC 10/3 to Debian's server with other parameters, and prints how many uploads failed
(docs/fec.rst has the table).  It takes some 50 minutes; the name of a way shows that one alone.

Four clients of ours are compared: the real one, which *waits* until it knows the server's parameters; and three
that begin with their own, of which one *goes on* with them, one *follows* the server when it knows, and one *stops*.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from peers import BAD, GO, OURS, Process, Tunnel, Wire
from traffic import TransferFailed

from kcpstack import stack
from kcpstack.__main__ import main as kcptun
from kcpstack.fecchoice import NO_FEC, CallingFEC
from kcpstack.layers.fec import FECEncoder

OWN = (10, 3)
SERVERS = ((10, 3), (5, 2), (20, 4), (0, 0))
UPLOAD = 400_000  # bytes
TUNNELS = 8
UPLOADS = 5  # in each tunnel
TIMEOUT = 20  # seconds for one of them


class OtherClientTunnel(Tunnel):
    """A tunnel whose client chooses its FEC in another way."""

    def __init__(self, way: str, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._way = way

    def startClient(self) -> None:
        words = ["client", "--localaddr", "127.0.0.1:0", "--remoteaddr", f"127.0.0.1:{self.link.listeningPort}"]
        command = [sys.executable, __file__, self._way, *words, *self.wire.options()]
        self.processes["client"] = Process(command, self._directory / "client.log")
        self.port = self.client.port("tcp")


def goesOn(choice: Any, decoder: Any, *_: Any) -> tuple[int, int]:
    return OWN


def follows(choice: Any, decoder: Any, *_: Any) -> tuple[int, int]:
    choice.following = decoder.parameters or getattr(choice, "following", OWN)
    return choice.following


def stops(choice: Any, decoder: Any, *_: Any) -> tuple[int, int]:
    choice.stopped = getattr(choice, "stopped", False) or decoder.parameters not in (None, OWN)
    return NO_FEC if choice.stopped else OWN


WAYS = {"goes on": goesOn, "follows": follows, "stops": stops}


def runClient(way: str, words: list[str]) -> None:
    """Be that client."""
    CallingFEC.choose = WAYS[way]  # type: ignore[method-assign]
    stack.FECEncoder = lambda: FECEncoder(*OWN)  # type: ignore[assignment]
    sys.argv = ["kcptun", *words]
    kcptun()


def tunnelOf(way: str, directory: Path, server: tuple[int, int], seed: int) -> Tunnel:
    settings = {"wire": Wire(fec=OWN, mode="fast2"), "serverWire": Wire(fec=server, mode="fast2"), "seed": seed}
    if way in WAYS:
        return OtherClientTunnel(way, directory, OURS, GO, **settings)
    return Tunnel(directory, GO if way == "Go's" else OURS, GO, **settings)


def failures(way: str, server: tuple[int, int], knowing: bool) -> int:
    """How many uploads fail, of TUNNELS times UPLOADS.  ``knowing``: the link is good for a first
    upload, so that whoever wants to know the server's parameters does."""
    failed = 0
    for seed in range(TUNNELS):
        with tempfile.TemporaryDirectory() as directory:
            tunnel = tunnelOf(way, Path(directory) / "tunnel", server, seed)
            try:
                tunnel.start()
                if knowing:
                    tunnel.transfer(upload=UPLOAD)
                tunnel.link.set(**BAD)
                for number in range(UPLOADS):
                    tunnel.seed = random.Random(f"{seed}/{number}").getrandbits(30)
                    failed += not succeeds(tunnel)
            finally:
                tunnel.stop()
    return failed


def succeeds(tunnel: Tunnel) -> bool:
    try:
        tunnel.transfer(upload=UPLOAD, timeout=TIMEOUT)
    except TransferFailed:
        tunnel.target.complaints.clear()
        return False
    return True


def main() -> None:
    ways = sys.argv[1:] or ("Go's", *WAYS, "waits")
    print(f"Uploads that failed, of {TUNNELS * UPLOADS}; on a bad link from the start / after one upload on a good one\n")
    print("Debian's server ".ljust(16), *(f"{way:16}" for way in ways))
    for server in SERVERS:
        print("FEC {}/{}".format(*server).ljust(16), end=" ", flush=True)
        for way in ways:
            if server == NO_FEC and way in ("follows", "stops"):
                cell = "knows nothing"  # there are no parameters to be seen
            else:
                cell = f"{failures(way, server, False)} / {failures(way, server, True)}"
            print(f"{cell:16}", end=" ", flush=True)
        print(flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[2] == "client":
        runClient(sys.argv[1], sys.argv[2:])
    else:
        main()
