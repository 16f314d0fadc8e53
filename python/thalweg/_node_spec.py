"""What native nodes are built from, and what they find wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from thalweg import _json, _native
from thalweg.config import KernelConfig, SharedMemoryConfig, SinkConfig, SourceConfig
from thalweg.errors import ConfigValidationError

NodeConfig: TypeAlias = KernelConfig | SourceConfig | SinkConfig


def role_of(config: NodeConfig) -> str:
    """`kernel`, `source` or `sink`."""
    if isinstance(config, KernelConfig):
        return "kernel"
    return "source" if isinstance(config, SourceConfig) else "sink"


def streams_of(config: NodeConfig) -> tuple[str, ...]:
    """Every stream a node refers to: triggers, auxiliary streams, outputs."""
    if isinstance(config, KernelConfig):
        return (*config.all_inputs, *config.all_outputs)
    if isinstance(config, SourceConfig):
        return (*config.auxiliary_names, *config.output_streams)
    return (config.stream, *config.auxiliary_names, *config.output_streams)


def node_spec(
    config: NodeConfig,
    shared_memory: Mapping[str, SharedMemoryConfig],
    base_dir: str | os.PathLike[str] | None,
) -> str:
    """What a native node is built from, as a JSON document."""

    def specs(names: Iterable[str]) -> list[dict[str, Any]]:
        return [_stream_spec(config, shared_memory, name) for name in names]

    if isinstance(config, KernelConfig):
        inputs, outputs = config.trigger_inputs, config.all_outputs
    elif isinstance(config, SourceConfig):
        inputs, outputs = (), config.output_streams
    else:
        inputs, outputs = (config.stream,), config.output_streams
    auxiliary = zip(config.auxiliary_aliases, specs(config.auxiliary_names), strict=True)
    return _json.dumps(
        {
            "name": config.name,
            "kind": config.kind,
            "inputs": specs(inputs),
            "any_trigger": getattr(config, "trigger_policy", None) == "any_new",
            "auxiliary": [{"alias": alias, "stream": stream} for alias, stream in auxiliary],
            "outputs": specs(outputs),
            "operation": getattr(config, "operation", None),
            "parameters": config.parameters,
            "base_dir": os.fspath(Path.cwd() if base_dir is None else base_dir),
        }
    )


def _stream_spec(
    config: NodeConfig, shared_memory: Mapping[str, SharedMemoryConfig], name: str
) -> dict[str, Any]:
    stream = shared_memory.get(name)
    if stream is None:
        raise ConfigValidationError(
            f"{role_of(config)} {config.name!r} references undefined shared memory: {name}"
        )
    return {"name": name, "dtype": stream.dtype.name, "shape": list(stream.shape)}


def check_native(config: NodeConfig, shared_memory: Mapping[str, SharedMemoryConfig]) -> None:
    """Have the native kind look at a node.

    Raises:
        ConfigValidationError: everything it finds wrong.
    """
    role = role_of(config)
    problems = _native.check_node(role, node_spec(config, shared_memory, None))
    if problems:
        who = f"{role} {config.name!r}"
        lines = [
            f"{who}: {message}" + (f" (hint: {hint})" if hint else "")
            for _, message, hint in problems
        ]
        raise ConfigValidationError("\n".join(lines))
