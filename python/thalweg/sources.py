"""The built-in sources as classes.

In a pipeline they run without an interpreter. As objects they produce arrays:

```python
source = SyntheticArraySource(context)
frame = source.read()
```
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from thalweg import _native
from thalweg._node_spec import check_native, node_spec
from thalweg.config import SharedMemoryConfig, SourceConfig
from thalweg.source import Source, SourceContext

__all__ = ["NativeSource", "SyntheticArraySource", "SyntheticFrameSetSource"]


class NativeSource(Source):
    """A built-in kind."""

    def __init__(self, context: SourceContext) -> None:
        super().__init__(context)
        spec = node_spec(context.config, context.shared_memory, context.config_base_dir)
        streams = [
            context.auxiliary_streams[alias]._native for alias in context.config.auxiliary_aliases
        ]
        self._node = _native.SourceNode(spec, streams)

    @classmethod
    def validate_config(
        cls, config: SourceConfig, shared_memory: Mapping[str, SharedMemoryConfig]
    ) -> None:
        super().validate_config(config, shared_memory)
        check_native(config, shared_memory)

    def open(self) -> None:
        self._node.open()

    def read(self) -> Any | None:
        """The next frame, a new array, at the pace the parameters ask for."""
        arrays, written = self._frames()
        return arrays[0] if written else None

    def produce(self, writers: Mapping[str, Any]) -> int | None:
        arrays, written = self._frames()
        names = self.context.config.output_streams
        for index, frame_id in written:
            writers[names[index]].write(arrays[index], frame_id=frame_id)
        return 1 if written else 0

    def _frames(self) -> tuple[list[Any], list[tuple[int, int | None]]]:
        arrays = [np.empty(spec.shape, spec.dtype) for spec in self.context.output_specs]
        outcome, written = self._node.produce(arrays)
        if outcome == "finished":
            raise StopIteration
        return arrays, written

    def close(self) -> None:
        self._node.close()

    def plugin_metrics(self) -> dict[str, Any]:
        return dict(self._node.figures())


class SyntheticArraySource(NativeSource):
    """Test patterns into one stream."""

    kind: ClassVar[str] = "synthetic.array"


class SyntheticFrameSetSource(NativeSource):
    """Test patterns into several streams at once, as of cameras with one clock."""

    kind: ClassVar[str] = "synthetic.frame_set"
