"""The bad link between real sockets, in this process and as the command."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest
from twisted.internet.error import CannotListenError
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.testing import StringTransport

from kcpstack.testing.badlink import BadLink, Control, changesFrom
from kcpstack.testing.impairment import Faults, Impairment

PATIENCE = 20  # seconds until a test gives up


@pytest.fixture
def sockets():
    """Makes plain UDP sockets on loopback, closed in the end."""
    with ExitStack() as stack:
        def make(to=None):
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.settimeout(PATIENCE)
            sock.bind(("127.0.0.1", 0))
            if to is not None:
                sock.connect(to)
            return sock
        yield make


class Bench:
    """A bad link in front of ``target``, on a reactor of its own that turns while we wait."""

    def __init__(self, sockets, seed=1, **faults):
        self.reactor = SelectReactor()
        self.target = sockets()
        self.link = BadLink(self.reactor, self.target.getsockname(), seed, Faults(**faults))
        self.link.startListening()
        self.address = ("127.0.0.1", self.link.getHost().port)
        self._sockets = sockets

    def client(self):
        return self._sockets(self.address)

    def receive(self, sock):
        """The next datagram and where it came from; None if the link has nothing more for it."""
        sock.setblocking(False)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                return sock.recvfrom(65536)
            except BlockingIOError:
                if self.settled():
                    return None
            self.reactor.iterate(0.01)
        raise AssertionError("the link never settled")

    def settled(self):
        return self.reactor.getDelayedCalls() == [] and self.offered() == self.expected

    def offered(self):
        return self.link.forward.tally.offered + self.link.back.tally.offered

    expected = 0

    def send(self, sock, *datagrams, to=None):
        for datagram in datagrams:
            sock.sendto(datagram, to) if to else sock.send(datagram)
            self.expected += 1

    def receiveAll(self, sock):
        received = []
        while True:
            arrival = self.receive(sock)
            if arrival is None:
                return received
            received.append(arrival[0])


@pytest.fixture
def bench(sockets):
    benches = []

    def make(**settings):
        benches.append(Bench(sockets, **settings))
        return benches[-1]

    yield make
    for each in benches:
        each.link.stopListening()
        assert each.reactor.getDelayedCalls() == []


def test_a_perfect_link_carries_both_ways(bench):
    link = bench()
    client = link.client()
    link.send(client, b"ping", b"")
    first, upstream = link.receive(link.target)
    assert (first, link.receive(link.target)[0]) == (b"ping", b"")
    link.send(link.target, b"pong", to=upstream)
    assert link.receive(client)[0] == b"pong"


def test_the_target_tells_clients_apart_and_answers_reach_the_right_one(bench):
    link = bench()
    clients = [link.client() for _ in range(3)]
    sources = []
    for n, client in enumerate(clients):
        link.send(client, b"%d" % n)
        sources.append(link.receive(link.target)[1])
    assert len(set(sources)) == 3
    for n, source in reversed(list(enumerate(sources))):
        link.send(link.target, b"to %d" % n, to=source)
    assert [link.receive(client)[0] for client in clients] == [b"to 0", b"to 1", b"to 2"]


def test_what_chance_does_is_what_the_impairment_decides(bench):
    chances = {"loss": 0.2, "duplicate": 0.2, "corrupt": 0.2}
    link = bench(seed=42, hold=0, **chances)
    sent = [b"datagram %d" % n for n in range(100)]
    link.send(link.client(), *sent)
    alone = Impairment(42, "forward", Faults(hold=0, **chances))
    assert link.receiveAll(link.target) == [d for datagram in sent for _, d in alone.offer(datagram, 0)]


def test_the_directions_have_faults_of_their_own(bench):
    link = bench()
    link.link.back.configure(loss=1)
    client = link.client()
    link.send(client, b"up")
    upstream = link.receive(link.target)[1]
    link.send(link.target, b"down", to=upstream)
    assert link.receiveAll(client) == []


def test_faults_are_switched_at_run_time(bench):
    link = bench()
    client = link.client()
    link.link.configure(cut=True)
    link.send(client, b"lost")
    assert link.receiveAll(link.target) == []
    link.link.configure(cut=False)
    link.send(client, b"found")
    assert link.receiveAll(link.target) == [b"found"]


def test_delayed_datagrams_all_arrive_in_order(bench):
    link = bench(delay=5, jitter=4)
    sent = [b"%d" % n for n in range(150)]
    link.send(link.client(), *sent)
    assert link.receiveAll(link.target) == sent


def test_after_rebinding_the_target_sees_another_port_and_answers_to_it_arrive(bench):
    link = bench()
    client = link.client()
    link.send(client, b"one")
    before = link.receive(link.target)[1]
    link.link.rebind()
    link.send(client, b"two")
    datagram, after = link.receive(link.target)
    assert datagram == b"two" and after != before
    link.send(link.target, b"answer", to=after)
    assert link.receive(client)[0] == b"answer"


def test_a_target_that_is_not_there_does_no_harm(bench):
    link = bench()
    client = link.client()
    link.target.close()
    link.send(client, b"a", b"b", b"c")
    while not link.settled():
        link.reactor.iterate(0.01)
    assert link.link.tallies()["forward"]["offered"] == 3


def test_an_address_in_use_is_refused(sockets):
    taken = sockets()
    with pytest.raises(CannotListenError):
        BadLink(SelectReactor(), ("127.0.0.1", 9), listen=taken.getsockname()).startListening()


# ------------------------------------------------------------ settings as text


def test_settings_are_percentages_and_hold_both_ways_unless_said():
    forward, back = changesFrom({"loss": "5", "delay": "20", "loss-back": "1", "cut": "1"})
    assert forward == {"loss": 0.05, "delay": 20.0, "cut": 1}
    assert back == {"loss": 0.01, "delay": 20.0, "cut": 1}


@pytest.mark.parametrize("wrong", [{"lost": "5"}, {"loss": "five"}, {"back": "1"}, {"-back": "1"}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError):
        changesFrom(wrong)


def test_a_wrong_command_is_answered_with_an_error_and_changes_nothing(bench):
    link = bench().link
    control, transport = Control(link, lambda: None), StringTransport()
    control.makeConnection(transport)
    control.dataReceived(b"loss=500\nfly\nloss=50\n")
    answers = [json.loads(line) for line in transport.value().splitlines()]
    assert ["error" in answer for answer in answers] == [True, True, False]
    assert link.forward.faults == link.back.faults == Faults(loss=0.5)


# ------------------------------------------------------------ the command


@pytest.fixture
def command():
    """Starts the command with ``--control``; it ends with its input."""
    processes = []

    def start(*options):
        process = subprocess.Popen(
            [sys.executable, "-m", "kcpstack.testing.badlink", *options, "--control"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.stdin.close()
        assert process.wait(PATIENCE) == 0
        process.stdout.close()


def test_the_command_prints_its_port_obeys_and_ends_with_its_input(command, sockets):
    target = sockets()
    process = command("--to", f"127.0.0.1:{target.getsockname()[1]}", "--loss-back", "100", "--seed", "1")
    port = int(process.stdout.readline())

    def tell(line):
        process.stdin.write(line + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    client = sockets(("127.0.0.1", port))
    client.send(b"hello")
    datagram, upstream = target.recvfrom(100)
    assert datagram == b"hello"
    assert tell("loss-back=0") == {}
    target.sendto(b"there", upstream)
    assert client.recv(100) == b"there"
    assert tell("rebind") == {}
    client.send(b"again")
    assert target.recvfrom(100)[1] != upstream
    tally = tell("tally")
    assert (tally["forward"]["carried"], tally["back"]["carried"]) == (2, 1)


def test_the_command_refuses_wrong_values_with_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "kcpstack.testing.badlink", "--to", "127.0.0.1:1", "--loss", "200"],
        check=False, capture_output=True, text=True, timeout=PATIENCE,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("badlink: loss") and done.stderr.count("\n") == 1
