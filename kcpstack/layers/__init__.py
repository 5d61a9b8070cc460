"""The layers, one a file.  Bottom-up, as a datagram comes in:

- ``datagram``  UDP sockets, and the batches they fill and send
- ``crypt``     opens what arrives, seals what leaves; one for each UDP port
- ``fanout``    from one port to its sessions, by peer address and conversation
- ``fec``       (optional) lost datagrams rebuilt from parity
- ``kcp``       a reliable byte stream each way: a session, an ``ITransport``
- ``snappy``    (optional) that stream compressed
- ``smux``      many streams on one session, each an ``ITransport`` again
- ``relay``     a TCP connection at the end of each stream

A write goes down the same way.  No layer knows its neighbours: ``kcpstack.interfaces`` says what
crosses between them, and ``kcpstack.stack`` puts them together.
"""
