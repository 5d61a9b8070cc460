"""Every combination of what both ends must agree on, with Go at one end and us at the other.

Each case is one pair of processes.  It moves bytes over a clean path and then over a bad one,
and every byte is accounted for by hash.  All combinations of cipher, FEC, compression and smux version meet
both directions (our client, our server); mode, mtu, number of streams and shape of the traffic are dealt
out over them, shuffled once and for all, so that each value meets each direction too.

Both ends have the same FEC parameters here, since Debian's receiver corrupts streams under loss
where they differ; what our server makes of other parameters is in test_mismatch.py.  Through null
nothing is corrupted: without a checksum there is no telling.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from itertools import product

import pytest
from peers import BAD, GO, OURS, Wire

CRYPTS = ("aes", "aes-128", "aes-192", "xor", "none")
FECS = ((10, 3), (5, 2), (0, 0))
COMPRESSION = (True, False)
SMUX = (1, 2)
MODES = ("normal", "fast", "fast2", "fast3", "default", "manual")
MTUS = (1200, 1250, 1300, 1350, 1400, 1450, 1500)
STREAMS = (1, 64)
SHAPES = ((1, 0), (0, 1), (1, 1))  # upload, download, both

CLEAN_BYTES = 256 * 1024  # in each direction of the shape, in all streams together
BAD_BYTES = 192 * 1024


@dataclass(frozen=True)
class Case:
    """One pair of processes."""

    client: str
    server: str
    wire: Wire
    streams: int
    shape: tuple[int, int]

    def __str__(self) -> str:
        wire, shape = self.wire, {(1, 0): "up", (0, 1): "down", (1, 1): "both"}[self.shape]
        comp = "comp" if wire.compression else "nocomp"
        fec = "fec{}-{}".format(*wire.fec)
        return (f"{self.client}-{self.server}-{wire.crypt}-{fec}-{comp}-smux{wire.smux}"
                f"-{wire.mode}-{wire.mtu}-{self.streams}-{shape}")

    def amounts(self, total: int) -> dict[str, int]:
        upload, download = (wanted * total // self.streams for wanted in self.shape)
        return {"upload": upload, "download": download, "streams": self.streams}


def casesFor(client: str, server: str, crypts: tuple[str, ...]) -> list[Case]:
    """All combinations between two kinds of peers, with the rest dealt out over them."""
    wires = [Wire(*values) for values in product(crypts, FECS, COMPRESSION, SMUX)]
    rest = {}
    for name, values in (("mode", MODES), ("mtu", MTUS), ("streams", STREAMS), ("shape", SHAPES)):
        dealt = [values[n % len(values)] for n in range(len(wires))]
        random.Random(f"{client}-{server}-{name}").shuffle(dealt)
        rest[name] = dealt
    return [
        Case(client, server, replace(wire, mode=mode, mtu=mtu), streams, shape)
        for wire, mode, mtu, streams, shape in zip(
            wires, rest["mode"], rest["mtu"], rest["streams"], rest["shape"]
        )
    ]


CASES = casesFor(OURS, GO, CRYPTS) + casesFor(GO, OURS, CRYPTS) + casesFor(OURS, OURS, ("null", *CRYPTS))


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.option("crypt", "datashard", "parityshard", "nocomp", "smuxver", "mode", "mtu")
def test_nothing_is_lost_doubled_or_changed(tunnel, case):
    it = tunnel(case.client, case.server, case.wire, seed=CASES.index(case))
    it.transfer(**case.amounts(CLEAN_BYTES))
    it.link.set(**{**BAD, "corrupt": 0} if case.wire.crypt == "null" else BAD)
    it.transfer(**case.amounts(BAD_BYTES))
    tally = it.link.tally()
    assert any(tally[way][harm] for way in ("forward", "back") for harm in ("lost", "reordered", "duplicated"))


@pytest.mark.parametrize("client,server", [(OURS, GO), (GO, OURS), (OURS, OURS)])
def test_every_value_meets_every_direction(client, server):
    cases = [case for case in CASES if (case.client, case.server) == (client, server)]
    assert {case.wire.mode for case in cases} == set(MODES)
    assert {case.wire.mtu for case in cases} == set(MTUS)
    assert {(case.wire.smux, case.streams) for case in cases} == set(product(SMUX, STREAMS))
    assert {(case.wire.fec, case.shape) for case in cases} == set(product(FECS, SHAPES))
