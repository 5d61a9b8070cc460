"""The code on the page "The kit for layer authors" (docs/kit.rst)."""

from __future__ import annotations

# [the layer]
import zlib

from zope.interface import implementer

from kcpstack.interfaces import ICompressor, ICompressorFactory


@implementer(ICompressor)
class Deflate:
    def __init__(self):
        self._out, self._into = zlib.compressobj(), zlib.decompressobj()

    def compress(self, data):
        return self._out.compress(data) + self._out.flush(zlib.Z_SYNC_FLUSH) if data else b""

    def decompress(self, data):
        try:
            return self._into.decompress(data)
        except zlib.error as error:
            raise ValueError(f"a damaged deflate stream ({error})") from None


@implementer(ICompressorFactory)
class DeflateFactory:
    name = "deflate"

    def build(self):
        return Deflate()


deflate = DeflateFactory()
# [the suite]
from kcpstack.testing.compressors import CompressorConformance


class TestDeflate(CompressorConformance):
    factory = deflate


# [a strategy]
from hypothesis import given, settings
from hypothesis import strategies as st

from kcpstack.testing.strategies import cuts, encodeFrames, frames


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_anyFramesComeBack(data):
    sender, receiver = Deflate(), Deflate()
    stream = encodeFrames(2, data.draw(st.lists(frames(2), max_size=10)))
    packed = sender.compress(stream)
    assert b"".join(receiver.decompress(piece) for piece in data.draw(cuts(packed))) == stream


# [a schedule]
from twisted.internet.task import Clock

from kcpstack.testing.network import SimulatedNetwork
from kcpstack.testing.strategies import applySchedule, networkSchedules


@settings(max_examples=20, deadline=None)
@given(networkSchedules(seconds=30))
def test_theNetworkCanBeMadeToDoAnything(schedule):
    clock = Clock()
    network = SimulatedNetwork(clock, seed=1)
    server = network.transport(("10.0.0.1", 29900))
    client = network.transport(peer=("10.0.0.1", 29900))
    applySchedule(network, schedule, server, client)
    # ... wire both ends up, start the application, advance the clock, and check your promises
    clock.advance(60)
    assert not clock.getDelayedCalls()


# [a bad layer]
from kcpstack.testing.faulty import FaultyLayer


def test_aBadCompressorIsNoticed():
    faulty = FaultyLayer(seed=7, faults={"compress.corrupt": 0.2, "decompress.raise": 0.01})
    sender, receiver = faulty.compressorFactory(deflate).build(), Deflate()
    written, read = b"", b""
    try:
        for number in range(100):
            data = b"line %d\n" % number
            read += receiver.decompress(sender.compress(data))
            written += data
    except ValueError:
        pass
    assert written == read or faulty.counts["compress.corrupt"] > 0, faulty.history()


# [the end]
