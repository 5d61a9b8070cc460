"""Our own ciphers: conformance, Go peers' datagrams, and a plain one-datagram model of each."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import vectorfiles
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from hypothesis import given, settings
from hypothesis import strategies as st
from plainciphers import NONCE_LENGTHS, nonceOf, openedBy, sealedBy

from kcpstack.batch import Batch, inboundBatch, outboundBatch
from kcpstack.ciphers import builtin, cfb, derivePass
from kcpstack.testing.ciphers import CipherConformance, openAll, openOne, sealAll, sealOne
from kcpstack.testing.strategies import batches, datagrams

KEY = derivePass("it's a secrect")
OURS = {
    factory.name: factory
    for factory in (
        builtin.aes,
        builtin.aes192,
        builtin.aes128,
        builtin.aes128gcm,
        builtin.sm4,
        builtin.blowfish,
        builtin.cast5,
        builtin.tripleDES,
        builtin.tea,
        builtin.xtea,
        builtin.twofish,
        builtin.salsa20,
        builtin.xor,
        builtin.none,
        builtin.null,
    )
    if factory is not None  # this OpenSSL may lack some: test_cipher_names.py sees to the rest of them
}
FRAMED = [name for name in OURS if name != "null"]


class TestAES(CipherConformance):
    factory = builtin.aes


class TestAES192(CipherConformance):
    factory = builtin.aes192


class TestAES128(CipherConformance):
    factory = builtin.aes128


class TestAES128GCM(CipherConformance):
    factory = builtin.aes128gcm


@pytest.mark.skipif(builtin.sm4 is None, reason=builtin.unavailable.get("sm4", ""))
class TestSM4(CipherConformance):
    factory = builtin.sm4


@pytest.mark.skipif(builtin.blowfish is None, reason=builtin.unavailable.get("blowfish", ""))
class TestBlowfish(CipherConformance):
    factory = builtin.blowfish
    unprotected = 8


@pytest.mark.skipif(builtin.cast5 is None, reason=builtin.unavailable.get("cast5", ""))
class TestCAST5(CipherConformance):
    factory = builtin.cast5
    unprotected = 8


@pytest.mark.skipif(builtin.tripleDES is None, reason=builtin.unavailable.get("3des", ""))
class TestTripleDES(CipherConformance):
    factory = builtin.tripleDES
    unprotected = 8


class TestTEA(CipherConformance):
    factory = builtin.tea
    unprotected = 8


class TestXTEA(CipherConformance):
    factory = builtin.xtea
    unprotected = 8


class TestTwofish(CipherConformance):
    factory = builtin.twofish


class TestSalsa20(CipherConformance):
    factory = builtin.salsa20
    unprotected = 16


class TestXOR(CipherConformance):
    factory = builtin.xor
    unprotected = 16


class TestNone(CipherConformance):
    factory = builtin.none
    unprotected = 16
    keyed = False


class TestNull(CipherConformance):
    factory = builtin.null
    authenticates = False
    keyed = False


class Nonces:
    """A randomBytes that counts up, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, length: int) -> bytes:
        self.asked.append(length)
        return hashlib.shake_128(bytes([len(self.asked) % 256])).digest(length)


# ------------------------------------------------------------------ Go peers' datagrams

VECTORS = [name for name in vectorfiles.names() if vectorfiles.load(name)["crypt"] in OURS]


def captured(vector: str) -> tuple[str, bytes, list[bytes]]:
    """The crypt, the pass and all datagrams of a vector file."""
    session = vectorfiles.load(vector)
    datagrams = [bytes.fromhex(datagram["hex"]) for datagram in session["datagrams"]]
    return session["crypt"], derivePass(session["key"]), datagrams


def test_vectorsCoverAllOfOurCiphersAndBothGenerations() -> None:
    assert {vectorfiles.load(vector)["crypt"] for vector in VECTORS} == set(OURS)
    assert {"debian_aes_fec10-3_smux1_nocomp", "debian_none_fec10-3_smux1_nocomp"} <= set(VECTORS)


