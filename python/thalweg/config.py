"""Configurations of pipelines: frozen records, checked by the same code whoever makes them.

A configuration comes from a YAML file or a mapping, or is put together from its records. Each
record checks itself when it is made and when `dataclasses.replace` changes it: names, types,
numbers and wiring. `PipelineConfig` checks in addition that every name that is used is declared.
What depends on kinds is checked by `thalweg.graph.validate_pipeline_config` and by
`PipelineManager.build`.
"""

from __future__ import annotations

import builtins
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Self, TypeAlias, cast

import numpy as np

from thalweg import _json, _native
from thalweg.errors import ConfigValidationError

__all__ = [
    "AuxiliaryBinding",
    "KernelConfig",
    "PipelineConfig",
    "SharedMemoryConfig",
    "SinkConfig",
    "SourceConfig",
    "SynchronizationConfig",
]

Document: TypeAlias = dict[str, Any]


class _Derived(tuple[str, ...]):
    """Names that follow from another field, also when `dataclasses.replace` changes that."""

    __slots__ = ()


class _Default(str):
    """A text that follows from another field in the same way."""

    __slots__ = ()


class _Entry:
    """What the records of a configuration have in common."""

    _section: ClassVar[str]

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Read one entry of a configuration, as a YAML file would give it.

        Raises:
            ConfigValidationError: everything that is wrong with it.
        """
        return cls._of(_checked(cls._section, raw))

    @classmethod
    def _of(cls, entry: Document) -> Self:
        """The record of a complete entry that was checked already."""
        record = object.__new__(cls)
        record._fill(entry)
        return record

    def _fill(self, entry: Document) -> None:
        raise NotImplementedError

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)


class _WithAuxiliary(_Entry):
    auxiliary: tuple[AuxiliaryBinding, ...]

    @property
    def auxiliary_names(self) -> tuple[str, ...]:
        """The auxiliary streams, in declared order."""
        return tuple(binding.name for binding in self.auxiliary)

    @property
    def auxiliary_aliases(self) -> tuple[str, ...]:
        """What the node calls its auxiliary streams, in declared order."""
        return tuple(binding.alias for binding in self.auxiliary)

    @property
    def auxiliary_by_alias(self) -> dict[str, str]:
        """The auxiliary streams by what the node calls them."""
        return {binding.alias: binding.name for binding in self.auxiliary}


@dataclass(frozen=True)
class AuxiliaryBinding:
    """A stream that a node reads without being triggered by it."""

    alias: str
    """What the node calls it."""
    name: str
    """The stream."""


@dataclass(frozen=True)
class SynchronizationConfig:
    """Which frames of several trigger streams belong together."""

    mode: str = "count"
    """`count` wants something new on every stream, `matching_frame_id` frames that carry one id."""
    on_skew: str = "drop_older"
    """What happens to frames that do not fit together."""
    max_skew_generations: int = 16
    """Frames the newest stream may be ahead before all of them are dropped."""
    max_wait_s: float | None = None
    """Seconds a stream that lags is waited for; None is for ever."""


@dataclass(frozen=True)
class SharedMemoryConfig(_Entry):
    """One stream of a pipeline."""

    _section: ClassVar[str] = "shared_memory"

    name: str
    """Name in the configuration."""
    shape: tuple[int, ...]
    """Extent of every axis."""
    dtype: np.dtype[Any]
    """Element type; whatever `numpy.dtype` takes is accepted."""
    storage: str = "cpu"
    """`cpu` or `gpu`."""
    gpu_device: str | None = None
    """Device of a GPU stream, in the words of CUDA libraries."""
    cpu_mirror: bool | None = None
    """Whether a GPU stream can be read on the CPU."""
    notify: bool | None = None
    """Accepted; every stream wakes those who wait for it."""
    mode: str = "create_or_attach"
    """What building does about an existing stream, one of `create`, `attach`, `replace` and
    `create_or_attach`."""
    initial: Mapping[str, Any] | None = None
    """What the stream holds at first."""
    namespace: str | None = None
    """Namespace of the pipeline, part of the stream's name in the system."""
    slots: int | None = None
    """Frames held at once; None lets the pipeline choose what its stages need."""

    def __post_init__(self) -> None:
        entry: Document = {"name": self.name, "shape": self.shape}
        _put(
            entry,
            dtype=_dtype_name(self.name, self.dtype),
            storage=self.storage,
            gpu_device=self.gpu_device,
            cpu_mirror=self.cpu_mirror,
            notify=self.notify,
            mode=self.mode,
            initial=self.initial,
            slots=self.slots,
        )
        self._fill(_checked(self._section, entry))

    def _fill(self, entry: Document) -> None:
        self._set(
            name=entry["name"],
            shape=tuple(entry["shape"]),
            dtype=np.dtype(entry["dtype"]),
            storage=entry["storage"],
            gpu_device=entry.get("gpu_device"),
            cpu_mirror=entry.get("cpu_mirror"),
            notify=entry.get("notify"),
            mode=entry["mode"],
            initial=entry.get("initial"),
            namespace=self.__dict__.get("namespace"),
            slots=entry.get("slots"),
        )

    @property
    def resource_name(self) -> str:
        """Name in the system, which is `<namespace>.<name>`, or the name itself."""
        return self.name if self.namespace is None else f"{self.namespace}.{self.name}"

    def _document(self) -> Document:
        entry: Document = {"name": self.name, "shape": list(self.shape), "dtype": self.dtype.name}
        return _put(
            entry,
            storage=self.storage,
            gpu_device=self.gpu_device,
            cpu_mirror=self.cpu_mirror,
            notify=self.notify,
            mode=self.mode,
            initial=self.initial,
            slots=self.slots,
        )


