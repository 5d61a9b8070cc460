"""kcptun as a stack of interchangeable Twisted layers, on the wire what Go's kcptun is.

::

     application                                           target
         | TCP                                                ^ TCP, Unix socket
     [ relay ]     joins a TCP connection and a stream    [ relay ]
         | bytes                                              |
     [ smux ]      many streams on one session            [ smux ]
         | bytes                                              |
     [ snappy ]    optional                               [ snappy ]
         | bytes                                              |
     [ kcp ]       bytes above, datagrams below           [ kcp ]
         | batches of datagrams                               |
     [ fec ]       optional                               [ fec ]
         |                                                    |
     [ crypt ]     one for a UDP port                     [ crypt ]
         |                                                    |
     [ datagram ]  UDP ~~~~~~~~ the bad path ~~~~~~~~ UDP [ datagram ]

Where to read next: ``interfaces`` has every seam with its contract, ``batch`` what crosses below
KCP, ``stack`` the whole composition on one screen, ``layers`` one file a layer, and ``options`` the
one table of what can be set.
"""

import os as _os

from kcpstack import forms as _forms

if _os.environ.get(_forms.PURE):
    for _folder in __path__:
        _forms.preferPlain(_folder)

__version__ = "0.1.0"

ALL = ("*",)  # whatever the module's own __all__ names

PUBLIC = {
    "kcpstack.interfaces": ALL,
    "kcpstack.batch": ALL,
    "kcpstack.counters": ALL,
    "kcpstack.addresses": ALL,
    "kcpstack.errors": ALL,
    "kcpstack.endpoints": ALL,
    "kcpstack.aio": ALL,
    "kcpstack.options": (
        "Address",
        "ClientSettings",
        "RelayTarget",
        "ServerSettings",
        "Settings",
        "Target",
        "UnixAddress",
    ),
    "kcpstack.stack": ("Surroundings",),
    "kcpstack.client": ("Client",),
    "kcpstack.server": ("Server",),
    "kcpstack.closing": ("Outcome",),
    "kcpstack.service": ("ClientService", "ServerService"),
    "kcpstack.seams": (
        "COMPRESSORS",
        "CONGESTION_CONTROLS",
        "ERASURE_CODES",
        "Layers",
        "RELAY_TARGETS",
        "TRANSPORTS",
        "layersOf",
    ),
    "kcpstack.catalogue": ALL,
    "kcpstack.kernels.flights": ("Segment",),  # in what IARQ says; so is the next
    "kcpstack.kernels.segment": ("Glimpse",),
    "kcpstack.ciphers": ALL,
    "kcpstack.transports": ALL,
    "kcpstack.layers.datagram": ALL,
    "kcpstack.layers.portrange": ALL,
    "kcpstack.testing.ciphers": ALL,
    "kcpstack.testing.erasure": ALL,
    "kcpstack.testing.compressors": ALL,
    "kcpstack.testing.congestion": ALL,
    "kcpstack.testing.arqs": ALL,
    "kcpstack.testing.streams": ALL,
    "kcpstack.testing.targets": ALL,
    "kcpstack.testing.transports": ALL,
    "kcpstack.testing.datagrams": ALL,
    "kcpstack.testing.network": ALL,
    "kcpstack.testing.impairment": ALL,
    "kcpstack.testing.strategies": ALL,
    "kcpstack.testing.faulty": ALL,
    "kcpstack.testing.tracing": ALL,
    "kcpstack.testing.badlink": ("BadLink", "changesFrom"),
}
"""What others may import: names by module.  docs/api.rst has them all, and the promise."""
