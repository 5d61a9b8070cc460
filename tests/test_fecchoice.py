"""An end sends FEC only as its peer can bear it, and says so where that is not what it was told."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from fectraffic import encoded
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher

from kcpstack.batch import inboundBatch
from kcpstack.counters import Counters
from kcpstack.fecchoice import ANSWER_TIME, GROUPS_TO_LEARN, NO_FEC, AnsweringFEC, CallingFEC
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
    assert AnsweringFEC().choose(knowing(seen), 0) == sent


# ------------------------------------------------------------------ the end that calls


def test_a_client_sends_as_it_was_told_from_the_first_datagram_on():
    assert CallingFEC(OWN).choose(knowing(None), 0) == OWN


def test_a_server_with_the_same_parameters_changes_nothing():
    fec = CallingFEC(OWN)
    assert fec.choose(knowing(OWN), 0) == OWN
    assert fec.mismatch is None


def test_a_server_with_other_parameters_gets_no_more_fec():
    fec = CallingFEC(OWN)
    assert fec.choose(knowing((5, 2)), 0) == NO_FEC
    assert fec.mismatch == (5, 2)


def test_what_is_not_known_any_more_changes_nothing():
    fec = CallingFEC(OWN)
    fec.choose(knowing((5, 2)), 0)
    assert fec.choose(knowing(None, heard=True), 0) == NO_FEC


def test_a_client_in_doubt_begins_without_and_trusts_a_server_that_shows_the_same():
    fec = CallingFEC(OWN, doubted=True)
    assert fec.choose(knowing(None), 0) == NO_FEC
    assert fec.choose(knowing(OWN), 0) == OWN


def test_a_server_that_never_sends_fec_gets_none_once_it_must_have_known_ours():
    fec = CallingFEC(OWN)
    fec.sent(GROUPS_TO_LEARN * 13 - 1, 0)
    assert fec.choose(knowing(None), 1e6) == OWN
    fec.sent(1, 1e6)
    assert fec.choose(knowing(None), 1e6 + ANSWER_TIME) == OWN
    assert fec.choose(knowing(None), 1e6 + ANSWER_TIME + 1) == NO_FEC
    assert fec.mismatch == NO_FEC


def test_a_server_that_sends_some_fec_is_waited_for():
    fec = CallingFEC(OWN)
    fec.sent(10_000, 0)
    assert fec.choose(knowing(None, heard=True), 1e6) == OWN


def test_no_answer_in_fec_proves_nothing_where_a_server_of_ours_would_give_none():
    fec = CallingFEC((1, 4))
    fec.sent(10_000, 0)
    assert fec.choose(knowing(None), 1e6) == (1, 4)


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
        if "FEC" in event.get("log_format", ""):
            self.lines.append(formatEvent(event))


@pytest.fixture
def client():
    it = Client()
    globalLogPublisher.addObserver(it.note)
    yield it
    globalLogPublisher.removeObserver(it.note)


def test_a_mismatch_is_said_once_and_fec_stops(client):
    conversation = client.dial()
    assert client.sent(conversation) == OWN
    client.hear(conversation, (5, 2), groups=6)
    assert client.sent(conversation) is None
    assert client.lines == [
        ("10.0.0.1:29900 sends FEC 5/2 and we FEC 10/3: an old kcptun (Debian's) corrupts streams where they differ and "
        "packets get lost, so we send none from now on: give both ends the same --datashard and --parityshard")
    ]


def test_the_next_session_begins_without_and_says_nothing_more(client):
    client.hear(client.dial(), (5, 2))
    conversation = client.dial()
    assert client.sent(conversation) is None
    client.hear(conversation, (5, 2))
    assert len(client.lines) == 1
    client.hear(client.dial(), OWN)
    assert len(client.lines) == 1


def test_the_same_parameters_cause_nothing(client):
    conversation = client.dial()
    client.hear(conversation, OWN, groups=6)
    assert client.sent(conversation) == OWN
    assert client.lines == []