@dataclass(frozen=True)
class KernelConfig(_WithAuxiliary):
    """One stage of a pipeline.

    Several triggers are given by `inputs`, of which `input` then is the first; outputs likewise.
    """

    _section: ClassVar[str] = "kernels"

    name: str
    """Name, unique among kernels, sources and sinks."""
    kind: str
    """Kind, such as `cpu.scale`."""
    input: str
    """The first trigger stream."""
    output: str
    """The first output stream."""
    auxiliary: tuple[AuxiliaryBinding, ...] = ()
    """Streams read without being triggered. A list of names or a mapping by alias is accepted."""
    operation: str | None = None
    """The expression of a `custom_operation`."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Parameters of the kind."""
    read_timeout: float = 1.0
    """Seconds of one wait for a trigger."""
    pause_sleep: float = 0.01
    """Accepted; a pause ends at once."""
    poll_interval: float = 1e-5
    """Accepted; nothing polls."""
    outputs: tuple[str, ...] = ()
    """All output streams, in declared order."""
    inputs: tuple[str, ...] = ()
    """All trigger streams, in declared order."""
    trigger_policy: str | None = None
    """`any_new` or `all_new`; None is `any_new` for one trigger and `all_new` for several."""
    synchronization: SynchronizationConfig | None = None
    """Which frames of several triggers belong together."""
    propagate_frame_id: bool = False
    """Whether outputs carry the frame id of the newest trigger."""
    placement: Mapping[str, Any] | None = None
    """CPUs, scheduling class, priority, memory lock."""
    wait: str | None = None
    """`park`, `spin` or `adaptive`."""
    restart: Mapping[str, Any] | str | None = None
    """What happens when it has ended."""
    deadline: float | None = None
    """Latency budget in seconds, from the origin of the data to the publication here."""
    group: str | None = None
    """Kernels of one group share a process."""

    def __post_init__(self) -> None:
        entry: Document = {"name": self.name, "kind": self.kind}
        for one, many in (("input", "inputs"), ("output", "outputs")):
            _put_names(entry, self, one, many)
        _put_auxiliary(entry, f"kernel {self.name!r}", self.auxiliary)
        _put(
            entry,
            operation=self.operation,
            parameters=self.parameters,
            read_timeout=self.read_timeout,
            pause_sleep=self.pause_sleep,
            poll_interval=self.poll_interval,
            trigger_policy=_given_policy(self.trigger_policy),
            synchronization=_synchronization_document(self.synchronization),
            propagate_frame_id=self.propagate_frame_id,
            **{name: getattr(self, name) for name in _KERNEL_EXTRAS},
        )
        self._fill(_checked(self._section, entry))

    def _fill(self, entry: Document) -> None:
        inputs = _names_of(entry, "input", "inputs")
        outputs = _names_of(entry, "output", "outputs")
        synchronization = entry.get("synchronization")
        policy = entry["trigger_policy"]
        if policy == ("any_new" if len(inputs) == 1 else "all_new"):
            policy = _Default(policy)
        self._set(
            name=entry["name"],
            kind=entry["kind"],
            input=inputs[0],
            output=outputs[0],
            auxiliary=_bindings_of(entry),
            operation=entry.get("operation"),
            parameters=entry.get("parameters") or {},
            read_timeout=entry["read_timeout"],
            pause_sleep=entry["pause_sleep"],
            poll_interval=entry["poll_interval"],
            outputs=outputs,
            inputs=inputs,
            trigger_policy=policy,
            synchronization=(
                None if synchronization is None else SynchronizationConfig(**synchronization)
            ),
            propagate_frame_id=entry["propagate_frame_id"],
            **{name: entry.get(name) for name in _KERNEL_EXTRAS},
        )

    @property
    def trigger_inputs(self) -> tuple[str, ...]:
        """The trigger streams, in declared order."""
        return tuple(self.inputs)

    @property
    def all_inputs(self) -> tuple[str, ...]:
        """The trigger streams, then the auxiliary ones."""
        return (*self.inputs, *self.auxiliary_names)

    @property
    def all_outputs(self) -> tuple[str, ...]:
        """The output streams, in declared order."""
        return tuple(self.outputs)

    @property
    def requires_matching_frame_id(self) -> bool:
        """Whether all triggers of a frame have to carry the same id."""
        rule = self.synchronization
        return rule is not None and rule.mode == "matching_frame_id"

    @property
    def tracks_frame_id(self) -> bool:
        """Whether frame ids matter to it."""
        return self.propagate_frame_id or self.requires_matching_frame_id

    def _document(self) -> Document:
        entry: Document = {"name": self.name, "kind": self.kind}
        _put_one_or_many(entry, "input", "inputs", self.inputs)
        _put_one_or_many(entry, "output", "outputs", self.outputs)
        _put_auxiliary(entry, f"kernel {self.name!r}", self.auxiliary)
        return _put(
            entry,
            operation=self.operation,
            parameters=self.parameters or None,
            read_timeout=self.read_timeout,
            pause_sleep=self.pause_sleep,
            poll_interval=self.poll_interval,
            trigger_policy=_given_policy(self.trigger_policy),
            synchronization=_synchronization_document(self.synchronization),
            propagate_frame_id=self.propagate_frame_id,
            **{name: getattr(self, name) for name in _KERNEL_EXTRAS},
        )


