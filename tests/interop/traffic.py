"""Traffic for tunnels: a TCP target, and clients that check every byte by its hash.

A client names in the first bytes of its connection what it is about to send and what it wants to
get; both happen at the same time.  The target answers in the end with the sha256 of what it received.
Nobody half-closes and nobody closes before all is done, since old Go peers pass on neither well.

What the streams carry follows from the seed in that request, so that both ends know what must
arrive.  It is random bytes and plain text by turns, so that a compressor makes both of its kinds of
chunks.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Target", "Transfer", "TransferFailed", "blocks", "transfer"]

REQUEST = struct.Struct(">QQQ")  # bytes that the client sends, bytes that it wants, seed
BLOCK = 65_536
DIGEST = hashlib.sha256().digest_size


class TransferFailed(AssertionError):
    """Some bytes did not arrive as they were sent."""


@dataclass(frozen=True)
class Transfer:
    """What came through: bytes in all streams together, and how long it took."""

    uploaded: int
    downloaded: int
    seconds: float


def blocks(seed: int, length: int) -> Iterator[bytes]:
    """``length`` bytes that follow from ``seed``, in pieces."""
    number = 0
    while length > 0:
        source = random.Random(f"{seed}/{number}")
        if number % 2:
            line = b"%d bytes are left of %d.\n" % (source.getrandbits(20), length)
            block = (line * (BLOCK // len(line) + 1))[:BLOCK]
        else:
            block = source.randbytes(BLOCK)
        yield block[:length]
        length -= BLOCK
        number += 1


def digest(seed: int, length: int) -> bytes:
    """The sha256 of ``blocks(seed, length)``."""
    sha = hashlib.sha256()
    for block in blocks(seed, length):
        sha.update(block)
    return sha.digest()


class Target:
    """What tunnels lead to: a TCP server on loopback, in a thread of this process.

    ``complaints`` is a list of what went wrong on its connections, and ``connections`` counts them."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self.connections = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="target", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._started.wait()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        name = f"connection {self.connections}"
        try:
            uploaded, wanted, seed = REQUEST.unpack(await reader.readexactly(REQUEST.size))
            _, received = await asyncio.gather(
                _send(writer, blocks(seed + 1, wanted)), _receive(reader, uploaded)
            )
            writer.write(received)
            await writer.drain()
            if await reader.read(1):
                self.complaints.append(f"{name}: more bytes came than were sent")
        except asyncio.IncompleteReadError:
            pass  # the client knows, or left before it asked for anything
        except OSError as error:
            self.complaints.append(f"{name}: {error}")
        finally:
            writer.close()


def transfer(
    port: int | str, upload: int = 0, download: int = 0, streams: int = 1, seed: int = 1, timeout: float = 60
) -> Transfer:
    """Open ``streams`` connections to ``port`` of loopback (or to the Unix socket of that path) at once, and on each send ``upload`` bytes and get
    ``download`` bytes at the same time.

    Raises TransferFailed, which names every stream that failed and how, where not every byte
    arrived unchanged at the other end within ``timeout`` seconds."""
    return asyncio.run(_transfer(port, upload, download, streams, seed, timeout))


async def _transfer(
    port: int | str, upload: int, download: int, streams: int, seed: int, timeout: float
) -> Transfer:
    begin = time.monotonic()
    progress = [_Progress() for _ in range(streams)]
    tasks = [
        asyncio.ensure_future(_stream(port, upload, download, seed * 100_000 + 2 * n, progress[n]))
        for n in range(streams)
    ]
    _, late = await asyncio.wait(tasks, timeout=timeout)
    for task in late:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    failures = [
        f"stream {n}: {error or type(error).__name__} ({progress[n]})"
        for n, error in enumerate(results)
        if error is not None
    ]
    if failures:
        what = f"{upload} bytes up, {download} down on each of {streams} streams, seed {seed}"
        late_ = f", {len(late)} not done after {timeout} s" if late else ""
        raise TransferFailed(f"{what}: {len(failures)} failed{late_}\n" + "\n".join(failures))
    return Transfer(upload * streams, download * streams, time.monotonic() - begin)


@dataclass
class _Progress:
    sent: int = 0
    received: int = 0

    def __str__(self) -> str:
        return f"{self.sent} bytes sent, {self.received} received"


async def _stream(port: int | str, upload: int, download: int, seed: int, progress: _Progress) -> None:
    if isinstance(port, str):
        reader, writer = await asyncio.open_unix_connection(port)
    else:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(REQUEST.pack(upload, download, seed))
        _, received = await asyncio.gather(
            _send(writer, blocks(seed, upload), progress), _receive(reader, download, progress)
        )
        atTarget = await reader.readexactly(DIGEST)
    finally:
        writer.close()
    if received != digest(seed + 1, download):
        raise TransferFailed("what was downloaded differs from what the target sent")
    if atTarget != digest(seed, upload):
        raise TransferFailed("what the target received differs from what was uploaded")


async def _send(
    writer: asyncio.StreamWriter, pieces: Iterator[bytes], progress: _Progress | None = None
) -> None:
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        if progress is not None:
            progress.sent += len(piece)


async def _receive(
    reader: asyncio.StreamReader, length: int, progress: _Progress | None = None
) -> bytes:
    sha = hashlib.sha256()
    while length:
        data = await reader.read(min(length, BLOCK))
        if not data:
            raise asyncio.IncompleteReadError(b"", length)
        sha.update(data)
        length -= len(data)
        if progress is not None:
            progress.received += len(data)
    return sha.digest()
