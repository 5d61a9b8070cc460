"""The conformance suite of the congestion control seam, for any ICongestionControlFactory.

Mix it in and name your factory; pytest needs nothing else, unittest and trial want TestCase too::

    class TestMine(CongestionConformance):
        factory = mine

It tells the control of made-up events, and then lets a whole ARQ be driven by it over bad paths.  Time is a number
here, and there is no chance in it: every run is the same.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from functools import partial

from zope.interface.verify import verifyObject

from kcpstack.counters import Counters
from kcpstack.interfaces import ICongestionControl, ICongestionControlFactory
from kcpstack.kernels.arq import ARQ, Tuning
from kcpstack.testing.arqpair import ARQPair
from kcpstack.testing.checks import bytesKept, check, checkFactory, linesRun, repeatableBytes
from kcpstack.testing.impairment import PERFECT, Faults

__all__ = ["CongestionConformance", "events"]

Event = tuple[str, int, int, float]  # method, segments, inFlight, now

WINDOWS = (1, 2, 3, 10, 32, 128, 1024, 65535)  # what --sndwnd can be, segments
KINDS = ("acknowledged", "skipped", "timedOut")


def events(seed: object, count: int, most: int) -> Iterator[Event]:
    """``count`` events of all kinds in runs, each of ``most`` segments at most, at times that never go back."""
    chance = random.Random(f"events {seed}")
    now, kind = 0.0, "acknowledged"
    for _ in range(count):
        if chance.random() < 0.3:
            kind = chance.choice(KINDS)
        now += chance.choice((0.0, 0.0, 1.0, 30.0, 1000.0))
        yield kind, chance.randint(1, max(1, chance.choice((1, 2, most)))), chance.randint(0, most), now


class CongestionConformance:
    """What the ARQ relies on, one test for each promise of ICongestionControl."""

    factory: ICongestionControlFactory
    """The one to test: each suite is given it."""

    reacts: bool = True
    """Whether the window closes where flight after flight times out; False where it is not meant to."""

    recovery: int = 200
    """Round trips without loss after which the window is open again, after many time-outs."""

    # ---------------------------------------------------------------- what is declared

    def test_factoryIsAsDeclared(self) -> None:
        checkFactory(ICongestionControlFactory, self.factory)

    def test_controlIsAsDeclared(self) -> None:
        for sendWindow in WINDOWS:
            verifyObject(ICongestionControl, self.factory.build(sendWindow))

    def test_eachSessionGetsAControlOfItsOwn(self) -> None:
        check(self.factory.build(10) is not self.factory.build(10), "build returned one control twice")

    # ---------------------------------------------------------------- the window

    def test_windowBeginsWithinItsBounds(self) -> None:
        for sendWindow in WINDOWS:
            self._inBounds(self.factory.build(sendWindow), sendWindow, "at the start")

    def test_windowStaysWithinItsBounds(self) -> None:
        for sendWindow in WINDOWS:
            control = self.factory.build(sendWindow)
            for event in events(sendWindow, 1500, sendWindow):
                self._tell(control, event)
                self._inBounds(control, sendWindow, f"after {event}")

    def test_windowStaysWithinItsBoundsWhateverTheNumbers(self) -> None:
        for sendWindow in WINDOWS:
            control = self.factory.build(sendWindow)
            for event in events(sendWindow, 300, 1 << 20):
                self._tell(control, event)
                self._inBounds(control, sendWindow, f"after {event}")

    def test_onlyAcknowledgementsForEverStayWithinTheBounds(self) -> None:
        for sendWindow in WINDOWS:
            control = self.factory.build(sendWindow)
            for number in range(3000):
                control.acknowledged(1, control.window - 1, number * 0.1)
                self._inBounds(control, sendWindow, f"after {number + 1} acknowledgements")

    def test_onlyLossesForEverStayWithinTheBounds(self) -> None:
        for sendWindow in WINDOWS:
            for kind in ("skipped", "timedOut"):
                control = self.factory.build(sendWindow)
                for number in range(300):
                    self._tell(control, (kind, 1, min(control.window, 1 + number % 3), number * 50.0))
                    self._inBounds(control, sendWindow, f"after {kind} {number + 1} times")

    def test_windowOfOneStaysOne(self) -> None:
        control = self.factory.build(1)
        for event in events("one", 500, 1):
            self._tell(control, event)
            check(control.window == 1, f"a send window of 1, and the window is {control.window} after {event}")

    def test_lookingChangesNothing(self) -> None:
        looked, other = self.factory.build(64), self.factory.build(64)
        for event in events("look", 500, 64):
            first = [looked.window for _ in range(5)]
            check(len(set(first)) == 1, f"the window changes while one looks: {first}")
            self._tell(looked, event)
            self._tell(other, event)
        check(looked.window == other.window, "looking at the window changed what became of it")

    def test_eventsAtOneInstantAreBorne(self) -> None:
        for now in (0.0, 1e12):
            control = self.factory.build(64)
            for kind, segments, inFlight, _ in events("instant", 500, 64):
                self._tell(control, (kind, segments, inFlight, now))
                self._inBounds(control, 64, f"after {kind} at {now}")

    # ---------------------------------------------------------------- how it reacts

    def test_aFlightThatTimedOutOpensNothing(self) -> None:
        for sendWindow in WINDOWS:
            control = self._opened(sendWindow)
            before = control.window
            control.timedOut(before, before, 1e6)
            check(control.window <= before, f"a flight of {before} timed out, and the window became {control.window}")

    def test_flightAfterFlightTimedOutClosesTheWindow(self) -> None:
        if not self.reacts:
            return
        for sendWindow in WINDOWS[2:]:
            control = self._opened(sendWindow)
            before = control.window
            for number in range(20):
                control.timedOut(control.window, control.window, 1e6 + number * 1000.0)
            check(control.window < before, f"twenty flights timed out, and the window is still {control.window}")

    def test_afterLossesTheWindowOpensAgain(self) -> None:
        for sendWindow in WINDOWS:
            control = self._opened(sendWindow)
            for number in range(20):
                control.timedOut(control.window, control.window, 1e6 + number * 1000.0)
            after = self._clean(control, self.recovery, 1e6 + 30_000.0)
            wanted = min(sendWindow, 10)
            check(after >= wanted, f"{self.recovery} clean round trips after time-outs the window is {after} segments")

    def test_aWindowThatIsUsedOpens(self) -> None:
        control = self.factory.build(1024)
        after = self._clean(control, self.recovery, 0.0)
        check(after >= 64, f"after {self.recovery} clean round trips the window is {after} segments")

    def test_theSameEventsGiveTheSameWindows(self) -> None:
        histories = []
        for _ in range(2):
            control = self.factory.build(100)
            windows = []
            for event in events("same", 500, 100):
                self._tell(control, event)
                windows.append(control.window)
            histories.append(windows)
        check(histories[0] == histories[1], "the same events gave other windows: a run cannot be replayed")

    def test_controlsAreIndependent(self) -> None:
        alone, beside, other = (self.factory.build(100) for _ in range(3))
        for event, disturbance in zip(events("alone", 500, 100), events("other", 500, 100)):
            self._tell(alone, event)
            self._tell(beside, event)
            self._tell(other, disturbance)
            check(alone.window == beside.window, "what another session told its control changed this one")

    # ---------------------------------------------------------------- bounds

    def test_workIsBounded(self) -> None:
        for kind in KINDS:
            for segments in (1, 1000, 1 << 20):
                control = self._opened(65535)
                lines = linesRun(partial(self._tell, control, (kind, segments, 65535, 1e6)))
                check(lines <= WORK_MAX, f"{kind} of {segments} segments took {lines} lines")

    def test_workDoesNotGrowWithAge(self) -> None:
        control = self.factory.build(1024)
        first = linesRun(lambda: self._tellAll(control, events("first", 200, 64), 0.0))
        self._tellAll(control, events("between", 3000, 64), 1e6)
        last = linesRun(lambda: self._tellAll(control, events("first", 200, 64), 1e8))
        check(last <= 2 * first + WORK_MAX, f"200 events took {first} lines at first, and {last} later")

    def test_whatIsKeptIsBounded(self) -> None:
        control = self.factory.build(1024)
        told = list(events("kept", 8000, 64))
        held = bytesKept(partial(self._tell, control, event) for event in told)
        check(held <= KEPT_MAX, f"{held} bytes are kept after {len(told)} events")

    # ---------------------------------------------------------------- an ARQ driven by it

    def test_anARQCompletesOverACleanPath(self) -> None:
        self._carries(Faults(delay=30))

    def test_anARQCompletesWithoutAnyDelay(self) -> None:
        self._carries(PERFECT)

    def test_anARQCompletesOverLoss(self) -> None:
        self._carries(Faults(delay=30, loss=0.1))

    def test_anARQCompletesOverHeavyLoss(self) -> None:
        self._carries(Faults(delay=30, loss=0.4), 20_000)

    def test_anARQCompletesOverBurstsOfLoss(self) -> None:
        self._carries(Faults(delay=30, loss=0.15, burst=20))

    def test_anARQCompletesOverReordering(self) -> None:
        self._carries(Faults(delay=30, jitter=20, reorder=0.2, duplicate=0.1, hold=40))

    def test_anARQCompletesThroughANarrowBottleneck(self) -> None:
        self._carries(Faults(delay=30, rate=50_000, queue=100))

    def test_anARQCompletesOverALongPath(self) -> None:
        self._carries(Faults(delay=800, loss=0.02))

    def test_anARQCompletesAfterACut(self) -> None:
        pair, ms = self._pair(Faults(delay=30), 128), 600_000.0
        pair.write(0, repeatableBytes("cut", 60_000))
        pair.run(lambda: False, 70)
        pair.configure(cut=True)
        pair.run(lambda: False, 30_000)
        pair.configure(cut=False)
        pair.finish(ms)

    def test_anARQCompletesWithEverySendWindow(self) -> None:
        for sendWindow in (1, 2, 3, 1024):
            self._carries(Faults(delay=30, loss=0.05), 20_000, sendWindow)

    # ---------------------------------------------------------------- details

    def _tell(self, control: ICongestionControl, event: Event) -> None:
        kind, segments, inFlight, now = event
        getattr(control, kind)(segments, inFlight, now)

    def _tellAll(self, control: ICongestionControl, told: Iterable[Event], later: float) -> None:
        for kind, segments, inFlight, now in told:
            self._tell(control, (kind, segments, inFlight, now + later))

    def _inBounds(self, control: ICongestionControl, sendWindow: int, when: str) -> None:
        window = control.window
        check(type(window) is int, f"the window is an int, not {window!r}, {when}")
        check(1 <= window <= sendWindow, f"the window is {window} {when}, and 1 to {sendWindow} may be")

    def _clean(self, control: ICongestionControl, trips: int, now: float) -> int:
        """Let whole windows be acknowledged, one each 50 ms; return the window that comes of it."""
        for trip in range(trips):
            flight = control.window
            for left in range(flight - 1, -1, -1) if flight <= 64 else ():
                control.acknowledged(1, left, now + trip * 50.0)
            if flight > 64:
                control.acknowledged(flight // 2, flight - flight // 2, now + trip * 50.0)
                control.acknowledged(flight - flight // 2, 0, now + trip * 50.0)
        return int(control.window)

    def _opened(self, sendWindow: int) -> ICongestionControl:
        control = self.factory.build(sendWindow)
        self._clean(control, 60, 0.0)
        return control

    def _pair(self, faults: Faults, sendWindow: int) -> ARQPair:
        controls = [self.factory.build(sendWindow) for _ in range(2)]
        tuning = Tuning(interval=20.0, resend=2, sendWindow=sendWindow, receiveWindow=256)
        near, far = (ARQ(7, 400, tuning, control, Counters()) for control in controls)

        def look(pair: ARQPair) -> None:
            for control in controls:
                self._inBounds(control, sendWindow, f"at {pair.now} ms")

        return ARQPair(near, far, faults=faults, look=look)

    def _carries(self, faults: Faults, length: int = 60_000, sendWindow: int = 128) -> None:
        pair = self._pair(faults, sendWindow)
        pair.write(0, repeatableBytes("up", length))
        pair.write(1, repeatableBytes("down", length // 2))
        pair.finish()


WORK_MAX = 400  # lines of Python for one event; a control with a model of the path may need some
KEPT_MAX = 128 * 1024  # bytes; some history is fine