_KERNEL_EXTRAS = ("placement", "wait", "restart", "deadline", "group")


@dataclass(frozen=True)
class SourceConfig(_WithAuxiliary):
    """One source of a pipeline. Of several `streams`, `stream` is the first."""

    _section: ClassVar[str] = "sources"

    name: str
    """Name, unique among kernels, sources and sinks."""
    kind: str
    """Kind, such as `synthetic.array`."""
    stream: str
    """The first stream it writes."""
    auxiliary: tuple[AuxiliaryBinding, ...] = ()
    """Streams it reads. A list of names or a mapping by alias is accepted."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Parameters of the kind."""
    poll_interval: float = 0.01
    """Seconds to wait after a call that produced nothing."""
    read_timeout: float | None = None
    """Seconds one call may take; None is unlimited."""
    streams: tuple[str, ...] = ()
    """All streams it writes, in declared order."""
    process: str | None = None
    """`manager` for a thread of the manager, `own` for a process of its own."""
    placement: Mapping[str, Any] | None = None
    """CPUs, scheduling class, priority, memory lock."""
    restart: Mapping[str, Any] | str | None = None
    """What happens when it has ended."""

    def __post_init__(self) -> None:
        entry: Document = {"name": self.name, "kind": self.kind}
        _put_names(entry, self, "stream", "streams")
        _put_auxiliary(entry, f"source {self.name!r}", self.auxiliary)
        _put(
            entry,
            parameters=self.parameters,
            poll_interval=self.poll_interval,
            read_timeout=self.read_timeout,
            **{name: getattr(self, name) for name in _SOURCE_EXTRAS},
        )
        self._fill(_checked(self._section, entry))

    def _fill(self, entry: Document) -> None:
        streams = _names_of(entry, "stream", "streams")
        self._set(
            name=entry["name"],
            kind=entry["kind"],
            stream=streams[0],
            auxiliary=_bindings_of(entry),
            parameters=entry.get("parameters") or {},
            poll_interval=entry["poll_interval"],
            read_timeout=entry.get("read_timeout"),
            streams=streams,
            **{name: entry.get(name) for name in _SOURCE_EXTRAS},
        )

    @property
    def output_streams(self) -> tuple[str, ...]:
        """The streams it writes, in declared order."""
        return tuple(self.streams)

    def _document(self) -> Document:
        entry: Document = {"name": self.name, "kind": self.kind}
        _put_one_or_many(entry, "stream", "streams", self.streams)
        _put_auxiliary(entry, f"source {self.name!r}", self.auxiliary)
        return _put(
            entry,
            parameters=self.parameters or None,
            poll_interval=self.poll_interval,
            read_timeout=self.read_timeout,
            **{name: getattr(self, name) for name in _SOURCE_EXTRAS},
        )


