"""Profiles of the running process over HTTP: what ``--pprof`` opens.

kcptun serves Go's pprof on port 6060; this is the same for Python, at the same paths, with what Python's own
tools read.  It listens on loopback only, and serves one measurement at a time:

- ``profile`` watches every call of the reactor's thread for a while (cProfile);
- ``heap`` watches every allocation for a while (tracemalloc).

Both slow the process down while they last, and cost next to nothing at other times.
"""

from __future__ import annotations

import cProfile
import io
import linecache
import marshal
import pstats
import sys
import tracemalloc
from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet import defer
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorTCP, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import BAD_REQUEST, CONFLICT, FORBIDDEN, NOT_ALLOWED, NOT_FOUND, SERVICE_UNAVAILABLE
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from kcpstack.addresses import shown

__all__ = ["LOOPBACK", "PORT", "ProfilingService"]

LOOPBACK = "127.0.0.1"  # profiles are for whoever is on this machine already
PORT = 6060  # as Go's pprof has it


class ProfilingService(Service):
    """Serves profiles on ``port`` of LOOPBACK (0: the system chooses).

    Where the port is taken there is a warning, and no
    service: nothing else depends on it.  ``port`` is the IListeningPort while it listens, else None."""

    name = "kcptun profiling"

    def __init__(self, reactor: IReactorTCP, clock: IReactorTime, port: int = PORT) -> None:
        self.port: IListeningPort | None = None
        self._reactor = reactor
        self._clock = clock
        self._number = port
        self._pages = _Pages(clock)

    def startService(self) -> None:
        super().startService()
        site = Site(self._pages, reactor=self._clock)
        site.noisy = False
        try:
            # Twisted annotates Site as no factory of a server.
            self.port = self._reactor.listenTCP(self._number, site, interface=LOOPBACK)  # type: ignore[arg-type]
        except CannotListenError as error:
            _log.warn(
                "--pprof: {host}:{port} cannot be had ({why}); going on without profiles",
                host=LOOPBACK,
                port=self._number,
                why=error.socketError,
            )
            return
        _log.info("Profiles at http://{local}{path}", local=shown(self.port.getHost()), path=BASE)

    def stopService(self) -> defer.Deferred[None]:
        """Returns a Deferred that fires when the port is free again."""
        super().stopService()
        self._pages.stop()
        port, self.port = self.port, None
        if port is None:
            return defer.succeed(None)
        # It returns a Deferred or None, and Twisted annotates maybeDeferred for functions that return one or the other.
        return defer.maybeDeferred(port.stopListening)  # type: ignore[call-overload,no-any-return]


class _Pages(Resource):
    """All pages, by path, and the measurement that is under way, if any."""

    isLeaf = True

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__()
        self._clock = clock
        self._running: _Measurement | None = None

    def render(self, request: Request) -> bytes | int:
        """See IResource."""
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        request.setHeader(b"x-content-type-options", b"nosniff")
        if request.method != b"GET":
            request.setHeader(b"allow", b"GET")
            return _answer(request, NOT_ALLOWED, "Only GET is answered here")
        if _fromElsewhere(request):
            return _answer(request, FORBIDDEN, "This is for programs on this machine, not for web pages of others")
        path = request.path.decode("latin-1")
        if path in (BASE, BASE.rstrip("/")):
            return _index(request.getHost().port)
        if path not in (CALLS, ALLOCATIONS):
            return _answer(request, NOT_FOUND, f"Nothing is here; see {BASE}")
        arguments = {name.decode("latin-1"): values[-1].decode("latin-1") for name, values in request.args.items()}
        try:
            seconds = _seconds(arguments)
            instrument = _Calls(seconds, _form(arguments)) if path == CALLS else _Allocations(seconds)
            _nothingElse(arguments)
        except ValueError as error:
            return _answer(request, BAD_REQUEST, str(error))
        return self._measure(request, instrument, seconds)

    def stop(self) -> None:
        """Break off what is under way."""
        if self._running is not None:
            self._running.breakOff("The process is about to stop")

    def _measure(self, request: Request, instrument: _Calls | _Allocations, seconds: int) -> bytes | int:
        if self._running is not None:
            left = self._running.secondsLeft()
            request.setHeader(b"retry-after", b"%d" % left)
            return _answer(request, CONFLICT, f"Another profile is being taken: ask again in {left} s")
        try:
            instrument.start()
        except RuntimeError as error:
            return _answer(request, CONFLICT, str(error))
        self._running = _Measurement(self._clock, request, instrument, seconds, self._ended)
        return NOT_DONE_YET

    def _ended(self) -> None:
        self._running = None


