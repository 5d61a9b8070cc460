"""Hypothesis strategies for what crosses between layers, and for what a network does to it.

- ``datagrams()``, ``batches()``       what is between the ARQ and the socket
- ``segments()``, ``kcpDatagrams()``    KCP segments, valid and mutated, and datagrams packed of them
- ``frames(version)``, ``cuts()``       smux frames; where a byte stream is cut
- ``erasurePatterns(d, p)``             which shards of a group survive
- ``faults()``, ``networkSchedules()``  a bad path; what happens to a simulated network, and when
- ``settings(role)``                    valid options of the client or the server

All of them shrink to less: to shorter, fewer, clean and default.

Needs hypothesis, which nothing else in the package does: ``pip install hypothesis``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

try:
    from hypothesis import reject
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError("kcpstack.testing.strategies needs hypothesis: pip install hypothesis") from error

from kcpstack.batch import Batch
from kcpstack.kernels.segment import ACK, ASK, HEADER, PUSH, TELL
from kcpstack.layers.smux_frames import FIN, MAX_PAYLOAD, NOP, PSH, SYN, UPD, encodeHeader
from kcpstack.options.layernames import LayerName
from kcpstack.options.settings import SETTINGS
from kcpstack.options.table import Option, optionsOf
from kcpstack.options.values import Choice, WholeNumber, YesOrNo
from kcpstack.seams import checkLayers
from kcpstack.testing.impairment import Faults
from kcpstack.testing.network import SimulatedNetwork, SimulatedTransport

__all__ = [
    "Change",
    "Frame",
    "MappedSegment",
    "applySchedule",
    "batches",
    "cutAt",
    "cuts",
    "datagrams",
    "encodeFrames",
    "erasurePatterns",
    "faults",
    "frames",
    "kcpDatagrams",
    "mutations",
    "networkSchedules",
    "segments",
    "settings",
]

LONG = bytes(range(251)) * 270  # what long datagrams are made of: drawing each byte of them would cost too much


# ------------------------------------------------------------------ datagrams


def datagrams(longest: int = 1472, shortest: int = 0) -> st.SearchStrategy[bytes]:
    """Datagrams of ``shortest`` to ``longest`` bytes: any bytes in short ones, a pattern in long ones."""
    short = st.binary(min_size=shortest, max_size=min(longest, max(shortest, 80)))
    if longest <= 80:
        return short
    return st.one_of(short, st.integers(max(81, shortest), longest).map(lambda length: LONG[:length]))


@st.composite
def batches(
    draw: st.DrawFn,
    contents: st.SearchStrategy[list[bytes]] | None = None,
    headroom: int = 0,
    addresses: st.SearchStrategy[Any] | None = None,
) -> Batch:
    """Batches whose datagrams lie in their buffer in any order, with any gaps, and few bytes at the end.

    ``contents`` draws the datagrams (up to six of ``datagrams()`` by default), each of which has at least
    ``headroom`` bytes in front of it that are nobody's.  ``addresses`` draws one address for each."""
    wanted = draw(st.lists(datagrams(), max_size=6) if contents is None else contents)
    batch = Batch()
    places: dict[int, int] = {}
    position = 0
    for number in draw(st.permutations(range(len(wanted)))):
        position += headroom + draw(st.sampled_from([0, 1, 12, 16, 700]))
        places[number] = position
        position += len(wanted[number])
        position += draw(st.sampled_from([0, -len(wanted[number]) % 16]))
    batch.buffer = bytearray(position + draw(st.sampled_from([0, 1, 15, 16])))
    for number, datagram in enumerate(wanted):
        batch.starts.append(places[number])
        batch.ends.append(places[number] + len(datagram))
        batch.buffer[batch.starts[-1] : batch.ends[-1]] = datagram
    if addresses is not None:
        batch.addresses = [draw(addresses) for _ in wanted]
    return batch


# ------------------------------------------------------------------ KCP


class MappedSegment(NamedTuple):
    """A KCP segment by its fields.  ``bytes(segment)`` is its form on the wire."""

    conv: int
    cmd: int
    wnd: int
    ts: int
    sn: int
    una: int
    data: bytes

    def __bytes__(self) -> bytes:
        return HEADER.pack(self.conv, self.cmd, 0, self.wnd, self.ts, self.sn, self.una, len(self.data)) + self.data


def numbers(near: int = 0) -> st.SearchStrategy[int]:
    """Numbers of 32 bits: near to ``near`` mostly, at the wrap and in the middle now and then, or any."""
    close = st.integers(0, 40).map(lambda ahead: (near + ahead) & MASK)
    edges = st.sampled_from([near, (near - 1) & MASK, 0, 1, MASK, MASK - 1, 1 << 31, (1 << 31) - 1])
    return st.one_of(close, edges, st.integers(0, MASK))


