"""The compiled kernels and the same source interpreted are one: same inputs, same datagrams out."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from hypothesis import given, settings
from hypothesis import strategies as st
from plainform import isCompiled, plainForms

from kcpstack import batch as batches
from kcpstack.ciphers import framing, salsa20, xor
from kcpstack.ciphers.aead import GCMCipher
from kcpstack.ciphers.cfb import CFB, IV
from kcpstack.counters import Counters
from kcpstack.forms import PURE, describeForm
from kcpstack.kernels import arq, galois
from kcpstack.kernels.congestion import FixedWindow, SlowStart
from kcpstack.layers import fec

COMPILED = isCompiled(arq)
compiledOnly = pytest.mark.skipif(not COMPILED, reason="nothing is compiled in this run: there is nothing to compare")
try:
    from kcpstack.kernels import native
except ImportError:
    native = None  # type: ignore[assignment]


def test_a_process_that_is_told_so_runs_plain_modules_only() -> None:
    program = (
        "import sys\n"
        "from kcpstack import batch, client, service\n"
        "from kcpstack.forms import describeForm\n"
        "ours = [m for name, m in sys.modules.items() if name.startswith('kcpstack')]\n"
        "assert all(m.__file__.endswith('.py') for m in ours), ours\n"
        "print(describeForm())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, PURE: "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("interpreted")
    assert describeForm().startswith("compiled" if COMPILED else "interpreted")


# ------------------------------------------------------------ the ARQ


class Pair:
    """Two ARQs of one form, and what is on its way between them; every datagram that was ever made is in ``made``."""

    def __init__(self, form: Any, batchModule: Any, conv: int, control: Any, first: int) -> None:
        self.batches = batchModule
        tuning = form.Tuning(interval=10, resend=2, minRTO=30, backoff=1.5, sendWindow=64, receiveWindow=32)
        self.counters = [Counters(), Counters()]
        self.ends = [form.ARQ(conv, 300, tuning, control(), counters) for counters in self.counters]
        for end in self.ends:
            end._una = end._nxt = end._remoteUna = end._arrived.nxt = first
            end._flights.number = first + 1
        self.way: list[list[bytes]] = [[], []]  # towards each end
        self.made: list[bytes] = []
        self.read = [b"", b""]
        self.now = 0.0

    def act(self, op: int, amount: int) -> None:
        """One step, the same for both forms."""
        kind, end = op % 8, op // 8 % 2
        if kind == 0:
            self.ends[end].write(bytes(i & 255 for i in range(amount)))
        elif kind == 1 and self.way[end]:
            self.way[end].pop(amount % len(self.way[end]))
        elif kind == 2 and self.way[end]:
            self.way[end].append(self.way[end][amount % len(self.way[end])])
        elif kind == 3 and len(self.way[end]) > 1:
            self.way[end].insert(0, self.way[end].pop())
        elif kind == 4 and self.way[end]:
            wrong = bytearray(self.way[end][0])
            wrong[amount % len(wrong)] ^= 1 + amount % 255
            self.way[end][0] = bytes(wrong)
        elif kind == 5:
            self.read[end] += b"".join(self.ends[end].read(amount))
        elif kind == 6:
            self.now += amount / 8
        else:
            self.deliver(end, recovered=amount % 7 == 0)
        self.flush()

    def deliver(self, end: int, recovered: bool) -> None:
        batch = self.batches.inboundBatch(self.way[end])
        self.way[end] = []
        self.ends[end].datagramsReceived(batch, self.now, recovered)

    def flush(self) -> None:
        for number, end in enumerate(self.ends):
            out = self.batches.outboundBatch(300, 0)
            while end.flush(self.now, out, 5):
                pass
            datagrams = [bytes(one) for one in out]
            self.made += datagrams
            self.way[1 - number] += datagrams

    def state(self) -> tuple[object, ...]:
        seen: list[object] = [self.made, self.read, [counters.asDict() for counters in self.counters]]
        for end in self.ends:
            seen.append((end.unsent, end.unacknowledged, end.unread, end.window, end.srtt, end.rto, end.nextTimeout()))
            seen.append((end.heardAt, end.answeredAt, end.strained, end.repeats, end.longestArrived, end.silentSince()))
        return tuple(seen)


@pytest.fixture(scope="module")
def plain() -> Iterator[list[Any]]:
    yield plainForms("kcpstack.kernels.arq", "kcpstack.batch", "kcpstack.layers.fec")


steps = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 2000)), max_size=60)


@compiledOnly
@settings(max_examples=300)
@given(
    ops=steps,
    conv=st.sampled_from([1, 0x80000000, 0xFFFFFFFF]),
    first=st.sampled_from([0, (1 << 32) - 3, (1 << 31) - 2]),
    control=st.sampled_from([lambda: FixedWindow(64), lambda: SlowStart(64)]),
)
def test_both_forms_of_the_arq_make_the_same_datagrams(plain: Any, ops: Any, conv: int, first: int, control: Any) -> None:
    plainARQ, plainBatch, _ = plain
    assert not isCompiled(plainARQ) and not isCompiled(plainBatch)
    one, other = Pair(arq, batches, conv, control, first), Pair(plainARQ, plainBatch, conv, control, first)
    for op, amount in ops:
        one.act(op, amount)
        other.act(op, amount)
        assert one.state() == other.state()


# ------------------------------------------------------------ FEC

fecSteps = st.lists(
    st.tuples(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.integers(0, 900), st.integers(0, 2**31)), max_size=12
)


@compiledOnly
@settings(max_examples=150)
@given(shards=st.tuples(st.integers(1, 5), st.integers(1, 3)), turns=fecSteps)
def test_both_forms_of_fec_make_and_take_the_same(plain: Any, shards: Any, turns: Any) -> None:
    made = []
    for form, batchModule in ((fec, batches), (plain[2], plain[1])):
        counters = Counters()
        encoder, decoder = form.FECEncoder(*shards), form.FECDecoder(counters)
        seen: list[object] = []
        now = 0.0
        for sizes, pause, chance in turns:
            now += pause
            batch = batchModule.outboundBatch(100, 8)
            for size in sizes:
                batch.append(bytes((size + i) & 255 for i in range(size)))
            encoder.encode(batch, now)
            sent = [bytes(one) for one in batch]
            kept = [one for number, one in enumerate(sent) if chance >> number % 31 & 1 or number % 3]
            kept += [one[: len(one) // 2] for one in sent[:1]]
            arrived, recovered = decoder.decode(batchModule.inboundBatch(kept))
            seen.append((sent, list(map(bytes, arrived)), list(map(bytes, recovered)), decoder.parameters, decoder.shardsHeld))
        made.append((seen, counters.asDict()))
    assert made[0] == made[1]


# ------------------------------------------------------------ C

sizes = st.lists(st.integers(0, 1450), max_size=20)


def batchOf(lengths: list[int], headroom: int) -> Any:
    batch = batches.outboundBatch(1500, headroom)
    for number, length in enumerate(lengths):
        batch.append(bytes((number * 31 + i * 7) & 255 for i in range(length)))
    return batch


def contents(batch: Any) -> list[bytes]:
    return [bytes(one) for one in batch]


@pytest.fixture(scope="module", params=() if native is None else native.LEVELS)
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each set of instructions of this processor, one after the other."""
    native.limitLevel(request.param)
    if native.level() != request.param:
        pytest.skip(f"this processor is no {request.param}")
    yield request.param
    native.limitLevel(native.LEVELS[-1])