_SOURCE_EXTRAS = ("process", "placement", "restart")


@dataclass(frozen=True)
class SinkConfig(_WithAuxiliary):
    """One sink of a pipeline."""

    _section: ClassVar[str] = "sinks"

    name: str
    """Name, unique among kernels, sources and sinks."""
    kind: str
    """Kind, such as `null.sink`."""
    stream: str
    """The stream it consumes."""
    auxiliary: tuple[AuxiliaryBinding, ...] = ()
    """Streams it reads. A list of names or a mapping by alias is accepted."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Parameters of the kind."""
    read_timeout: float = 1.0
    """Seconds of one wait for a publication."""
    pause_sleep: float = 0.01
    """Accepted; a pause ends at once."""
    consume_timeout: float | None = None
    """Seconds one call may take; None is unlimited."""
    outputs: tuple[str, ...] = ()
    """Streams it writes, in declared order; mostly none."""
    process: str | None = None
    """`manager` for a thread of the manager, `own` for a process of its own."""
    placement: Mapping[str, Any] | None = None
    """CPUs, scheduling class, priority, memory lock."""
    wait: str | None = None
    """`park`, `spin` or `adaptive`."""
    restart: Mapping[str, Any] | str | None = None
    """What happens when it has ended."""
    deadline: float | None = None
    """Latency budget in seconds, from the origin of the data to the end of consuming it."""

    def __post_init__(self) -> None:
        entry: Document = {"name": self.name, "kind": self.kind, "stream": self.stream}
        if self.outputs:
            entry["outputs"] = _texts(self.outputs)
        _put_auxiliary(entry, f"sink {self.name!r}", self.auxiliary)
        _put(
            entry,
            parameters=self.parameters,
            read_timeout=self.read_timeout,
            pause_sleep=self.pause_sleep,
            consume_timeout=self.consume_timeout,
            **{name: getattr(self, name) for name in _SINK_EXTRAS},
        )
        self._fill(_checked(self._section, entry))

    def _fill(self, entry: Document) -> None:
        self._set(
            name=entry["name"],
            kind=entry["kind"],
            stream=entry["stream"],
            auxiliary=_bindings_of(entry),
            parameters=entry.get("parameters") or {},
            read_timeout=entry["read_timeout"],
            pause_sleep=entry["pause_sleep"],
            consume_timeout=entry.get("consume_timeout"),
            outputs=tuple(entry.get("outputs") or ()),
            **{name: entry.get(name) for name in _SINK_EXTRAS},
        )

    @property
    def output_streams(self) -> tuple[str, ...]:
        """The streams it writes, in declared order."""
        return tuple(self.outputs)

    def _document(self) -> Document:
        entry: Document = {"name": self.name, "kind": self.kind, "stream": self.stream}
        if self.outputs:
            entry["outputs"] = list(self.outputs)
        _put_auxiliary(entry, f"sink {self.name!r}", self.auxiliary)
        return _put(
            entry,
            parameters=self.parameters or None,
            read_timeout=self.read_timeout,
            pause_sleep=self.pause_sleep,
            consume_timeout=self.consume_timeout,
            **{name: getattr(self, name) for name in _SINK_EXTRAS},
        )


_SINK_EXTRAS = ("process", "placement", "wait", "restart", "deadline")


