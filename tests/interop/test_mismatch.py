"""Ends that were given different options, where one of them is our server, which adapts.

FEC parameters, compression and smux version are taken from what the client's first datagrams show, and
answers go out in the client's own FEC parameters, since old Go peers cannot bear others.
"""

from __future__ import annotations

import socket
import time

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


@pytest.mark.parametrize("client,server", [(GO, OURS), (OURS, GO)])
def test_other_modes_windows_and_mtu_at_each_end_do_no_harm(tunnel, client, server):
    slow = Wire(mode="normal", mtu=1200, extra=("--sndwnd", "64", "--rcvwnd", "64"))
    fast = Wire(mode="fast3", mtu=1450, extra=("--sndwnd", "1024", "--rcvwnd", "1024"))
    it = tunnel(client, server, slow, fast)
    it.link.set(**BAD)
    it.transfer(upload=131_072, download=131_072, streams=4)


@pytest.mark.parametrize("wire", [Wire(smux=2), Wire(compression=False)], ids=["smuxver", "nocomp"])
def test_a_go_server_with_another_smux_version_or_compression_is_named_as_the_likely_cause(tunnel, wire):
    it = tunnel(OURS, GO, wire, Wire(smux=1, compression=True))
    end = time.monotonic() + 20
    with socket.create_connection(("127.0.0.1", it.port)) as connection:
        connection.sendall(b"anybody there?")
        while "are --smuxver and --nocomp the same there?" not in it.client.written():
            assert time.monotonic() < end
            time.sleep(0.2)