@given(data=st.binary(max_size=700))
def test_the_checksum_is_zlibs(level: str, data: bytes) -> None:
    assert native.crc32(data) == zlib.crc32(data)


@given(lengths=sizes)
def test_frames_are_the_plain_ones(level: str, lengths: list[int]) -> None:
    one, other = batchOf(lengths, 20), batchOf(lengths, 20)
    nonces = os.urandom(16 * len(lengths))
    native.frame(one, nonces)
    framing.framePlain(other, nonces)
    assert contents(one) == contents(other)
    for batch in (one, other):
        if lengths:
            batch.buffer[batch.ends[0] - 1] ^= 1
    assert native.unframe(one) == framing.unframePlain(other) == (1 if lengths else 0)
    assert contents(one) == contents(other)


@given(lengths=sizes, keyLength=st.sampled_from([16, 24, 32]))
def test_aes_in_cfb_mode_is_the_librarys(lengths: list[int], keyLength: int) -> None:
    if native is None or native.level() == "portable":
        pytest.skip("no AES instructions here")
    key, nonces = os.urandom(keyLength), os.urandom(16 * len(lengths))
    batch, framed = batchOf(lengths, 20), batchOf(lengths, 20)
    cipher = native.AESCFB(key, IV)
    cipher.seal(batch, nonces)
    framing.framePlain(framed, nonces)
    assert contents(batch) == [Cipher(AES(key), CFB(IV)).encryptor().update(bytes(one)) for one in framed]
    assert cipher.open(batch) == 0
    assert contents(batch) == contents(batchOf(lengths, 20))


