"""Says some words to endpoint_server.py, prints what comes back, and why it ended.

    python endpoint_client.py kcp:localhost:29900:key=ours:crypt=aes-128-gcm hello you
"""

import sys

from twisted.internet import defer, endpoints, error, task
from twisted.protocols.basic import LineOnlyReceiver

from kcpstack import errors

REASONS = {
    error.ConnectionDone: "a clean end",
    error.ConnectionAborted: "we cut it ourselves",
    errors.PeerAborted: "the other program cut it",
    errors.PeerClosedDown: "the other end was shut down",
    errors.PeerRestarted: "the other end was started anew",
    errors.PeerSilent: "the other end is dead, or the path to it",
    errors.PeerBrokeProtocol: "the other end does not speak as we do",
}


class Speaker(LineOnlyReceiver):
    def __init__(self, words):
        self.words = words
        self.ended = defer.Deferred()

    def connectionMade(self):
        print("connected to", self.transport.getPeer(), flush=True)
        for word in self.words:
            self.sendLine(word.encode())

    def lineReceived(self, line):
        print(line.decode(), flush=True)
        self.words.pop()
        if not self.words:
            self.transport.loseConnection()

    def connectionLost(self, reason):
        print("ended:", REASONS[reason.type], flush=True)
        self.ended.callback(None)


async def main(reactor, where, *words):
    endpoint = endpoints.clientFromString(reactor, where)
    try:
        speaker = await endpoints.connectProtocol(endpoint, Speaker(list(words)))
    except (error.TimeoutError, error.ConnectError, error.DNSLookupError) as failed:
        sys.exit(f"not connected: {failed}")
    await speaker.ended


task.react(lambda *arguments: defer.ensureDeferred(main(*arguments)), sys.argv[1:])
