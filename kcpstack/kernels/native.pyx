# cython: boundscheck=False, wraparound=False, cdivision=True
"""Batches sealed and opened, checksums and sums of shards, in C (kcpstack/kernels/native-c/*.c).

What is done to a batch here is done in one call for all its datagrams.  Each has a plain twin, which has the contract:
kcpstack/ciphers/framing.py, cfb.py, aead.py, salsa20.py, xor.py, and kcpstack/kernels/galois.py.  A datagram that is not
inside its buffer, or has too little room in front, raises IndexError before anything is touched.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memset

from kcpstack.batch cimport Batch

cdef extern from "cpu.h" nogil:
    int kcp_level()
    void kcp_limit(int level)

cdef extern from "crc32.h" nogil:
    uint32_t kcp_crc32(const uint8_t *data, size_t length)

cdef extern from "span.h" nogil:
    ctypedef struct span:
        uint8_t *at
        size_t length

cdef extern from "aes.h" nogil:
    ctypedef struct aes_key:
        pass
    ctypedef struct gcm_key:
        pass
    int aes_expand(aes_key *schedule, const uint8_t *key, size_t length)
    int gcm_expand(gcm_key *schedule, const uint8_t *key, size_t length)
    void aes_cfb_encrypt(const aes_key *key, const uint8_t *iv, const span *datagrams, size_t count)
    void aes_cfb_decrypt(const aes_key *key, const uint8_t *iv, const span *datagrams, size_t count)
    void gcm_seal(const gcm_key *key, const uint8_t *nonce, uint8_t *data, size_t length, uint8_t *tag)
    int gcm_open(const gcm_key *key, const uint8_t *nonce, uint8_t *data, size_t length, const uint8_t *tag)

cdef extern from "salsa20.h" nogil:
    void salsa20_xor(const uint8_t *key, const uint8_t *nonce, uint8_t *data, size_t length)

cdef extern from "galois.h" nogil:
    void galois_combine(const uint8_t *inputs, size_t count, size_t length, const uint8_t *weights, size_t rows, uint8_t *out)

cdef enum:
    NONCE = 16  # kcpstack/ciphers/framing.py
    HEADER = NONCE + 4
    GCM_NONCE = 12  # kcpstack/ciphers/aead.py
    GCM_TAG = 16
    SALSA_CLEAR = 8  # kcpstack/ciphers/salsa20.py
    STEP = 64  # GALOIS_STEP

LEVELS = ("portable", "sse", "avx2", "avx512")


def level():
    """Which of LEVELS is in use."""
    return LEVELS[kcp_level()]


def limitLevel(str name):
    """Use nothing above this one of LEVELS: for tests.  Ciphers made before may go on with more."""
    kcp_limit(LEVELS.index(name))


def crc32(data):
    """The CRC-32 of bytes-like ``data``, as zlib's."""
    cdef const uint8_t[::1] view = data
    return kcp_crc32(&view[0], len(view)) if len(view) else 0


# ------------------------------------------------------------ spans


cdef class _Spans:
    """The datagrams of a batch as C has them, each checked, with ``overhead`` bytes in front made part of it."""

    cdef span *spans
    cdef Py_ssize_t count

    def __cinit__(self, Batch batch not None, Py_ssize_t overhead):
        cdef list starts = batch.starts, ends = batch.ends
        cdef Py_ssize_t i, start, end, limit = PyByteArray_GET_SIZE(batch.buffer)
        cdef uint8_t *buffer = <uint8_t *>PyByteArray_AS_STRING(batch.buffer)
        self.count = len(starts)
        if len(ends) != self.count:
            raise IndexError(f"a batch with {len(starts)} starts and {len(ends)} ends")
        self.spans = <span *>PyMem_Malloc((self.count or 1) * sizeof(span))
        if self.spans == NULL:
            raise MemoryError
        for i in range(self.count):
            start = starts[i]
            end = ends[i]
            if not overhead <= start <= end <= limit:
                raise IndexError(f"a datagram from {start} to {end}, {overhead} bytes behind, in a buffer of {limit} bytes")
            self.spans[i].at = buffer + start - overhead
            self.spans[i].length = end - start + overhead

    def __dealloc__(self):
        PyMem_Free(self.spans)


cdef list _moved(list numbers, Py_ssize_t by):
    cdef Py_ssize_t number
    return [number + by for number in numbers]


cdef int _checkNonces(bytes nonces, Py_ssize_t length) except -1:
    if PyBytes_GET_SIZE(nonces) != length:
        raise ValueError(f"{PyBytes_GET_SIZE(nonces)} random bytes instead of {length}")
    return 0


