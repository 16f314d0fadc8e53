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

    def read(self) -> Any | None:
        """The next frame, a new array, at the pace the parameters ask for."""
        frames = self._frames()
        return None if frames is None else frames[0][0]

    def produce(self, writers: Mapping[str, Any]) -> int | None:
        frames = self._frames()
        if frames is None:
            return 0
        arrays, frame_id = frames
        for name, array in zip(self.context.config.output_streams, arrays, strict=True):
            writers[name].write(array, frame_id=frame_id)
        return 1

    def _frames(self) -> tuple[list[Any], int | None] | None:
        arrays = [np.empty(spec.shape, spec.dtype) for spec in self.context.output_specs]
        outcome, frame_id = self._node.produce(arrays)
        if outcome == "finished":
            raise StopIteration
        return (arrays, frame_id) if outcome == "frame" else None

    def close(self) -> None:
        self._node.stop()

    def plugin_metrics(self) -> dict[str, Any]:
        return dict(self._node.figures())


class SyntheticArraySource(NativeSource):
    """Test patterns into one stream."""

    kind: ClassVar[str] = "synthetic.array"


class SyntheticFrameSetSource(NativeSource):
    """Test patterns into several streams at once, as of cameras with one clock."""

    kind: ClassVar[str] = "synthetic.frame_set"