@given(lengths=sizes, damage=st.integers(0, 1 << 20))
def test_aes_in_gcm_mode_is_the_librarys(lengths: list[int], damage: int) -> None:
    if native is None or native.level() == "portable":
        pytest.skip("no AES instructions here")
    key, nonces = os.urandom(16), os.urandom(12 * len(lengths))
    ours, library = native.AESGCM(key), GCMCipher(key, lambda count: nonces[:count])
    one, other = batchOf(lengths, 28), batchOf(lengths, 28)
    ours.seal(one, nonces)
    library.sealBatch(other)
    assert contents(one) == contents(other)
    for batch in (one, other):
        if lengths:
            batch.buffer[batch.starts[0] + damage % (batch.ends[0] - batch.starts[0])] ^= 0x40
    assert ours.open(one) == library.openBatch(other) == (1 if lengths else 0)
    assert contents(one) == contents(other)


@given(lengths=st.lists(st.integers(20, 1450), max_size=8))
def test_salsa20_and_xor_are_the_plain_ones(level: str, lengths: list[int]) -> None:
    key, table = os.urandom(32), os.urandom(1500)
    for compiled, twin, argument in (
        (native.salsa20, salsa20.transformPlain, key),
        (native.xorTable, xor.transformPlain, table),
    ):
        one, other = batchOf(lengths, 0), batchOf(lengths, 0)
        compiled(one, argument)
        twin(other, argument)
        assert contents(one) == contents(other)


@given(
    shards=st.lists(st.binary(max_size=300), min_size=1, max_size=12),
    rows=st.integers(1, 5),
    seed=st.binary(min_size=60, max_size=60),
)
def test_sums_of_shards_are_the_plain_ones(level: str, shards: list[bytes], rows: int, seed: bytes) -> None:
    length = max(map(len, shards))
    weights = [bytes(seed[(row * 12 + i) % 60] for i in range(len(shards))) for row in range(rows)]
    assert native.combineRows(weights, shards, length) == galois.combineRowsPlain(weights, shards, length)


@compiledOnly
@pytest.mark.parametrize("starts, ends", [([-1], [10]), ([5], [4]), ([0], [1 << 20]), ([30, 30], [40])])
def test_what_lies_outside_of_its_buffer_is_not_touched(starts: list[int], ends: list[int]) -> None:
    key = bytes(32)
    for use in (
        lambda it: native.frame(it, bytes(16)),
        native.unframe,
        lambda it: native.salsa20(it, key),
        lambda it: native.xorTable(it, bytes(1500)),
    ):
        batch = batchOf([50, 50], 20)
        before = bytes(batch.buffer)
        batch.starts, batch.ends = list(starts), list(ends)
        with pytest.raises(IndexError):
            use(batch)
        assert bytes(batch.buffer) == before
