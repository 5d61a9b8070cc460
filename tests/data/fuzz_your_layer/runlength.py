"""A compressor for the example: a run of equal bytes becomes two bytes, how many (1 to 255) and which."""

from itertools import groupby

from zope.interface import implementer

from kcpstack.interfaces import ICompressor

LONGEST_RUN = 255


@implementer(ICompressor)
class RunLength:
    def __init__(self):
        self.held = b""  # the first half of a run, if that came alone
        self.damaged = False

    def compress(self, data):
        parts = []
        for byte, run in groupby(data):
            length = len(list(run))
            while length:
                count = min(length, LONGEST_RUN)
                parts.append(bytes([count, byte]))
                length -= count
        return b"".join(parts)

    def decompress(self, data):
        data = self.held + data
        whole = len(data) // 2 * 2
        self.held = data[whole:]
        if self.damaged or 0 in data[:whole:2]:
            self.damaged = True
            raise ValueError("a run of no bytes")
        return b"".join(data[at + 1 : at + 2] * data[at] for at in range(0, whole, 2))
