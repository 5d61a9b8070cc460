"""The inner loops: pure functions and state machines without I/O, clock or counters of their own,
so that each can be compiled while the same source still runs as plain Python."""
