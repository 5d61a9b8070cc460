"""A TCP source and a TCP sink that cost little, for measuring what is between them.

    python benchmarks/flows.py sink PORT [--duplex] [--text]
    python benchmarks/flows.py source PORT --streams N [--duplex] [--text]

The sink listens on PORT of loopback, the source connects to it N times; everything that is sent is one known pattern, and
everything received is compared with it, byte by byte, in C.  With --duplex both send.  Each line on standard input is answered
with the bytes received so far, and the time.  A wrong byte is exit status 3.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import selectors
import socket
import sys
import threading
import time

PERIOD = 1_048_573  # bytes; a prime, so that no block of anybody's begins alike twice
CHUNK = 1 << 18  # bytes offered to the kernel at once
WRONG = 3  # exit status; tunnels.py knows it


def pattern(text: bool) -> bytes:
    """PERIOD bytes, the same in every process: random, or words as often as a language has them."""
    source = random.Random(1)
    if not text:
        return source.randbytes(PERIOD)
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    words = ["".join(source.choices(letters, range(26, 0, -1), k=source.randint(2, 11))) for _ in range(4000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    drawn = source.choices(words, weights, k=PERIOD // 4)
    return " ".join(drawn).encode()[:PERIOD].ljust(PERIOD, b".")


class Flow:
    """One connection: sends the pattern over and over, if it ``sends``, and checks what comes."""

    def __init__(self, sock: socket.socket, bench: Bench, sends: bool) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.sends = sends
        self._bench = bench
        self._sent = self._received = 0

    def write(self) -> None:
        begin = self._sent % PERIOD
        self._sent += self.sock.send(self._bench.outgoing[begin : begin + CHUNK])

    def read(self) -> bool:
        """False at the end."""
        bench = self._bench
        count = self.sock.recv_into(bench.incoming)
        expected = bench.expected + self._received % PERIOD
        if bench.compare(bench.arrived, ctypes.c_void_p(expected), ctypes.c_size_t(count)):
            got, wanted = bytes(bench.incoming[:16]), bytes(bench.outgoing[self._received % PERIOD :][:16])
            where = bench.outgoing.obj.find(bytes(bench.incoming[: min(count, 64)]))
            print(
                f"wrong data: {count} bytes after {self._received} begin with {got.hex()}, not {wanted.hex()}; in the pattern "
                f"they are at {where}",
                file=sys.stderr,
                flush=True,
            )
            os._exit(WRONG)
        self._received += count
        bench.received += count
        return count > 0


class Bench:
    """All flows of a process."""

    def __init__(self, text: bool) -> None:
        self._twice = pattern(text) * 2  # from any offset, a whole period without a seam
        self.outgoing = memoryview(self._twice)
        self.expected = ctypes.cast(ctypes.c_char_p(self._twice), ctypes.c_void_p).value or 0
        self.incoming = bytearray(PERIOD)
        self.arrived = (ctypes.c_char * PERIOD).from_buffer(self.incoming)
        self.compare = ctypes.CDLL(None).memcmp
        self.received = 0
        self._selector = selectors.DefaultSelector()

    def add(self, flow: Flow) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if flow.sends else 0)
        self._selector.register(flow.sock, events, flow)

    def listen(self, port: int, sends: bool) -> None:
        listener = socket.create_server(("127.0.0.1", port))
        self._selector.register(listener, selectors.EVENT_READ, sends)

    def run(self) -> None:
        threading.Thread(target=self._answer, daemon=True).start()
        while True:
            for key, events in self._selector.select():
                if not isinstance(key.data, Flow):
                    self.add(Flow(key.fileobj.accept()[0], self, key.data))
                    continue
                try:
                    if events & selectors.EVENT_WRITE:
                        key.data.write()
                    alive = not events & selectors.EVENT_READ or key.data.read()
                except BlockingIOError:
                    continue
                except OSError:
                    alive = False
                if not alive:
                    self._selector.unregister(key.fileobj)
                    key.fileobj.close()

    def _answer(self) -> None:
        for _ in sys.stdin:
            print(self.received, time.monotonic(), flush=True)
        os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("end", choices=["sink", "source"])
    parser.add_argument("port", type=int)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--duplex", action="store_true")
    parser.add_argument("--text", action="store_true")
    options = parser.parse_args()
    bench = Bench(options.text)
    if options.end == "sink":
        bench.listen(options.port, options.duplex)
    for _ in range(options.streams if options.end == "source" else 0):
        bench.add(Flow(socket.create_connection(("127.0.0.1", options.port)), bench, True))
    bench.run()


if __name__ == "__main__":
    main()
