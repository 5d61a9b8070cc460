"""Every cipher, in every direction, with every peer: bulk over a clean path, then a bad link.

``python tests/interop/ciphers.py`` prints a table of what came through, by hash, and how fast; the exit
status is 1 where anything did not.  ``--bytes 20000000`` makes the transfers longer.  It takes some 5
minutes.  test_ciphers_interop.py and test_matrix.py are the same as tests.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from peers import BAD, GO, OURS, Tunnel, Wire
from traffic import TransferFailed

from kcpstack.ciphers import cipherNames

PAIRS = ((OURS, GO), (GO, OURS), (OURS, OURS))
NOT_WITH_GO = ("aes-128-gcm", "null")  # Debian's kcptun takes them as aes
BAD_BYTES = 200_000


def measure(client: str, server: str, crypt: str, count: int) -> str:
    """One pair of processes: what to print of it."""
    bad = {**BAD, "corrupt": 0} if crypt == "null" else BAD  # without a checksum there is no telling
    with tempfile.TemporaryDirectory() as folder:
        tunnel = Tunnel(Path(folder) / "t", client, server, Wire(crypt=crypt))
        tunnel.start()
        try:
            up = count / tunnel.transfer(upload=count, timeout=120).seconds
            down = count / tunnel.transfer(download=count, timeout=120).seconds
            tunnel.link.set(**bad)
            tunnel.transfer(upload=BAD_BYTES, download=BAD_BYTES, timeout=120)
        except TransferFailed as error:
            return f"FAILED: {str(error).splitlines()[0]}"
        finally:
            tunnel.stop()
    return f"{up / 1e6:.1f} up, {down / 1e6:.1f} down; bad link ok"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bytes", type=int, default=4_000_000, help="in each transfer over the clean path")
    count = parser.parse_args().bytes
    print(f"{count:,} bytes up, then down, MB/s; then {BAD_BYTES:,} both ways at once over {BAD} percent\n")
    print("| crypt | " + " | ".join(f"{client} client, {server} server" for client, server in PAIRS) + " |")
    print("| --- |" + " --- |" * len(PAIRS))
    failed = False
    for crypt in cipherNames():
        cells = []
        for client, server in PAIRS:
            absent = GO in (client, server) and crypt in NOT_WITH_GO
            cells.append("it has no such cipher" if absent else measure(client, server, crypt, count))
        failed = failed or any("FAILED" in cell for cell in cells)
        print(f"| {crypt} | " + " | ".join(cells) + " |", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
