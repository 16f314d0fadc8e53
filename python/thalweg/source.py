"""Sources: where frames come from, written in Python.

A source is a class. A `PipelineManager` makes one object of it and calls it from a thread of its
own, so that objects the source shares with the program work; with `process: own` in the
configuration it gets a process instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from thalweg._endpoint_base import EndpointBase
from thalweg.config import SharedMemoryConfig, SourceConfig
from thalweg.kernel import check_storage

__all__ = ["Source", "SourceContext"]


@dataclass(frozen=True)
class SourceContext:
    """What a source knows about its place in the pipeline."""

    config: SourceConfig
    """Its entry in the configuration."""
    shared_memory: Mapping[str, SharedMemoryConfig]
    """The streams of the pipeline by name."""
    auxiliary_streams: Mapping[str, Any] = field(default_factory=dict)
    """Handles of the auxiliary streams by alias."""
    config_base_dir: Path | None = None
    """Folder that relative paths in parameters start from."""

    @property
    def stream_spec(self) -> SharedMemoryConfig:
        """The first stream it writes."""
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


class Source(EndpointBase):
    """Base class of sources in Python. Override `read`, or `produce`.

    ```python
    class DemoCamera(thalweg.Source):
        kind = "example.camera"

        def open(self):
            self.camera = open_camera(self.context.config.parameters["device"])

        def read(self):
            return self.camera.grab(timeout=0.1)  # None if there was nothing
    ```

    A source that has come to its end raises StopIteration. Any other exception is its failure.
    """

    kind: ClassVar[str] = ""
    """Name of the kind in configurations."""
    storage: ClassVar[str] = "cpu"
    """Where its streams have to be: `cpu` or `gpu`."""
    required_feedback_aliases: ClassVar[tuple[str, ...]] = ()
    """Auxiliary streams that have to be written by a sink which this source's frames reach, with
    every kernel on the way handing their frame id on."""

    def __init__(self, context: SourceContext) -> None:
        self.context = context

    @classmethod
    def validate_config(
        cls, config: SourceConfig, shared_memory: Mapping[str, SharedMemoryConfig]
    ) -> None:
        """Check the entry of one source of this kind, before anything is made.

        Override it to check parameters, shapes and dtypes; call `super().validate_config` first.

        Raises:
            ConfigValidationError: the storage of its streams does not fit.
        """
        check_source(cls, config, shared_memory)

    def read(self) -> Any | None:
        """The next frame of a source with one stream, an array of its shape.

        Should return within a fraction of a second after `stop_requested`.

        Returns:
            None if there is nothing; then the next call comes `poll_interval` seconds later.
        """
        raise NotImplementedError(f"{type(self).__name__} defines neither read nor produce")

    def produce(self, writers: Mapping[str, Any]) -> int | None:
        """Write the next frames oneself. Called instead of `read` for sources with several streams,
        and for classes that define it and not `read`.

        ```python
        def produce(self, writers):
            for name, frame in self.camera.grab_all().items():
                writers[name].write(frame, frame_id=self.number)
            return 1
        ```

        Args:
            writers: a handle for each stream, by name. They are closed when the source is given up.

        Returns:
            How many sets of frames were written; 0 or None if there was nothing.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define produce")


def check_source(
    kind: type, config: SourceConfig, shared_memory: Mapping[str, SharedMemoryConfig]
) -> None:
    """The checks of `Source.validate_config`, for any class."""
    streams = (*config.output_streams, *config.auxiliary_names)
    check_storage("source", kind, config.name, shared_memory, streams)
