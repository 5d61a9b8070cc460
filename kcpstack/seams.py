"""The seams that can be filled from outside, and what fills each of them for some settings.

One row a kind: the option that selects by name, where the names come from, and what one costs on the wire.
``kcptun layers`` prints them, and docs/layers.rst explains them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.interfaces import IProtocol

from kcpstack.catalogue import Catalogue
from kcpstack.ciphers import CIPHERS, KEY_LENGTH, batchCipher
from kcpstack.interfaces import (
    ICipherFactory,
    ICompressorFactory,
    ICongestionControlFactory,
    IDatagramTransportFactory,
    IErasureCodeFactory,
    ILayerFactory,
    IRelayTarget,
    ISharedListening,
)

if TYPE_CHECKING:
    from kcpstack.options.settings import Settings

__all__ = [
    "BY_MODE",
    "COMPRESSORS",
    "CONGESTION_CONTROLS",
    "ERASURE_CODES",
    "RELAY_TARGETS",
    "SEAMS",
    "TRANSPORTS",
    "Layers",
    "Seam",
    "checkLayers",
    "checkRoom",
    "layersOf",
]

BY_MODE = "mode"  # --congestion, where --mode or --nc chooses

ERASURE_CODES = Catalogue("erasure code", IErasureCodeFactory)
COMPRESSORS = Catalogue("compressor", ICompressorFactory)
CONGESTION_CONTROLS = Catalogue("congestion control", ICongestionControlFactory)
TRANSPORTS = Catalogue("datagram transport", IDatagramTransportFactory)
RELAY_TARGETS = Catalogue("relay target", IRelayTarget)


def _itself(protocol: IProtocol) -> IProtocol:
    return protocol


@dataclass(frozen=True)
class Layers:
    """The factories that the sessions of one port are built with.  ``dataclasses.replace`` puts another in.

    ``session`` is given smux of each session, an IProtocol, and returns the IProtocol that the compressor, or KCP, is to
    have above it: for whoever looks on, or comes between."""

    cipher: ICipherFactory
    erasure: IErasureCodeFactory
    compressor: ICompressorFactory
    congestion: ICongestionControlFactory
    session: Callable[[IProtocol], IProtocol] = _itself


def layersOf(settings: Settings) -> Layers:
    """What the options name.  Raises ValueError where something of that name is not installed."""
    congestion = settings.congestion
    if congestion == BY_MODE:
        congestion = "fixed" if settings.nc else "slowstart"
    return Layers(
        CIPHERS.find(settings.crypt),
        ERASURE_CODES.find(settings.erasure),
        COMPRESSORS.find(settings.compressor),
        CONGESTION_CONTROLS.find(congestion),
    )


def checkLayers(settings: Settings) -> None:
    """Find out at the start what would fail later.  Raises ValueError, with what would do, where the named layers and
    the numbers do not fit each other."""
    layers = layersOf(settings)
    cipher = batchCipher(_built("crypt", layers.cipher, bytes(KEY_LENGTH), bytes))
    transport = TRANSPORTS.find(settings.transport)
    checkRoom(settings.mtu, transport.overhead + cipher.overhead)
    _checkSharing(getattr(settings, "workers", 1), transport)  # which a client has not
    if settings.datashard and settings.parityshard:
        try:
            _built("erasure", layers.erasure, settings.datashard, settings.parityshard)
        except ValueError as error:
            given = f"--datashard {settings.datashard} --parityshard {settings.parityshard}"
            raise ValueError(f"{given}: {error} (--erasure {settings.erasure})") from None


def _checkSharing(workers: int, transport: IDatagramTransportFactory) -> None:
    """Raises ValueError where so many processes cannot have the same ports."""
    if workers == 1:
        return
    from kcpstack.layers.sharedports import CAN_SHARE  # as in checkRoom

    if not CAN_SHARE:
        raise ValueError(f"--workers {workers}: give 1: it takes Linux to deal one port's datagrams over processes")
    if not ISharedListening.providedBy(transport):
        raise ValueError(
            f"--workers {workers}: give 1 with --transport {transport.name}, which cannot share its ports "
            "between processes (udp can)"
        )


def _built(option: str, factory: Any, *arguments: Any) -> Any:
    """What a factory builds; ValueError where it fails, for a line instead of a traceback."""
    try:
        return factory.build(*arguments)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"--{option} {factory.name}: this layer cannot be used, it failed with {error!r}") from error


def checkRoom(mtu: int, overhead: int) -> None:
    """Raises ValueError where too little of --mtu is left for data under ``overhead`` bytes of transport and cipher."""
    from kcpstack.kernels.segment import OVERHEAD
    from kcpstack.layers.fec import FEC_HEADER  # as below

    least = overhead + FEC_HEADER + OVERHEAD + ROOM_MIN
    if mtu < least:
        raise ValueError(f"--mtu {mtu}: give at least {least}: headers take {least - ROOM_MIN} bytes with these layers")


class Seam(NamedTuple):
    """One row."""

    option: str  # its name in the option table
    catalogue: Catalogue[Any]
    cost: Callable[[Any], str]  # of a factory's product, on the wire, in a few words


def _cipherCost(factory: ICipherFactory) -> str:
    return _bytes(batchCipher(factory.build(bytes(KEY_LENGTH), bytes)).overhead)


def _codeCost(factory: IErasureCodeFactory) -> str:
    from kcpstack.layers.fec import FEC_HEADER  # which takes its time

    return f"{_bytes(FEC_HEADER)}, and parity"


def _transportCost(factory: IDatagramTransportFactory) -> str:
    return _bytes(factory.overhead)


def _none(factory: ILayerFactory) -> str:
    return "no overhead"


def _bytes(count: int) -> str:
    return f"{count} bytes a datagram"


ROOM_MIN = 16  # bytes of data in a datagram; with less a tunnel is all headers

SEAMS = (
    Seam("crypt", CIPHERS, _cipherCost),
    Seam("erasure", ERASURE_CODES, _codeCost),
    Seam("compressor", COMPRESSORS, _none),
    Seam("congestion", CONGESTION_CONTROLS, _none),
    Seam("transport", TRANSPORTS, _transportCost),
    Seam("target", RELAY_TARGETS, _none),
)
