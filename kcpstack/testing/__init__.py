"""For whoever writes a layer: what the project tests its own with, shipped so that you can use it.

- ``ciphers``     the conformance suite of the cipher seam
- ``erasure``     that of the erasure code seam
- ``streams``     that of multiplexed streams, and protocols that record what they hear
- ``transports``  a session without a network, for what sits above KCP
- ``impairment``  what a bad path does to datagrams: loss, delay, reordering, damage
- ``network``     a whole network in one process, on virtual time
- ``badlink``     a bad path between two real UDP ports
- ``tracing``     what crosses any layer, in a file for Wireshark (and ``pcapng``, what such a file is made of)

Needs nothing that the package itself does not.
"""
