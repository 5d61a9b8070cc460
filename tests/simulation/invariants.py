"""What is true of a random world after every step, whatever happens in it.

Each promise is a function of that name: it is given what there is to look at and returns what is wrong, or None.
``Invariants.look`` asks all of them and raises Broken, with the promise's name.  They look inside: a window that is
overrun by one, or a wake-up that is lost, shows long before an application gets wrong bytes, and often when it would not.
A session that a step has left alone is only glanced at, for there are several and most are idle.
Bounds are those that the documentation gives (docs/smux.rst, docs/fec.rst, the constants of the modules).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kcpstack.layers import fec, fec_groups, smux, smux_flow, smux_sending
from kcpstack.layers.smux_frames import HEADER_SIZE, MAX_PAYLOAD

__all__ = ["GLANCES", "PROMISES", "Broken", "Invariants"]

CLIENT = "client"
STEPS_AT_ONCE = 20_000  # delayed calls without time passing; the busiest worlds make some hundreds
TIMERS_OF = {"life": 40, "session": 12, "stream": 3, "application": 1, "relay": 4}  # at most, and seldom as many; see timersAreFew
OVERSHOOT = smux_sending.WRITE_SIZE + HEADER_SIZE + MAX_PAYLOAD  # bytes; of one write of smux's
EXPANSION = 1.01  # of what cannot be compressed
ROUNDING = 0.02  # ms
GLANCES = 16  # steps that leave a session as it is, until it is looked at nevertheless


class Broken(AssertionError):
    """A promise is broken; ``promise`` is its name."""

    def __init__(self, promise: str, what: Any, wrong: str) -> None:
        super().__init__(f"{promise}: {what}: {wrong}")
        self.promise = promise


class Session:
    """One session of one end, and what it was like after the last step that changed it."""

    def __init__(self, life: Any, conversation: Any) -> None:
        self.life = life
        self.conversation = conversation
        self.kcp = conversation.session
        self.arq = conversation.arq
        self.arrived = conversation.arq._arrived
        self.schedule = conversation.session._schedule
        self.decoder = conversation._decoder
        self.mux = conversation.mux
        self.sender = conversation.mux._sender
        self.peer: Session | None = None
        self.overrun: str | None = None  # by a flush in the last step
        self._flush, self.arq.flush = self.arq.flush, self._watchedFlush
        self.sent: dict[int, tuple[int, int]] = {}  # bytes that left on each stream, and its window
        self.quiet = 0  # steps in a row that have not changed it
        self.state: tuple[Any, ...] = ()
        self.remember()

    def __str__(self) -> str:
        return f"session {self.conversation.conv:08x} of the {self.life.end}"

    def stirred(self) -> bool:
        """Whether the last step has changed anything, as far as can be seen at a glance; now and then in any case."""
        arq, arrived, session, mux, sender, schedule = self.arq, self.arrived, self.kcp, self.mux, self.sender, self.schedule
        state = (
            arq._una, arq._nxt, arq.unsent, arq._flights.number, len(arq._lost), session._heldUntil, session._paused,
            arrived.nxt, arrived.ackAt, len(arrived.early), len(arrived.unread), len(arrived._acks), session._producerPaused,
            mux._unread, mux._heard, len(mux._streams), sender._turn, sender._paused, len(sender._urgent), len(sender._calls),
            schedule._wanted.get(session), schedule._timer, session in schedule._soon,
        )  # fmt: skip
        if state == self.state and self.quiet < GLANCES:
            self.quiet += 1
            return False
        self.state, self.quiet = state, 0
        return True

    def remember(self) -> None:
        arq = self.arq
        self.una, self.nxt, self.expected = arq._una, arq._nxt, self.arrived.nxt
        self.unsent, self.highWater = arq.unsent, self.kcp._highWater()
        self.early = (self.arrived.nxt, len(self.arrived.early))
        self.sent = {number: (each._sendWindow._sent, each._sendWindow._size) for number, each in self.mux._streams.items()}

    def _watchedFlush(self, *arguments: Any) -> Any:
        """A step can have several, each in windows of its own."""
        arq, before = self.arq, self.arq._nxt
        more = self._flush(*arguments)
        inFlight, window = arq._nxt - arq._una, self.window
        if arq._nxt > before and inFlight > window:
            self.overrun = f"{inFlight} segments in flight, and a window of {window}"
        return more

    @property
    def window(self) -> int:
        """Segments that may be in flight now."""
        arq = self.arq
        return int(min(arq._tuning.sendWindow, arq._remoteWindow, arq._congestion.window))

    @property
    def hasATurn(self) -> bool:
        """Whether it is called at the end of this turn, or when the pacer lets something out."""
        return self.kcp in self.schedule._soon or self.kcp._heldUntil is not None


# ---------------------------------------------------------------- KCP


def inFlightFitsTheWindows(it: Session) -> str | None:
    """What was sent anew fitted sndwnd, the window that the peer had announced, and that of the congestion control."""
    return it.overrun


def sequenceNumbersOnlyGrow(it: Session) -> str | None:
    """That is una, the next number to be sent, and the one that is expected; what is kept lies between the first two."""
    arq, expected = it.arq, it.arrived.nxt
    una, nxt = arq._una, arq._nxt
    if una < it.una or nxt < it.nxt or expected < it.expected:
        return f"una, nxt and expected were {it.una}, {it.nxt}, {it.expected} and are {una}, {nxt}, {expected}"
    kept = arq._segments
    if len(kept) > nxt - una or (kept and next(iter(kept)) < una):
        return f"{len(kept)} segments kept from {next(iter(kept))} on, where una is {una} and nxt {nxt}"
    return None


def whatIsAcknowledgedHasArrived(it: Session) -> str | None:
    """And what has arrived has been sent: seen from both ends, while they are those that began."""
    if it.peer is None or not it.peer.kcp.connected:
        return None
    arq, there = it.arq, it.peer.arrived
    if not arq._una <= there.nxt <= arq._nxt:
        return f"una {arq._una}, and nxt {arq._nxt}, where the peer expects {there.nxt}"
    beyond = arq._nxt - arq._una - len(arq._segments)
    if beyond > there.nxt - arq._una + len(there.early):
        return f"{beyond} segments acknowledged beyond una, where the peer has {len(there.early)} early ones"
    return None


def receivedFitsTheWindow(it: Session) -> str | None:
    """At most rcvwnd segments wait to be read, and none is kept that the window did not allow."""
    here = it.arrived
    if len(here.unread) > here._window or len(here.early) > here._window:
        return f"{len(here.unread)} segments unread, {len(here.early)} early, and a window of {here._window}"
    if here.early and (here.nxt, len(here.early)) != it.early:
        first, last = min(here.early), max(here.early)
        if first < here.nxt or last >= here.nxt + here._window:
            return f"segments {first} to {last} are kept, {here.nxt} is expected, and the window is {here._window}"
    return None


def whatIsInOrderIsHandedUp(it: Session) -> str | None:
    """Nothing that is in order waits, but for a window or a protocol that is full."""
    here = it.arrived
    if here.nxt in here.early and len(here.unread) < here._window:
        return f"segment {here.nxt} is expected, and has come"
    if here.unread and not it.kcp._paused and not it.hasATurn:
        return f"{len(here.unread)} segments are not read"
    return None


def whatMayLeaveLeaves(it: Session) -> str | None:
    """Nothing waits to be sent that the windows and the pacer would let out; nor acks that are due, nor probes."""
    arq = it.arq
    if it.hasATurn:
        return None
    if arq.unsent and arq._nxt - arq._una < it.window:
        return f"{arq.unsent} bytes wait, and {arq._nxt - arq._una} segments are in flight of {it.window}"
    if arq._lost or arq._ask or arq._tell or arq._retry or (it.arrived._acks and it.arrived._ackNow):
        return "something lost, a probe, or an ack waits"
    return None


def everyTimeoutHasATimer(it: Session) -> str | None:
    """A session that wants to be called is in the schedule, in time, and the schedule has a timer that runs."""
    schedule = it.schedule
    if schedule._soon and (schedule._soonCall is None or not schedule._soonCall.active()):
        return "the end of the turn is forgotten"
    if it.kcp not in schedule._soon:
        due = it.kcp._nextDue()
        planned = schedule._wanted.get(it.kcp)
        forgotten = _wantedByTheARQ(it)
        if forgotten is not None and it.kcp._heldUntil is None and (planned is None or planned > forgotten + ROUNDING):
            return f"the ARQ has something to do at {forgotten:.3f} ms, and is planned for {planned}"
        if due is not None and (planned is None or planned > due + ROUNDING):
            return f"it is due at {due:.3f} ms, and planned for {planned}"
    if schedule._wanted:
        first = min(schedule._wanted.values())
        if schedule._timer is None or not schedule._timer.active() or schedule._timerAt > first + ROUNDING:
            return f"the first is due at {first:.3f} ms, and the timer set for {schedule._timerAt:.3f}"
    return None


def _wantedByTheARQ(it: Session) -> float | None:
    """When an ack, a probe of a closed window or a segment in flight is due, whatever ``nextTimeout`` says."""
    arq = it.arq
    times = [it.arrived.ackAt if it.arrived._acks else None, arq._probeAt, arq._flights.nextTimeout()]
    return min((time for time in times if time is not None), default=None)


def unsentIsBounded(it: Session) -> str | None:
    """Where it grows: to the high-water mark, and one write of smux's."""
    if it.arq.unsent > it.unsent:
        mark = max(it.highWater, it.kcp._highWater())
        if it.arq.unsent > (mark + OVERSHOOT + it.sender.urgentBytes) * EXPANSION:
            return f"{it.arq.unsent} bytes unsent, and the mark is {mark}"
    return None


