"""Options as real processes take them: from kcptun's file, with signals, over ranges and Unix sockets."""

from __future__ import annotations

import json
import re
import resource
import signal
import socket
from dataclasses import replace

import pytest
from peers import GO, OURS, Tunnel, Wire, waitUntil
from traffic import Target

SECONDS = 20  # for a process to do something that takes one or two
KEY = "a secret of our own"


def freeRange(count: int) -> int:
    """The first of ``count`` UDP ports in a row that nobody has."""
    for first in range(20_000, 32_000, count):
        try:
            for port in range(first, first + count):
                with socket.socket(type=socket.SOCK_DGRAM) as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise AssertionError("no ports are free")


@pytest.mark.option("c", "QPP", "QPPCount", "nocomp", "quiet")
def test_a_pair_set_up_by_kcptuns_files_moves_bytes_through_qpp(tunnel, tmp_path):
    shared = {"key": KEY, "crypt": "aes-128", "qpp": True, "qpp-count": 64, "nocomp": True, "smuxver": 1, "tcp": False}
    file = tmp_path / "shared.json"
    file.write_text(json.dumps({**shared, "quiet": True}))
    it = tunnel(OURS, OURS, Wire(extra=("-c", str(file))))
    it.transfer(upload=300_000, download=300_000, streams=3)
    for process in (it.client, it.server):
        assert f"{file} overrides --key of the command line" in process.written()
        assert "Stream opened" not in process.written()


@pytest.mark.option("QPP")
def test_qpp_on_one_end_only_moves_nothing_right(tunnel):
    it = tunnel(OURS, OURS, Wire(extra=("--QPP",)), Wire())
    with pytest.raises(AssertionError):
        it.transfer(upload=1000, timeout=5)
    it.target.complaints.clear()


@pytest.mark.option("c", "target")
def test_sighup_gives_new_streams_the_new_target(tunnel, tmp_path):
    other = Target()
    other.start()
    file = tmp_path / "server.json"
    file.write_text("{}")
    it = tunnel(OURS, OURS, Wire(), Wire(extra=("-c", str(file))))
    it.transfer(upload=1000)
    assert (it.target.connections, other.connections) == (1, 0)
    file.write_text(json.dumps({"target": f"127.0.0.1:{other.port}"}))
    it.server.signal(signal.SIGHUP)
    waitUntil(lambda: f"--target 127.0.0.1:{other.port} instead of" in it.server.written(), SECONDS)
    it.transfer(upload=1000)
    assert (it.target.connections, other.connections) == (1, 1)
    other.stop()


@pytest.mark.option("c", "crypt", "remoteaddr")
def test_sighup_moves_a_client_to_another_server_while_its_streams_go_on(tunnel, tmp_path):
    file = tmp_path / "client.json"
    file.write_text("{}")
    first = tunnel(OURS, OURS, Wire(extra=("-c", str(file))), Wire())
    second = tunnel(OURS, OURS, Wire(crypt="salsa20"))
    with socket.create_connection(("127.0.0.1", first.port)) as old:
        waitUntil(lambda: first.target.connections == 1, SECONDS)
        remote = f"127.0.0.1:{second.link.listeningPort}"
        file.write_text(json.dumps({"remoteaddr": remote, "crypt": "salsa20"}))
        first.client.signal(signal.SIGHUP)
        waitUntil(lambda: first.client.written().count("the server answered") == 2, SECONDS)
        first.transfer(upload=100_000, download=100_000)
        assert (first.target.connections, second.target.connections) == (1, 1)
        old.settimeout(0.5)
        with pytest.raises(TimeoutError):
            old.recv(1)


@pytest.mark.option("log")
def test_the_log_goes_to_its_file_which_sighup_opens_anew(tunnel, tmp_path):
    path = tmp_path / "client.log"
    it = tunnel(OURS, OURS, Wire(extra=("--log", str(path))), Wire())
    it.transfer(upload=1000)
    assert "Listening on 127.0.0.1:" in path.read_text()
    assert it.client.written() == ""
    path.rename(tmp_path / "client.log.1")
    it.client.signal(signal.SIGHUP)
    waitUntil(path.exists, SECONDS)
    before = path.read_text().count("Stream closed")
    it.transfer(upload=1000)
    waitUntil(lambda: path.read_text().count("Stream closed") == before + 1, SECONDS)


@pytest.mark.option("c", "closewait")
def test_sighup_while_it_closes_cuts_no_stream(tunnel, tmp_path):
    file = tmp_path / "server.json"
    file.write_text("{}")
    it = tunnel(OURS, OURS, Wire(), Wire(extra=("-c", str(file), "--closewait", "60")))
    with socket.create_connection(("127.0.0.1", it.port)) as connection:
        connection.sendall(b"x")
        waitUntil(lambda: "Stream opened" in it.server.written(), SECONDS)
        it.server.signal(signal.SIGTERM)
        waitUntil(lambda: "to end (--closewait)" in it.server.written(), SECONDS)
        it.server.signal(signal.SIGHUP)
        waitUntil(lambda: "SIGHUP: this is closing" in it.server.written(), SECONDS)
        assert it.server.status is None
    assert it.server.wait(SECONDS) == -signal.SIGTERM
    assert "Closed: every stream had ended" in it.server.written()
    del it.processes["server"]


