"""The demo ends with status 0 only where every byte arrived, and says what it saw."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import sys

import pytest
from twisted.internet.testing import StringTransport

from kcpstack.demo import DOWN, UP, Flow, Receiver, Sender, Target

PATIENCE = 60  # seconds until a test gives up on the command


def frame(data):
    return struct.pack(">I", len(data)) + data


def flowOf(length, direction=UP):
    return Flow(direction, seed=1, allowance=length)


def sentBy(flow, expired=lambda: False):
    """All that a sender writes."""
    sender, transport = Sender(flow, expired), StringTransport()
    sender.makeConnection(transport)
    while transport.producer is not None:
        sender.resumeProducing()
    return transport.value()


def received(flow, data, lost=False):
    receiver, transport = Receiver(flow), StringTransport()
    receiver.makeConnection(transport)
    receiver.dataReceived(data)
    if lost:
        receiver.connectionLost()
    return flow


@pytest.mark.parametrize("length", [0, 1, 100_000])
def test_what_is_sent_is_verified(length):
    flow = flowOf(length)
    received(flow, sentBy(flow))
    assert flow.verified and flow.sent == flow.received == length


def test_a_changed_byte_is_found():
    flow = flowOf(1000)
    data = bytearray(sentBy(flow))
    data[500] ^= 1
    assert received(flow, bytes(data)).done.called and not flow.verified


def test_a_doubled_block_is_found():
    flow = flowOf(1000)
    data = sentBy(flow)
    assert received(flow, data[:1004] + data).done.called and not flow.verified


def test_a_stream_cut_short_is_found():
    flow = flowOf(1000)
    assert received(flow, sentBy(flow)[:-1], lost=True).done.called and not flow.verified


def test_a_hash_that_fits_less_than_was_sent_does_not_pass():
    flow = flowOf(1000)
    sentBy(flow)
    assert not received(flow, frame(b"") + frame(hashlib.sha256().digest())).verified


def test_when_the_time_is_over_a_sender_ends_its_flow_early_and_it_is_whole():
    flow = flowOf(10**9)
    received(flow, sentBy(flow, expired=lambda: flow.sent > 100_000))
    assert flow.verified and 100_000 < flow.received < 200_000


def test_the_target_takes_one_flow_and_gives_another():
    up, down = flowOf(5000), flowOf(5000, DOWN)
    taking, giving = (Target([up, down], lambda: False) for _ in range(2))
    taking.makeConnection(StringTransport())
    taking.dataReceived(frame(struct.pack(">I", 0)) + sentBy(up))
    transport = StringTransport()
    giving.makeConnection(transport)
    giving.dataReceived(frame(struct.pack(">I", 1)))
    while transport.producer is not None:
        transport.producer.resumeProducing()
    received(down, transport.value())
    assert up.verified and down.verified


def demo(*options):
    return subprocess.run(
        [sys.executable, "-m", "kcpstack.demo", *options],
        check=False, capture_output=True, text=True, timeout=PATIENCE,
    )


def test_the_command_moves_bytes_over_a_bad_path_and_reports():
    done = demo("--seconds", "10", "--megabytes", "0.5", "--delay", "5")
    assert done.returncode == 0, done.stdout + done.stderr
    for row in ("goodput", "round trip", "loss seen", "sent again", "rebuilt by FEC", "on the wire"):
        assert row in done.stdout
    assert "1,000,000 bytes; 4 of 4 streams arrived whole" in done.stdout
    assert done.stderr == ""


def test_the_command_fails_where_nothing_arrives():
    done = demo("--seconds", "1", "--patience", "1", "--loss", "100")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Not every byte arrived" in done.stdout and done.stderr == ""
