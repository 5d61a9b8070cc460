"""A server in several processes, as far as one process can see it: what is refused, handed over, summed and killed."""

from __future__ import annotations

import errno
import os
import resource
import socket
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_options import refusal
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from udpends import FakeReactor, Receiver, payloads
from zope.interface import implementer

from kcpstack import builtin, workerprocess, workers
from kcpstack.closing import FAREWELL, Outcome
from kcpstack.counters import Counters
from kcpstack.interfaces import IDatagramTransportFactory
from kcpstack.layers.sharedports import openShared
from kcpstack.options import Address, Options, ServerSettings, UnixAddress, optionsOf
from kcpstack.seams import TRANSPORTS
from kcpstack.service import makeService
from kcpstack.transports import TransportContext
from kcpstack.workerlink import asTexts, fromTexts
from kcpstack.workers import WorkersService, together

HOST = "127.0.0.1"
SETTINGS = ServerSettings(listen=Address(HOST, 0), workers=2, closewait=10)


# ------------------------------------------------------------------ what is asked for


@pytest.mark.option("workers")
@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("server --workers 0", "--workers 0: give a whole number from 1 to 128"),
        ("server --workers 129", "--workers 129: give a whole number from 1 to 128"),
        ("server --workers auto", "--workers auto: give a whole number from 1 to 128"),
        ("client --workers 2", "no option --workers; --help explains every option"),
        ("server --workers 2 --trace /tmp/x", "--workers 2: give 1 with --trace, which is of one process"),
    ],
)
def test_what_cannot_be_is_refused_with_one_line(line, says):
    assert refusal(line) == says


@implementer(IDatagramTransportFactory)
class OtherTransport:
    name = "carrier-pigeon"
    overhead = 0


@pytest.mark.option("workers", "transport")
def test_a_transport_that_cannot_share_its_ports_is_refused(monkeypatch):
    monkeypatch.setattr(TRANSPORTS, "factories", lambda: {"udp": builtin.udp, "carrier-pigeon": OtherTransport()})
    assert refusal("server --workers 2 --transport carrier-pigeon") == (
        "--workers 2: give 1 with --transport carrier-pigeon, which cannot share its ports between processes (udp can)"
    )


def test_a_system_that_does_not_deal_datagrams_is_refused(monkeypatch):
    monkeypatch.setattr("kcpstack.layers.sharedports.CAN_SHARE", False)
    assert refusal("server --workers 2").startswith("--workers 2: give 1: it takes Linux ")


def test_a_target_that_does_not_take_its_argument_is_refused_by_the_parent():
    options = Options()
    options.parseOptions(["server", "--workers", "2", "--target", "@endpoint:nix"])
    with pytest.raises(SystemExit, match="^kcptun server: --target @endpoint:nix: give one of Twisted's"):
        makeService(options)


def test_options_too_long_to_be_handed_over_are_refused():
    with pytest.raises(ValueError, match="^--workers 2: give shorter options"):
        WorkersService(Clock(), replace(SETTINGS, key="k" * 70_000))


# ------------------------------------------------------------------ what a worker is given

texts = st.text(min_size=1, max_size=30)


@given(texts, st.sampled_from(["fast", "manual"]), st.integers(10, 5000), st.booleans(), st.integers(0, 1))
def test_settings_arrive_as_they_were(key, mode, interval, quiet, nc):
    settings = ServerSettings(
        key=key, mode=mode, interval=interval, quiet=quiet, nc=nc,
        listen=Address("::1", 3000, 3010), target=UnixAddress("./app.sock"),
    )  # fmt: skip
    assert fromTexts(asTexts(settings)) == settings


def test_every_setting_of_a_server_is_handed_over_and_what_is_missing_has_its_default():
    assert set(asTexts(SETTINGS)) == {option.name for option in optionsOf("server") if option.setting}
    assert fromTexts({"mtu": "1200", "ofTheNextRelease": "1"}) == ServerSettings(mtu=1200)


def test_no_secret_is_in_the_environment_of_a_worker(monkeypatch):
    monkeypatch.setenv("KCPTUN_KEY", "a secret")
    environment = workerprocess._environment()
    assert "KCPTUN_KEY" not in environment
    assert "a secret" not in str(environment)
    assert environment["PATH"] == os.environ["PATH"]


