"""The cases of ``make bench``: what is measured, against what, and what it should reach.

One table, for the program that measures (bench_tunnel.py) and the one that writes the page (report.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.tunnels import GO, OURS, PURE

__all__ = ["CASES", "CIPHERS", "COMMON", "Case", "cipherCases"]

COMMON = ("--mode", "fast3", "--mtu", "1400", "--sndwnd", "2048", "--rcvwnd", "2048")
FEC, NO_FEC = ("--datashard", "10", "--parityshard", "3"), ("--datashard", "0", "--parityshard", "0")


@dataclass(frozen=True)
class Case:
    """One row.  ``least`` and ``aim`` are ratios of bytes a second; 0: nobody asks for any."""

    name: str
    title: str
    least: float
    aim: float
    crypt: str = "aes"
    goCrypt: str = ""  # where Go's has to be another
    fec: tuple[str, ...] = FEC
    ends: tuple[str, str] = (OURS, OURS)
    compress: bool = False
    text: bool = False
    streams: int = 1
    duplex: bool = False
    smux: int = 1
    loss: int = 0  # percent of datagrams, each way
    extra: tuple[str, ...] = field(default=())

    def options(self, go: bool) -> list[str]:
        """For both ends, in the spelling that all take."""
        crypt = self.goCrypt if go and self.goCrypt else self.crypt
        words = [*COMMON, "--crypt", crypt, *self.fec, "--smuxver", str(self.smux), *self.extra]
        return words if self.compress else [*words, "--nocomp"]


CASES = (
    Case("aes-fec", "aes, FEC 10/3", 4.0, 6.0),
    Case("aes", "aes, FEC off", 4.0, 6.0, fec=NO_FEC),
    Case("gcm-fec", "aes-128-gcm, FEC 10/3, against Go's aes", 4.0, 6.0, crypt="aes-128-gcm", goCrypt="aes"),
    Case("duplex", "16 streams, both directions, aes, FEC 10/3, smux 2", 3.0, 5.0, streams=16, duplex=True, smux=2),
    Case("text", "compression on, text", 3.0, 5.0, compress=True, text=True),
    Case("to-go", "ours sending to a Go server, aes, FEC 10/3", 1.8, 2.5, ends=(OURS, GO)),
    Case("from-go", "Go client sending to our server, aes, FEC 10/3", 1.0, 1.3, ends=(GO, OURS)),
    Case("pure", "interpreted, FEC off", 1.5, 2.0, fec=NO_FEC, ends=(PURE, PURE)),
    Case("loss", "5 % loss, FEC off", 3.0, 5.0, fec=NO_FEC, loss=5),
    Case("loss-fec", "5 % loss, FEC 10/3", 3.0, 5.0, loss=5),
)

CIPHERS = (
    "aes", "aes-128", "aes-192", "aes-128-gcm", "salsa20", "sm4", "xor", "none", "null", "blowfish", "cast5", "3des",
    "tea", "xtea", "twofish",
)  # fmt: skip
NOT_IN_DEBIANS = {"aes-128-gcm": "aes", "null": "none"}  # it would take aes for both


def cipherCases() -> tuple[Case, ...]:
    """A row for each cipher, FEC off.  Two of them should be as fast as Go's, at least."""
    asked = {"salsa20": 1.0, "sm4": 1.0}
    return tuple(
        Case(f"crypt-{name}", f"{name}, FEC off", asked.get(name, 0.0), 0.0, name, NOT_IN_DEBIANS.get(name, ""), NO_FEC)
        for name in CIPHERS
    )
