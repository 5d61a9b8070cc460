"""A gigabyte waits for a slow reader somewhere, and it is not in our processes."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from peers import OURS, Wire

GIGABYTE = 1 << 30
READ_RATE = 1_000_000  # bytes a second
SECONDS = 8
MEMORY = 120_000  # KiB resident at most; an idle process has some 50,000
WAITING = 40_000_000  # bytes between writer and reader: all socket buffers, windows and queues of both ends


def peakMemory(process) -> int:
    """The most that a process has had resident so far, in KiB."""
    with open(f"/proc/{process.pid}/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


class Writer(threading.Thread):
    """Writes a gigabyte, as fast as it is taken."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(daemon=True)
        self.connection = connection
        self.written = 0

    def run(self) -> None:
        piece = bytes(65_536)
        try:
            while self.written < GIGABYTE:
                self.connection.sendall(piece)
                self.written += len(piece)
        except OSError:
            pass  # the test is over


@pytest.mark.parametrize("smux", [1, 2])
@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_slow_reader_stops_the_far_writer_and_memory_stays_bounded(tunnel, smux, direction):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        wire = Wire(smux=smux, compression=False, mode="fast3")
        it = tunnel(OURS, OURS, wire, targetOption=f"127.0.0.1:{listening.getsockname()[1]}")
        with socket.create_connection(("127.0.0.1", it.port)) as near:
            near.sendall(b"!")
            with listening.accept()[0] as far:
                assert far.recv(1) == b"!"
                source, sink = (near, far) if direction == "up" else (far, near)
                writer = Writer(source)
                writer.start()
                received = 0
                for _ in range(SECONDS * 10):
                    wanted = READ_RATE // 10
                    while wanted:
                        wanted -= len(sink.recv(wanted))
                    received += READ_RATE // 10
                    time.sleep(0.1)
                assert writer.written - received < WAITING
                assert writer.written < GIGABYTE
        for process in (it.client, it.server):
            assert peakMemory(process) < MEMORY, f"{process.command} had {peakMemory(process)} KiB"
