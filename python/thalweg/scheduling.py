"""On which CPUs workers run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from thalweg.config import KernelConfig

__all__ = [
    "NoAffinityPlacementPolicy",
    "RoundRobinPlacementPolicy",
    "WorkerPlacementPolicy",
    "normalize_placement_policy",
]


class WorkerPlacementPolicy(Protocol):
    """Chooses a CPU for each kernel that does not have `placement: {cpus: ...}` in its entry.

    A slot is a number from 0: the first, second, ... of the CPUs this process may run on.
    """

    def cpu_slot_for(self, *, kernel: KernelConfig, index: int, cpu_count: int) -> int | None:
        """The slot of a kernel, or None to leave it to the system.

        Args:
            kernel: its entry in the configuration.
            index: its number among the kernels.
            cpu_count: how many CPUs this process may run on.
        """

    def describe(self) -> str:
        """A word for the policy."""


@dataclass(frozen=True)
class RoundRobinPlacementPolicy:
    """One kernel after the other, each on the next CPU."""

    offset: int = 0
    """Slot of the first kernel."""
    enabled: bool = True
    """False leaves everything to the system."""

    def cpu_slot_for(self, *, kernel: KernelConfig, index: int, cpu_count: int) -> int | None:
        """The slot of a kernel."""
        if not self.enabled or cpu_count <= 0:
            return None
        return (index + self.offset) % cpu_count

    def describe(self) -> str:
        """A word for the policy."""
        return "round-robin"


@dataclass(frozen=True)
class NoAffinityPlacementPolicy:
    """Leaves it to the system."""

    def cpu_slot_for(self, *, kernel: KernelConfig, index: int, cpu_count: int) -> int | None:
        """None."""
        return None

    def describe(self) -> str:
        """A word for the policy."""
        return "none"


def normalize_placement_policy(policy: WorkerPlacementPolicy | None) -> WorkerPlacementPolicy:
    """`policy`, or the default one, which goes round robin."""
    return RoundRobinPlacementPolicy() if policy is None else policy