def aPausedSenderIsResumed(it: Session) -> str | None:
    """smux is stopped only while KCP, or a compressor that does not know yet, will say when to go on."""
    if not it.sender._paused:
        return None
    if not it.kcp._producerPaused:
        undecided = getattr(it.kcp._protocol, "_undecided", False)
        return None if undecided or it.sender._transport is None else "smux is stopped, and KCP is not"
    if it.arq.unsent <= it.kcp._highWater() // 2 and not it.hasATurn:
        return f"smux is stopped, and only {it.arq.unsent} bytes are unsent"
    return None


def shardsHeldAreFew(it: Session) -> str | None:
    """FEC holds what docs/fec.rst says, and no group for longer than that."""
    layout = it.decoder.parameters
    most = fec.HELD_SHARDS if layout is None else (layout[0] - 1) * fec_groups.KEPT_GROUPS
    if it.decoder.shardsHeld > most:
        return f"{it.decoder.shardsHeld} shards held, at most {most} of {layout}"
    encoder = it.conversation._encoder
    if encoder.parameters is not None and len(encoder._shards) >= encoder.parameters[0]:
        return f"{len(encoder._shards)} shards of an unfinished group of {encoder.parameters}"
    return None


# ---------------------------------------------------------------- smux


def unreadIsCounted(it: Session) -> str | None:
    """The session knows how much waits for paused protocols."""
    streams = sum(stream._unread.length for stream in it.mux._streams.values())
    return None if it.mux._unread == streams else f"{it.mux._unread} bytes counted, {streams} there"


