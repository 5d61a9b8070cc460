"""asyncio programs open and serve kcp connections as they would TCP's, and nothing is left when they end."""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IReactorCore

from kcpstack import aio
from kcpstack.endpoints import KCPClientEndpoint

OPTIONS: dict[str, Any] = {"key": "a secret of both ends", "crypt": "aes-128-gcm", "closewait": 0}
HERE = "127.0.0.1"
EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "asyncio_echo.py"
SECONDS = 20  # until what hangs is called a failure

SLOW = re.compile("Executing .* took .* seconds")  # asyncio's debug mode says that of this machine, not of us

ENOUGH = 32 << 20  # bytes; more than all buffers on the way

MEGABYTES = 4
DATA = b"".join(hashlib.sha256(bytes([i])).digest() * 512 for i in range(64)) * MEGABYTES

OnConnection = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


def run(program: Coroutine[Any, Any, Any]) -> Any:
    """asyncio.run, on which what the loop has to complain of is a failure."""
    complaints: list[Any] = []

    async def watched() -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        return await asyncio.wait_for(program, SECONDS)

    result = asyncio.run(watched())
    assert complaints == []
    return result


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        data = await reader.read(65536)
        if not data:
            break
        writer.write(data)
        await writer.drain()
    await close(writer)


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


@asynccontextmanager
async def serving(served: OnConnection = echo) -> AsyncIterator[tuple[str, int]]:
    """Where ``served`` is called for each connection."""
    async with await aio.start_server(served, HERE, 0, **OPTIONS) as server:
        yield server.sockets[0].getsockname()


async def until(condition: Callable[[], object]) -> None:
    """Let the loop go on until ``condition()`` is true."""
    while not condition():
        await asyncio.sleep(0.001)


