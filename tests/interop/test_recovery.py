"""Real processes find each other again, within seconds, and nobody restarts anything by hand."""

from __future__ import annotations

import time

import pytest
from peers import GO, OURS, Wire
from recovery import DISTURBANCES, EchoTarget, measure, works

SOON = 20  # seconds; the promise is about 5, the rest is for a machine that is busy with other tests


def disturbed(tunnel, name, server=OURS):
    target = EchoTarget()
    try:
        return measure(tunnel(OURS, server, Wire(mode="fast2"), targetOption=target.option), DISTURBANCES[name], 40)
    finally:
        target.close()


@pytest.mark.parametrize("server", [OURS, GO])
def test_a_restarted_server_is_found_and_its_old_streams_are_closed(tunnel, server):
    outcome = disturbed(tunnel, "server killed and started again", server)
    assert outcome.recovered is not None and outcome.recovered < SOON
    assert outcome.stream.startswith("closed")


def test_a_changed_source_port_costs_nothing(tunnel):
    outcome = disturbed(tunnel, "source port changed under way")
    assert outcome.recovered is not None and outcome.recovered < SOON
    assert outcome.stream == "went on"


@pytest.mark.parametrize("name", ["path cut for 2 s", "path cut for 10 s"])
@pytest.mark.parametrize("server", [OURS, GO])
def test_a_path_that_was_cut_is_used_again_and_streams_go_on(tunnel, name, server):
    outcome = disturbed(tunnel, name, server)
    assert outcome.recovered is not None and outcome.recovered < SOON
    assert outcome.stream == "went on"


def test_a_client_that_was_suspended_goes_on(tunnel):
    outcome = disturbed(tunnel, "client suspended for 10 s")
    assert outcome.recovered is not None and outcome.recovered < SOON
    assert outcome.stream == "went on"


@pytest.mark.parametrize("server", [OURS, GO])
def test_a_client_that_was_started_first_finds_its_server_when_it_comes(tunnel, server):
    target = EchoTarget()
    it = tunnel(OURS, server, targetOption=target.option)
    it.server.kill()
    it.client.stop()
    it.link.kill()  # so that ICMP says that nobody listens where the client sends to
    it.startClient()
    time.sleep(2)
    it.startServer(it.link.listeningPort)
    del it.processes["link"]
    end = time.monotonic() + SOON
    while not works(it.port):
        assert time.monotonic() < end, "not found"
    target.close()
