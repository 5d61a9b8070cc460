"""What ``twistd kcptun`` runs: a client or a server as a Twisted service on the real reactor.

Here, and nowhere below, the real clock, sockets and random numbers come in.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.application.service import MultiService, Service
from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized

from kcpstack.addresses import shown
from kcpstack.client import Client
from kcpstack.counters import Counters
from kcpstack.interfaces import IDatagramTransport, ITrafficMarking
from kcpstack.layers.datagram import Shared
from kcpstack.layers.relay import ClientRelayFactory, ServerRelayFactory
from kcpstack.listening import listening, raiseFileLimit
from kcpstack.logfile import LogFile
from kcpstack.names import listenStream, resolveName, targetEndpoint
from kcpstack.options import ClientSettings, Options, ServerSettings, Settings
from kcpstack.options.table import CLIENT, NEW_SESSIONS, SERVER
from kcpstack.profiling import ProfilingService
from kcpstack.reload import Reloading
from kcpstack.seams import TRANSPORTS, Layers, layersOf
from kcpstack.server import Server
from kcpstack.signals import StopSignals
from kcpstack.snmp import Reports, countQueues
from kcpstack.stack import Conversation, Surroundings
from kcpstack.transports import TransportContext

if TYPE_CHECKING:
    from kcpstack.testing.tracing import Trace

__all__ = ["ClientService", "Options", "ServerService", "makeService", "targetOf"]


def makeService(options: Options) -> Service:
    """The service that a parsed command line asks for: what twistd calls."""
    from twisted.internet import reactor  # twistd chooses the reactor before it calls

    configuration, logFile = options.configuration, options.logFile
    settings = configuration.settings
    try:
        tunnel = _tunnelOf(reactor, settings)
    except ValueError as error:  # of a relay target, which knows what it takes only now, or of --trace
        sys.exit(f"kcptun {configuration.role}: {error}")
    reloading = Reloading(reactor, configuration, tunnel, logFile)
    kcptun = _Kcptun(reactor, logFile, reloading)
    reloading.setServiceParent(kcptun)
    tunnel.setServiceParent(kcptun)
    if settings.pprof:
        ProfilingService(reactor, reactor).setServiceParent(kcptun)
    return kcptun


def _tunnelOf(reactor: Any, settings: Settings) -> Service:
    if isinstance(settings, ClientSettings):
        return ClientService(reactor, settings)
    assert isinstance(settings, ServerSettings)
    if settings.workers > 1:
        from kcpstack.workers import WorkersService  # which few ask for

        return WorkersService(reactor, settings)
    return ServerService(reactor, settings)


class _Kcptun(MultiService):
    """All of a process: the tunnel, and what is around it."""

    def __init__(self, reactor: Any, logFile: LogFile | None, reloading: Reloading) -> None:
        super().__init__()
        self._reactor = reactor
        self._logFile = logFile
        self._reloading = reloading

    def setServiceParent(self, parent: Any) -> None:
        """``parent`` is twistd's application, which is asked for an observer before the log begins."""
        if self._logFile is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._logFile)
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        """As of IService."""
        raiseFileLimit(self._reactor)
        super().privilegedStartService()

    def stopService(self) -> Any:
        """As of IService.  SIGHUP, which would end a process, is watched until the streams have ended."""

        def done(result: object) -> object:
            self._reloading.leave()
            return result

        return defer.maybeDeferred(super().stopService).addBoth(done)


