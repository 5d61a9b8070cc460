"""--pprof: profiles over HTTP, on loopback, one at a time; and a tunnel that goes on whatever happens to them."""

from __future__ import annotations

import cProfile
import pstats
import socket
import tracemalloc
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent

from kcpstack.profiling import LOOPBACK, PORT, SECONDS, SECONDS_MAX, ProfilingService

pytestmark = pytest.mark.option("pprof")

TURNS = 2000  # of the reactor, until a test gives up
PROFILE, HEAP = "/debug/pprof/profile", "/debug/pprof/heap"


class Bench:
    """The service on a reactor of its own that turns while we wait; its time is the test's."""

    def __init__(self) -> None:
        self.reactor = SelectReactor()
        self.clock = Clock()
        self.service = ProfilingService(self.reactor, self.clock, port=0)
        self.service.startService()

    def turn(self, condition) -> None:
        for _ in range(TURNS):
            if condition():
                return
            self.reactor.iterate(0.01)
        raise AssertionError("nothing came of it")

    def measuring(self) -> bool:
        return self.service._pages._running is not None

    def close(self) -> None:
        stopped: list = []
        self.service.stopService().addBoth(stopped.append)
        self.turn(lambda: stopped)
        self.reactor.fireSystemEvent("shutdown")


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.close()


class Asked:
    """One GET request, under way."""

    def __init__(self, bench: Bench, path: str, method: str = "GET", **headers: str) -> None:
        self._bench = bench
        self._answer = b""
        self.socket = socket.create_connection((LOOPBACK, bench.service.port.getHost().port))
        self.socket.setblocking(False)
        headers.setdefault("Host", f"{LOOPBACK}:{PORT}")
        lines = [f"{method} {path} HTTP/1.0", *(f"{name.replace('_', '-')}: {headers[name]}" for name in headers)]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())

    def answer(self) -> SimpleNamespace:
        """Wait for ``status``, ``headers`` (by name in lower case) and ``body``."""
        self._bench.turn(self._ended)
        self.socket.close()
        head, _, body = self._answer.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return SimpleNamespace(status=int(first.split()[1]), headers=headers, body=body, text=body.decode("latin-1"))

    def _ended(self) -> bool:
        try:
            data = self.socket.recv(1 << 16)
        except BlockingIOError:
            return False
        self._answer += data
        return not data


def measured(bench: Bench, path: str, seconds: int, work) -> SimpleNamespace:
    """The answer of a measurement during which ``work`` runs in a turn of the reactor."""
    asked = Asked(bench, path)
    bench.turn(bench.measuring)
    done: list = []
    bench.reactor.callLater(0, lambda: done.append(work()))
    bench.turn(lambda: done)
    bench.clock.advance(seconds)
    return asked.answer()


def aFunctionThatRanMeanwhile() -> int:
    return sum(range(1000))


def test_thePageTeaches(bench):
    for path in ("/debug/pprof/", "/debug/pprof"):
        answer = Asked(bench, path).answer()
        assert answer.status == 200 and answer.headers["content-type"].startswith("text/plain")
        assert PROFILE in answer.text and HEAP in answer.text and "curl" in answer.text


def test_aProfileIsAFileForPstatsAndHasWhatRan(bench, tmp_path):
    answer = measured(bench, f"{PROFILE}?seconds=10", 10, aFunctionThatRanMeanwhile)
    assert answer.status == 200 and "attachment" in answer.headers["content-disposition"]
    file = tmp_path / "profile"
    file.write_bytes(answer.body)
    names = {name for _file, _line, name in pstats.Stats(str(file)).stats}
    assert aFunctionThatRanMeanwhile.__name__ in names


def test_aProfileAsTextHasTwoTables(bench):
    answer = measured(bench, f"{PROFILE}?seconds=10&format=text", 10, aFunctionThatRanMeanwhile)
    assert answer.headers["content-type"].startswith("text/plain")
    cumulative, own = answer.text.split("Ordered by: internal time")
    assert "Ordered by: cumulative time" in cumulative
    assert aFunctionThatRanMeanwhile.__name__ in cumulative and aFunctionThatRanMeanwhile.__name__ in own


def test_theHeapNamesTheLineThatAllocatedAndKept(bench):
    kept: list = []
    answer = measured(bench, f"{HEAP}?seconds=5", 5, lambda: kept.append(bytearray(5_000_000)))
    (line,) = [line for line in answer.text.splitlines() if "bytearray(5_000_000)" in line]
    assert float(line.split()[0]) >= 5_000_000 // 1024
    assert not tracemalloc.is_tracing()


def test_whatTracedBeforeGoesOnTracing(bench):
    tracemalloc.start()
    try:
        measured(bench, f"{HEAP}?seconds=5", 5, aFunctionThatRanMeanwhile)
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()


