"""Streams through real processes begin and end as TCP connections do."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from concurrent.futures import Future
from contextlib import suppress

import pytest
from misconfigurations import restartClient
from peers import BAD, GO, OURS, Wire
from traffic import blocks

PATIENCE = 30  # seconds; above every bound that is promised
DATA = b"".join(blocks(99, 300_000))


class OneConnection:
    """A target that gives its first connection to ``serve(socket)``, in a thread; what that returns
    is the ``result()``."""

    def __init__(self, serve):
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(PATIENCE)
        self.option = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._outcome = Future()
        threading.Thread(target=self._run, args=(serve,), daemon=True).start()

    def _run(self, serve):
        try:
            with self._listening, self._listening.accept()[0] as connection:
                connection.settimeout(PATIENCE)
                self._outcome.set_result(serve(connection))
        except OSError as error:
            self._outcome.set_exception(error)

    def result(self):
        """Raises what went wrong there, and TimeoutError where it is still waiting."""
        return self._outcome.result(PATIENCE)


def dial(it):
    return socket.create_connection(("127.0.0.1", it.port), PATIENCE)


def readAll(connection):
    """What comes until the end of the stream."""
    pieces = []
    while data := connection.recv(65_536):
        pieces.append(data)
    return b"".join(pieces)


def ended(connection):
    """Wait until the other side has closed, one way or the other."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def closedPort():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


@pytest.mark.parametrize("client", [OURS, GO])
def test_a_target_that_refuses_closes_the_local_connection_and_the_log_says_why(tunnel, client):
    port = closedPort()
    it = tunnel(client, OURS, targetOption=f"127.0.0.1:{port}")
    with suppress(ConnectionError), dial(it) as connection:  # it may be reset before we have said anything
        connection.sendall(b"anybody there?")
        assert ended(connection)
    assert f"127.0.0.1:{port}" in it.server.written() and "refused" in it.server.written()


def leaveAlone(it):
    """A client whose server has never been there: the first one dialled as it started, and may have been answered."""
    it.server.kill()
    restartClient(it)


def test_a_server_that_is_not_there_closes_the_local_connection_and_the_log_says_why(tunnel):
    it = tunnel(OURS, OURS)
    leaveAlone(it)
    del it.processes["server"]
    with dial(it) as connection:
        connection.sendall(b"anybody there?")
        assert ended(connection)
    assert f"127.0.0.1:{it.link.listeningPort}" in it.client.written()
    assert "no answer" in it.client.written()


def test_the_next_connection_finds_a_server_that_came_back(tunnel):
    it = tunnel(OURS, OURS)
    port = it.server.port("udp")
    leaveAlone(it)
    with dial(it) as connection:
        connection.sendall(b"anybody there?")
        assert ended(connection)
    it.startServer(port)
    it.transfer(upload=100_000, download=100_000)


def test_half_close_passes_through_between_our_own_ends(tunnel):
    def serve(connection):
        received = readAll(connection)
        connection.sendall(hashlib.sha256(received).digest() + DATA)
        connection.shutdown(socket.SHUT_WR)
        return received

    target = OneConnection(serve)
    it = tunnel(OURS, OURS, Wire(smux=2), targetOption=target.option)
    it.link.set(**BAD)
    with dial(it) as connection:
        connection.sendall(DATA)
        connection.shutdown(socket.SHUT_WR)
        answer = readAll(connection)
    assert target.result() == DATA
    assert answer == hashlib.sha256(DATA).digest() + DATA


@pytest.mark.parametrize("smux", [1, 2])
@pytest.mark.parametrize("client,server", [(OURS, GO), (GO, OURS), (OURS, OURS)])
def test_all_that_the_target_wrote_before_it_closed_arrives(tunnel, client, server, smux):
    target = OneConnection(lambda connection: connection.sendall(DATA))
    it = tunnel(client, server, Wire(smux=smux), targetOption=target.option)
    it.link.set(**BAD)
    with dial(it) as connection:
        assert readAll(connection) == DATA


@pytest.mark.parametrize("smux", [1, 2])
@pytest.mark.parametrize("client,server", [(OURS, GO), (GO, OURS), (OURS, OURS)])
def test_all_that_the_application_wrote_before_it_closed_arrives(tunnel, client, server, smux):
    target = OneConnection(readAll)
    it = tunnel(client, server, Wire(smux=smux), targetOption=target.option)
    it.link.set(**BAD)
    with dial(it) as connection:
        connection.sendall(DATA)
    assert target.result() == DATA


@pytest.mark.parametrize("smux", [1, 2])
def test_half_close_towards_go_ends_both_directions_and_nothing_hangs(tunnel, smux):
    target = OneConnection(readAll)
    it = tunnel(OURS, GO, Wire(smux=smux), targetOption=target.option)
    with dial(it) as connection:
        connection.sendall(DATA)
        connection.shutdown(socket.SHUT_WR)
        assert target.result() == DATA
        assert ended(connection)


@pytest.mark.parametrize("smux", [1, 2])
def test_a_writer_whose_go_peer_has_closed_is_told_in_bounded_time(tunnel, smux):
    target = OneConnection(lambda connection: connection.sendall(DATA))
    it = tunnel(OURS, GO, Wire(smux=smux), targetOption=target.option)
    with dial(it) as connection:
        assert readAll(connection) == DATA
        with pytest.raises(OSError):
            for _ in range(PATIENCE * 100):
                connection.sendall(b"is anybody still reading?")
                time.sleep(0.01)