def aFullSessionStopsReading(it: Session) -> str | None:
    """Over smuxbuf nothing more is read, and soon after half of it has gone something is."""
    mux = it.mux
    if mux._unread > mux._sessionBuffer and not mux._readingPaused:
        return f"{mux._unread} bytes unread, and it reads on"
    if mux._readingPaused != it.kcp._paused:
        return f"smux {'is' if mux._readingPaused else 'is not'} paused, and KCP otherwise"
    if mux._readingPaused and mux._unread <= mux._sessionBuffer // 2 and not it.sender._turn:
        return f"{mux._unread} bytes unread, and it does not read on"
    return None


def streamsFitTheirWindows(it: Session) -> str | None:
    """Where a stream has sent more, that fitted its window; and what waits at a reader fits the reader's."""
    if it.mux.version != 2:
        return None
    for number, stream in it.mux._streams.items():
        if stream._unread.length > stream._receiveWindow.limit:
            return f"stream {number} has {stream._unread.length} bytes unread, at most {stream._receiveWindow.limit}"
        window = stream._sendWindow
        before, size = it.sent.get(number, (0, smux_flow.INITIAL_WINDOW))
        if window._sent != before and window.outstanding > max(size, window._size):
            return f"stream {number} has {window.outstanding} bytes outstanding, and a window of {window._size}"
    return None