class _Measurement:
    """An instrument at work for ``seconds``, until ``request`` is answered or its client goes away.  Calls
    ``ended()`` once."""

    def __init__(
        self,
        clock: IReactorTime,
        request: Request,
        instrument: _Calls | _Allocations,
        seconds: int,
        ended: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._request = request
        self._instrument = instrument
        self._ended = ended
        self._timer = clock.callLater(seconds, self._done)
        request.notifyFinish().addErrback(self._clientLeft)

    def secondsLeft(self) -> int:
        return int(self._timer.getTime() - self._clock.seconds()) + 1

    def breakOff(self, why: str) -> None:
        """Answer at once that there is no answer."""
        self._stop()
        self._request.write(_answer(self._request, SERVICE_UNAVAILABLE, why))
        self._request.finish()

    def _done(self) -> None:
        try:
            report = self._instrument.report()
        finally:
            self._instrument.stop()
            self._ended()
        for name, value in self._instrument.headers.items():
            self._request.setHeader(name, value)
        self._request.setHeader(b"content-length", b"%d" % len(report))
        self._request.write(report)
        self._request.finish()

    def _clientLeft(self, reason: Failure) -> None:
        if self._timer.active():
            self._stop()

    def _stop(self) -> None:
        self._timer.cancel()
        self._instrument.stop()
        self._ended()


# ------------------------------------------------------------ instruments


# Each has ``start()``, which raises RuntimeError with a line for the user where it cannot be had; ``report()``, the
# answer (bytes), whose headers are ``headers``; and ``stop()``, which ends it in any case.


class _Calls:
    """The calls of the thread that starts it.  ``form`` is PSTATS (a file for Python's pstats) or TEXT."""

    def __init__(self, seconds: int, form: str) -> None:
        self._seconds = seconds
        self._form = form
        self._profile = cProfile.Profile()
        self.headers: dict[bytes, bytes] = {}
        if form == PSTATS:
            self.headers[b"content-type"] = b"application/octet-stream"
            self.headers[b"content-disposition"] = b'attachment; filename="kcptun.pstats"'

    def start(self) -> None:
        busy = sys.getprofile() is not None
        if not busy:
            try:
                self._profile.enable()
            except ValueError:  # how Python says the same from 3.12 on
                busy = True
        if busy:
            raise RuntimeError("Another profiler is at work in this process (twistd --profile, perhaps)")

    def stop(self) -> None:
        self._profile.disable()

    def report(self) -> bytes:
        self._profile.disable()
        if self._form == PSTATS:
            self._profile.create_stats()
            return marshal.dumps(self._profile.stats)
        out = io.StringIO()
        stats = pstats.Stats(self._profile, stream=out)
        out.write(f"Calls in the reactor's thread over {self._seconds} s\n\n")
        for key, title in (("cumulative", "time with what they call"), ("tottime", "time of their own")):
            out.write(f"The {ROWS} functions with the most {title}\n")
            stats.sort_stats(key).print_stats(ROWS)
        return out.getvalue().encode("utf-8", "backslashreplace")


class _Allocations:
    """What was allocated while it was at work, and is still there at its end, by line of code."""

    def __init__(self, seconds: int) -> None:
        self.headers: dict[bytes, bytes] = {}
        self._seconds = seconds
        self._began = False

    def start(self) -> None:
        if not tracemalloc.is_tracing():  # it may be, by PYTHONTRACEMALLOC, and then it goes on
            tracemalloc.start()
            self._began = True
        self._before = _snapshot()

    def stop(self) -> None:
        if self._began:
            tracemalloc.stop()

    def report(self) -> bytes:
        growth = _snapshot().compare_to(self._before, "lineno")
        total = sum(line.size_diff for line in growth)
        most = [line for line in growth if line.size_diff > 0][:ROWS]
        lines = [
            f"Memory that was allocated within {self._seconds} s, less what was freed: {total / 1024:+.1f} KiB",
            f"The {len(most)} lines of code that allocated the most of what is still there",
            "",
            f"{'KiB':>12} {'blocks':>10}  line",
        ]
        for line in most:
            frame = line.traceback[0]
            code = linecache.getline(frame.filename, frame.lineno).strip()
            where = f"{frame.filename}:{frame.lineno}"
            lines.append(f"{line.size_diff / 1024:12.1f} {line.count_diff:+10d}  {where}  {code}")
        return "\n".join([*lines, ""]).encode("utf-8", "backslashreplace")


def _snapshot() -> tracemalloc.Snapshot:
    return tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(False, tracemalloc.__file__)])


