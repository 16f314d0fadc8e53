"""Kernels: what stages of a pipeline compute, written in Python.

A kernel is a class. The pipeline gives it a process with an interpreter of its own, makes one
object of it there, and calls `compute_into` with every frame; waiting, reading and publishing
happen outside Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from thalweg.config import KernelConfig, SharedMemoryConfig
from thalweg.errors import ConfigValidationError

__all__ = ["Kernel", "KernelContext"]


@dataclass(frozen=True)
class KernelContext:
    """What a kernel knows about its place in the pipeline."""

    config: KernelConfig
    """Its entry in the configuration."""
    shared_memory: Mapping[str, SharedMemoryConfig]
    """The streams of the pipeline by name."""
    config_base_dir: Path | None = None
    """Folder that relative paths in parameters start from."""

    @property
    def input_specs(self) -> tuple[SharedMemoryConfig, ...]:
        """The trigger streams, then the auxiliary ones, in declared order."""
        return tuple(self.shared_memory[name] for name in self.config.all_inputs)

    @property
    def trigger_input_spec(self) -> SharedMemoryConfig:
        """The first trigger stream."""
        return self.shared_memory[self.config.input]

    @property
    def trigger_input_specs(self) -> tuple[SharedMemoryConfig, ...]:
        """The trigger streams, in declared order."""
        return tuple(self.shared_memory[name] for name in self.config.trigger_inputs)

    @property
    def auxiliary_specs(self) -> tuple[SharedMemoryConfig, ...]:
        """The auxiliary streams, in declared order."""
        return tuple(self.shared_memory[name] for name in self.config.auxiliary_names)

    @property
    def output_spec(self) -> SharedMemoryConfig:
        """The first output stream."""
        return self.shared_memory[self.config.output]

    @property
    def output_specs(self) -> tuple[SharedMemoryConfig, ...]:
        """The output streams, in declared order."""
        return tuple(self.shared_memory[name] for name in self.config.all_outputs)


class Kernel:
    """Base class of kernels in Python. Override `compute_into`.

    ```python
    class BiasCpuKernel(thalweg.Kernel):
        kind = "example.bias"
        storage = "cpu"

        def compute_into(self, trigger_input, output, auxiliary_inputs):
            output[...] = trigger_input + self.context.config.parameters["bias"]
    ```
    """

    kind: ClassVar[str] = ""
    """Name of the kind in configurations."""
    storage: ClassVar[str] = "cpu"
    """Where its streams have to be: `cpu` or `gpu`."""
    input_arity: ClassVar[int | None] = 1
    """Number of trigger streams; None is any."""
    auxiliary_arity: ClassVar[int | None] = 0
    """Number of auxiliary streams; None is any."""
    output_arity: ClassVar[int | None] = 1
    """Number of output streams; None is any."""

    def __init__(self, context: KernelContext) -> None:
        self.context = context

    @classmethod
    def validate_config(
        cls, config: KernelConfig, shared_memory: Mapping[str, SharedMemoryConfig]
    ) -> None:
        """Check the entry of one kernel of this kind, before anything is made.

        Override it to check parameters, shapes and dtypes; call `super().validate_config` first.

        Raises:
            ConfigValidationError: the numbers of streams or their storage do not fit.
        """
        check_kernel(cls, config, shared_memory)

    def compute_into(
        self, trigger_input: Any, output: Any, auxiliary_inputs: Mapping[str, Any]
    ) -> None:
        """Compute one frame.

        The arrays are memory of the streams, valid only during the call.

        Args:
            trigger_input: the frame of the trigger, read-only; of several, a tuple of frames in
                declared order.
            output: the frame to fill, all of it; its contents are undefined.
            auxiliary_inputs: the newest frames of the auxiliary streams by alias, read-only; zeros
                before the first. The mapping is the same object for every frame.

        Raises:
            Whatever it likes: the kernel has failed then, and what it had begun to write is given
            up. Others go on.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define compute_into")

    def compute_into_multiple(
        self, trigger_input: Any, outputs: Sequence[Any], auxiliary_inputs: Mapping[str, Any]
    ) -> None:
        """As `compute_into`, for kernels with several outputs, in declared order."""
        self.compute_into(trigger_input, outputs[0], auxiliary_inputs)


def check_kernel(
    kind: type, config: KernelConfig, shared_memory: Mapping[str, SharedMemoryConfig]
) -> None:
    """The checks of `Kernel.validate_config`, for any class."""
    name = getattr(kind, "kind", kind.__name__)
    for role, attribute, default, streams in (
        ("trigger", "input_arity", 1, config.trigger_inputs),
        ("auxiliary", "auxiliary_arity", 0, config.auxiliary_names),
        ("output", "output_arity", 1, config.all_outputs),
    ):
        expected = getattr(kind, attribute, default)
        if expected is not None and len(streams) != expected:
            found = ", ".join(streams) if streams else "none"
            raise ConfigValidationError(
                f"kernel {config.name!r} of kind {name!r} takes {expected} {role} "
                f"stream{'' if expected == 1 else 's'}, found {len(streams)}: {found}"
            )
    check_storage(
        "kernel", kind, config.name, shared_memory, (*config.all_inputs, *config.all_outputs)
    )


def check_storage(
    role: str,
    kind: type,
    name: str,
    shared_memory: Mapping[str, SharedMemoryConfig],
    streams: Sequence[str],
) -> None:
    """Complain about streams that are not where the class wants them, or not there at all."""
    storage = getattr(kind, "storage", "cpu")
    for stream in streams:
        if stream not in shared_memory:
            raise ConfigValidationError(
                f"{role} {name!r} references undefined shared memory: {stream}"
            )
        found = shared_memory[stream].storage
        if found != storage:
            raise ConfigValidationError(
                f"{role} {name!r} of kind {getattr(kind, 'kind', kind.__name__)!r} requires "
                f"{storage} shared memory for {stream!r}, found {found}"
            )
