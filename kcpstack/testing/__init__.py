"""For whoever writes a layer: what the project tests its own with, shipped so that you can use it.

Conformance suites, one for each seam:

- ``ciphers``, ``erasure``, ``compressors``, ``congestion``, ``datagrams``, ``targets``
- ``arqs``        that of the ARQ, and two of them over a bad path (``arqpair``)
- ``streams``     that of multiplexed streams, and protocols that record what they hear
- ``checks``      what the suites have in common: measures of work and memory, repeatable bytes

Things to test with:

- ``strategies``  what hypothesis can draw: it alone needs hypothesis
- ``faulty``      a layer that misbehaves, repeatably (``faultyseams``: how, at each seam)
- ``transports``  a session without a network, for what sits above KCP
- ``impairment``  what a bad path does to datagrams: loss, delay, reordering, damage
- ``network``     a whole network in one process, on virtual time
- ``badlink``     a bad path between two real UDP ports
- ``loopback``    a clock with real sockets, and a receiver that records, for transports
- ``tracing``     what crosses any layer, in a file for Wireshark (and ``pcapng``, what such a file is made of)

All but ``strategies`` needs nothing that the package itself does not.
"""
