"""Fetches files from a web server behind an endpoint, all at once, and prints their hashes.

    twistd -n web --listen kcp:29900:key=ours --path .
    python web_client.py kcp:localhost:29900:key=ours:mux=yes setup.cfg README.md
"""

import hashlib
import sys

from twisted.internet import defer, endpoints, task
from twisted.web.client import Agent, HTTPConnectionPool, readBody
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer


@implementer(IAgentEndpointFactory)
class Always:
    """Leads every request to the same endpoint, whatever host its address names."""

    def __init__(self, endpoint):
        self.endpoint = endpoint

    def endpointForURI(self, uri):
        return self.endpoint


async def fetch(agent, path):
    response = await agent.request(b"GET", b"http://served.example/" + path.encode())
    body = await readBody(response)
    return f"{response.code} {len(body)} {hashlib.sha256(body).hexdigest()} {path}"


async def main(reactor, where, *paths):
    pool = HTTPConnectionPool(reactor)  # keeps connections for the next request
    endpoint = endpoints.clientFromString(reactor, where)
    agent = Agent.usingEndpointFactory(reactor, Always(endpoint), pool)
    fetched = [defer.ensureDeferred(fetch(agent, path)) for path in paths]
    for line in await defer.gatherResults(fetched, consumeErrors=True):
        print(line, flush=True)
    await pool.closeCachedConnections()


task.react(lambda *arguments: defer.ensureDeferred(main(*arguments)), sys.argv[1:])
