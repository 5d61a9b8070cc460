"""Why does nothing we send get acknowledged?  Three answers that a session can find by itself.

A path loses datagrams now and then, is cut for seconds, or has a peer at its end that is gone.  None of that
is a fault of the set-up.  These are:

- TOO_LARGE: short datagrams pass and long ones vanish: they are longer than the path carries, and whatever
  should say so (ICMP) is filtered;
- UNHEARD: we hear the peer, but nothing we send reaches it: a firewall in one direction;
- DEAF: the same, and the peer shows it: it repeats what we have acknowledged again and again.

A check begins where the ARQ is *strained* (the same segment sent three times, or repeats and nothing else arriving).
It runs in rounds: each sends the oldest segment in flight once more, by itself, and beside it a question that
every KCP peer answers (window probe).  The questions are short.  So, of a path that is just bad, both kinds get
through sooner or later, and the check is over.  Where so many questions were answered that one of as many long
segments must have got through as well, and none was acknowledged, the length makes the difference; where nothing
at all was answered for UNANSWERED ms, while the peer was heard, the direction does.  Where the peer is not
heard either, nobody can say: that is silence (KCPSession.watch).

Pure: told the time, acts only through the ARQ.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from kcpstack.interfaces import IARQ
from kcpstack.kernels.flights import Segment
from kcpstack.kernels.reassembly import REPEATS
from kcpstack.kernels.segment import OVERHEAD

__all__ = ["PathCheck", "PathFault", "Verdict"]


class Verdict(enum.Enum):
    """What is wrong with a path."""

    TOO_LARGE = "too large"
    UNHEARD = "unheard"
    DEAF = "deaf"


class PathFault(NamedTuple):
    """A verdict, and what it was drawn from."""

    verdict: Verdict
    seconds: float  # for how long it was watched
    questions: int  # that were asked: all answered (TOO_LARGE), or none
    size: int = 0  # TOO_LARGE: bytes of UDP payload of the datagrams that vanish
    passed: int = 0  # TOO_LARGE: the longest that is known to arrive, and shorter than `size`
    repeats: int = 0  # DEAF: segments that came again, with nothing new between


class PathCheck:
    """Watches the path of one ARQ.

    ``fault`` is the last verdict, until what it says is no longer so.  ``lookAt`` is when ``look`` must be
    called again (a ``now``), None where only the ARQ's being strained is a reason to."""

    def __init__(self, arq: IARQ) -> None:
        self.fault: PathFault | None = None
        self.lookAt: float | None = None
        self._arq = arq
        self._rounds: _Rounds | None = None  # while a check is under way
        self._suspects: list[Segment] = []  # long segments in flight; none of them may be acknowledged
        self._faultAt = 0.0
        self._restsUntil = 0.0

    def look(self, now: float, headroom: int) -> PathFault | None:
        """Take note of how things are: a new fault, or None.  Flush the ARQ afterwards: it may have been told to
        probe.  ``headroom``: what the layers below add to a datagram, in bytes."""
        arq = self._arq
        arq.strained = False
        if self.fault is not None and not self._healed():
            return None
        self.fault = None
        if self._rounds is None:
            self.lookAt = self._beginsAt(now)
            if self.lookAt is None or now < self.lookAt:
                return None
            self._begin(now, headroom)
        rounds = self._rounds
        assert rounds is not None
        rounds.observe(now)
        if rounds.interrupted:  # questions without an answer say nothing of the direction: nothing came at all
            rounds = self._rounds = _Rounds(arq, now)
        self.fault = self._verdict(rounds, now, headroom)
        if self.fault is not None:
            self._faultAt = now
            self._end(now, 0.0)
        elif self._refuted(rounds):
            self._end(now, REST)
        elif now - rounds.began >= ROUNDS_TIME:
            self._end(now, REST_LONG)
        else:
            self.lookAt = rounds.ask(now)
        return self.fault

    def _healed(self) -> bool:
        """Whether what was said of the path is no longer so."""
        assert self.fault is not None
        if self.fault.verdict is Verdict.TOO_LARGE:
            return any(segment.acknowledged for segment in self._suspects)
        answeredAt = self._arq.answeredAt
        return answeredAt is not None and answeredAt > self._faultAt

    def _beginsAt(self, now: float) -> float | None:
        """When to begin: at once where the peer repeats itself, else when the oldest segment has waited
        long enough; None where all is well again."""
        oldest = self._arq.oldest()
        if self._arq.repeats >= REPEATS:
            begins = now
        elif oldest is not None and oldest.sent != oldest.firstSent:
            begins = oldest.firstSent + PATIENCE
        else:
            return None
        return max(begins, self._restsUntil)

    def _begin(self, now: float, headroom: int) -> None:
        self._rounds = _Rounds(self._arq, now)
        oldest = self._arq.oldest()
        self._suspects = []
        if oldest is not None and len(oldest.data) + OVERHEAD + headroom > SHORT:
            self._suspects = self._arq.inFlight(len(oldest.data), SUSPECTS)

    def _end(self, now: float, rest: float) -> None:
        self._rounds = None
        self.lookAt = None
        self._restsUntil = now + rest

    def _refuted(self, rounds: _Rounds) -> bool:
        """Whether what gave rise to the check has passed: an answer, or where long segments wait, an ack of one."""
        if self._suspects:
            return any(segment.acknowledged for segment in self._suspects)
        return rounds.answered > 0

    def _verdict(self, rounds: _Rounds, now: float, headroom: int) -> PathFault | None:
        arq = self._arq
        if self._suspects and rounds.proveLength() and not self._refuted(rounds):
            headers = OVERHEAD + headroom
            size = len(self._suspects[0].data) + headers
            passed = arq.longestArrived + headers
            seconds = (now - rounds.began) / 1000
            return PathFault(Verdict.TOO_LARGE, seconds, rounds.answered, size, passed if passed < size else headers)
        if rounds.unanswered(now):
            verdict = Verdict.DEAF if rounds.repeats >= REPEATS else Verdict.UNHEARD
            return PathFault(verdict, (now - rounds.answeredAt) / 1000, rounds.asked, repeats=rounds.repeats)
        return None


