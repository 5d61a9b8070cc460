"""A stranger's erasure code made safe: nothing that it does can stop a tunnel.

What it is given comes from the network, parameters included; so its refusals are ordinary, and its faults are
logged at a rate that no peer can drive up.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.logger import Logger
from twisted.python.reflect import qual
from zope.interface import implementer

from kcpstack.batch import BytesLike
from kcpstack.interfaces import IErasureCode, IErasureCodeFactory
from kcpstack.lograte import FaultLog, RareLog

__all__ = ["CheckedCode", "CheckedCodes"]


class CheckedCodes:
    """Makes the codes of ``factory``: what FECEncoder and FECDecoder call to make one.

    ``findings`` is told of numbers that a peer uses and the factory has no code for."""

    def __init__(self, factory: IErasureCodeFactory, findings: RareLog) -> None:
        self._factory = factory
        self._findings = findings
        self._faults = FaultLog(_log, f"The erasure code {factory.name}")

    def __call__(self, dataShards: int, parityShards: int) -> CheckedCode:
        """Raises ValueError, and nothing else, where there is no code with these numbers."""
        try:
            return CheckedCode(self._factory.build(dataShards, parityShards), dataShards, parityShards, self._faults)
        except ValueError as error:
            self._findings.warn(
                ("erasure", dataShards, parityShards),
                "A peer uses FEC {data}/{parity}, for which --erasure {name} has no code ({why}): what it loses is not "
                "rebuilt, and it gets none back",
                data=dataShards,
                parity=parityShards,
                name=self._factory.name,
                why=error,
            )
            raise
        except Exception as error:
            self._faults.failed("to be built")
            raise ValueError(f"the erasure code {self._factory.name} failed: {error!r}") from error


@implementer(IErasureCode)
class CheckedCode:
    """``code``, whose answers are checked.

    - ``encode`` raises RuntimeError where the code raises, or returns what is no parity: no later group would
      repair that.
    - ``reconstruct`` returns nothing then, and logs it at a bounded rate: whatever arrives, the tunnel goes on."""

    def __init__(self, code: IErasureCode, dataShards: int, parityShards: int, faults: FaultLog) -> None:
        self.dataShards = dataShards
        self.parityShards = parityShards
        self._code = code
        self._name = qual(type(code))
        self._faults = faults

    def encode(self, shards: Sequence[bytes]) -> list[bytes]:
        """See IErasureCode."""
        try:
            parity = [_asBytes(shard) for shard in self._code.encode(list(shards))]
        except Exception as error:
            raise RuntimeError(f"{self._name}.encode failed: {error!r}") from error
        longest = max(map(len, shards))
        if [len(shard) for shard in parity] != [longest] * self.parityShards:
            raise RuntimeError(
                f"{self._name}.encode made shards of {[len(shard) for shard in parity]} bytes, and {self.parityShards} of "
                f"{longest} are due"
            )
        return parity

    def reconstruct(self, shards: dict[int, bytes]) -> dict[int, bytes]:
        """See IErasureCode."""
        missing = {index for index in range(self.dataShards) if index not in shards}
        try:
            found = self._code.reconstruct(dict(shards))
            rebuilt = {index: _asBytes(found[index]) for index in sorted(found)}
            if rebuilt.keys() != missing:
                raise RuntimeError(f"{self._name}.reconstruct gave {sorted(rebuilt)}, and {sorted(missing)} are missing")
        except Exception:  # noqa: BLE001 - a stranger's code must not stop the tunnel
            self._faults.failed("to rebuild what was lost, which stays lost")
            return {}
        return rebuilt


def _asBytes(shard: BytesLike) -> bytes:
    return shard if type(shard) is bytes else bytes(memoryview(shard))  # bytes() alone would take an int for a length


_log = Logger()
