"""The asyncio door: connections over kcp for programs that are asyncio's, in asyncio's own grammar.

::

    reader, writer = await aio.open_connection("example.org", 29900, key="...")
    server = await aio.start_server(client_connected, "", 29900, key="...")

Beneath are the Twisted endpoints of kcpstack/endpoints.py, on a reactor that uses the running loop:

- ``connections``  connect and listen, with the options of kcptun as keywords
- ``endpoints``    the same on any Twisted stream endpoint
- ``server``       what listens, as asyncio's Server
- ``transport``    one connection: an asyncio Transport on a Twisted one
- ``errors``       Twisted's reasons as exceptions that asyncio programs expect
- ``reactor``      a Twisted reactor on a loop that somebody else runs
"""

from kcpstack.aio.connections import create_connection, create_server, open_connection, start_server
from kcpstack.aio.endpoints import (
    create_endpoint_connection,
    create_endpoint_server,
    open_endpoint_connection,
    start_endpoint_server,
)
from kcpstack.aio.reactor import get_running_reactor
from kcpstack.aio.server import Server

__all__ = [
    "Server",
    "create_connection",
    "create_endpoint_connection",
    "create_endpoint_server",
    "create_server",
    "get_running_reactor",
    "open_connection",
    "open_endpoint_connection",
    "start_endpoint_server",
    "start_server",
]
