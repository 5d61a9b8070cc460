"""What is wrong where all that a peer sends is refused: another ``--key``, or another ``--crypt``.

A UDP port drops what its cipher refuses, without an answer, and so do all peers: who is set up wrong sees
nothing at all.  So the port that gets such datagrams looks at some of them.  An address is suspected when
REFUSED_MIN of its datagrams in a row were refused (damage on the path hits one here and there, and a
scanner sends one or two).  Copies of two are then tried with every cipher that is installed, under our own
key and under kcptun's default one, and the log says which of them fits, or that none does.

Nothing is ever accepted for it.  While no datagram is refused it costs nothing; a stranger can make it
work once a second, at the price of one cipher a turn of the reactor, until the log has had enough
of such lines.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from kcpstack.addresses import shown
from kcpstack.batch import Batch, PeerAddress, inboundBatch
from kcpstack.ciphers import batchCipher, cipherNames, derivePass, findCipher
from kcpstack.interfaces import IBatchCipher
from kcpstack.lograte import RareLog

__all__ = ["CryptCheck"]

# Whether opened bytes (buffer, start, end) are what a peer sends.
LooksRight = Callable[[bytearray, int, int], bool]


class CryptCheck:
    """Looks at what a port refuses, and says why.

    ``crypt`` and ``key`` are the port's options, ``overhead`` its cipher's, and ``defaultKey`` what a peer
    has whose ``--key`` was never set.  ``looksRight`` knows the layers above.  ``suspects`` is empty while
    all is well."""

    def __init__(
        self,
        crypt: str,
        key: str,
        overhead: int,
        defaultKey: str,
        looksRight: LooksRight,
        clock: IReactorTime,
        findings: RareLog,
    ) -> None:
        self.suspects: dict[PeerAddress, _Suspect] = {}  # by address, the oldest first
        self.refusesNothing = overhead < CHECKSUM_LENGTH
        self._crypt = crypt
        self._key = key
        self._defaultKey = defaultKey
        self._looksRight = looksRight
        self._clock = clock
        self._findings = findings
        self._candidates: list[_Candidate] = []
        self._busy = False
        self._nextAt = 0.0  # s; no examination before

    def datagramsArrived(self, batch: Batch) -> None:
        """To be called before a batch is opened, where there are suspects: copies the latest of theirs."""
        addresses = batch.addresses or ()
        if self.suspects.keys().isdisjoint(addresses):
            return
        for start, end, address in zip(batch.starts, batch.ends, addresses):
            suspect = self.suspects.get(address)
            if suspect is not None and end - start <= SAMPLE_LONGEST:
                suspect.samples.append(bytes(batch.buffer[start:end]))

    def datagramsOpened(self, arrived: Sequence[PeerAddress], batch: Batch) -> None:
        """To be called after a batch was opened, where some were refused, or there are suspects, or the
        cipher refuses nothing.  ``arrived`` are the addresses of before."""
        if self._findings.full:  # nothing more may be said: a flood should cost no more than the opening
            self.suspects.clear()
            return
        if self.refusesNothing:
            self._judge(batch)
        else:
            accepted = set(batch.addresses or ())
            for address in self.suspects.keys() & accepted:
                del self.suspects[address]
            if len(batch) < len(arrived):
                for address, count in Counter(arrived).items():
                    if address not in accepted:
                        self._refused(address, count)
        self._forget()
        self._examineOne()

    def _judge(self, batch: Batch) -> None:
        """The first datagram's address is taken to be refused if that is nothing that a peer sends."""
        if not batch.addresses:
            return
        address = batch.addresses[0]
        if self._looksRight(batch.buffer, batch.starts[0], batch.ends[0]):
            self.suspects.pop(address, None)
        else:
            self._refused(address, 1)

    def _refused(self, address: PeerAddress, count: int) -> None:
        suspect = self.suspects.get(address)
        if suspect is None:
            while len(self.suspects) >= SUSPECTS_MAX:
                del self.suspects[next(iter(self.suspects))]
            suspect = self.suspects[address] = _Suspect(self._clock.seconds())
        suspect.refused += count

    def _forget(self) -> None:
        """Suspects of long ago: whoever is set up wrong goes on trying."""
        since = self._clock.seconds() - SUSPICION
        while self.suspects:
            oldest = next(iter(self.suspects))
            if self.suspects[oldest].since > since:
                return
            del self.suspects[oldest]

    # ------------------------------------------------------------ examination

    def _examineOne(self) -> None:
        """Begin with the oldest suspect of whom there is enough to see, if one is due."""
        if not self.suspects or self._busy or self._clock.seconds() < self._nextAt or self._findings.full:
            return
        for address, suspect in self.suspects.items():
            if suspect.refused >= REFUSED_MIN and len(suspect.samples) == SAMPLES:
                del self.suspects[address]
                self._busy = True
                self._nextAt = self._clock.seconds() + EXAMINATION_PAUSE
                self._try(0, address, suspect)
                return

    def _try(self, number: int, address: PeerAddress, suspect: _Suspect) -> None:
        """Try one candidate, and the next one in the next turn of the reactor."""
        if not self._candidates:
            self._candidates = _candidates(self._crypt, self._key, self._defaultKey)
        if number == len(self._candidates):
            self._finish(address, None, self._nothingFits(suspect))
            return
        candidate = self._candidates[number]
        if self._opens(candidate.cipher, suspect.samples):
            self._finish(address, candidate, self._fits(candidate))
        else:
            self._clock.callLater(0, self._try, number + 1, address, suspect)

    def _opens(self, cipher: IBatchCipher | None, samples: Iterable[bytes]) -> bool:
        """Whether a cipher makes of raw datagrams what a peer sends: of one of them where it has a checksum,
        else of all, for a few bytes may look right by chance."""
        if cipher is None:
            return False
        try:
            enough = all if cipher.overhead < CHECKSUM_LENGTH else any
            return enough(self._opensOne(cipher, sample) for sample in samples)
        except Exception:  # noqa: BLE001 - a stranger's cipher
            return False

    def _opensOne(self, cipher: IBatchCipher, sample: bytes) -> bool:
        batch = inboundBatch([sample])
        cipher.openBatch(batch)
        return bool(batch) and self._looksRight(batch.buffer, batch.starts[0], batch.ends[0])

    def _finish(self, address: PeerAddress, found: _Candidate | None, finding: str) -> None:
        self._busy = False
        self._findings.warn(
            (address[0], found), "Datagrams from {peer} {finding}", peer=shown(address), finding=finding
        )

    def _nothingFits(self, suspect: _Suspect) -> str:
        ours = "our --key, which is kcptun's default one" if self._key == self._defaultKey else "our --key"
        return (
            f"open with no cipher known here under {ours}: give both ends the same --key and --crypt "
            f"({suspect.refused} so far)"
        )

    def _fits(self, found: _Candidate) -> str:
        ours, theirs = self._crypt, found.crypt
        if found.key != self._key:
            other = "" if theirs == ours else f" and --crypt {theirs}"
            wanted = "our --key" if theirs == ours else f"our --key and --crypt {ours}"
            return f"open with kcptun's default key{other}: that end has no --key set, give it {wanted}"
        if theirs == FALLBACK and ours not in OLD_METHODS:
            return (
                f"open with --crypt {theirs}, not {ours}: give both ends the same --crypt, one that both know (an old "
                f"kcptun, Debian's, takes a method that it does not know, like {ours}, for {theirs})"
            )
        return f"open with --crypt {theirs}, not {ours}: give both ends the same --crypt"