# ------------------------------------------------------------ nonce and checksum


cdef void _frame(_Spans it, const char *nonces) noexcept:
    """Write nonces and checksums in front of spans that have room for them."""
    cdef Py_ssize_t i
    cdef uint8_t *at
    cdef uint32_t checksum
    for i in range(it.count):
        at = it.spans[i].at
        memcpy(at, nonces + i * NONCE, NONCE)
        checksum = kcp_crc32(at + HEADER, it.spans[i].length - HEADER)
        at[NONCE] = <uint8_t>checksum
        at[NONCE + 1] = <uint8_t>(checksum >> 8)
        at[NONCE + 2] = <uint8_t>(checksum >> 16)
        at[NONCE + 3] = <uint8_t>(checksum >> 24)


cdef bint _right(const span *it) noexcept:
    cdef const uint8_t *at = it.at + NONCE
    if it.length < HEADER:
        return False
    return kcp_crc32(it.at + HEADER, it.length - HEADER) == (
        at[0] | (<uint32_t>at[1] << 8) | (<uint32_t>at[2] << 16) | (<uint32_t>at[3] << 24))


cdef Py_ssize_t _unframe(Batch batch, _Spans it) except -1:
    """Take headers off, and what has a wrong one out of ``batch``; return how many."""
    cdef Py_ssize_t i, refused = 0
    cdef list kept = []
    for i in range(it.count):
        if not _right(&it.spans[i]):
            refused += 1
    if refused:
        kept = [i for i in range(it.count) if _right(&it.spans[i])]
        _keep(batch, kept)
    batch.starts = _moved(batch.starts, HEADER)
    return refused


cdef int _keep(Batch batch, list kept) except -1:
    cdef Py_ssize_t i
    batch.starts = [batch.starts[i] for i in kept]
    batch.ends = [batch.ends[i] for i in kept]
    if batch.addresses is not None:
        batch.addresses = [batch.addresses[i] for i in kept]
    return 0


def frame(Batch batch not None, bytes nonces not None):
    """Put the header in front of every datagram, each of which has room for it; ``nonces`` are those of all."""
    cdef _Spans it = _Spans(batch, HEADER)
    _checkNonces(nonces, it.count * NONCE)
    _frame(it, PyBytes_AS_STRING(nonces))
    batch.starts = _moved(batch.starts, -HEADER)


def unframe(Batch batch not None):
    """Take the header off every datagram, and those with a wrong one out of the batch.  Returns how many."""
    return _unframe(batch, _Spans(batch, 0))


# ------------------------------------------------------------ ciphers


cdef class AESCFB:
    """AES in CFB mode behind nonce and checksum.  Raises ValueError where this processor has no instructions for it."""

    cdef aes_key _key
    cdef bytes _iv

    def __cinit__(self, bytes key not None, bytes iv not None):
        if not aes_expand(&self._key, <const uint8_t *>PyBytes_AS_STRING(key), len(key)) or len(iv) != 16:
            raise ValueError("no AES instructions, or a key or IV of another length")
        self._iv = iv

    def seal(self, Batch batch not None, bytes nonces not None):
        """Frame and encrypt every datagram."""
        cdef _Spans it = _Spans(batch, HEADER)
        _checkNonces(nonces, it.count * NONCE)
        _frame(it, PyBytes_AS_STRING(nonces))
        aes_cfb_encrypt(&self._key, <const uint8_t *>PyBytes_AS_STRING(self._iv), it.spans, it.count)
        batch.starts = _moved(batch.starts, -HEADER)

    def open(self, Batch batch not None):
        """Decrypt and unframe every datagram.  Returns how many were refused."""
        cdef _Spans it = _Spans(batch, 0)
        aes_cfb_decrypt(&self._key, <const uint8_t *>PyBytes_AS_STRING(self._iv), it.spans, it.count)
        return _unframe(batch, it)


