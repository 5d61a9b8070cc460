"""An SSH server behind an endpoint, with a shell that knows two commands.  Its key lives as long as it does.

    python ssh_server.py kcp:29900:key=ours alice wonderland
"""

import hashlib
import sys

from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.conch.avatar import ConchUser
from twisted.conch.interfaces import ISession
from twisted.conch.ssh.factory import SSHFactory
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.session import SSHSession
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal
from twisted.internet import defer, endpoints, task
from twisted.internet.error import ProcessDone
from twisted.python.components import registerAdapter
from twisted.python.failure import Failure


class User(ConchUser):
    def __init__(self, reactor):
        super().__init__()
        self.reactor = reactor
        self.channelLookup[b"session"] = SSHSession


class Commands:
    """``count N`` writes N lines; ``digest N`` hashes N bytes that it is sent."""

    def __init__(self, user):
        self.reactor = user.reactor
        self.sha = hashlib.sha256()
        self.missing = 0

    def execCommand(self, process, command):
        self.process = process
        process.makeConnection(self)
        name, _, number = command.partition(b" ")
        if name == b"count":
            self.reactor.callLater(0, self.answer, b"".join(b"%d\n" % line for line in range(int(number))))
        else:
            self.missing = int(number)

    def write(self, data):
        self.sha.update(data)
        self.missing -= len(data)
        if not self.missing:
            self.answer(self.sha.hexdigest().encode() + b"\n")

    def answer(self, text):
        self.process.outReceived(text)
        self.process.processEnded(Failure(ProcessDone(0)))

    def loseConnection(self):
        """The command has ended already."""

    def eofReceived(self):
        """Nothing follows from it."""

    def closed(self):
        """The client has gone."""


class Realm:
    def __init__(self, reactor):
        self.reactor = reactor

    def requestAvatar(self, name, mind, *interfaces):
        return interfaces[0], User(self.reactor), lambda: None


async def main(reactor, where, name, password):
    registerAdapter(Commands, User, ISession)
    key = Key(rsa.generate_private_key(65537, 2048))
    factory = SSHFactory()
    factory.portal = Portal(Realm(reactor), [InMemoryUsernamePasswordDatabaseDontUse(**{name: password.encode()})])
    factory.publicKeys = {b"ssh-rsa": key.public()}
    factory.privateKeys = {b"ssh-rsa": key}
    await endpoints.serverFromString(reactor, where).listen(factory)
    print(key.fingerprint(), flush=True)
    await defer.Deferred()  # until the process is asked to stop


task.react(lambda *arguments: defer.ensureDeferred(main(*arguments)), sys.argv[1:])
