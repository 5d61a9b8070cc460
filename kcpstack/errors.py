"""Why a connection over KCP was lost: what ``connectionLost`` is given, beside Twisted's own reasons.

All of these are ``twisted.internet.error.ConnectionLost``, so whoever knows only that is served as by TCP.
A clean end is ``ConnectionDone``, and what we abort ourselves ``ConnectionAborted``, as everywhere in Twisted.
The text of a reason says what happened; docs/your-protocol-over-kcp.rst has them in a table.
"""

from __future__ import annotations

from twisted.internet.error import ConnectionLost

__all__ = ["PeerAborted", "PeerBrokeProtocol", "PeerClosedDown", "PeerRestarted", "PeerSilent"]


class PeerSilent(ConnectionLost):
    """The other end is dead, or the path to it is: nothing was heard, or nothing acknowledged, for too long."""


class PeerAborted(ConnectionLost):
    """The other end's program cut this one connection, as by a reset of TCP, or took less than all that was sent."""


class PeerClosedDown(ConnectionLost):
    """The other end closes down: it cut all connections of the session."""


class PeerRestarted(ConnectionLost):
    """The other end is there, but has forgotten the session: it was started anew.  That shows where another session is
    answered, so with ``mux``; elsewhere the end is that of PeerSilent."""


class PeerBrokeProtocol(ConnectionLost):
    """The other end sent what no peer may send, so that the session had to end."""
