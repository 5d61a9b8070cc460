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

__version__ = "0.1.0"