def silentPort() -> socket.socket:
    """A UDP socket that takes everything and answers nothing."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind((HERE, 0))
    return bound


def idle(reactor: AsyncioSelectorReactor) -> bool:
    """Whether nothing on the reactor watches or waits."""
    return not (reactor.getReaders() or reactor.getWriters() or reactor.getDelayedCalls())


# ------------------------------------------------------------------ streams


@pytest.mark.parametrize("mux", [False, True])
def test_megabytes_cross_in_both_directions_at_once(mux: bool) -> None:
    async def program() -> None:
        async with serving() as (host, port):
            endpoint = KCPClientEndpoint(aio.get_running_reactor(), host, port, mux=mux, **OPTIONS)
            reader, writer = await aio.open_endpoint_connection(endpoint)

            async def send() -> None:
                for start in range(0, len(DATA), 50_000):
                    writer.write(DATA[start : start + 50_000])
                    await writer.drain()
                writer.write_eof()

            _, echoed = await asyncio.gather(send(), reader.read())
            assert echoed == DATA
            await close(writer)

    run(program())


def test_connections_share_sessions_through_one_endpoint_and_mux_says_so_where_they_could_not() -> None:
    async def program() -> None:
        async with serving() as (host, port):
            endpoint = KCPClientEndpoint(aio.get_running_reactor(), host, port, mux=True, **OPTIONS)
            for _ in range(3):
                _, writer = await aio.open_endpoint_connection(endpoint)
                await close(writer)
            assert endpoint.counters.ActiveOpens == 1
            with pytest.raises(ValueError, match="mux=True: .* make one KCPClientEndpoint"):
                await aio.open_connection(host, port, mux=True, **OPTIONS)
            with pytest.raises(ValueError, match="mux=yes: .* make one KCPClientEndpoint"):
                await aio.create_connection(asyncio.Protocol, host, port, mux="yes", **OPTIONS)

    run(program())


def test_an_answer_comes_after_the_client_has_ended_its_direction() -> None:
    async def digest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(hashlib.sha256(await reader.read()).digest())
        await close(writer)

    async def program() -> None:
        async with serving(digest) as (host, port):
            reader, writer = await aio.open_connection(host, port, **OPTIONS)
            assert writer.can_write_eof()
            writer.write(DATA)
            writer.write_eof()
            assert await reader.read() == hashlib.sha256(DATA).digest()
            await close(writer)

    run(program())


def test_drain_waits_while_the_other_end_does_not_read() -> None:
    async def program() -> None:
        reading = asyncio.Event()

        async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reading.wait()
            await echo(reader, writer)

        async with serving(slow) as (host, port):
            reader, writer = await aio.open_connection(host, port, streambuf=1 << 20, **OPTIONS)
            written = 0

            async def fill() -> None:
                nonlocal written
                while not reading.is_set() and written < ENOUGH:
                    writer.write(bytes(65536))
                    written += 65536
                    await writer.drain()

            filling = asyncio.create_task(fill())
            before = -1
            while written > before:  # 50 ms without progress: it waits
                before = written
                await asyncio.sleep(0.05)
            assert not filling.done()
            assert 0 < written < ENOUGH
            reading.set()
            echoed = asyncio.create_task(reader.read())
            await filling
            writer.write_eof()
            assert len(await echoed) == written
            await close(writer)

    run(program())


def test_both_ends_know_their_addresses() -> None:
    async def program() -> None:
        names: list[Any] = []

        async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            names.append(writer.get_extra_info("peername"))
            await close(writer)

        async with serving(note) as (host, port):
            reader, writer = await aio.open_connection("localhost", port, **OPTIONS)
            assert writer.get_extra_info("peername") == (host, port)
            await reader.read()
            assert names == [writer.get_extra_info("sockname")]
            await close(writer)

    run(program())


def test_an_abort_is_a_reset_to_the_other_end() -> None:
    async def program() -> None:
        ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await reader.read()
            except OSError as error:
                ended.set_result(error)

        async with serving(note) as (host, port):
            _, writer = await aio.open_connection(host, port, **OPTIONS)
            writer.write(b"in the middle of someth")
            await writer.drain()
            writer.transport.abort()
            assert isinstance(await ended, ConnectionResetError)

    run(program())


# ------------------------------------------------------------------ protocols


class Lines(asyncio.Protocol):
    """As a library would bring one: it answers each line with its length, and closes after an empty one."""

    def __init__(self) -> None:
        self.rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.transport.writelines([b"%d" % len(line), b"\n"])
            if not line:
                self.transport.close()


class Collecting(asyncio.Protocol):
    """Keeps what comes, and knows when it has ended."""

    def __init__(self) -> None:
        self.data = b""
        self.ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(exc)


def test_asyncio_protocols_are_connected_and_served() -> None:
    async def program() -> None:
        async with await aio.create_server(Lines, HERE, 0, **OPTIONS) as server:
            transport, protocol = await aio.create_connection(Collecting, *server.sockets[0].getsockname(), **OPTIONS)
            assert isinstance(protocol, Collecting)
            transport.write(b"one\nthree\n\n")
            assert await protocol.ended is None
            assert protocol.data == b"3\n5\n0\n"

    run(program())


def test_a_protocol_factory_that_raises_is_heard_of_by_whoever_connects() -> None:
    def mistaken() -> asyncio.Protocol:
        raise ZeroDivisionError("a mistake")

    async def program() -> None:
        async with serving() as (host, port):
            with pytest.raises(ZeroDivisionError):
                await aio.create_connection(mistaken, host, port, **OPTIONS)

    run(program())


# ------------------------------------------------------------------ what goes wrong


def test_where_nobody_listens_connecting_is_refused() -> None:
    with silentPort() as bound:
        port = bound.getsockname()[1]

    async def program() -> None:
        with pytest.raises(ConnectionRefusedError) as caught:
            await aio.open_connection(HERE, port, **OPTIONS)
        assert isinstance(caught.value.__cause__, ConnectError)

    run(program())


def test_where_nobody_answers_connecting_times_out() -> None:
    async def program(port: int) -> None:
        with pytest.raises(TimeoutError):
            await aio.open_connection(HERE, port, timeout=0.1, **OPTIONS)

    with silentPort() as bound:
        run(program(bound.getsockname()[1]))


def test_a_name_that_is_unknown_is_a_gaierror() -> None:
    async def program() -> None:
        with pytest.raises(socket.gaierror):
            await aio.open_connection("kcp.invalid", 29900, **OPTIONS)

    run(program())


def test_a_wrong_option_is_a_value_error() -> None:
    async def program() -> None:
        with pytest.raises(ValueError, match="crypt"):
            await aio.open_connection(HERE, 29900, crypt="rot13")

    run(program())


def test_a_port_that_is_taken_is_an_oserror() -> None:
    async def program() -> None:
        async with serving() as (host, port):
            with pytest.raises(OSError, match="something has that already"):
                await aio.start_server(echo, host, port, **OPTIONS)

    run(program())


def test_a_cancelled_connect_leaves_nothing_behind() -> None:
    async def program(port: int) -> None:
        reactor = aio.get_running_reactor()
        connecting = asyncio.create_task(aio.open_connection(HERE, port, **OPTIONS))
        await until(reactor.getReaders)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await asyncio.sleep(0)
        assert idle(reactor)

    with silentPort() as bound:
        run(program(bound.getsockname()[1]))


def test_a_connection_that_is_made_as_its_task_is_cancelled_is_aborted() -> None:
    async def program() -> None:
        ended = asyncio.Event()

        async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with pytest.raises(OSError):
                await reader.read()
            ended.set()

        class Cancelling(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                connecting.cancel()

        async with serving(note) as (host, port):
            connecting = asyncio.create_task(aio.create_connection(Cancelling, host, port, **OPTIONS))
            with pytest.raises(asyncio.CancelledError):
                await connecting
            await ended.wait()

    run(program())


# ------------------------------------------------------------------ servers


def test_a_closed_server_takes_nobody_and_lets_its_connections_end() -> None:
    async def program() -> None:
        server = await aio.start_server(echo, HERE, 0, **OPTIONS)
        host, port = server.sockets[0].getsockname()
        reader, writer = await aio.open_connection(host, port, **OPTIONS)
        writer.write(b"there\n")
        assert await reader.readline() == b"there\n"
        assert server.is_serving()
        server.close()
        assert not server.is_serving()
        assert server.sockets == ()
        closed = asyncio.create_task(server.wait_closed())
        writer.write(b"still here\n")
        assert await reader.readline() == b"still here\n"
        with pytest.raises(TimeoutError):
            await aio.open_connection(host, port, timeout=0.2, **OPTIONS)
        assert not closed.done()
        await close(writer)
        await closed

    run(program())


def test_serve_forever_ends_with_its_task_or_its_server() -> None:
    async def program() -> None:
        for ends in ("task", "server"):
            server = await aio.start_server(echo, HERE, 0, **OPTIONS)
            forever = asyncio.create_task(server.serve_forever())
            await asyncio.sleep(0)
            if ends == "task":
                forever.cancel()
            else:
                server.close()
            with pytest.raises(asyncio.CancelledError):
                await forever
            assert not server.is_serving()
            await server.wait_closed()

    run(program())


def test_a_server_waits_for_nobody_where_an_exception_ends_it() -> None:
    async def program() -> None:
        with pytest.raises(ZeroDivisionError):
            async with serving() as (host, port):
                reader, writer = await aio.open_connection(host, port, **OPTIONS)
                writer.write(b"there\n")
                assert await reader.readline() == b"there\n"
                raise ZeroDivisionError
        await close(writer)

    run(program())


def test_clients_can_be_closed_and_aborted() -> None:
    async def program() -> None:
        for request, outcome in (("close_clients", type(None)), ("abort_clients", ConnectionResetError)):
            async with await aio.create_server(Lines, HERE, 0, **OPTIONS) as server:
                where = server.sockets[0].getsockname()
                transport, protocol = await aio.create_connection(Collecting, *where, **OPTIONS)
                assert isinstance(protocol, Collecting)
                transport.write(b"one\n")
                while not protocol.data:
                    await asyncio.sleep(0.001)
                getattr(server, request)()
                assert isinstance(await protocol.ended, outcome)

    run(program())


# ------------------------------------------------------------------ the loop and its reactor


def test_asyncio_run_works_time_and_again() -> None:
    async def program() -> AsyncioSelectorReactor:
        async with serving() as (host, port):
            reader, writer = await aio.open_connection(host, port, **OPTIONS)
            writer.write(b"ping\n")
            assert await reader.readline() == b"ping\n"
            await close(writer)
            assert aio.get_running_reactor() is aio.get_running_reactor()
            return aio.get_running_reactor()

    first, second = run(program()), run(program())
    assert first is not second
    assert idle(first)
    assert idle(second)


@pytest.mark.parametrize("waits", [True, False])
def test_what_was_written_arrives_though_the_loop_ends_right_after_the_close(waits: bool) -> None:
    listening: Any = threading.Event()
    where: list[Any] = []
    arrived: list[bytes] = []

    async def server() -> None:
        done = asyncio.Event()

        async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            arrived.append(await reader.read())
            await close(writer)
            done.set()

        async with serving(keep) as address:
            where.append(address)
            listening.set()
            await done.wait()

    async def client() -> None:
        _, writer = await aio.open_connection(*where[0], **{**OPTIONS, "closewait": SECONDS})
        writer.write(DATA)
        writer.close()
        if waits:
            await writer.wait_closed()

    thread = threading.Thread(target=lambda: run(server()))
    thread.start()
    assert listening.wait(SECONDS)
    run(client())
    thread.join(SECONDS)
    assert arrived == [DATA]


def test_what_nobody_has_closed_is_aborted_as_the_loop_ends() -> None:
    async def program() -> tuple[AsyncioSelectorReactor, asyncio.StreamWriter]:
        server = await aio.start_server(echo, HERE, 0, **OPTIONS)
        _, writer = await aio.open_connection(*server.sockets[0].getsockname(), **OPTIONS)
        return aio.get_running_reactor(), writer

    reactor, writer = asyncio.run(program())
    assert writer.is_closing()
    assert idle(reactor)


def test_the_reactor_is_one_on_which_nothing_can_wait_for_ever() -> None:
    async def program() -> None:
        reactor = aio.get_running_reactor()
        called: list[str] = []
        IReactorCore(reactor).callWhenRunning(called.append, "running")
        assert called == ["running"]
        with pytest.raises(RuntimeError, match="run_in_executor"):
            reactor.callInThread(called.append, "thread")
        fromThread = asyncio.Event()
        await asyncio.get_running_loop().run_in_executor(None, reactor.callFromThread, fromThread.set)
        await fromThread.wait()

    run(program())


def python(*arguments: str) -> str:
    """What a Python process prints that complains of everything it can."""
    command = [sys.executable, "-X", "dev", "-W", "error", *arguments]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=SECONDS, cwd=EXAMPLE.parents[1])
    complaints = [line for line in done.stderr.splitlines() if not SLOW.match(line)]
    assert (done.returncode, complaints) == (0, [])
    return done.stdout


def test_the_example_runs_and_has_nothing_to_complain_of() -> None:
    assert python(str(EXAMPLE)) == "hello over kcp\n"


def test_no_reactor_is_installed() -> None:
    program = "import sys, runpy; runpy.run_path(sys.argv[1])['main'](); print('twisted.internet.reactor' in sys.modules)"
    assert python("-c", program, str(EXAMPLE)).splitlines() == ["hello over kcp", "False"]


def test_an_asyncio_reactor_that_runs_on_the_loop_is_used() -> None:
    program = """
import asyncio, sys
from twisted.internet import asyncioreactor
asyncioreactor.install(asyncio.new_event_loop())
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred, Deferred
from kcpstack import aio
sys.path.insert(0, "examples")
import asyncio_echo

async def main():
    assert aio.get_running_reactor() is reactor
    await asyncio_echo.both()

def begin():
    task = asyncio.get_running_loop().create_task(main())
    task.add_done_callback(lambda task: reactor.stop())

reactor.callWhenRunning(lambda: reactor.callLater(0, begin))
reactor.run()
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=SECONDS, cwd=EXAMPLE.parents[1])
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello over kcp\n", "")