class _Rounds:
    """The rounds of one check, and what they have shown."""

    def __init__(self, arq: IARQ, now: float) -> None:
        self.began = now
        self.begun = 0  # rounds
        self.answered = 0  # rounds
        self.answeredAt = now  # the last answer; at first, the beginning
        self.asked = 0  # questions since
        self.heard = 0  # times, HEARD_APART, that the peer was heard since, but for what may have been under way
        self.repeats = 0  # most segments that it repeated in a row since
        self.interrupted = False  # has the peer been heard again after a silence?
        self._arq = arq
        self._seen = (arq.heardAt, arq.answeredAt)
        self._countedAt = float("-inf")  # when it was last among those `heard`
        self._open = False  # a question is out whose answer would count
        self._askAt = now
        self._pause = ROUND

    def observe(self, now: float) -> None:
        """See what has come since the last time."""
        heardAt, answeredAt = self._arq.heardAt, self._arq.answeredAt
        lastHeard, lastAnswered = self._seen
        self._seen = (heardAt, answeredAt)
        if answeredAt != lastAnswered:
            self.answered += self._open
            self._open = False
            self.answeredAt = now
            self.asked = self.heard = self.repeats = 0
        elif heardAt != lastHeard:
            if now - self.answeredAt >= STALE and now - self._countedAt >= max(HEARD_APART, self._arq.rto):
                self.heard += 1
                self._countedAt = now
            self.interrupted = now - max(self.began, lastHeard or self.began) > UNANSWERED
        self.repeats = max(self.repeats, self._arq.repeats)
        if heardAt != lastHeard:
            self._pause = ROUND

    def proveLength(self) -> bool:
        """Whether a path that answers as often as this one cannot have lost a datagram of each round by chance."""
        if self.answered < ROUNDS_LEAST:
            return False
        return (1 - self.answered / self.begun) ** self.begun <= CHANCE

    def unanswered(self, now: float) -> bool:
        """Whether the peer has been asked for long and often enough, without an answer, but not without a sound."""
        heardAt = self._arq.heardAt
        return (
            now - self.answeredAt >= max(UNANSWERED, UNANSWERED_RTOS * self._arq.rto)
            and self.asked >= ASKED_LEAST
            and self.heard >= HEARD
            and heardAt is not None
            and now - heardAt <= UNANSWERED
        )

    def ask(self, now: float) -> float:
        """Begin a round if it is time, and the last one has left (a slow pace may hold it back).  Returns when the
        next one begins: later and later while the peer is not heard at all."""
        if now >= self._askAt:
            if not self._arq.probing:
                self._arq.probe()
                self.asked += 1
                self.begun += 1
                self._open = True
            self._askAt = now + max(self._pause, self._arq.rto / ROUNDS_IN_RTO)
            if now - max(self.began, self._arq.heardAt or self.began) > UNANSWERED:
                self._pause = min(self._pause * 2, ROUND_MAX)
        return self._askAt


PATIENCE = 1000.0  # ms; what takes longer is rare where a fifth is lost
ROUND = 250.0  # ms; four short datagrams a second, and as many long ones
ROUND_MAX = 4000.0  # ms; while nobody is there
ROUNDS_IN_RTO = 4  # on a long path, rounds need not follow each other faster
ROUNDS_LEAST = 14  # answered; fewer tell nothing of how often a path answers
CHANCE = 1e-6  # and only bad luck begins a check
ASKED_LEAST = 12  # questions; where a fifth is lost in each direction, 5 in a million such runs go unanswered
UNANSWERED = 6000.0  # ms; a cut of 2.5 s, and more than ASKED_LEAST after it
UNANSWERED_RTOS = 6
HEARD = 2  # times; a straggler is one
HEARD_APART = 1000.0  # ms, and an RTO; a peer that goes on for so long after a cut has been asked since
STALE = 1500.0  # ms; what arrives this late after an answer was not under way with it
ROUNDS_TIME = 30_000.0  # ms; by then the session is being given up, or the peer is gone
REST = 1000.0  # ms between checks: beginning one looks at the whole window
REST_LONG = 30_000.0  # ms after one that found nothing
SUSPECTS = 64  # segments
SHORT = 548  # bytes of UDP payload that every IPv4 path carries (RFC 791: packets of 576)