# ------------------------------------------------------------ requests


def _seconds(arguments: dict[str, str]) -> int:
    """Take ``seconds`` out of a request's arguments.  These three raise ValueError with a line for the user."""
    text = arguments.pop("seconds", str(SECONDS))
    if text.isascii() and text.isdigit() and len(text) <= len(str(SECONDS_MAX)) and 1 <= int(text) <= SECONDS_MAX:
        return int(text)
    raise ValueError(f"seconds={text!r:.40}: give a whole number from 1 to {SECONDS_MAX}")


def _form(arguments: dict[str, str]) -> str:
    text = arguments.pop("format", PSTATS)
    if text in (PSTATS, TEXT):
        return text
    raise ValueError(f"format={text!r:.40}: give {PSTATS} or {TEXT}")


def _nothingElse(arguments: dict[str, str]) -> None:
    for name in arguments:
        raise ValueError(f"{name!r:.40}: no such argument here; see {BASE}")


def _fromElsewhere(request: Request) -> bool:
    """Whether a browser sends this for somebody's web page: by the browser's word, or because the page gave
    this machine a name of its own."""
    if request.getHeader(b"sec-fetch-site") not in (None, b"none", b"same-origin"):
        return True
    return request.getRequestHostname() not in (b"localhost", LOOPBACK.encode())


def _answer(request: Request, code: int, line: str) -> bytes:
    request.setResponseCode(code)
    return f"{line}\n".encode()


def _index(port: int) -> bytes:
    return f"""\
Profiles of this kcptun.  Each watches it for a while (seconds: 1 to {SECONDS_MAX}, {SECONDS} if not given), and then answers;
one at a time.  While they last, the process is slower: about half as fast.

  {CALLS}?seconds=10&format=text    where the time goes: the top {ROWS}, twice
  {CALLS}?seconds=10                the same for Python's pstats, snakeviz and others
  {ALLOCATIONS}?seconds=10                   what was allocated meanwhile, and stayed

  curl 'http://{LOOPBACK}:{port}{CALLS}?seconds=10&format=text'
  curl -o kcptun.pstats 'http://{LOOPBACK}:{port}{CALLS}?seconds=10'
  python3 -m pstats kcptun.pstats
""".encode()


BASE = "/debug/pprof/"
CALLS = f"{BASE}profile"
ALLOCATIONS = f"{BASE}heap"
PSTATS, TEXT = "pstats", "text"
SECONDS, SECONDS_MAX = 30, 600
ROWS = 50  # of each table

_log = Logger()
