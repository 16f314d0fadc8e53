"""Kinds and the classes that stand for them.

`get_default_registry()` knows the built-in kinds, what is registered on it, and what installed
packages offer through their entry points:

```toml
[project.entry-points."thalweg.kernels"]
"example.bias" = "example_plugins:BiasKernel"
```

The groups are `thalweg.kernels`, `thalweg.sources` and `thalweg.sinks`; each entry has the name of
the kind. Entries are found once, when a registry is first asked for something, and loaded when
their kind is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Self, TypeAlias

from thalweg import _native
from thalweg.config import KernelConfig, SharedMemoryConfig, SinkConfig, SourceConfig
from thalweg.errors import ConfigValidationError
from thalweg.kernel import KernelContext, check_kernel
from thalweg.sink import SinkContext, check_sink
from thalweg.source import SourceContext, check_source

__all__ = ["KernelRegistry", "get_default_registry"]

Classes: TypeAlias = Mapping[str, type] | Iterable[type]

_ROLES = ("kernel", "source", "sink")
# What a class has to define, one of them at least, to be of a role.
_METHODS = {
    "kernel": ("compute_into", "compute_into_multiple"),
    "source": ("read", "produce"),
    "sink": ("consume", "consume_publication"),
}


class KernelRegistry:
    """Kernel, source and sink classes by kind.

    Classes need not derive from `Kernel`, `Source` and `Sink`: what counts is that they have a
    `kind`, a constructor that takes a context, and the methods of their role. Built-in kinds are in
    every registry and cannot be replaced. Registries can be pickled if their classes can.

    Args:
        kernels: classes to begin with, as a list or by kind.
        sources: likewise.
        sinks: likewise.
    """

    def __init__(self, kernels: Classes = (), sources: Classes = (), sinks: Classes = ()) -> None:
        self._classes: dict[str, dict[str, type]] = {role: {} for role in _ROLES}
        for role, classes in zip(_ROLES, (kernels, sources, sinks), strict=True):
            for kind in classes.values() if isinstance(classes, Mapping) else classes:
                self._register(role, kind, replace=False)

    # Kernels.

    def get(self, kind: str) -> type:
        """The class of a kernel kind.

        Raises:
            ConfigValidationError: there is none.
        """
        return self._get("kernel", kind)

    def kinds(self) -> tuple[str, ...]:
        """All kernel kinds, sorted."""
        return self._kinds("kernel")

    def register(self, kernel: type, *, replace: bool = False) -> None:
        """Add a kernel class under its `kind`.

        Raises:
            TypeError: it is no kernel class.
            ValueError: the kind is taken, and `replace` is false or the kind is built in.
        """
        self._register("kernel", kernel, replace)

    def validate(
        self, config: KernelConfig, shared_memory: Mapping[str, SharedMemoryConfig]
    ) -> None:
        """Have the kind of a kernel check its entry.

        Raises:
            ConfigValidationError: the kind is unknown or does not accept it.
        """
        _validate(self.get(config.kind), check_kernel, config, shared_memory)

    def create(
        self,
        config: KernelConfig,
        shared_memory: Mapping[str, SharedMemoryConfig],
        *,
        config_base_dir: Path | None = None,
    ) -> Any:
        """A kernel object, after `validate`."""
        self.validate(config, shared_memory)
        return self.get(config.kind)(KernelContext(config, shared_memory, config_base_dir))

    # Sources.

    def get_source(self, kind: str) -> type:
        """As `get`, for sources."""
        return self._get("source", kind)

    def source_kinds(self) -> tuple[str, ...]:
        """All source kinds, sorted."""
        return self._kinds("source")

    def register_source(self, source: type, *, replace: bool = False) -> None:
        """As `register`, for sources."""
        self._register("source", source, replace)

    def validate_source(
        self, config: SourceConfig, shared_memory: Mapping[str, SharedMemoryConfig]
    ) -> None:
        """As `validate`, for sources."""
        _validate(self.get_source(config.kind), check_source, config, shared_memory)

    def create_source(
        self,
        config: SourceConfig,
        shared_memory: Mapping[str, SharedMemoryConfig],
        streams: Mapping[str, Any] | None = None,
        *,
        config_base_dir: Path | None = None,
    ) -> Any:
        """A source object, after `validate_source`.

        Args:
            config: its entry in the configuration.
            shared_memory: the streams of the pipeline by name.
            streams: handles by stream name, of which it gets those of its auxiliary streams.
            config_base_dir: folder that relative paths in parameters start from.
        """
        self.validate_source(config, shared_memory)
        auxiliary = _auxiliary(config, streams)
        context = SourceContext(config, shared_memory, auxiliary, config_base_dir)
        return self.get_source(config.kind)(context)

    # Sinks.

    def get_sink(self, kind: str) -> type:
        """As `get`, for sinks."""
        return self._get("sink", kind)

    def sink_kinds(self) -> tuple[str, ...]:
        """All sink kinds, sorted."""
        return self._kinds("sink")

    def register_sink(self, sink: type, *, replace: bool = False) -> None:
        """As `register`, for sinks."""
        self._register("sink", sink, replace)

    def validate_sink(
        self, config: SinkConfig, shared_memory: Mapping[str, SharedMemoryConfig]
    ) -> None:
        """As `validate`, for sinks."""
        _validate(self.get_sink(config.kind), check_sink, config, shared_memory)

    def create_sink(
        self,
        config: SinkConfig,
        shared_memory: Mapping[str, SharedMemoryConfig],
        streams: Mapping[str, Any] | None = None,
        *,
        config_base_dir: Path | None = None,
    ) -> Any:
        """A sink object, after `validate_sink`; see `create_source`."""
        self.validate_sink(config, shared_memory)
        auxiliary = _auxiliary(config, streams)
        context = SinkContext(config, shared_memory, auxiliary, config_base_dir)
        return self.get_sink(config.kind)(context)

    # Copies.

    def extended(
        self,
        *kernels: type,
        sources: Iterable[type] = (),
        sinks: Iterable[type] = (),
        replace: bool = False,
    ) -> Self:
        """A copy of this registry with more classes; see `register`."""
        copy = type(self)()
        copy._classes = {role: dict(classes) for role, classes in self._classes.items()}
        for role, classes in zip(_ROLES, (kernels, sources, sinks), strict=True):
            for kind in classes:
                copy._register(role, kind, replace)
        return copy

    def extended_sources(self, *sources: type, replace: bool = False) -> Self:
        """A copy of this registry with more sources."""
        return self.extended(sources=sources, replace=replace)

    def extended_sinks(self, *sinks: type, replace: bool = False) -> Self:
        """A copy of this registry with more sinks."""
        return self.extended(sinks=sinks, replace=replace)

    # One table for each role.

    def find(self, role: str, kind: str) -> type:
        """The class of a kind of a role (`kernel`, `source` or `sink`); see `get`."""
        return self._get(role, kind)

    def is_native(self, role: str, kind: str) -> bool:
        """Whether a kind of a role (`kernel`, `source` or `sink`) is built in."""
        return kind in _native_kinds(role)

    def entry_point(self, role: str, kind: str) -> EntryPoint | None:
        """The entry of an installed package that a kind comes from, if it comes from one."""
        if kind in _native_kinds(role) or kind in self._classes[role]:
            return None
        return _installed(role).get(kind)

    def _kinds(self, role: str) -> tuple[str, ...]:
        return tuple(sorted({*_native_kinds(role), *self._classes[role], *_installed(role)}))

    def _get(self, role: str, kind: str) -> type:
        if kind in _native_kinds(role):
            return _native_class(role, kind)
        if kind in self._classes[role]:
            return self._classes[role][kind]
        entry = _installed(role).get(kind)
        if entry is not None:
            return _loaded(role, entry)
        raise ConfigValidationError(_unknown(role, kind, self._kinds(role)))

    def _register(self, role: str, found: object, replace: bool) -> None:
        checked = _checked(role, found)
        kind: str = checked.kind  # type: ignore[attr-defined]
        if kind in _native_kinds(role):
            if checked is _native_class(role, kind):
                return
            raise ValueError(f"{role} kind {kind!r} is built in and cannot be replaced")
        if not replace and (kind in self._classes[role] or kind in _installed(role)):
            raise ValueError(
                f"{role} kind {kind!r} is registered already; replace=True puts another class in "
                "its place"
            )
        self._classes[role][kind] = checked

    def __repr__(self) -> str:
        names = {f"{role}s": sorted(classes) for role, classes in self._classes.items() if classes}
        return f"<KernelRegistry: built-in kinds, entry points{names or ''}>"


def _checked(role: str, found: object) -> type:
    """`found`, if it is a class that can serve in this role."""
    if not isinstance(found, type):
        raise TypeError(f"expected a {role} class, got {found!r}")
    methods = _METHODS[role]
    if not any(callable(getattr(found, method, None)) for method in methods):
        raise TypeError(
            f"{found.__qualname__} is no {role} class: it defines neither {' nor '.join(methods)}"
        )
    kind = getattr(found, "kind", None)
    if not isinstance(kind, str) or not kind.strip():
        raise TypeError(f"{role} class {found.__qualname__} has no `kind`, a non-empty text")
    return found


def _validate(kind: type, check: Any, config: Any, shared_memory: Any) -> None:
    own = getattr(kind, "validate_config", None)
    if own is None:
        check(kind, config, shared_memory)
    else:
        own(config, shared_memory)


def _auxiliary(
    config: SourceConfig | SinkConfig, streams: Mapping[str, Any] | None
) -> dict[str, Any]:
    if streams is None:
        return {}
    return {binding.alias: streams[binding.name] for binding in config.auxiliary}


def _unknown(role: str, kind: str, known: Iterable[str]) -> str:
    if kind.startswith("gpu."):
        return f"the {role} kind {kind!r} cannot run: this build has no GPU streams"
    return f"unknown {role} kind: {kind!r}; known are {', '.join(known)}"


@cache
def _native_kinds(role: str) -> frozenset[str]:
    return frozenset(kind for kind, _ in _native.node_kinds(role))


@cache
def _native_class(role: str, kind: str) -> type:
    """The class of a built-in kind: an importable one where there is, else one made for it."""
    from thalweg import sinks, sources
    from thalweg.kernels import cpu
    from thalweg.kernels._native_kernel import NativeKernel

    modules: dict[str, Any] = {"kernel": cpu, "source": sources, "sink": sinks}
    for name in modules[role].__all__:
        found: type = getattr(modules[role], name)
        if getattr(found, "kind", None) == kind:
            return found
    bases = {"kernel": NativeKernel, "source": sources.NativeSource, "sink": sinks.NativeSink}
    words = kind.replace(".", "_").split("_")
    name = "".join(word.capitalize() for word in words) + role.capitalize()
    summary = dict(_native.node_kinds(role))[kind]
    return type(name, (bases[role],), {"kind": kind, "__doc__": summary})


@cache
def _installed(role: str) -> dict[str, EntryPoint]:
    """Entry points by kind. Of several packages that offer one kind, the first found wins."""
    found: dict[str, EntryPoint] = {}
    # Other names under which packages offer their classes, such as that of a predecessor.
    more = (entry.name for entry in entry_points(group="thalweg.plugin_groups"))
    for prefix in ("thalweg", *more):
        for entry in entry_points(group=f"{prefix}.{role}s"):
            if entry.name not in _native_kinds(role):
                found.setdefault(entry.name, entry)
    return found


_loading = threading.Lock()


@cache
def _loaded(role: str, entry: EntryPoint) -> type:
    with _loading:
        found = _checked(role, entry.load())
    kind = found.kind  # type: ignore[attr-defined]
    if kind != entry.name:
        raise ValueError(
            f"the entry point {entry.name!r} of the group {entry.group!r} leads to the class "
            f"{found.__qualname__}, whose kind is {kind!r}; both have to be the same"
        )
    return found


_default = KernelRegistry()


def get_default_registry() -> KernelRegistry:
    """The registry of managers that are not given one, always the same.

    What is registered on it is known to every manager from then on; `extended` makes a copy
    instead.
    """
    return _default
