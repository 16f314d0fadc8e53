"""Sinks: where frames go to, written in Python.

A sink is a class. A `PipelineManager` makes one object of it and calls it from a thread of its own,
so that objects the sink shares with the program work; with `process: own` in the configuration it
gets a process instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from thalweg._endpoint_base import EndpointBase
from thalweg._publication import Publication
from thalweg.config import SharedMemoryConfig, SinkConfig
from thalweg.kernel import check_storage

__all__ = ["Sink", "SinkContext"]


@dataclass(frozen=True)
class SinkContext:
    """What a sink knows about its place in the pipeline."""

    config: SinkConfig
    """Its entry in the configuration."""
    shared_memory: Mapping[str, SharedMemoryConfig]
    """The streams of the pipeline by name."""
    auxiliary_streams: Mapping[str, Any] = field(default_factory=dict)
    """Handles of the auxiliary streams by alias."""
    config_base_dir: Path | None = None
    """Folder that relative paths in parameters start from."""

    @property
    def stream_spec(self) -> SharedMemoryConfig:
        """The stream it consumes."""
        return self.shared_memory[self.config.stream]

    @property
    def output_specs(self) -> tuple[SharedMemoryConfig, ...]:
        """The streams it writes, in declared order."""
        return tuple(self.shared_memory[name] for name in self.config.output_streams)

    @property
    def auxiliary_specs(self) -> dict[str, SharedMemoryConfig]:
        """The auxiliary streams by alias."""
        return {
            binding.alias: self.shared_memory[binding.name] for binding in self.config.auxiliary
        }


class Sink(EndpointBase):
    """Base class of sinks in Python. Override `consume`, or `consume_publication`.

    ```python
    class DemoDisplay(thalweg.Sink):
        kind = "example.display"

        def consume(self, value):
            print(value)
    ```

    An exception is the sink's failure.
    """

    kind: ClassVar[str] = ""
    """Name of the kind in configurations."""
    storage: ClassVar[str] = "cpu"
    """Where its streams have to be: `cpu` or `gpu`."""

    def __init__(self, context: SinkContext) -> None:
        self.context = context

    @classmethod
    def validate_config(
        cls, config: SinkConfig, shared_memory: Mapping[str, SharedMemoryConfig]
    ) -> None:
        """Check the entry of one sink of this kind, before anything is made.

        Override it to check parameters, shapes and dtypes; call `super().validate_config` first.

        Raises:
            ConfigValidationError: the storage of its streams does not fit.
        """
        check_sink(cls, config, shared_memory)

    def consume(self, value: Any) -> None:
        """Take one frame, a private copy that the sink may keep and change.

        Should return within a fraction of a second after `stop_requested`.
        """
        raise NotImplementedError(
            f"{type(self).__name__} defines neither consume nor consume_publication"
        )

    def consume_publication(self, publication: Publication, writers: Mapping[str, Any]) -> None:
        """Take one frame with its count, ids and times, and write outputs, if the sink has any.

        Args:
            publication: the frame, as `SharedMemory.read_publication` returns it.
            writers: a handle for each output, by name. They are closed when the sink is given up.
        """
        self.consume(publication.payload)


def check_sink(
    kind: type, config: SinkConfig, shared_memory: Mapping[str, SharedMemoryConfig]
) -> None:
    """The checks of `Sink.validate_config`, for any class."""
    streams = (config.stream, *config.output_streams, *config.auxiliary_names)
    check_storage("sink", kind, config.name, shared_memory, streams)