def whatIsConsumedWasSent(it: Session) -> str | None:
    """A stream's reader has no more bytes than its writer sent, and the writer believes no more of them to be consumed than are."""
    if it.peer is None:
        return None
    there = it.peer.mux._streams
    for number, stream in it.mux._streams.items():
        reader = there.get(number)
        if reader is not None:
            sent, consumed = stream._sendWindow, reader._receiveWindow
            received = consumed._consumed + consumed._untold + reader._unread.length
            if sent._sent < received or sent._consumed > consumed._consumed:
                return f"stream {number}: {sent._sent} sent, {received} received, {sent._consumed} of {consumed._consumed} consumed"
    return None


def whatAStreamWantsIsDone(it: Session) -> str | None:
    """It has its turn to send, to tell its window and to hand over, unless the session is stopped or a protocol is."""
    sender = it.sender
    if sender._transport is None:
        return None
    waits = bool(sender._calls)
    if not sender._paused:
        waits = waits or bool(sender._urgent or sender._updates or sender._ready)
    if waits and not (sender._turn and sender in sender._schedule._soon):
        return "the end of the turn is forgotten"
    for number, stream in it.mux._streams.items():
        if stream._reason is not None:
            continue
        if stream.sendable and stream not in sender._ready and not stream._remoteClosed:  # nobody would hear its end
            return f"stream {number} is to send {stream.queued} bytes, or its end, and has no turn"
        if stream._unread.length and not stream._paused and not stream._delivering:
            return f"stream {number} does not hand over {stream._unread.length} bytes"
        window = stream._receiveWindow
        due = window._bounded and window._untold >= (window._size // 2 if window._told else 1)
        if due and not stream.remoteEnded and stream not in sender._updates:
            return f"stream {number} does not tell that {window._untold} bytes are consumed"
    return None


def answersAreBounded(it: Session) -> str | None:
    """What overtakes data, and the number of streams."""
    if it.sender.urgentBytes > smux.URGENT_LIMIT or len(it.mux._streams) > smux.MAX_STREAMS:
        return f"{it.sender.urgentBytes} bytes of answers, {len(it.mux._streams)} streams"
    return None


# ---------------------------------------------------------------- an end, and the world


def sessionsAreCounted(life: Any) -> str | None:
    """CurrEstab is how many there are."""
    here = life.sessions
    return None if life.counters.CurrEstab == here else f"CurrEstab is {life.counters.CurrEstab}, with {here} sessions"


def countersAgree(life: Any) -> str | None:
    """What is a sum of others is; what is a part of another is not more.  (The other relations hold in the end:
    counterrelations.py.)"""
    it = life.counters
    if it.RetransSegs != it.LostSegs + it.FastRetransSegs + it.EarlyRetransSegs:
        return f"RetransSegs {it.RetransSegs} = {it.LostSegs} + {it.FastRetransSegs} + {it.EarlyRetransSegs}"
    if not it.FECRecovered <= it.FECParityShards <= it.InPkts:
        return f"FECRecovered {it.FECRecovered}, FECParityShards {it.FECParityShards}, InPkts {it.InPkts}"
    if not it.RepeatSegs + it.RecvWindowDrops <= it.InSegs or not it.CurrEstab <= it.MaxConn:
        return f"RepeatSegs {it.RepeatSegs}, InSegs {it.InSegs}, CurrEstab {it.CurrEstab}, MaxConn {it.MaxConn}"
    return None


def whoIsGoneIsSilent(life: Any) -> str | None:
    """An end that has closed sends nothing more, and has no session."""
    if not life.gone:
        return None
    if life.sentWhenGone is None:
        life.sentWhenGone = life.counters.OutPkts
    if life.counters.OutPkts != life.sentWhenGone or life.sessions:
        return f"{life.counters.OutPkts - life.sentWhenGone} datagrams sent, {life.sessions} sessions left"
    return None


def nothingComesFromNowhere(world: Any) -> str | None:
    """The sessions of one end have not handed up more bytes than those of the other took.  (A server that was started again
    takes what is sent again for a new session, where the last one's acks are still on their way.)"""
    if sum(1 for life in world.lives if life.end != CLIENT) > 1:
        return None
    sums = {CLIENT: [0, 0], "server": [0, 0]}
    for life in world.lives:
        sums[life.end][0] += life.counters.BytesSent
        sums[life.end][1] += life.counters.BytesReceived
    (up, taken), (down, given) = sums[CLIENT], sums["server"]
    return None if given <= up and taken <= down else f"{given} of {up} bytes up, {taken} of {down} down"


def timersAreFew(world: Any) -> str | None:
    """Some for an end and a session, fewer for a stream, one for an application; and those of the plan."""
    relays = TIMERS_OF["relay"] if world.isRelayed else 0
    most = len(world.applications) * (TIMERS_OF["application"] + TIMERS_OF["stream"] + relays) + world.plannedCalls
    for life in world.lives:
        most += TIMERS_OF["life"] + TIMERS_OF["session"] * life.sessions + len(life.sockets)
    if world.clock.pending <= most:
        return None
    calls = [call for call in world.clock.getDelayedCalls() if getattr(call.func, "__name__", "") != "refused"]  # the network's
    return None if len(calls) <= most else f"{len(calls)} delayed calls, at most {most}"


def timePasses(world: Any) -> str | None:
    """Nobody asks to be called again at once for ever."""
    return None if world.clock.stepsAtOnce <= STEPS_AT_ONCE else f"{world.clock.stepsAtOnce} steps without time"


OF_A_SESSION: tuple[Callable[[Session], str | None], ...] = (
    inFlightFitsTheWindows,
    sequenceNumbersOnlyGrow,
    whatIsAcknowledgedHasArrived,
    receivedFitsTheWindow,
    whatIsInOrderIsHandedUp,
    whatMayLeaveLeaves,
    everyTimeoutHasATimer,
    unsentIsBounded,
    aPausedSenderIsResumed,
    shardsHeldAreFew,
    unreadIsCounted,
    aFullSessionStopsReading,
    streamsFitTheirWindows,
    whatIsConsumedWasSent,
    whatAStreamWantsIsDone,
    answersAreBounded,
)
OF_A_LIFE: tuple[Callable[[Any], str | None], ...] = (sessionsAreCounted, countersAgree, whoIsGoneIsSilent)
OF_A_WORLD: tuple[Callable[[Any], str | None], ...] = (nothingComesFromNowhere, timersAreFew, timePasses)
PROMISES = tuple(promise.__name__ for promise in (*OF_A_SESSION, *OF_A_LIFE, *OF_A_WORLD))


class Invariants:
    """All promises, for one world."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self._sessions: dict[Any, Session] = {}  # by conversation
        self._unpaired: dict[int, Session] = {}  # by conv: the client's that the server has not met

    def look(self) -> None:
        """Ask for every promise.  Raises Broken."""
        for life in self.world.lives:
            conversations = life.conversations()
            life.sessions = len(conversations)
            for conversation in conversations:
                self._lookAt(life, conversation)
            self._ask(OF_A_LIFE, life)
        self._ask(OF_A_WORLD, self.world)

    def _lookAt(self, life: Any, conversation: Any) -> None:
        session = self._sessions.get(conversation)
        if session is None:
            session = self._sessions[conversation] = Session(life, conversation)
            self._pair(session)
        if session.kcp.connected and session.mux._up and session.stirred():
            self._ask(OF_A_SESSION, session)
            session.remember()

    def _pair(self, session: Session) -> None:
        """Only the first session of either end: one that is made anew with an old number begins in the middle."""
        end, conv = session.life.end, session.conversation.conv
        if end == CLIENT:
            self._unpaired[conv] = session
            return
        caller = self._unpaired.pop(conv, None)
        if caller is not None:
            caller.peer, session.peer = session, caller

    def _ask(self, promises: Any, it: Any) -> None:
        for promise in promises:
            wrong = promise(it)
            if wrong is not None:
                raise Broken(promise.__name__, it, wrong)