def test_python_that_this_user_cannot_run_is_said_with_what_would_do(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(CannotListenError) as caught:
        workerprocess.checkPython("--workers 2")
    assert str(caught.value).startswith("--workers 2: Permission denied: install Python where this user can run it")


# ------------------------------------------------------------------ sockets


def closing(lists) -> None:
    for sock in (sock for sockets in lists for sock in sockets):
        sock.close()


def test_each_worker_has_a_socket_at_each_port():
    lists = openShared(HOST, range(1), 3, 0)
    try:
        names = {sock.getsockname() for sockets in lists for sock in sockets}
        assert ([len(sockets) for sockets in lists], len(names)) == ([1, 1, 1], 1)
    finally:
        closing(lists)


@pytest.mark.parametrize("host", [HOST, "::1", "", "localhost"])
def test_every_client_comes_to_one_socket_and_all_sockets_get_some(host):
    lists = openShared(host, range(1), 2, 0)
    port = lists[0][0].getsockname()[1]
    family = socket.AF_INET6 if host == "::1" else socket.AF_INET
    clients = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(64)]
    try:
        for number in range(192):
            clients[number % 64].sendto(b"%d" % (number % 64), ("::1" if host == "::1" else HOST, port))
        seen = [[], []]
        for index, (sock,) in enumerate(lists):
            try:
                while True:
                    seen[index].append(sock.recv(100))
            except BlockingIOError:
                pass
        assert sorted(seen[0] + seen[1]) == sorted([b"%d" % number for number in range(64)] * 3)
        assert not set(seen[0]) & set(seen[1])
        assert seen[0] and seen[1]  # but for one chance in 2**63
    finally:
        closing(lists)
        for client in clients:
            client.close()


@pytest.mark.parametrize("shared", [False, True])
def test_a_port_that_anybody_has_is_refused_though_it_may_be_ours_to_share(shared):
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        if shared:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind((HOST, 0))
        port = other.getsockname()[1]
        with pytest.raises(CannotListenError) as caught:
            openShared(HOST, range(port, port + 1), 2, 0)
    assert (caught.value.port, caught.value.socketError.errno) == (port, errno.EADDRINUSE)