@pytest.mark.parametrize("vector", VECTORS)
def test_everyCapturedDatagramOpens(vector: str) -> None:
    crypt, key, datagrams = captured(vector)
    batch = inboundBatch(datagrams, list(range(len(datagrams))))
    cipher = OURS[crypt].build(key, Nonces())
    assert cipher.openBatch(batch) == 0
    assert batch.addresses == list(range(len(datagrams)))
    assert [len(opened) + cipher.overhead for opened in batch] == [len(datagram) for datagram in datagrams]


@pytest.mark.parametrize("vector", VECTORS)
def test_whatWasCapturedSealsAndOpensAgain(vector: str) -> None:
    crypt, key, datagrams = captured(vector)
    cipher = OURS[crypt].build(key, Nonces())
    opened = openAll(cipher, datagrams)
    sealed = sealAll(cipher, opened)
    assert openAll(OURS[crypt].build(key, Nonces()), sealed) == opened


@pytest.mark.parametrize("vector", VECTORS)
def test_withTheGoPeersNonceSealingGivesItsVeryBytes(vector: str) -> None:
    crypt, key, datagrams = captured(vector)
    for datagram in datagrams:
        nonce = nonceOf(crypt, datagram, key)
        cipher = OURS[crypt].build(key, lambda length, nonce=nonce: nonce)
        [opened] = openAll(cipher, [datagram])
        assert sealOne(cipher, opened) == datagram


@pytest.mark.parametrize("vector", [name for name in VECTORS if vectorfiles.load(name)["crypt"] != "null"])
def test_wrongKeysOpenNothingCaptured(vector: str) -> None:
    crypt, _, datagrams = captured(vector)
    assert openAll(OURS["aes" if crypt != "aes" else "aes-128"].build(KEY, Nonces()), datagrams) == []


# ------------------------------------------------------------------ any datagrams, anywhere in the buffer

@pytest.mark.parametrize("name", FRAMED)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_sealedFromAnywhereOpensWithThePlainOne(name: str, data: Any) -> None:
    batch = data.draw(batches(st.lists(datagrams(), max_size=6), OURS[name].build(KEY, Nonces()).overhead))
    wanted = [bytes(datagram) for datagram in batch]
    OURS[name].build(KEY, Nonces()).sealBatch(batch)
    assert [openedBy(name, bytes(sealed), KEY) for sealed in batch] == wanted


