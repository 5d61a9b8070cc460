"""An end sends FEC only as its peer can bear it, and says so where that is not what it was told."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from fectraffic import encoded
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher

from kcpstack.batch import inboundBatch
from kcpstack.counters import Counters
from kcpstack.fecchoice import NO_FEC, PLAIN_ENOUGH, AnsweringFEC, CallingFEC
from kcpstack.kernels.segment import HEADER, PUSH
from kcpstack.layers.fec import FECEncoder
from kcpstack.options import ClientSettings
from kcpstack.stack import Conversation, Port, Surroundings
from kcpstack.testing.network import SimulatedNetwork

OWN = (10, 3)


def knowing(parameters, heard=None):
    """What a decoder says."""
    return SimpleNamespace(parameters=parameters, heard=parameters is not None if heard is None else heard)


# ------------------------------------------------------------------ the end that was called


@pytest.mark.parametrize("seen,sent", [(None, NO_FEC), ((5, 2), (5, 2)), ((2, 6), (2, 6)), ((1, 255), NO_FEC)])
def test_a_server_sends_as_its_client_does_unless_that_would_make_much_of_little(seen, sent):
    assert AnsweringFEC().choose(knowing(seen), isOurs=True, spoken=True) == sent


# ------------------------------------------------------------------ the end that calls


def asked(fec, decoder, isOurs=False, spoken=True, times=1):
    for _ in range(times):
        choice = fec.choose(decoder, isOurs, spoken)
    return choice


def test_a_client_begins_without():
    assert asked(CallingFEC(OWN), knowing(None), spoken=False) == NO_FEC


@pytest.mark.parametrize("seen", [None, (5, 2), OWN])
def test_a_server_of_our_kind_gets_what_we_were_told(seen):
    fec = CallingFEC(OWN)
    assert asked(fec, knowing(seen), isOurs=True) == OWN
    assert fec.mismatch is None


def test_another_server_gets_fec_once_it_has_shown_the_same_parameters():
    fec = CallingFEC(OWN)
    assert asked(fec, knowing(None, heard=True), times=1000) == NO_FEC
    assert asked(fec, knowing(OWN)) == OWN
    assert fec.mismatch is None


def test_another_server_with_other_parameters_gets_none():
    fec = CallingFEC(OWN)
    assert asked(fec, knowing((5, 2))) == NO_FEC
    assert fec.mismatch == (5, 2)


@pytest.mark.parametrize("seen,sent", [(OWN, OWN), ((5, 2), NO_FEC)])
def test_what_is_not_known_any_more_changes_nothing(seen, sent):
    fec = CallingFEC(OWN)
    asked(fec, knowing(seen))
    assert asked(fec, knowing(None, heard=True), times=100) == sent


def test_another_server_without_fec_gets_none_and_is_found_out():
    fec = CallingFEC(OWN)
    assert asked(fec, knowing(None), spoken=False, times=1000) == NO_FEC
    assert fec.mismatch is None
    assert asked(fec, knowing(None), times=PLAIN_ENOUGH) == NO_FEC
    assert fec.mismatch == NO_FEC


# ------------------------------------------------------------------ in a conversation


class Client:
    """Conversations of one client process with a server that is played here."""

    def __init__(self):
        self.around = Surroundings(Clock(), Counters(), bytes)
        self.network = SimulatedNetwork(self.around.clock, 1)
        self.lines = []

    def dial(self):
        port = Port(self.network.transport(peer=("10.0.0.1", 29900)), ClientSettings(), self.around)
        port.open()
        conversation = Conversation(port, 7, None, False, lambda _: None, ("10.0.0.1", 29900))
        conversation.session.start(SimpleNamespace(makeConnection=lambda _: None, dataReceived=lambda _: None))
        return conversation

    def hear(self, conversation, fec, groups=3):
        """Pushes of a server that sends with ``fec``."""
        pushes = [HEADER.pack(7, PUSH, 0, 128, 0, sn, 0, 1) + b"!" for sn in range(groups * max(1, fec[0]))]
        conversation.datagramsReceived(inboundBatch(encoded(FECEncoder(*fec), pushes)))

    def sent(self, conversation):
        """Whether what leaves has FEC around it."""
        return conversation._encoder.parameters

    def note(self, event):
        if "datashard" in event.get("log_format", ""):
            self.lines.append(formatEvent(event))


@pytest.fixture
def client():
    it = Client()
    globalLogPublisher.addObserver(it.note)
    yield it
    globalLogPublisher.removeObserver(it.note)


def test_a_mismatch_is_said_once_and_no_fec_leaves(client):
    conversation = client.dial()
    client.hear(conversation, (5, 2), groups=6)
    assert client.sent(conversation) is None
    assert client.lines == [
        ("10.0.0.1:29900 sends FEC 5/2, and we are set to 10/3: where they differ, an old kcptun (Debian's) corrupts "
        "streams when packets get lost, so we send none: give both ends the same --datashard and --parityshard")
    ]
    client.hear(client.dial(), (5, 2), groups=6)
    assert len(client.lines) == 1


def test_the_same_parameters_begin_fec_and_cause_no_line(client):
    conversation = client.dial()
    client.hear(conversation, OWN, groups=6)
    assert client.sent(conversation) == OWN
    assert client.lines == []


def test_the_announcement_of_a_server_of_our_kind_begins_fec(client):
    conversation = client.dial()
    client.hear(conversation, NO_FEC)
    assert client.sent(conversation) is None
    conversation.mux = SimpleNamespace(peerAnnounced=True)
    client.hear(conversation, NO_FEC)
    assert client.sent(conversation) == OWN
    assert client.lines == []