def test_more_connections_than_files_may_be_open_are_refused_in_few_words(tunnel):
    it = tunnel(OURS, OURS)
    limit = 64
    resource.prlimit(it.client.pid, resource.RLIMIT_NOFILE, (limit, limit))
    connections = [socket.create_connection(("127.0.0.1", it.port)) for _ in range(4 * limit)]
    waitUntil(lambda: "could not be accepted" in it.client.written(), SECONDS)
    refused = 0
    for connection in connections[-limit:]:
        connection.settimeout(SECONDS)
        try:
            refused += connection.recv(1) == b""
        except ConnectionResetError:
            refused += 1
    assert refused == limit
    for connection in connections:
        connection.close()
    assert it.client.written().count("could not be accepted") <= 2
    assert "EMFILE" not in it.client.written()
    waitUntil(lambda: it.client.written().count("Stream closed") == it.client.written().count("Stream opened"), SECONDS)
    it.transfer(upload=1000)


def test_sighup_ends_a_process_that_has_nothing_to_read_again(tunnel):
    it = tunnel(OURS, OURS)
    it.client.signal(signal.SIGHUP)
    assert it.client.wait(SECONDS) == -signal.SIGHUP
    del it.processes["client"]


@pytest.mark.option("listen", "remoteaddr")
def test_a_client_finds_its_server_on_any_port_of_a_range(tmp_path):
    count = 4
    first = freeRange(count)
    where = f"127.0.0.1:{first}-{first + count - 1}"
    it = Tunnel(
        tmp_path / "range", OURS, OURS, Wire(extra=("--remoteaddr", where, "--conn", "8")), Wire(extra=("--listen", where))
    )
    it.start()
    try:
        it.transfer(upload=100_000, download=100_000, streams=8)
        assert f"Listening on UDP {where}" in it.server.written()
    finally:
        complaints = it.stop()
    assert not complaints


@pytest.mark.option("listen")
def test_gos_client_reaches_each_port_of_our_range(tunnel):
    first = freeRange(3)
    it = tunnel(OURS, OURS, Wire(), Wire(extra=("--listen", f"127.0.0.1:{first}-{first + 2}")))
    for port in range(first, first + 3):
        other = Tunnel(it._directory / f"go{port}", GO, OURS, Wire(extra=("--remoteaddr", f"127.0.0.1:{port}")))
        other._directory.mkdir()
        other.processes["link"] = it.link  # not used: --remoteaddr is the server's own
        other.target = it.target
        other.startClient()
        try:
            other.transfer(upload=50_000, download=50_000)
        finally:
            other.client.stop()


@pytest.mark.option("localaddr", "target")
def test_both_applications_may_be_at_unix_sockets(tmp_path):
    class AtUnixSocket(Tunnel):
        def startClient(self):
            path = str(tmp_path / "local.sock")
            self._launch("client", ["--localaddr", path, "--remoteaddr", f"127.0.0.1:{self.link.listeningPort}"])
            waitUntil(lambda: "Listening on" in self.client.written(), SECONDS)
            self.port = path

    it = AtUnixSocket(tmp_path / "unix", OURS, OURS)
    it.start()
    try:
        it.transfer(upload=100_000, download=100_000, streams=2)
        it.client.kill()  # leaves its socket behind
        it.startClient()
        it.transfer(upload=1000)
    finally:
        complaints = it.stop()
    assert not complaints
    assert not (tmp_path / "local.sock").exists()


@pytest.mark.option("conn")
@pytest.mark.parametrize("server", [GO, OURS])
def test_several_sessions_share_the_streams(tunnel, server):
    it = tunnel(OURS, server, Wire(extra=("--conn", "3")), Wire())
    it.transfer(upload=100_000, download=100_000, streams=9)
    assert it.client.written().count("the server answered") == 3


@pytest.mark.option("autoexpire", "scavengettl")
def test_an_expired_session_is_replaced_and_keeps_its_streams_for_a_while(tunnel):
    it = tunnel(OURS, GO, Wire(extra=("--autoexpire", "2", "--scavengettl", "3")), Wire())
    with socket.create_connection(("127.0.0.1", it.port)) as connection:
        waitUntil(lambda: it.client.written().count("the server answered") >= 2, SECONDS)
        it.transfer(upload=50_000, download=50_000)
        connection.settimeout(SECONDS)
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    assert "--scavengettl" in it.client.written()


@pytest.mark.option("ratelimit")
@pytest.mark.parametrize("server", [GO, OURS])
def test_a_session_sends_no_faster_than_its_limit(tunnel, server):
    plain = Wire(fec=(0, 0), compression=False)
    it = tunnel(OURS, server, replace(plain, extra=("--ratelimit", "500000")), plain)
    assert it.transfer(upload=1_500_000).seconds >= 2.5


@pytest.mark.option("pprof")
def test_pprof_answers_on_this_machine_only(tunnel):
    it = tunnel(OURS, OURS, Wire(extra=("--pprof",)), Wire())
    with socket.create_connection(("127.0.0.1", 6060), SECONDS) as http:
        http.sendall(b"GET /debug/pprof/ HTTP/1.0\r\n\r\n")
        assert b"profile?seconds=" in http.makefile("rb").read()
    it.port = int(re.search(r"Listening on [^ ]*:(\d+),", it.client.written())[1])  # of the two that it listens on
    it.transfer(upload=1000)
