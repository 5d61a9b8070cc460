"""A service of one's own wherever an endpoint string says: what each line says, louder.

    python endpoint_server.py kcp:29900:key=ours:crypt=aes-128-gcm
    python endpoint_server.py tcp:29900
"""

import sys

from twisted.internet import defer, endpoints, task
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineOnlyReceiver


class Louder(LineOnlyReceiver):
    def lineReceived(self, line):
        self.sendLine(line.upper())


async def main(reactor, where):
    port = await endpoints.serverFromString(reactor, where).listen(Factory.forProtocol(Louder))
    print("listening at", port.getHost(), flush=True)
    await defer.Deferred()  # until the process is asked to stop


task.react(lambda *arguments: defer.ensureDeferred(main(*arguments)), sys.argv[1:])
