"""The built-in sinks as classes.

In a pipeline they run without an interpreter. As objects they consume arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from thalweg import _native
from thalweg._node_spec import check_native, node_spec
from thalweg._publication import Publication
from thalweg.config import SharedMemoryConfig, SinkConfig
from thalweg.sink import Sink, SinkContext

__all__ = ["NativeSink", "NullSink"]


class NativeSink(Sink):
    """A built-in kind."""

    def __init__(self, context: SinkContext) -> None:
        super().__init__(context)
        self._node = _native.SinkNode(
            node_spec(context.config, context.shared_memory, context.config_base_dir)
        )
        self._count = 0

    @classmethod
    def validate_config(
        cls, config: SinkConfig, shared_memory: Mapping[str, SharedMemoryConfig]
    ) -> None:
        super().validate_config(config, shared_memory)
        check_native(config, shared_memory)

    def open(self) -> None:
        self._node.open()

    def close(self) -> None:
        self._node.close()

    def consume(self, value: Any) -> None:
        self._count += 1
        self._take(value, self._count, 0, 0)

    def consume_publication(self, publication: Publication, writers: Mapping[str, Any]) -> None:
        self._take(
            publication.payload,
            publication.count,
            publication.frame_id,
            publication.missed_publications,
        )

    def _take(self, value: Any, count: int, frame_id: int, missed: int) -> None:
        spec = self.context.stream_spec
        array = np.require(np.asarray(value, spec.dtype), requirements=("C", "A"))
        if array.shape != spec.shape:
            raise ValueError(
                f"stream {spec.name!r} has shape {spec.shape}, got an array of {array.shape}"
            )
        self._node.consume(array, count, frame_id, missed)

    def plugin_metrics(self) -> dict[str, Any]:
        return dict(self._node.figures())


class NullSink(NativeSink):
    """Takes frames and measures."""

    kind: ClassVar[str] = "null.sink"
