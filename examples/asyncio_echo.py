"""An echo server and a client of it, as asyncio programs write them, over kcp.

    python asyncio_echo.py                                 both, in one program
    python asyncio_echo.py server 29900                    the server
    python asyncio_echo.py client 192.0.2.1 29900 hello    a client
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from kcpstack import aio

OPTIONS: dict[str, Any] = {"key": "a secret of both ends", "crypt": "aes-128-gcm"}  # any option of kcptun


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes, for as long as it comes."""
    while True:
        data = await reader.read(65536)
        if not data:
            break
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def ask(host: str, port: int, text: str) -> str:
    """Connect, send a line, and return the line that comes back."""
    reader, writer = await aio.open_connection(host, port, **OPTIONS)
    writer.write(text.encode() + b"\n")
    answer = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return answer.decode().rstrip("\n")


async def serve(port: int) -> None:
    """Serve until the program is interrupted."""
    server = await aio.start_server(echo, None, port, **OPTIONS)
    await server.serve_forever()


async def both() -> None:
    """A server at any free port, and a client of it."""
    async with await aio.start_server(echo, "127.0.0.1", 0, **OPTIONS) as server:
        host, port = server.sockets[0].getsockname()
        print(await ask(host, port, "hello over kcp"))


def main(role: str = "both", *arguments: str) -> None:
    """What the command line asks for."""
    if role == "server":
        asyncio.run(serve(int(arguments[0])))
    elif role == "client":
        host, port, *words = arguments
        print(asyncio.run(ask(host, int(port), " ".join(words))))
    else:
        asyncio.run(both())


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        pass
