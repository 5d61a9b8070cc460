"""What programs written for TCP ask of any transport, and what it means over KCP: nothing.

Some of Twisted's own (Conch's shell, for one) call these without a look at the interface.  The answers are true, so
that whoever asks learns what there is; ITCPTransport itself is not claimed, for its addresses are TCP's.
"""

from __future__ import annotations

__all__ = ["TCPManners"]


class TCPManners:
    """The four methods of ITCPTransport about a socket's options."""

    __slots__ = ()

    def getTcpNoDelay(self) -> bool:
        """True: what is written leaves at the end of the reactor's turn, or when the window lets it."""
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing changes: there is no Nagle to switch on."""

    def getTcpKeepAlive(self) -> bool:
        """True: the session sends signs of life (--keepalive), and a dead peer is noticed within 30 seconds."""
        return True

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Nothing changes: they cannot be switched off."""