@dataclass(frozen=True, repr=False)
class PipelineConfig:
    """A checked configuration: streams and the nodes between them.

    Two configurations are equal when they describe the same pipeline, wherever they came from.
    """

    shared_memory: tuple[SharedMemoryConfig, ...]
    """The streams, in declared order."""
    kernels: tuple[KernelConfig, ...] = ()
    """The stages, in declared order."""
    sources: tuple[SourceConfig, ...] = ()
    """Where frames come from, in declared order."""
    sinks: tuple[SinkConfig, ...] = ()
    """Where frames go to, in declared order."""
    namespace: str | None = None
    """First part of the streams' names in the system; None for none."""
    base_path: Path | None = field(default=None, compare=False)
    """Folder that relative paths in the configuration start from; absolute."""
    source_path: Path | None = field(default=None, compare=False)
    """The file the configuration was read from."""
    placement: Mapping[str, Any] | None = None
    """How stages are distributed over CPUs, with `policy` and `offset`."""

    def __post_init__(self) -> None:
        base = Path.cwd() if self.base_path is None else Path(self.base_path)
        if not base.is_absolute():
            raise ConfigValidationError(f"base_path must be an absolute path, got {str(base)!r}")
        streams = tuple(self.shared_memory)
        namespace = self.namespace
        if namespace is None:
            inherited = {stream.namespace for stream in streams} - {None}
            if len(inherited) > 1:
                names = ", ".join(sorted(map(repr, inherited)))
                raise ConfigValidationError(
                    f"all streams of a pipeline are in one namespace, found {names}"
                )
            namespace = inherited.pop() if inherited else None
        object.__setattr__(self, "namespace", namespace)
        object.__setattr__(self, "shared_memory", streams)
        for name in ("kernels", "sources", "sinks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        text = _dumped(self._document())
        source = None if self.source_path is None else Path(self.source_path)
        self._take(_native.PipelineConfig.from_json(text, os.fspath(base)), source)

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> Self:
        """Read a configuration from a YAML file.

        Raises:
            OSError: the file cannot be read.
            ConfigValidationError: everything that is wrong with it, each problem with its line.
        """
        # A missing file is no fault of a configuration: let the system say so.
        with builtins.open(path, "rb"):
            native = _native.PipelineConfig.from_yaml(os.fspath(path))
        config = object.__new__(cls)
        config._take(native, native.source_path)
        return config

    @classmethod
    def from_dict(
        cls, raw: Mapping[str, Any], base_path: str | os.PathLike[str] | None = None
    ) -> Self:
        """Read a configuration from nested mappings and lists, as a YAML file would give them.

        Args:
            raw: the document.
            base_path: folder that relative paths in it start from; None is the current one.

        Raises:
            ConfigValidationError: everything that is wrong with it.
        """
        base = Path.cwd() if base_path is None else Path(base_path).absolute()
        document = dict(raw) if isinstance(raw, Mapping) else raw
        config = object.__new__(cls)
        config._take(_native.PipelineConfig.from_json(_dumped(document), os.fspath(base)), None)
        return config

    def _take(self, native: _native.PipelineConfig, source_path: Path | None) -> None:
        """Become what `native` describes."""
        document = json.loads(native.to_json_complete())
        namespace = document.get("namespace")
        streams = tuple(map(SharedMemoryConfig._of, document["shared_memory"]))
        for stream in streams:
            object.__setattr__(stream, "namespace", namespace)
        values = {
            "shared_memory": streams,
            "kernels": tuple(map(KernelConfig._of, document.get("kernels") or ())),
            "sources": tuple(map(SourceConfig._of, document.get("sources") or ())),
            "sinks": tuple(map(SinkConfig._of, document.get("sinks") or ())),
            "namespace": namespace,
            "base_path": native.base_path,
            "source_path": source_path,
            "placement": document.get("placement"),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_native_config", native)
        object.__setattr__(self, "_native_text", _dumped(self._document()))

    @property
    def _native_handle(self) -> _native.PipelineConfig:
        """The native configuration, made anew if somebody changed parameters in place."""
        native = cast(_native.PipelineConfig, self.__dict__["_native_config"])
        text = _dumped(self._document())
        if text == self.__dict__["_native_text"]:
            return native
        return _native.PipelineConfig.from_json(text, os.fspath(native.base_path))

    def _document(self) -> Document:
        document: Document = {}
        _put(document, namespace=self.namespace, placement=self.placement)
        document["shared_memory"] = [stream._document() for stream in self.shared_memory]
        for section in ("sources", "kernels", "sinks"):
            entries = getattr(self, section)
            if entries:
                document[section] = [entry._document() for entry in entries]
        return document

    @property
    def shared_memory_by_name(self) -> dict[str, SharedMemoryConfig]:
        """The streams by name."""
        return {stream.name: stream for stream in self.shared_memory}

    def to_dict(self) -> Document:
        """The configuration as `from_dict` reads it; keys with default values are left out."""
        document: Document = json.loads(self._native_handle.to_json())
        return document

    def __reduce__(self) -> tuple[Any, ...]:
        values = tuple(getattr(self, item.name) for item in fields(self))
        return type(self), values

    def __repr__(self) -> str:
        if self.source_path is None:
            return f"PipelineConfig.from_dict({self.to_dict()!r})"
        return f"PipelineConfig.from_yaml({str(self.source_path)!r})"


def _dumped(document: Any) -> str:
    try:
        return _json.dumps(document)
    except (TypeError, ValueError) as problem:
        raise ConfigValidationError(f"pipeline config: {problem}") from problem


def _checked(section: str, raw: Any) -> Document:
    """The complete entry that `raw` stands for, or a complaint."""
    document = dict(raw) if isinstance(raw, Mapping) else raw
    entry: Document = json.loads(_native.normalize_entry(section, _dumped(document)))
    return entry


def _put(entry: Document, **values: Any) -> Document:
    """Add what is given; None stands for what is not."""
    entry.update((name, value) for name, value in values.items() if value is not None)
    return entry


def _texts(names: Iterable[str] | str) -> Any:
    """Names as a document has them; what is no list of names is left for the check to find."""
    return names if isinstance(names, str) or not isinstance(names, Iterable) else list(names)


def _put_names(entry: Document, record: Any, one: str, many: str) -> None:
    """Add the streams that two fields of `record` name: one, or all of them."""
    first, names = getattr(record, one), getattr(record, many)
    if isinstance(names, _Derived) or not names:
        if first is not None:
            entry[one] = first
        return
    entry[many] = _texts(names)


def _put_one_or_many(entry: Document, one: str, many: str, names: Sequence[str]) -> None:
    if len(names) == 1:
        entry[one] = names[0]
    else:
        entry[many] = list(names)


def _names_of(entry: Document, one: str, many: str) -> tuple[str, ...]:
    names = entry.get(many) or [entry[one]]
    return tuple(names) if len(names) > 1 else _Derived(names)


def _put_auxiliary(
    entry: Document,
    who: str,
    auxiliary: Iterable[AuxiliaryBinding | str] | Mapping[str, str] | str,
) -> None:
    if isinstance(auxiliary, (str, Mapping)) or not isinstance(auxiliary, Iterable):
        if auxiliary is not None:
            entry["auxiliary"] = auxiliary
        return
    bindings = [
        (item.alias, item.name) if isinstance(item, AuxiliaryBinding) else (item, item)
        for item in auxiliary
    ]
    if not bindings:
        return
    if all(alias == name for alias, name in bindings):
        entry["auxiliary"] = [name for _, name in bindings]
        return
    by_alias = dict(bindings)
    if len(by_alias) < len(bindings):
        aliases = [alias for alias, _ in bindings]
        repeated = sorted({alias for alias in aliases if aliases.count(alias) > 1})
        raise ConfigValidationError(
            f"{who} cannot use the same auxiliary alias more than once: {', '.join(repeated)}"
        )
    entry["auxiliary"] = by_alias


def _bindings_of(entry: Document) -> tuple[AuxiliaryBinding, ...]:
    auxiliary = entry.get("auxiliary") or ()
    if isinstance(auxiliary, Mapping):
        return tuple(AuxiliaryBinding(alias, name) for alias, name in auxiliary.items())
    return tuple(AuxiliaryBinding(name, name) for name in auxiliary)


def _given_policy(policy: str | None) -> str | None:
    return None if isinstance(policy, _Default) else policy


def _synchronization_document(rule: Any) -> Any:
    if not isinstance(rule, SynchronizationConfig):
        return rule
    document: Document = {
        "mode": rule.mode,
        "on_skew": rule.on_skew,
        "max_skew_generations": rule.max_skew_generations,
    }
    return _put(document, max_wait_s=rule.max_wait_s)


def _dtype_name(stream: str, dtype: Any) -> Any:
    """The name of a dtype as configurations have it; texts are left for the check to judge."""
    if isinstance(dtype, str) or dtype is None:
        return dtype
    try:
        return np.dtype(dtype).name
    except TypeError as problem:
        raise ConfigValidationError(
            f"shared memory {stream!r} has an invalid dtype {dtype!r}: {problem}"
        ) from problem