@st.composite
def arrivals(draw: Any, name: str) -> bytes:
    """Something that a socket could give: sealed by the plain one, or that and damaged, or any bytes."""
    if draw(st.integers(0, 3)) == 0:
        return draw(st.binary(max_size=100))
    length = NONCE_LENGTHS.get(name, 16)
    nonce = draw(st.binary(min_size=length, max_size=length))
    sealed = bytearray(sealedBy(name, nonce, draw(datagrams()), KEY))
    damage = draw(st.sampled_from(["no", "no", "bits", "cut", "longer"]))
    if damage == "bits":
        for bit in draw(st.lists(st.integers(0, 8 * len(sealed) - 1), min_size=1, max_size=3)):
            sealed[bit // 8] ^= 1 << bit % 8
    elif damage == "cut":
        del sealed[draw(st.integers(0, len(sealed) - 1)) :]
    elif damage == "longer":
        sealed += draw(st.binary(min_size=1, max_size=40))
    return bytes(sealed)


@pytest.mark.parametrize("name", FRAMED)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_openingTakesWhatThePlainOneTakesAndNothingElse(name: str, data: Any) -> None:
    batch = data.draw(batches(st.lists(arrivals(name), max_size=6), 0))
    arrived = [bytes(sealed) for sealed in batch]
    batch.addresses = list(range(len(arrived)))
    wanted = [(i, openedBy(name, sealed, KEY)) for i, sealed in enumerate(arrived)]
    refused = OURS[name].build(KEY, Nonces()).openBatch(batch)
    assert refused == len(arrived) - len(batch)
    assert list(zip(batch.addresses, map(bytes, batch))) == [pair for pair in wanted if pair[1] is not None]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_nullTakesAnything(data: Any) -> None:
    batch = data.draw(batches(st.lists(st.binary(max_size=60), max_size=6), 0))
    arrived = [bytes(datagram) for datagram in batch]
    cipher = OURS["null"].build(KEY, Nonces())
    cipher.sealBatch(batch)
    assert cipher.openBatch(batch) == 0
    assert [bytes(datagram) for datagram in batch] == arrived


def test_contextsRunOnOverManyBatchesOfEveryLength() -> None:
    sender, receiver = (builtin.aes.build(KEY, Nonces()) for _ in range(2))
    for length in range(200):
        [sealed] = sealAll(sender, [bytes([length]) * length])
        assert openedBy("aes", sealed, KEY) == bytes([length]) * length
        assert openOne(receiver, sealed) == bytes([length]) * length


# ------------------------------------------------------------------ what each promises by itself


@pytest.mark.parametrize("name", FRAMED)
def test_noncesOfABatchAreOneCallAndEachDatagramHasItsOwn(name: str) -> None:
    nonces = Nonces()
    sealed = sealAll(OURS[name].build(KEY, nonces), [b"equal"] * 50)
    assert nonces.asked == [NONCE_LENGTHS.get(name, 16) * 50]
    assert len({nonceOf(name, one, KEY) for one in sealed}) == 50


def test_xorRefusesWhatIsLongerThanItsTable() -> None:
    cipher = builtin.xor.build(KEY, Nonces())
    longest = sealAll(cipher, [bytes(1480)])
    assert openAll(cipher, [*longest, bytes(1501), *longest]) == [bytes(1480)] * 2
    with pytest.raises(ValueError, match="1480 bytes at most, not 1481"):
        sealAll(cipher, [bytes(1481)], size=1501)


class StrictCipher:
    """AES-CFB that insists on what the oldest cryptography insists on, and on whole blocks."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def encryptor(self) -> Any:
        return StrictContext(self, Cipher(AES(KEY), cfb.CFB(cfb.IV)).encryptor())

    def decryptor(self) -> Any:
        return StrictContext(self, Cipher(AES(KEY), cfb.CFB(cfb.IV)).decryptor())


class StrictContext:
    def __init__(self, cipher: StrictCipher, context: Any) -> None:
        self.cipher = cipher
        self.context = context

    def update(self, data: bytes) -> bytes:
        assert len(data) % 16 == 0
        return self.context.update(data)

    def update_into(self, data: memoryview, buffer: memoryview) -> int:
        assert len(data) % 16 == 0
        assert len(buffer) >= len(data) + 15
        self.cipher.calls.append(len(data))
        return self.context.update_into(data, buffer)


@pytest.mark.parametrize("spare", range(40))
def test_anyRoomAfterTheLastDatagramIsEnough(spare: int) -> None:
    for length in (1, 30, 44):
        batch = Batch()
        batch.buffer = bytearray(20 + length + spare)
        batch.starts, batch.ends = [20], [20 + length]
        cipher = cfb.CFBCipher(StrictCipher(), 16, Nonces())
        cipher.sealBatch(batch)
        assert openedBy("aes", bytes(batch.buffer[: 20 + length]), KEY) == bytes(length)
        assert cipher.openBatch(batch) == 0
        assert len(batch.buffer) == 20 + length + spare


def test_aBatchThatGotAllItsHeadroomIsOneCall() -> None:
    strict = StrictCipher()
    cipher = cfb.CFBCipher(strict, 16, Nonces())
    batch = outboundBatch(1372, 20)
    for length in [1352, 1300, 1352, 1340]:
        batch.append(bytes(length))
    cipher.sealBatch(batch)
    assert len(strict.calls) == 1
    assert [openedBy("aes", bytes(sealed), KEY) for sealed in batch] == [bytes(len(d) - 20) for d in batch]


def test_shortDatagramsInLongSlotsDoNotCostTheWholeSlots() -> None:
    strict = StrictCipher()
    batch = outboundBatch(1372, 20)
    for _ in range(10):
        batch.append(bytes(44))
    cfb.CFBCipher(strict, 16, Nonces()).sealBatch(batch)
    assert sum(strict.calls) <= 10 * 64


def test_alignedArrivalsAreOpenedWhereTheyLie() -> None:
    sealed = sealAll(builtin.aes.build(KEY, Nonces()), [bytes(1356)] * 4)
    batch = inboundBatch(sealed)
    buffer = batch.buffer
    assert builtin.aes.build(KEY, Nonces()).openBatch(batch) == 0
    assert batch.buffer is buffer