class _Suspect:
    """An address of which nothing was accepted since ``since`` (s)."""

    __slots__ = ("since", "refused", "samples")

    def __init__(self, since: float) -> None:
        self.since = since
        self.refused = 0
        self.samples: deque[bytes] = deque(maxlen=SAMPLES)


class _Candidate:
    """What a peer may have been given: ``--crypt`` and ``--key``."""

    def __init__(self, crypt: str, key: str) -> None:
        self.crypt = crypt
        self.key = key

    @cached_property
    def cipher(self) -> IBatchCipher | None:
        """None where it cannot be built."""
        try:
            return batchCipher(findCipher(self.crypt).build(derivePass(self.key), bytes))
        except Exception:  # noqa: BLE001 - a stranger's plug-in
            _log.failure("The cipher {name} cannot be built to try it", name=self.crypt)
            return None


def _candidates(crypt: str, key: str, defaultKey: str) -> list[_Candidate]:
    """All that are worth a try, the most likely and the cheap ones first."""
    names = sorted(cipherNames(), key=lambda name: (name in COSTLY, name))
    found = [_Candidate(name, key) for name in names if name != crypt]
    if key != defaultKey:
        names.sort(key=lambda name: name != crypt)
        found += [_Candidate(name, defaultKey) for name in names if name not in KEYLESS]
    return found


KEYLESS = ("none", "null")
COSTLY = ("salsa20", "tea", "twofish", "xtea")  # to import: they come last, when no other fits

# What every kcptun has (docs/wire.rst, "crypt"), and what it takes any other name for.
OLD_METHODS = frozenset(
    ["aes", "aes-128", "aes-192", "sm4", "twofish", "blowfish", "cast5", "3des", "tea", "xtea", "salsa20", "xor", "none"]
)
FALLBACK = "aes"

CHECKSUM_LENGTH = 4  # bytes; a cipher that adds fewer can hardly tell what is not its own
REFUSED_MIN = 5  # datagrams in a row; where 1 % is damaged, years pass until that happens by chance
SAMPLES = 2  # datagrams; one of them may be damaged besides
SAMPLE_LONGEST = 1500  # bytes; no peer sends longer datagrams (Go's limit and ours)
SUSPICION = 30.0  # s; a scanner comes back, a peer sends its first datagrams again within seconds
SUSPECTS_MAX = 64  # addresses; each costs SAMPLES datagrams at most
EXAMINATION_PAUSE = 1.0  # s

_log = Logger()