def segments(
    conv: int | st.SearchStrategy[int] = 1, longest: int = 60, near: int = 0
) -> st.SearchStrategy[MappedSegment]:
    """Valid segments of a conversation: pushes with data, acks, questions for a window and answers to them.  Their
    numbers are mostly within 40 of ``near``."""
    convs = st.just(conv) if isinstance(conv, int) else conv
    heads = {"conv": convs, "wnd": st.integers(0, 65535), "ts": numbers(), "sn": numbers(near), "una": numbers(near)}
    pushes = st.builds(MappedSegment, cmd=st.just(PUSH), data=datagrams(longest), **heads)
    others = st.builds(MappedSegment, cmd=st.sampled_from([ACK, ASK, TELL]), data=st.just(b""), **heads)
    return st.one_of(pushes, others)


@st.composite
def mutations(draw: st.DrawFn, original: bytes, keep: int = 0) -> bytes:
    """``original`` with a few bytes changed behind the first ``keep``, cut off anywhere, or with bytes behind it.
    Shrinks to the original."""
    changed = bytearray(original)
    if len(changed) > keep:
        for _ in range(draw(st.integers(0, 3))):
            changed[draw(st.integers(keep, len(changed) - 1))] = draw(st.integers(0, 255))
    lost = draw(st.one_of(st.just(0), st.integers(0, len(changed))))
    del changed[len(changed) - lost :]
    return bytes(changed) + draw(st.one_of(st.just(b""), st.binary(max_size=30)))


@st.composite
def kcpDatagrams(draw: st.DrawFn, conv: int = 1, mutated: bool = False, near: int = 0) -> bytes:
    """Datagrams of up to five segments of conversation ``conv``; ``mutated`` ones have bytes changed behind the conv,
    or are cut off, or have garbage behind them."""
    packed = b"".join(map(bytes, draw(st.lists(segments(conv, near=near), min_size=1, max_size=5))))
    return draw(mutations(packed, keep=4)) if mutated else packed


# ------------------------------------------------------------------ byte streams


Frame = tuple[int, int, bytes]  # command, stream id, payload


def frames(version: int = 2, longest: int = 40) -> st.SearchStrategy[Frame]:
    """Valid smux frames as (command, stream id, payload), of up to ``longest`` bytes of payload."""
    ids = st.one_of(st.sampled_from([3, 5, 0, 4, 0xFFFFFFFF]), st.integers(0, 0xFFFFFFFF))
    kinds = [
        st.tuples(st.sampled_from((NOP, SYN, FIN)), ids, st.just(b"")),
        st.tuples(st.just(PSH), ids, st.binary(max_size=min(longest, MAX_PAYLOAD))),
    ]
    if version == 2:
        kinds.append(st.tuples(st.just(UPD), ids, st.binary(min_size=8, max_size=8)))
    return st.one_of(*kinds)


def encodeFrames(version: int, sent: Sequence[Frame]) -> bytes:
    """The bytes of frames."""
    return b"".join(encodeHeader(version, command, id_, len(payload)) + payload for command, id_, payload in sent)


def cuts(stream: bytes, most: int = 6) -> st.SearchStrategy[list[bytes]]:
    """``stream`` in pieces, cut in at most ``most`` places; pieces may be empty."""
    places = st.lists(st.integers(0, len(stream)), max_size=most)
    return places.map(lambda at: cutAt(stream, at))


def cutAt(stream: bytes, places: Sequence[int]) -> list[bytes]:
    """``stream`` cut at these places, in whatever order they come."""
    edges = [0, *sorted(places), len(stream)]
    return [stream[begin:end] for begin, end in zip(edges, edges[1:])]


# ------------------------------------------------------------------ erasure codes


def erasurePatterns(dataShards: int, parityShards: int, enough: bool = True) -> st.SearchStrategy[set[int]]:
    """Which shards of a group survive, by index: at least as many as there are data shards, or with ``enough`` False
    fewer.  Shrinks to few losses."""
    total = dataShards + parityShards
    indices = st.integers(0, total - 1)
    least, most = (0, parityShards) if enough else (parityShards + 1, total)
    return st.sets(indices, min_size=least, max_size=most).map(lambda lost: set(range(total)) - lost)


# ------------------------------------------------------------------ networks


def faults(worst: float = 0.3, slowest: float = 500.0) -> st.SearchStrategy[Faults]:
    """Bad paths: ``worst`` is the highest chance of each kind of damage, ``slowest`` the longest delay in ms.

    All are passable: no cut, no limit of size, and a bottleneck of 20 KB/s at least."""
    chances = st.floats(0, worst)
    each = {
        "delay": st.floats(0, slowest),
        "jitter": st.floats(0, slowest / 2),
        "loss": chances,
        "burst": st.sampled_from([0.0, 2.0, 10.0]),
        "reorder": chances,
        "duplicate": chances,
        "corrupt": chances,
        "hold": st.floats(0, slowest),
        "rate": st.sampled_from([0.0, 1e6, 1e5, 2e4]),
    }
    return st.fixed_dictionaries({}, optional=each).map(_possible)


