"""Who feeds whom: the graph of a configuration, and everything that is wrong with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Self

from thalweg.config import KernelConfig, PipelineConfig, SourceConfig
from thalweg.errors import ConfigValidationError
from thalweg.registry import KernelRegistry, get_default_registry

__all__ = ["GraphEdge", "PipelineGraph", "feedback_errors", "validate_pipeline_config"]


@dataclass(frozen=True)
class GraphEdge:
    """One arrow between a stream and a node."""

    source: str
    """Where it starts: a stream, or a node that writes."""
    target: str
    """Where it ends."""
    role: str
    """What the stream is to the node: `auxiliary:<alias>`, `source`, `source:<i>`, `input`,
    `input:<i>`, `output`, `sink` or `sink_output`."""
    stream: str
    """The stream."""


class PipelineGraph:
    """The graph of a configuration, derived without making anything.

    ```python
    graph = PipelineGraph.from_config(PipelineConfig.from_yaml("pipeline.yaml"))
    print(graph.source_streams())
    print(graph.describe())
    ```
    """

    def __init__(self, config: PipelineConfig) -> None:
        self._config = config
        document, self._text = config._native_handle.graph()
        self._document: dict[str, Any] = json.loads(document)
        self._conflicts = config._native_handle.conflicts()
        self._neighbours = {
            node["name"]: node
            for section in ("sources", "kernels", "sinks")
            for node in self._document[section]
        }

    @classmethod
    def from_config(cls, config: PipelineConfig) -> Self:
        """The graph of `config`."""
        return cls(config)

    @property
    def config(self) -> PipelineConfig:
        """The configuration."""
        return self._config

    @property
    def edges(self) -> tuple[GraphEdge, ...]:
        """All arrows: of sources, kernels and sinks, each in declared order; for each node what it
        reads, then what it writes."""
        return tuple(GraphEdge(**edge) for edge in self._document["edges"])

    def source_streams(self) -> tuple[str, ...]:
        """The streams through which data enters, sorted: what sources write, and what is read
        but not written here."""
        return tuple(self._document["source_streams"])

    def sink_streams(self) -> tuple[str, ...]:
        """The streams through which data leaves, sorted: what sinks consume, and what is written
        and not read."""
        return tuple(self._document["sink_streams"])

    def orphaned_streams(self) -> tuple[str, ...]:
        """The streams nobody reads or writes, sorted."""
        return tuple(self._document["orphaned_streams"])

    def upstream_kernels(self, kernel_name: str) -> tuple[str, ...]:
        """The kernels that write what a kernel, or sink, reads; sorted, without itself.

        Raises:
            KeyError: there is no such kernel or sink.
        """
        return tuple(self._neighbours[kernel_name]["upstream_kernels"])

    def downstream_kernels(self, kernel_name: str) -> tuple[str, ...]:
        """The kernels that read what a kernel, or source, writes; sorted, without itself.

        Raises:
            KeyError: there is no such kernel or source.
        """
        return tuple(self._neighbours[kernel_name]["downstream_kernels"])

    def validation_errors(self) -> list[str]:
        """Every stream that more than one node writes, in words."""
        return list(self._conflicts)

    def raise_for_errors(self) -> None:
        """Raise what `validation_errors` finds.

        Raises:
            ConfigValidationError: a stream has several producers.
        """
        if self._conflicts:
            raise ConfigValidationError("\n".join(self._conflicts))

    def describe(self) -> str:
        """The graph in words, a line for each stream and node."""
        return self._text.rstrip("\n")

    def to_dict(self) -> dict[str, Any]:
        """The graph as plain values.

        Returns:
            `shared_memory`, `sources`, `kernels`, `sinks` and `edges`, lists of dictionaries; and
            `source_streams`, `sink_streams` and `orphaned_streams`, tuples.
        """
        return {key: _plain(key, value) for key, value in self._document.items()}


_NAMES = ("producers", "consumers", "upstream_kernels", "downstream_kernels", "inputs", "outputs")


def _plain(key: str, value: list[Any]) -> Any:
    if key.endswith("_streams"):
        return tuple(value)
    return [
        {name: tuple(item) if name in _NAMES else item for name, item in entry.items()}
        for entry in value
    ]


def validate_pipeline_config(
    config: PipelineConfig, registry: KernelRegistry | None = None
) -> list[str]:
    """Everything that is wrong with a configuration. Nothing is made.

    Args:
        config: the configuration.
        registry: the kinds; None is `get_default_registry()`.

    Returns:
        What the graph, then kernels, sources and sinks, then feedback paths are wrong about; empty
        when it can be built.

    Raises:
        Whatever a `validate_config` raises but ConfigValidationError.
    """
    if registry is None:
        registry = get_default_registry()
    graph = PipelineGraph.from_config(config)
    return (
        graph.validation_errors()
        + binding_errors(config, registry)
        + feedback_errors(config, registry)
    )


def binding_errors(config: PipelineConfig, registry: KernelRegistry) -> list[str]:
    """What the kinds of kernels, sources and sinks are wrong about."""
    errors: list[str] = []
    streams = config.shared_memory_by_name
    checks: list[tuple[Any, Any]] = [
        *((registry.validate, kernel) for kernel in config.kernels),
        *((registry.validate_source, source) for source in config.sources),
        *((registry.validate_sink, sink) for sink in config.sinks),
    ]
    for validate, node in checks:
        try:
            validate(node, streams)
        except ConfigValidationError as problem:
            errors.append(str(problem))
    return errors


def feedback_errors(config: PipelineConfig, registry: KernelRegistry) -> list[str]:
    """Where the feedback that sources ask for (`required_feedback_aliases`) does not reach them."""
    errors: list[str] = []
    for source in config.sources:
        try:
            kind = registry.get_source(source.kind)
        except ConfigValidationError:
            continue  # Told already.
        for alias in getattr(kind, "required_feedback_aliases", ()):
            errors += _feedback_problems(config, source, alias)
    return errors


def _feedback_problems(config: PipelineConfig, source: SourceConfig, alias: str) -> list[str]:
    who = f"source {source.name!r}: feedback {alias!r}"
    stream = source.auxiliary_by_alias.get(alias)
    if stream is None:
        return [f"{who} is required: bind an auxiliary stream to the alias {alias!r}"]
    sink = next((sink for sink in config.sinks if stream in sink.output_streams), None)
    if sink is None:
        return [f"{who}: stream {stream!r} has to be an output of a sink, and no sink writes it"]
    producers = {name: kernel for kernel in config.kernels for name in kernel.all_outputs}
    problems: list[str] = []
    has_reached = False
    visited: set[str] = set()
    # What is still to be followed back: a stream, and the kernels between it and the sink.
    pending: list[tuple[str, tuple[str, ...]]] = [(sink.stream, ())]
    while pending:
        stream, path = pending.pop()
        if stream in source.output_streams:
            has_reached = True
            continue
        kernel: KernelConfig | None = producers.get(stream)
        if kernel is None:
            problems.append(
                f"{who}: stream {stream!r}, on the way to sink {sink.name!r}, is written by no "
                f"kernel and not by source {source.name!r}"
            )
            continue
        if kernel.name in path:
            cycle = " -> ".join((*reversed(path), kernel.name))
            problems.append(f"{who}: the way to sink {sink.name!r} goes in a cycle: {cycle}")
            continue
        if kernel.name in visited:
            continue
        visited.add(kernel.name)
        if not kernel.propagate_frame_id:
            problems.append(
                f"{who}: kernel {kernel.name!r}, on the way to sink {sink.name!r}, needs "
                "propagate_frame_id: true"
            )
        pending += [(name, (*path, kernel.name)) for name in kernel.trigger_inputs]
    if not has_reached and not problems:
        problems.append(f"{who}: sink {sink.name!r} does not consume frames of {source.name!r}")
    return problems