cdef class AESGCM:
    """AES in GCM: nonce, ciphertext, tag.  Raises ValueError as AESCFB does."""

    cdef gcm_key _key

    def __cinit__(self, bytes key not None):
        if not gcm_expand(&self._key, <const uint8_t *>PyBytes_AS_STRING(key), len(key)):
            raise ValueError("no AES instructions, or a key of another length")

    def seal(self, Batch batch not None, bytes nonces not None):
        """Seal every datagram, which moves to the front of its room and has its tag where it ended."""
        cdef _Spans it = _Spans(batch, GCM_NONCE + GCM_TAG)
        cdef Py_ssize_t i, length
        cdef uint8_t *at
        _checkNonces(nonces, it.count * GCM_NONCE)
        for i in range(it.count):
            at = it.spans[i].at
            length = it.spans[i].length - GCM_NONCE - GCM_TAG
            memcpy(at, PyBytes_AS_STRING(nonces) + i * GCM_NONCE, GCM_NONCE)
            _moveDown(at + GCM_NONCE, length)
            gcm_seal(&self._key, at, at + GCM_NONCE, length, at + GCM_NONCE + length)
        batch.starts = _moved(batch.starts, -(GCM_NONCE + GCM_TAG))

    def open(self, Batch batch not None):
        """Open every datagram, and take out what has a wrong tag.  Returns how many."""
        cdef _Spans it = _Spans(batch, 0)
        cdef Py_ssize_t i, length, refused
        cdef uint8_t *at
        cdef list kept = []
        for i in range(it.count):
            at = it.spans[i].at
            length = <Py_ssize_t>it.spans[i].length - GCM_NONCE - GCM_TAG
            if length >= 0 and gcm_open(&self._key, at, at + GCM_NONCE, length, at + GCM_NONCE + length):
                kept.append(i)
        refused = it.count - len(kept)
        if refused:
            _keep(batch, kept)
        batch.starts = _moved(batch.starts, GCM_NONCE)
        batch.ends = _moved(batch.ends, -GCM_TAG)
        return refused


cdef extern from "string.h" nogil:
    void *memmove(void *to, const void *source, size_t length)


cdef void _moveDown(uint8_t *to, Py_ssize_t length) noexcept:
    """Move a datagram by the length of a tag."""
    memmove(to, to + GCM_TAG, length)


def salsa20(Batch batch not None, bytes key not None):
    """XOR every datagram of 8 bytes or more with the keystream that its first 8 bytes select, but for these."""
    cdef _Spans it = _Spans(batch, 0)
    cdef Py_ssize_t i
    if len(key) != 32:
        raise ValueError(f"a key of {len(key)} bytes instead of 32")
    for i in range(it.count):
        if it.spans[i].length >= SALSA_CLEAR:
            salsa20_xor(<const uint8_t *>PyBytes_AS_STRING(key), it.spans[i].at, it.spans[i].at + SALSA_CLEAR,
                        it.spans[i].length - SALSA_CLEAR)


def xorTable(Batch batch not None, bytes table not None):
    """XOR every datagram, none of them longer than ``table``, with the front of it."""
    cdef _Spans it = _Spans(batch, 0)
    cdef Py_ssize_t i
    cdef size_t at, limit = len(table)
    cdef const uint8_t *mask = <const uint8_t *>PyBytes_AS_STRING(table)
    cdef uint8_t *data
    for i in range(it.count):
        if it.spans[i].length > limit:
            raise IndexError(f"a datagram of {it.spans[i].length} bytes, and a table of {limit}")
        data = it.spans[i].at
        for at in range(it.spans[i].length):
            data[at] ^= mask[at]


# ------------------------------------------------------------ shards


def combineRows(rows, shards, Py_ssize_t length):
    """For each of ``rows`` (bytes, a weight for each shard): the sum of weight * shard, ``length`` bytes of it, as a list.

    ``shards`` are bytes, shorter ones filled up with zeros.  Raises OverflowError where one is longer than ``length``."""
    cdef Py_ssize_t stride = (length + STEP - 1) // STEP * STEP
    cdef Py_ssize_t count = len(shards), wanted = len(rows), i
    cdef bytes weights = b"".join(rows), shard
    cdef uint8_t *scratch
    cdef list made = []
    if len(weights) != count * wanted or count > 256 or length < 0:
        raise ValueError("weights that do not fit the shards")
    if not length or not wanted:
        return [b""] * wanted
    scratch = <uint8_t *>PyMem_Malloc((count + wanted) * stride)
    if scratch == NULL:
        raise MemoryError
    try:
        for i in range(count):
            shard = shards[i]
            if len(shard) > length:
                raise OverflowError(f"a shard of {len(shard)} bytes, and {length} are wanted")
            memcpy(scratch + i * stride, PyBytes_AS_STRING(shard), len(shard))
            memset(scratch + i * stride + len(shard), 0, stride - len(shard))
        galois_combine(scratch, count, stride, <const uint8_t *>PyBytes_AS_STRING(weights), wanted, scratch + count * stride)
        for i in range(wanted):
            made.append(PyBytes_FromStringAndSize(<char *>scratch + (count + i) * stride, length))
    finally:
        PyMem_Free(scratch)
    return made