def test_itLastsAsLongAsAskedAndThirtySecondsOtherwise(bench):
    for path, seconds in ((PROFILE, SECONDS), (f"{PROFILE}?seconds={SECONDS_MAX}", SECONDS_MAX)):
        asked = Asked(bench, path)
        bench.turn(bench.measuring)
        bench.clock.advance(seconds - 0.5)
        assert bench.measuring()
        bench.clock.advance(0.5)
        assert not bench.measuring() and asked.answer().status == 200


@pytest.mark.parametrize("second", [PROFILE, HEAP])
def test_aSecondOneIsToldToWait(second, bench):
    first = Asked(bench, f"{HEAP}?seconds=20")
    bench.turn(bench.measuring)
    bench.clock.advance(15)
    refused = Asked(bench, second).answer()
    assert refused.status == 409 and refused.headers["retry-after"] == "6"
    assert refused.text == "Another profile is being taken: ask again in 6 s\n"
    bench.clock.advance(5)
    assert first.answer().status == 200
    assert measured(bench, f"{PROFILE}?seconds=1", 1, aFunctionThatRanMeanwhile).status == 200


def test_anotherProfilerInTheProcessIsLeftAlone(bench):
    other = cProfile.Profile()
    other.enable()
    try:
        refused = Asked(bench, PROFILE).answer()
        aFunctionThatRanMeanwhile()
    finally:
        other.disable()
    assert refused.status == 409 and "Another profiler is at work" in refused.text
    names = {name for _file, _line, name in pstats.Stats(other).stats}
    assert aFunctionThatRanMeanwhile.__name__ in names and not bench.measuring()


@pytest.mark.parametrize(
    ("query", "line"),
    [
        *((f"seconds={bad}", "give a whole number from 1 to 600") for bad in ("0", "601", "-1", "1.5", "x", "", "9" * 5000)),
        ("seconds=%b2", "give a whole number from 1 to 600"),
        ("seconds=5&format=svg", "give pstats or text"),
        ("second=5", "'second': no such argument here"),
    ],
)
def test_whatWillNotDoIsRefusedWithALine(query, line, bench):
    refused = Asked(bench, f"{PROFILE}?{query}").answer()
    assert refused.status == 400 and line in refused.text
    assert refused.text.count("\n") == 1 and len(refused.text) < 120
    assert not bench.measuring()


def test_onlyWhatIsThereIsFound(bench):
    assert Asked(bench, "/").answer().status == 404
    assert Asked(bench, "/debug/pprof/goroutine").answer().text == "Nothing is here; see /debug/pprof/\n"


@pytest.mark.parametrize("method", ["HEAD", "POST"])
def test_onlyGETMeasures(method, bench):
    assert Asked(bench, PROFILE, method).answer().status == 405
    assert not bench.measuring()


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example:6060"}, {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}]
)
def test_webPagesOfOthersAreRefused(headers, bench):
    assert Asked(bench, PROFILE, **headers).answer().status == 403
    assert not bench.measuring()


def test_aTunnelledLocalhostAndTheBrowsersAddressBarAreServed(bench):
    assert Asked(bench, "/debug/pprof/", Host="localhost:1234", Sec_Fetch_Site="none").answer().status == 200


@pytest.mark.parametrize("path", [PROFILE, HEAP])
def test_aClientThatGoesAwayEndsItsProfile(path, bench):
    asked = Asked(bench, path)
    bench.turn(bench.measuring)
    asked.socket.close()
    bench.turn(lambda: not bench.measuring())
    assert not tracemalloc.is_tracing()
    assert measured(bench, f"{PROFILE}?seconds=1", 1, aFunctionThatRanMeanwhile).status == 200


def test_stoppingTheServiceAnswersWhoeverWaits(bench):
    asked = Asked(bench, HEAP)
    bench.turn(bench.measuring)
    bench.service.stopService()
    answer = asked.answer()
    assert answer.status == 503 and not tracemalloc.is_tracing()
    assert bench.service.port is None


def test_itListensOnLoopbackOnlyAndSaysWhere():
    with ExitStack() as stack, capturedLogs() as logs:
        bench = Bench()
        stack.callback(bench.close)
        host = bench.service.port.getHost()
    assert host.host == LOOPBACK
    assert f"Profiles at http://127.0.0.1:{host.port}/debug/pprof/" in [formatEvent(entry) for entry in logs]


def test_aPortInUseIsOneWarningAndNothingElse(bench):
    taken = bench.service.port.getHost().port
    second = ProfilingService(bench.reactor, bench.clock, taken)
    with capturedLogs() as logs:
        second.startService()
    warnings = [formatEvent(entry) for entry in logs if entry["log_level"] is LogLevel.warn]
    assert len(warnings) == 1 and f"127.0.0.1:{taken} cannot be had" in warnings[0]
    assert second.port is None and second.running
    second.stopService()
    assert Asked(bench, "/debug/pprof/").answer().status == 200
