"""The counters as kcptun prints and logs them."""

from __future__ import annotations

import os
import signal
from datetime import datetime, timedelta, timezone

import pytest
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import globalLogPublisher
from zope.interface import implementer

from kcpstack.counters import ALIASES, DIFFERENCES, FORMER, OWN, SNMP, Counters
from kcpstack.options import Address, ClientSettings, ServerSettings
from kcpstack.service import ClientService, ServerService
from kcpstack.signals import SignalWatch
from kcpstack.snmp import SNMPLog, countQueues, header, printout, row

# The first second of the log's clock, near midnight in its zone.
START = datetime(2026, 3, 31, 23, 59, 0, tzinfo=timezone(timedelta(hours=2), "CEST"))
NOBODY, ANY_PORT = Address("127.0.0.1", 9), Address("127.0.0.1", 0)
SEED = "BytesSent BytesReceived MaxConn ActiveOpens PassiveOpens CurrEstab InErrs InCsumErrors InSegs OutSegs "
SEED += "OutBytes RetransSegs FastRetransSegs LostSegs RepeatSegs FECRecovered FECErrs FECSegs"
DEBIAN = "Unix,BytesSent,BytesReceived,MaxConn,ActiveOpens,PassiveOpens,CurrEstab,InErrs,InCsumErrors,KCPInErrors,"
DEBIAN += "InPkts,OutPkts,InSegs,OutSegs,InBytes,OutBytes,RetransSegs,FastRetransSegs,EarlyRetransSegs,LostSegs,"
DEBIAN += "RepeatSegs,FECParityShards,FECErrs,FECRecovered,FECShortShards"


@pytest.fixture
def logged():
    """The lines that were logged meanwhile."""
    lines: list[str] = []

    def observe(event):
        lines.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


class Logging:
    """A log on a clock of its own."""

    def __init__(self, path, period: int = 60) -> None:
        self.clock = Clock()
        self.counters = Counters()
        self.log = SNMPLog(str(path), period, lambda: self.counters, self.clock, self.now)
        self.log.start()

    def now(self) -> datetime:
        return START + timedelta(seconds=self.clock.seconds())

    def pass_(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)


# ---------------------------------------------------------------- names and forms


def test_the_printout_is_one_line_in_kcptuns_form():
    counters = Counters()
    counters.BytesSent, counters.FECParityShards, counters.OutErrs = 3, 5, 7
    text = printout(counters)
    assert text.startswith("KCP SNMP:&{BytesSent:3 BytesReceived:0 MaxConn:0 ")
    assert text.endswith("}") and "\n" not in text
    pairs = dict(pair.split(":") for pair in text.partition("{")[2].rstrip("}").split(" "))
    assert list(pairs) == [*SNMP, *FORMER, *ALIASES, *OWN]
    assert (pairs["FECParityShards"], pairs["FECSegs"], pairs["OutErrs"]) == ("5", "5", "7")


@pytest.mark.parametrize("names", [SEED.split(), DEBIAN.split(",")[1:], list(SNMP)], ids=["2016", "2021", "2026"])
def test_every_name_that_some_release_has_can_be_read_and_is_printed(names):
    counters = Counters()
    for name in names:
        assert getattr(counters, name) == 0
        assert f" {name}:0" in printout(counters).replace("{", " ")


def test_an_alias_follows_the_counter_that_it_is_a_name_of():
    counters = Counters()
    for alias, name in ALIASES.items():
        setattr(counters, name, 9)
        assert getattr(counters, alias) == 9
        assert alias not in counters.asDict()


def test_no_name_is_in_two_tables_and_differences_are_of_names_that_exist():
    names = [*SNMP, *FORMER, *ALIASES, *OWN]
    assert len(names) == len(set(names))
    assert set(DIFFERENCES) <= {*SNMP, *FORMER}


def test_a_row_has_the_columns_of_the_header_which_are_kcptuns():
    counters = Counters()
    for number, name in enumerate(SNMP):
        setattr(counters, name, number)
    assert header() == "Unix," + ",".join(SNMP) + "\n"
    assert row(counters, 1_795_370_085) == "1795370085," + ",".join(map(str, range(len(SNMP)))) + "\n"


def test_what_waits_is_added_up_over_all_sessions():
    class Waiting:
        def queued(self):
            return 1, 2, 3

    counters = Counters()
    countQueues(counters, [Waiting(), Waiting()])
    assert (counters.RingBufferSndQueue, counters.RingBufferRcvQueue, counters.RingBufferSndBuffer) == (2, 4, 6)
    countQueues(counters, [])
    assert (counters.RingBufferSndQueue, counters.RingBufferRcvQueue, counters.RingBufferSndBuffer) == (0, 0, 0)


# ---------------------------------------------------------------- the log


def test_a_row_each_period_the_first_after_the_first_period(tmp_path):
    path = tmp_path / "snmp.csv"
    it = Logging(path, period=10)
    it.pass_(9)
    assert not path.exists()
    it.counters.BytesSent = 5
    it.pass_(21)
    first = int(START.timestamp()) + 10
    assert path.read_text() == header() + "".join(row(it.counters, first + late) for late in (0, 10, 20))


def test_the_file_name_follows_the_time_and_a_new_file_has_a_header(tmp_path):
    it = Logging(tmp_path / "snmp-20060102.log", period=20)
    it.pass_(80)
    before, after = ((tmp_path / f"snmp-{day}.log").read_text().splitlines() for day in ("20260331", "20260401"))
    assert len(before) == 3 and len(after) == 3
    assert before[0] == after[0] == header().strip()
    assert int(after[1].split(",")[0]) - int(before[-1].split(",")[0]) == 20


