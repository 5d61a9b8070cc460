"""The harness itself, seen to work with Go at both ends: bad links hurt Go's tunnel and do not break it."""

from __future__ import annotations

import pytest
from peers import BAD, GO, Wire


@pytest.mark.parametrize("wire,streams", [(Wire(), 1), (Wire("xor", (5, 2), False, 2, "fast3", 1200), 16)])
def test_go_with_go_through_a_bad_link(tunnel, wire, streams):
    it = tunnel(GO, GO, wire)
    it.transfer(upload=262_144 // streams, download=262_144 // streams, streams=streams)
    clean = it.link.tally()
    assert clean["forward"]["lost"] == clean["back"]["lost"] == 0
    it.link.set(**BAD)
    it.transfer(upload=131_072 // streams, download=131_072 // streams, streams=streams)
    tally = it.link.tally()
    assert tally["forward"]["lost"] and tally["back"]["lost"]