class TunnelService(Service):
    """What a client and a server have in common.

    Stopping gives open streams ``--closewait`` seconds to end (docs/closing.rst).  Once it has begun,
    another SIGINT or SIGTERM cuts it short."""

    end: str  # which of the two this is, as a trace calls its places
    heedsSignals = True  # False: somebody else in whose process group we are does

    def __init__(self, reactor: Any, settings: Settings, randomBytes: Callable[[int], bytes]) -> None:
        self.settings = settings
        self.counters = Counters()
        self.reports = Reports(reactor, self.sample, self.heedsSignals)
        self._randomBytes = randomBytes
        self._shared = Shared(reactor)  # by the sockets of all sessions
        self._trace = _openTrace(settings.trace, reactor)
        self._reactor = reactor
        self._listening = False

    # What the two make of it.

    def _listen(self) -> None:
        """Begin to listen.  Raises CannotListenError."""
        raise NotImplementedError

    def _begin(self) -> None:
        """Start for good, with all privileges gone, and say so."""
        raise NotImplementedError

    def _drain(self, seconds: float) -> defer.Deferred[Any]:
        """Take nothing new, and end when all that is open has, or after ``seconds``."""
        raise NotImplementedError

    def cutNow(self) -> None:
        """End the drain."""
        raise NotImplementedError

    def _conversations(self) -> list[Conversation]:
        """Those of now, for the counters."""
        raise NotImplementedError

    # IService

    def privilegedStartService(self) -> None:
        """Listen, while twistd still may on a port below 1024.  Raises CannotListenError."""
        super().privilegedStartService()
        self._open()

    def startService(self) -> None:
        super().startService()
        if not self._listening:
            self._open()
        self._begin()

    def stopService(self) -> Any:
        """As of IService.  The Deferred fires with an Outcome."""
        super().stopService()
        again = StopSignals(self._reactor, self.cutNow)
        if self.heedsSignals:
            again.start()
        stopped = self._drain(self.settings.closewait)

        def done(result: object) -> object:
            again.stop()
            self.reports.stop()
            if self._trace is not None:
                self._trace.close()
            return result

        return stopped.addBoth(done)

    def check(self, settings: Settings) -> None:
        """Raises ValueError, one line for the user, where ``reconfigure`` could not take these over."""

    def reconfigure(self, settings: Settings) -> None:
        """Take over new settings, as far as the option table says that they take effect without a restart."""
        self.reports.change(settings.snmplog, settings.snmpperiod)
        self.settings = settings
        for conversation in self._conversations():
            conversation.session.setRate(settings.ratelimit)

    def sample(self) -> Counters:
        """The counters as they are now."""
        countQueues(self.counters, self._conversations())
        return self.counters

    def _open(self) -> None:
        self.reports.start(self.settings.snmplog, self.settings.snmpperiod)
        self._listen()
        self._listening = True

    def _around(self) -> Surroundings:
        return Surroundings(self._reactor, self.counters, self._randomBytes, self._layers)

    def _layers(self, settings: Settings) -> Layers:
        layers = layersOf(settings)
        if self._trace is None:
            return layers
        from kcpstack.testing.tracing import traced  # as in _openTrace

        return traced(layers, self._trace, self.end)

    def _traced(self, transport: IDatagramTransport, peer: tuple[str, int] | None = None) -> IDatagramTransport:
        if self._trace is None:
            return transport
        from kcpstack.testing.tracing import TracingLayer  # as in _openTrace

        seen: IDatagramTransport = TracingLayer(transport, self._trace, self.end, peer=peer)
        return seen

    def _transportContext(self) -> TransportContext:
        settings = self.settings
        return TransportContext(
            self._reactor, self.counters, self._randomBytes, settings.sockbuf, settings.dscp, self._shared
        )


