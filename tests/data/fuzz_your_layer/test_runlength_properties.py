"""What the compressor promises, whatever comes: once for hypothesis, and for atheris (fuzz_runlength.py)."""

from hypothesis import example, given
from hypothesis import strategies as st
from runlength import LONGEST_RUN, RunLength


def restored(pieces):
    """What comes out of these pieces, and whether the stream was found damaged."""
    codec, out = RunLength(), b""
    for piece in pieces:
        try:
            out += codec.decompress(piece)
        except ValueError:
            return out, True
        assert len(codec.held) <= 1, "more is kept than half a run"
        assert len(out) <= LONGEST_RUN * sum(map(len, pieces)), "more came out than can be in it"
    return out, False


def holdsOn(data):
    """The promises, on any bytes: the first says where the rest is cut."""
    size, stream = 1 + data[0] % 7 if data else 1, data[1:]
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    whole, damaged = restored([stream])
    cut, cutDamaged = restored(pieces)
    assert damaged == cutDamaged, "it depends on the cuts whether a stream is damaged"
    assert damaged or cut == whole, "it depends on the cuts what comes out"
    assert restored([RunLength().compress(data)]) == (data, False), "what was compressed does not come back"


@given(st.binary())
@example(b"\0\3ab")  # found once: half a run was forgotten
def test_every_promise_holds_on_any_bytes(data):
    holdsOn(data)


@given(st.lists(st.tuples(st.integers(1, 255), st.integers(0, 255))), st.integers(0, 255))
def test_every_promise_holds_on_streams_that_may_be(runs, cuts):
    holdsOn(bytes([cuts]) + b"".join(map(bytes, runs)))