def test_only_the_name_behind_the_last_slash_is_a_layout(tmp_path):
    (tmp_path / "2006").mkdir()
    Logging(tmp_path / "2006" / "2006", period=1).pass_(1)
    assert [path.name for path in (tmp_path / "2006").iterdir()] == ["2026"]


def test_a_file_that_was_there_goes_on_and_one_that_was_moved_away_begins_anew(tmp_path):
    path = tmp_path / "snmp.csv"
    path.write_text("something\n")
    it = Logging(path, period=1)
    it.pass_(1)
    path.rename(tmp_path / "snmp.csv.1")
    it.pass_(2)
    assert (tmp_path / "snmp.csv.1").read_text() == "something\n" + row(it.counters, int(START.timestamp()) + 1)
    assert path.read_text().splitlines()[0] == header().strip()
    assert len(path.read_text().splitlines()) == 3


def test_a_file_that_cannot_be_written_is_told_at_a_bounded_rate_and_tried_again(tmp_path, logged):
    folder = tmp_path / "absent"
    it = Logging(folder / "snmp.csv", period=1)
    it.pass_(1)
    assert len(logged) == 1
    assert f"cannot write to {folder}/snmp.csv (No such file or directory; failure 1 in a row)" in logged[0]
    it.pass_(98)
    assert len(logged) == 2
    folder.mkdir()
    it.pass_(2)
    assert len(logged) == 3 and "works again" in logged[2]
    assert len((folder / "snmp.csv").read_text().splitlines()) == 3
    assert [call for call in it.clock.getDelayedCalls()]


@pytest.mark.parametrize("name", ["with\0nul", "\udc80", "a" * 300, "folder"])
def test_a_name_that_no_file_can_have_does_not_stop_the_log(tmp_path, logged, name):
    (tmp_path / "folder").mkdir()
    it = Logging(f"{tmp_path}/{name}", period=1)
    it.pass_(5)
    assert len(logged) <= 2 and it.clock.getDelayedCalls()


def test_a_pipe_that_nobody_reads_holds_nothing_up(tmp_path, logged):
    os.mkfifo(tmp_path / "pipe")
    Logging(tmp_path / "pipe", period=1).pass_(20)
    assert logged == []


@pytest.mark.parametrize("path,period", [("", 60), ("snmp.csv", 0)])
def test_no_path_or_no_period_is_no_log(path, period):
    it = Logging(path, period)
    assert it.clock.getDelayedCalls() == []
    it.log.stop()


def test_a_stopped_log_leaves_no_timer(tmp_path):
    it = Logging(tmp_path / "snmp.csv")
    it.log.stop()
    it.log.stop()
    assert it.clock.getDelayedCalls() == []


# ---------------------------------------------------------------- the signal


@implementer(IReactorFromThreads)
class Threads:
    """A reactor's callFromThread: keeps the calls for its own turn."""

    def __init__(self):
        self.calls = []

    def callFromThread(self, call):
        self.calls.append(call)


@pytest.fixture
def restored():
    """The signal's handling as it was, after the test."""
    previous = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGUSR1, previous)


def test_a_signal_calls_in_the_reactors_turn(restored):
    reactor, received = Threads(), []
    watch = SignalWatch(reactor, signal.SIGUSR1, lambda: received.append(1))
    watch.start()
    os.kill(os.getpid(), signal.SIGUSR1)
    assert received == [] and len(reactor.calls) == 1
    reactor.calls[0]()
    assert received == [1]


def test_what_was_there_before_is_put_back(restored):
    watch = SignalWatch(Threads(), signal.SIGUSR1, lambda: None)
    watch.start()
    assert signal.getsignal(signal.SIGUSR1) is not signal.SIG_IGN
    watch.stop()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN


def test_what_somebody_put_there_since_stays(restored):
    watch = SignalWatch(Threads(), signal.SIGUSR1, lambda: None)
    watch.start()
    signal.signal(signal.SIGUSR1, theirs := lambda number, frame: None)
    watch.stop()
    assert signal.getsignal(signal.SIGUSR1) is theirs


def test_nothing_is_installed_on_a_simulated_reactor_or_for_no_signal(restored):
    for watch in (SignalWatch(Clock(), signal.SIGUSR1, print), SignalWatch(Threads(), None, print)):
        watch.start()
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
        watch.stop()
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN


# ---------------------------------------------------------------- in the services


@pytest.mark.parametrize(
    "make",
    [
        lambda reactor, **options: ClientService(reactor, ClientSettings(remoteaddr=NOBODY, **options)),
        lambda reactor, **options: ServerService(reactor, ServerSettings(listen=ANY_PORT, **options)),
    ],
    ids=["client", "server"],
)
def test_a_service_logs_and_prints_its_counters_between_start_and_stop(make, tmp_path, logged):
    reactor = MemoryReactorClock()
    service = make(reactor, snmplog=str(tmp_path / "snmp.csv"), snmpperiod=5)
    service.counters.OOBPackets = 77
    service.startService()
    reactor.advance(5)
    service.reports.print()
    service.stopService()
    written = (tmp_path / "snmp.csv").read_text()
    assert written.splitlines()[1].split(",")[-1] == "77"
    assert any(line.startswith("KCP SNMP:&{BytesSent:") and " OOBPackets:77 " in line for line in logged)
    reactor.advance(60)
    assert (tmp_path / "snmp.csv").read_text() == written