class ClientService(TunnelService):
    """Listens for TCP connections and carries each on a stream to the server."""

    name = "kcptun client"
    end = CLIENT
    settings: ClientSettings

    def __init__(self, reactor: Any, settings: ClientSettings, randomBytes: Callable[[int], bytes] = os.urandom) -> None:
        super().__init__(reactor, settings, randomBytes)
        self.client = Client(
            settings,
            self._around(),
            self._newTransport,
            lambda host: resolveName(reactor, host),
        )
        self._relays = ClientRelayFactory(self.client.openStream, reactor, quiet=settings.quiet)
        self.port: Any = None  # IListeningPort, at an address with a port, once started

    def reconfigure(self, settings: Settings) -> None:
        changed = self.settings.changed(settings)
        super().reconfigure(settings)
        self._relays.quiet = settings.quiet
        self.client.reconfigure(self.settings, any(option.reloadFor(CLIENT) == NEW_SESSIONS for option in changed))

    def _newTransport(self, peer: tuple[str, int]) -> IDatagramTransport:
        settings = self.settings
        factory = TRANSPORTS.find(settings.transport)
        return self._traced(factory.dial(self._transportContext(), *peer, settings.remoteaddr.ports), peer)

    def _listen(self) -> None:
        local = self.settings.localaddr
        self.port = listening(f"--localaddr {local}", lambda: listenStream(self._reactor, local, self._relays))

    def _begin(self) -> None:
        self.client.start()
        local, peer = shown(self.port.getHost()), self.settings.remoteaddr
        _log.info("Listening on {local}, for the server at {peer}", local=local, peer=peer)

    def _drain(self, seconds: float) -> defer.Deferred[Any]:
        stopped = defer.maybeDeferred(self.port.stopListening) if self.port is not None else None
        return self.client.drain(seconds, self._relays).addCallback(lambda result: stopped)

    def cutNow(self) -> None:
        self.client.cutNow()

    def _conversations(self) -> list[Conversation]:
        return [link.conversation for link in self.client.links]


class ServerService(TunnelService):
    """Listens for KCP sessions on UDP ports and connects each of their streams to the target, in this process alone,
    whatever ``workers`` says."""

    name = "kcptun server"
    end = SERVER
    settings: ServerSettings

    def __init__(self, reactor: Any, settings: ServerSettings, randomBytes: Callable[[int], bytes] = os.urandom) -> None:
        super().__init__(reactor, settings, randomBytes)
        self._transport = self._newTransport(settings)
        self._relays = ServerRelayFactory(targetOf(reactor, settings), reactor, quiet=settings.quiet)
        self.server = Server(settings, self._around(), self._traced(self._transport), self._relays)

    def check(self, settings: Settings) -> None:
        """See TunnelService: a relay target may not take its argument."""
        assert isinstance(settings, ServerSettings)
        targetOf(self._reactor, settings)

    def reconfigure(self, settings: Settings) -> None:
        super().reconfigure(settings)
        self._relays.quiet = settings.quiet
        self._relays.target = targetOf(self._reactor, self.settings)
        if ITrafficMarking.providedBy(self._transport):
            self._transport.setDSCP(settings.dscp)
        self.server.reconfigure(self.settings)

    def _newTransport(self, settings: ServerSettings) -> IDatagramTransport:
        listen = settings.listen
        return TRANSPORTS.find(settings.transport).listen(self._transportContext(), listen.host, listen.ports)

    def _listen(self) -> None:
        listen = self.settings.listen
        listening(f"--listen {listen}", self.server.open, isRange=bool(listen.last))

    def _begin(self) -> None:
        first, last = shown(self._transport.getHost()), self.settings.listen.last
        where = f"{first}-{last}" if last else first
        _log.info("Listening on UDP {where}, for the target {target}", where=where, target=self.settings.target)

    def _drain(self, seconds: float) -> defer.Deferred[Any]:
        return self.server.drain(seconds, self._relays)

    def cutNow(self) -> None:
        self.server.cutNow()

    def _conversations(self) -> list[Conversation]:
        return self.server.conversations()


def targetOf(reactor: Any, settings: ServerSettings) -> IStreamClientEndpoint:
    """Where a server's streams go.  Raises ValueError, one line for the user."""
    try:
        return targetEndpoint(reactor, settings.target)
    except ValueError as error:
        raise ValueError(f"--target {settings.target}: {error}") from None


def _openTrace(path: str, clock: IReactorTime) -> Trace | None:
    """Raises ValueError, one line for the user."""
    if not path:
        return None
    from kcpstack.testing.tracing import openTrace  # which takes its time, for something that few ask for

    try:
        trace = openTrace(path, clock)
    except OSError as error:
        raise ValueError(f"--trace {path}: {error.strerror}") from None
    _log.warn("Tracing to {path}: all data will be in it, in the clear (--trace)", path=path)
    return trace


_log = Logger()