def _possible(chosen: dict[str, float]) -> Faults:
    burst = chosen.get("burst", 0.0)
    if burst:
        chosen = {**chosen, "loss": min(chosen.get("loss", 0.0), burst / (burst + 1))}
    return Faults(**chosen)  # type: ignore[arg-type]  # mtu alone is an int, and not drawn


class Change(NamedTuple):
    """What happens to a network at ``at`` seconds."""

    at: float
    kind: str  # "faults", "cut", "heal" or "rebind"
    faults: Faults | None = None  # of "faults": in all directions
    number: int = 0  # of "rebind": which of its addresses the transport gets


@st.composite
def networkSchedules(draw: st.DrawFn, seconds: float = 60.0, most: int = 5, worst: float = 0.2) -> list[Change]:
    """What happens within ``seconds`` to the path between two transports, in order: other faults, cuts which heal
    before the end, and rebinds of the client's address, ``most`` of them.  At the end the path is passable."""
    times = sorted(draw(st.lists(st.floats(0, seconds * 0.8), max_size=most)))
    changes: list[Change] = []
    for number, at in enumerate(times):
        kind = draw(st.sampled_from(["faults", "rebind", "cut"]))
        if kind == "faults":
            changes.append(Change(at, kind, draw(faults(worst, 200.0))))
        elif kind == "rebind":
            changes.append(Change(at, kind, number=number))
        else:
            changes.append(Change(at, kind))
            changes.append(Change(at + draw(st.floats(0, seconds * 0.2)), "heal"))
    return sorted(changes, key=lambda change: change.at)


def applySchedule(
    network: SimulatedNetwork,
    schedule: Sequence[Change],
    server: SimulatedTransport,
    client: SimulatedTransport,
) -> None:
    """Have ``network``'s clock make these changes, counted from now, to the path between two of its transports."""

    def happen(change: Change) -> None:
        if change.kind == "cut":
            network.cut(server, client)
        elif change.kind == "heal":
            network.heal(server, client)
        elif change.kind == "rebind":
            client.rebind((f"10.77.{change.number}.1", 50_000 + change.number))
        elif change.faults is not None:
            for one, other in ((server, client), (client, server)):
                path = network.direction(one, other)
                path.configure(**{**vars(change.faults), "cut": path.faults.cut})

    for change in schedule:
        network.clock.callLater(change.at, happen, change)


# ------------------------------------------------------------------ options


def settings(role: str, **given: Any) -> st.SearchStrategy[Any]:
    """Valid ClientSettings (``role`` "client") or ServerSettings ("server"): a few options drawn from what their kinds
    in the option table accept, the others as they are by default.  ``given`` are not drawn.

    Addresses, and what would write files or open ports besides, stay as they are."""
    options = [option for option in optionsOf(role) if option.setting and option.name not in UNDRAWN]
    drawn = {}
    for option in options:
        values = _values(option, role)
        if values is not None and option.name not in given:
            drawn[option.name] = values
    return st.fixed_dictionaries({}, optional=drawn).map(lambda chosen: _consistent(role, {**chosen, **given}))


def _values(option: Option, role: str) -> st.SearchStrategy[Any] | None:
    """What an option's kind accepts, the default first; None where it is not drawn."""
    default, kind = option.defaultFor(role), option.kind
    if isinstance(kind, WholeNumber):
        edges = st.sampled_from([default, kind.low, kind.high])
        return st.one_of(edges, st.integers(kind.low, kind.high))
    if isinstance(kind, YesOrNo):
        return st.booleans()
    if isinstance(kind, (Choice, LayerName)):
        names = [*kind.words, *kind.catalogue.names()] if isinstance(kind, LayerName) else kind.names()
        return st.sampled_from([default, *(name for name in names if name != default)])
    if option.name == "key":
        return st.text(min_size=1, max_size=20)
    return None


def _consistent(role: str, chosen: dict[str, Any]) -> Any:
    """Settings with what contradicts itself put right."""
    plain = SETTINGS[role]()
    values = {**{name: getattr(plain, name) for name in ("datashard", "parityshard", "smuxbuf", "streambuf")}, **chosen}
    values["parityshard"] = min(values["parityshard"], SHARDS_MAX - values["datashard"])
    values["streambuf"] = min(values["streambuf"], values["smuxbuf"])
    made = SETTINGS[role](**values)
    if not _fits(role, tuple((name, getattr(made, name)) for name in FITTING)):
        reject()
    return made


@lru_cache(maxsize=1024)
def _fits(role: str, values: tuple[tuple[str, Any], ...]) -> bool:
    """Whether the named layers and the numbers suit each other.  Looking for plug-ins takes its time."""
    try:
        checkLayers(SETTINGS[role](**dict(values)))
    except ValueError:
        return False
    return True


MASK = 0xFFFFFFFF
SHARDS_MAX = 256  # data and parity shards of a group
FITTING = ("crypt", "erasure", "mtu", "datashard", "parityshard", "compressor", "congestion", "transport")
UNDRAWN = ("log", "snmplog", "pprof", "transport", "QPPCount")  # the last costs seconds where it is large
