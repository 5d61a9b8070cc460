"""Ends that were given different options, and work all the same.

Our server takes FEC parameters, compression and smux version from what the client's first datagrams show, and
answers in the client's own FEC parameters, since old Go peers cannot bear others.  Our client sends no FEC to
a Go server with other parameters.  What does not work is in misconfigurations.py.
"""

from __future__ import annotations

import pytest
from peers import BAD, GO, OURS, Wire

SERVER = Wire(fec=(10, 3), compression=True, smux=2)


@pytest.mark.parametrize("client", [GO, OURS])
@pytest.mark.parametrize("fec", [(5, 2), (3, 3), (20, 4), (0, 0)], ids="{0[0]}-{0[1]}".format)
def test_a_client_with_other_fec_parameters_is_answered_in_its_own(tunnel, client, fec):
    it = tunnel(client, OURS, Wire(fec=fec), SERVER)
    it.transfer(upload=262_144, download=262_144)
    it.link.set(**BAD)
    it.transfer(upload=131_072, download=131_072, streams=2)


@pytest.mark.parametrize("client", [GO, OURS])
def test_a_server_without_fec_understands_a_client_with_it(tunnel, client):
    it = tunnel(client, OURS, Wire(fec=(10, 3)), Wire(fec=(0, 0)))
    it.transfer(upload=262_144, download=262_144)
    it.link.set(**BAD)
    it.transfer(upload=131_072, download=131_072, streams=2)


@pytest.mark.parametrize("client", [GO, OURS])
@pytest.mark.parametrize("wire,serverWire", [
    (Wire(compression=False, smux=1), Wire(compression=True, smux=2)),
    (Wire(compression=True, smux=2), Wire(compression=False, smux=1)),
], ids=["nocomp-1-to-comp-2", "comp-2-to-nocomp-1"])
def test_compression_and_smux_version_show_in_the_first_bytes(tunnel, client, wire, serverWire):
    it = tunnel(client, OURS, wire, serverWire)
    it.transfer(upload=262_144, download=262_144, streams=4)


@pytest.mark.parametrize("fec", [(5, 2), (20, 4), (0, 0)], ids="{0[0]}-{0[1]}".format)
@pytest.mark.parametrize("seed", range(3))
def test_a_go_server_with_other_fec_parameters_gets_nothing_that_corrupts_it(tunnel, fec, seed):
    it = tunnel(OURS, GO, Wire(fec=(10, 3), mode="fast2"), Wire(fec=fec, mode="fast2"), seed=seed)
    it.link.set(**BAD)
    for _ in range(3):
        it.transfer(upload=400_000)


@pytest.mark.parametrize("client,server", [(GO, OURS), (OURS, GO)])
def test_other_modes_windows_and_mtu_at_each_end_do_no_harm(tunnel, client, server):
    slow = Wire(mode="normal", mtu=1200, extra=("--sndwnd", "64", "--rcvwnd", "64"))
    fast = Wire(mode="fast3", mtu=1450, extra=("--sndwnd", "1024", "--rcvwnd", "1024"))
    it = tunnel(client, server, slow, fast)
    it.link.set(**BAD)
    it.transfer(upload=131_072, download=131_072, streams=4)
