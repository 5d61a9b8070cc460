"""SIGTERM and SIGINT: real processes finish what is under way, cut what is not done in time, and say so."""

from __future__ import annotations

import re
import signal
import socket
import threading
import time

import pytest
from peers import GO, OURS, Wire, waitUntil

SECONDS = 30
SLOW = {"rate": 400_000}  # bytes a second on the link, so that a megabyte is under way for some seconds
MODEST = ("--sndwnd", "64", "--rcvwnd", "64")


class Transferring(threading.Thread):
    """One transfer in the background."""

    def __init__(self, it, **amounts) -> None:
        super().__init__(daemon=True)
        self.error: BaseException | None = None
        self._call = lambda: it.transfer(timeout=SECONDS, **amounts)
        self.start()

    def run(self) -> None:
        try:
            self._call()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.error = error


def refused(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def slowTunnel(tunnel, *extra: str, client: str = OURS):
    """A tunnel over a slow link with one stream in the middle of its work; who gets ``extra`` is its server."""
    it = tunnel(client, OURS, Wire(compression=False, extra=MODEST), Wire(compression=False, extra=(*MODEST, *extra)))
    it.link.set(**SLOW)
    return it


@pytest.mark.option("closewait")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("client", [OURS, GO])
def test_a_server_that_is_asked_to_stop_lets_its_streams_end(tunnel, client, number):
    it = slowTunnel(tunnel, client=client)
    transferring = Transferring(it, download=1_500_000)
    waitUntil(lambda: it.target.connections, SECONDS)
    it.server.signal(number)
    transferring.join(SECONDS)
    assert transferring.error is None
    if client == GO:
        it.client.stop()  # it keeps the session, and knows nothing of a server that leaves
    assert it.server.wait(SECONDS) == -number
    assert "to end (--closewait); ask again to cut now" in it.server.written()
    del it.processes["server"]


@pytest.mark.option("closewait")
def test_a_client_that_is_asked_to_stop_does_the_same_and_takes_no_more_connections(tunnel):
    it = tunnel(OURS, OURS, Wire(compression=False, extra=(*MODEST, "--closewait", "20")), Wire(compression=False))
    it.link.set(**SLOW)
    transferring = Transferring(it, upload=1_500_000)
    waitUntil(lambda: it.target.connections, SECONDS)
    it.client.signal(signal.SIGTERM)
    waitUntil(lambda: "to end (--closewait)" in it.client.written(), SECONDS)
    waitUntil(lambda: refused(it.port), SECONDS)
    transferring.join(SECONDS)
    assert transferring.error is None
    assert it.client.wait(SECONDS) == -signal.SIGTERM
    assert "Closed: every stream had ended and everything was acknowledged" in it.client.written()
    del it.processes["client"]


@pytest.mark.option("closewait")
def test_what_is_not_done_in_time_is_reset_on_both_ends_and_counted(tunnel):
    it = slowTunnel(tunnel, "--closewait", "1")
    transferring = Transferring(it, download=20_000_000)
    waitUntil(lambda: it.target.connections, SECONDS)
    time.sleep(1)
    it.server.signal(signal.SIGTERM)
    began = time.monotonic()
    assert it.server.wait(SECONDS) == -signal.SIGTERM
    assert 1 <= time.monotonic() - began < 5
    line = re.search(r"Closed: 1 stream was cut after 1 s \(closewait\); ([\d,]+) bytes of theirs", it.server.written())
    assert line is not None
    assert int(line[1].replace(",", "")) > 0
    transferring.join(SECONDS)
    assert isinstance(transferring.error, AssertionError)
    assert "reset" in str(transferring.error).lower()  # never an end that could pass for all the data
    assert it.target.complaints  # the target's connection was reset, too
    it.target.complaints.clear()
    del it.processes["server"]


@pytest.mark.option("closewait")
def test_a_second_signal_cuts_at_once(tunnel):
    it = slowTunnel(tunnel, "--closewait", "1000")
    Transferring(it, download=20_000_000)
    waitUntil(lambda: it.target.connections, SECONDS)
    it.server.signal(signal.SIGTERM)
    waitUntil(lambda: "has 1000 s to end" in it.server.written(), SECONDS)
    it.server.signal(signal.SIGTERM)
    assert it.server.wait(5) == -signal.SIGTERM
    assert re.search(r"Closed: 1 stream was cut (at once|after \d s) \(asked again\)", it.server.written())
    it.target.complaints.clear()
    del it.processes["server"]


@pytest.mark.parametrize("role", ["client", "server"])
def test_a_process_with_nothing_to_do_stops_at_once(tunnel, role):
    it = tunnel(OURS, OURS)
    it.transfer(upload=1000)
    for end in (it.server, it.client):  # each learns of it in its own time
        waitUntil(lambda: "Stream closed" in end.written(), SECONDS)  # noqa: B023
    process = it.processes.pop(role)
    began = time.monotonic()
    process.signal(signal.SIGTERM)
    assert process.wait(SECONDS) == -signal.SIGTERM
    assert time.monotonic() - began < 3
    assert "Closed: every stream had ended and everything was acknowledged" in process.written()


def test_a_client_hears_that_its_server_leaves_and_finds_the_next_one_soon(tunnel):
    it = tunnel(OURS, OURS)
    it.transfer(upload=1000)
    port = it.server.port("udp")
    it.server.signal(signal.SIGTERM)
    it.server.wait(SECONDS)
    it.startServer(port)
    began = time.monotonic()
    it.transfer(upload=1000)
    assert time.monotonic() - began < 3


def test_counters_can_be_printed_to_the_last(tunnel):
    it = slowTunnel(tunnel, "--closewait", "20")
    Transferring(it, download=20_000_000)
    waitUntil(lambda: it.target.connections, SECONDS)
    it.server.signal(signal.SIGTERM)
    waitUntil(lambda: "to end (--closewait)" in it.server.written(), SECONDS)
    it.server.signal(signal.SIGUSR1)
    waitUntil(lambda: "KCP SNMP:&{" in it.server.written(), SECONDS)
    it.target.complaints.clear()
