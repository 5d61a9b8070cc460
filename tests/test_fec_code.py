"""A stranger's erasure code: what it may do, and what it cannot do to a tunnel."""

from __future__ import annotations

import pytest
from fectraffic import decoded, encoded, payloads
from twisted.internet.task import Clock
from twisted.logger import Logger, capturedLogs

from kcpstack.batch import outboundBatch
from kcpstack.counters import Counters
from kcpstack.kernels.reedsolomon import ReedSolomon
from kcpstack.layers.fec import FEC_HEADER, FECDecoder, FECEncoder
from kcpstack.layers.fec_code import CheckedCode, CheckedCodes
from kcpstack.lograte import FaultLog, RareLog


class Codes:
    """A factory: ``made`` makes its codes."""

    name = "theirs"

    def __init__(self, made) -> None:
        self.build = made


def checked(made) -> CheckedCodes:
    return CheckedCodes(Codes(made), RareLog(Logger(), Clock()))


class Views(ReedSolomon):
    """Returns what is like bytes."""

    def encode(self, shards):
        return [memoryview(shard) for shard in super().encode(shards)]

    def reconstruct(self, shards):
        return {index: bytearray(shard) for index, shard in super().reconstruct(shards).items()}


class Broken(ReedSolomon):
    """Does what it is told to do instead of its work."""

    answer: object = None

    def encode(self, shards):
        return self._answered()

    def reconstruct(self, shards):
        return self._answered()

    def _answered(self):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def broken(answer) -> CheckedCode:
    code = Broken(3, 2)
    code.answer = answer
    return CheckedCode(code, 3, 2, FaultLog(CheckedCodeLog, "theirs"))


class CheckedCodeLog:
    """A log that nobody reads."""

    @staticmethod
    def failure(*args, **values) -> None:
        pass


WRONG = [ZeroDivisionError("oops"), None, 7, [b"123"], [b"123", b"12"], [b"123", 3], {0: b"123"}]


@pytest.mark.parametrize("answer", WRONG, ids=repr)
def test_parity_that_is_none_is_an_error_that_names_the_code(answer) -> None:
    with pytest.raises(RuntimeError, match="Broken.encode"):
        broken(answer).encode([b"123", b"12", b"1"])


@pytest.mark.parametrize("answer", [*WRONG, {1: b"123"}, {0: 5}, {0: b"1", 1: b"2"}], ids=repr)
def test_what_was_not_rebuilt_stays_lost_whatever_the_code_says(answer) -> None:
    if answer == {0: b"123"}:
        assert broken(answer).reconstruct({1: b"1", 2: b"2", 3: b"3"}) == answer
    else:
        assert broken(answer).reconstruct({1: b"1", 2: b"2", 3: b"3"}) == {}


def test_its_faults_are_logged_at_every_power_of_ten() -> None:
    newCode = checked(Broken)
    code = newCode(3, 2)
    with capturedLogs() as logged:
        for _ in range(100):
            code.reconstruct({1: b"1", 2: b"2", 3: b"3"})
    assert [event["count"] for event in logged] == [1, 10, 100]
    assert {event["layer"] for event in logged} == {"The erasure code theirs"}


def test_one_that_cannot_be_built_is_a_value_error_whatever_it_raises() -> None:
    def made(data, parity):
        raise KeyError(data)

    with capturedLogs(), pytest.raises(ValueError, match="theirs failed"):
        checked(made)(3, 2)
    with pytest.raises(ValueError, match="no code with 0 data"):
        checked(ReedSolomon)(0, 2)


def test_a_code_that_returns_what_is_like_bytes_will_do() -> None:
    newCode = checked(Views)
    encoder, decoder = FECEncoder(3, 2, newCode), FECDecoder(Counters(), newCode)
    for turn in range(3):
        decoded(decoder, encoded(encoder, payloads(3, f"learn {turn}")))
    sent = encoded(encoder, payloads(3, "one is lost"))
    _, recovered = decoded(decoder, sent[1:])
    assert recovered == payloads(3, "one is lost")[:1]


def test_a_layout_that_the_code_has_not_costs_nothing_but_its_parity() -> None:
    def made(data, parity):
        if data != 5:
            raise ValueError("only fives")
        return ReedSolomon(data, parity)

    encoder, counters = FECEncoder(3, 2), Counters()
    decoder = FECDecoder(counters, checked(made))
    came = []
    for turn in range(20):
        arrived, recovered = decoded(decoder, encoded(encoder, payloads(3, f"{turn}")))
        came += arrived
        assert recovered == []
    assert came == [each for turn in range(20) for each in payloads(3, f"{turn}")]
    assert decoder.parameters is None


def test_an_encoder_whose_code_fails_says_so_to_who_sends() -> None:
    encoder = FECEncoder(2, 1, checked(Broken))
    batch = outboundBatch(1400, FEC_HEADER)
    for payload in payloads(2):
        batch.append(payload)
    with pytest.raises(RuntimeError, match="Broken.encode"):
        encoder.encode(batch, 0)
