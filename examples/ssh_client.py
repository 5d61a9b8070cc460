"""Runs a command on an SSH server behind an endpoint; what it reads from stdin goes to the command.

    python ssh_client.py kcp:localhost:29900:key=ours FINGERPRINT alice wonderland count 10
"""

import sys

from twisted.conch.ssh.channel import SSHChannel
from twisted.conch.ssh.common import NS
from twisted.conch.ssh.connection import SSHConnection
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.transport import SSHClientTransport
from twisted.conch.ssh.userauth import SSHUserAuthClient
from twisted.internet import defer, endpoints, error, task


class Password(SSHUserAuthClient):
    def __init__(self, name, password, connection):
        super().__init__(name, connection)
        self.password = password

    def getPassword(self, prompt=None):
        return defer.succeed(self.password)


class Connection(SSHConnection):
    def __init__(self):
        super().__init__()
        self.ready = defer.Deferred()

    def serviceStarted(self):
        super().serviceStarted()
        self.ready.callback(self)


class Transport(SSHClientTransport):
    """Trusts the one key whose fingerprint it is given."""

    def __init__(self, fingerprint, name, password):
        self.fingerprint = fingerprint
        self.connection = Connection()
        self.auth = Password(name, password, self.connection)

    def verifyHostKey(self, key, fingerprint):
        trusted = Key.fromString(key).fingerprint() == self.fingerprint
        return defer.succeed(True) if trusted else defer.fail(error.ConnectionLost("an unknown host key"))

    def connectionSecure(self):
        self.requestService(self.auth)


class Command(SSHChannel):
    """Runs a command, gives it what stdin has, and prints what it says."""

    name = b"session"

    def __init__(self, command):
        super().__init__()
        self.command = command
        self.ended = defer.Deferred()

    def channelOpen(self, data):
        asked = self.conn.sendRequest(self, b"exec", NS(self.command), wantReply=True)
        asked.addCallbacks(lambda agreed: self.write(sys.stdin.buffer.read()), self.ended.errback)

    def openFailed(self, reason):
        self.ended.errback(reason)

    def dataReceived(self, data):
        sys.stdout.buffer.write(data)

    def closed(self):
        sys.stdout.flush()
        self.ended.callback(None)


async def main(reactor, where, fingerprint, name, password, *command):
    transport = Transport(fingerprint, name.encode(), password.encode())
    await endpoints.connectProtocol(endpoints.clientFromString(reactor, where), transport)
    connection = await transport.connection.ready
    channel = Command(" ".join(command).encode())
    connection.openChannel(channel)
    await channel.ended
    transport.transport.loseConnection()


task.react(lambda *arguments: defer.ensureDeferred(main(*arguments)), sys.argv[1:])