def test_too_many_sockets_are_said_and_none_is_left_open():
    before = os.listdir("/proc/self/fd")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(before) + 20, hard))
    try:
        with pytest.raises(CannotListenError) as caught:
            openShared(HOST, range(21_000, 21_100), 10, 0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if caught.value.socketError.errno == errno.EMFILE:  # and no other test had one of these ports
        assert "of 1000 sockets could be opened, one for each port and worker" in str(caught.value.socketError)
    assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.parametrize("ports", [1, 2])
def test_our_transport_takes_sockets_that_are_open(ports):
    opened = [openShared(HOST, range(1), 1, 0)[0][0] for _ in range(ports)]
    numbers = [sock.getsockname()[1] for sock in opened]
    context = TransportContext(FakeReactor(), Counters(), bytes)
    transport, receiver = builtin.udp.listenOn(context, opened), Receiver()
    transport.startListening(receiver)
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.sendto(b"hello", (HOST, numbers[-1]))
        context.reactor.readAll()
    assert payloads(receiver) == [b"hello"]
    assert transport.getHost().port == numbers[0]
    transport.stopListening()
    assert all(sock.fileno() == -1 for sock in opened)


# ------------------------------------------------------------------ the parent


class Worker:
    """Stands for a worker's process.  It answers when the test says so."""

    def __init__(self, reactor, number, settings, sockets, told, ended) -> None:
        self.number, self.settings, self.sockets, self.told = number, settings, sockets, told
        self._ended = ended
        self.asked: list[str] = []
        self.answers: list[Deferred] = []
        self.counts: dict[str, int] | None = {}  # None: it does not answer
        self.drained: Deferred = Deferred()

    def count(self):
        if self.counts is None:
            self.answers.append(Deferred())
            return self.answers[-1]
        self.told(self.counts)
        answered: Deferred = Deferred()
        answered.callback(None)
        return answered

    def reconfigure(self, settings):
        self.settings = settings

    def drain(self):
        self.asked.append("drain")
        return self.drained

    def cutNow(self):
        self.asked.append("cut")

    def letGo(self):
        self.end("ended with status 0")

    def kill(self):
        self.asked.append("kill")
        if not self.drained.called:
            self.drained.callback(None)
        else:
            self.end("was killed by SIGKILL")

    def end(self, how):
        if self._ended is not None:
            ended, self._ended = self._ended, None
            ended(how)


class Parent:
    """A parent of two such workers on a clock of its own."""

    def __init__(self, **changes) -> None:
        self.clock = Clock()
        self.begun: list[Worker] = []
        self.stopped: list = []
        self.service = WorkersService(self.clock, replace(SETTINGS, **changes), self._begin)
        self.service.privilegedStartService()
        self.service.startService()

    def _begin(self, *arguments):
        self.begun.append(Worker(*arguments))
        return self.begun[-1]

    def stop(self) -> None:
        self.service.stopService().addBoth(self.stopped.append)

    def sums(self) -> list:
        found: list = []
        self.service.sample().addCallback(found.append)
        return found


@pytest.fixture
def parent():
    made = Parent()
    yield made
    closing(made.service._sockets)


@pytest.fixture
def logged():
    with capturedLogs() as events:
        yield lambda: [formatEvent(event) for event in events]


def test_workers_do_not_do_what_the_parent_does_for_all(parent):
    parent.service.reconfigure(replace(SETTINGS, quiet=True, snmplog="x.csv", snmpperiod=5, log="x.log"))
    for worker in parent.begun:
        assert worker.settings == replace(SETTINGS, workers=1, quiet=True, snmpperiod=5)
    parent.service.reports.stop()


def test_a_worker_that_is_started_again_has_its_socket_and_the_settings_of_now(parent):
    parent.service.reconfigure(replace(SETTINGS, quiet=True))
    first, second = parent.begun
    first.end("was killed by SIGKILL")
    parent.clock.advance(1)
    third = parent.begun[2]
    assert (third.number, third.settings.quiet) == (1, True)
    assert third.sockets is first.sockets
    assert third.sockets is not second.sockets
    assert third.sockets[0].fileno() != -1


def test_counters_are_summed_when_all_have_answered(parent):
    for worker in parent.begun:
        worker.counts = {"BytesSent": worker.number, "CurrEstab": 1}
    (total,) = parent.sums()
    assert (total.BytesSent, total.CurrEstab, total.MaxConn) == (3, 2, 2)
    parent.begun[0].end("was killed by SIGKILL")
    (total,) = parent.sums()
    assert (total.BytesSent, total.CurrEstab, total.MaxConn) == (3, 1, 2)


def test_one_that_does_not_answer_counts_as_it_told_before(parent, logged):
    one, two = parent.begun
    one.told({"BytesSent": 5})
    one.counts, two.counts = None, {"BytesSent": 1}
    found = parent.sums()
    assert not found
    parent.clock.advance(workers.ANSWER_SECONDS)
    assert [total.BytesSent for total in found] == [6]
    assert logged() == ["Worker 1 has not answered within 2 s: its counters are those that it told before"]


def test_closing_drains_all_and_says_what_they_left_undone(parent, logged):
    parent.stop()
    one, two = parent.begun
    assert one.asked == two.asked == ["drain"]
    two.drained.callback(Outcome(3.0))
    assert not parent.stopped
    one.drained.callback(Outcome(10.0, "closewait", 1, 2, 0, 0, 500))
    assert parent.stopped == [None]
    assert logged()[-1] == (
        "Closed: 2 streams were cut after 10 s (closewait); 500 bytes of theirs were not yet acknowledged"
    )
    assert not parent.clock.getDelayedCalls()
    assert all(sock.fileno() == -1 for worker in parent.begun for sock in worker.sockets)


def test_one_that_hangs_is_killed_when_its_time_is_over(parent, logged):
    parent.stop()
    parent.begun[0].drained.callback(Outcome(0.0))
    parent.clock.advance(SETTINGS.closewait + FAREWELL + workers.HUNG_SECONDS - 0.1)
    assert parent.begun[1].asked == ["drain"]
    parent.clock.advance(0.2)
    assert parent.begun[1].asked == ["drain", "kill"]
    assert parent.stopped == [None]
    assert "Worker 2 does not end: it is killed" in logged()
    assert logged()[-1].startswith("Closed: 1 of 2 workers ended before they were done, with all that was open on them")


def test_a_further_signal_cuts_and_leaves_a_hung_worker_less_time(parent):
    parent.stop()
    parent.service.cutNow()
    assert [worker.asked for worker in parent.begun] == [["drain", "cut"]] * 2
    parent.clock.advance(FAREWELL + workers.HUNG_SECONDS)
    assert parent.begun[0].asked == ["drain", "cut", "kill"]
    assert parent.stopped == [None]


def test_closing_does_not_wait_for_what_is_to_be_started_again(parent):
    for worker in parent.begun:
        worker.end("was killed by SIGKILL")
    parent.stop()
    assert parent.stopped == [None]
    parent.clock.advance(100)
    assert len(parent.begun) == 2


def test_outcomes_are_summed_and_the_reason_is_that_of_the_longest():
    assert together([]) == Outcome(0.0)
    assert together([Outcome(5.0), Outcome(1.0)]).complete
    one, two = Outcome(2.0, "asked again", 1, 1, 0, 2, 7, 1), Outcome(1.0, "closewait", 1, 3, 1, 0, 5, 0)
    assert together([Outcome(9.0), one, two]) == Outcome(2.0, "asked again", 2, 4, 1, 2, 12, 1)
