"""Pipelines: stages in processes of their own, wired by streams as a YAML file says."""

from __future__ import annotations

import builtins
import json
import os
import weakref
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

from thalweg import _json, _native
from thalweg._find import find_binary
from thalweg._status import status_of
from thalweg._handle import SharedMemory
from thalweg.errors import ConfigValidationError


class PipelineState(StrEnum):
    """The state of a pipeline as a whole."""

    INITIALIZED = "initialized"
    BUILT = "built"
    RUNNING = "running"
    PAUSED = "paused"
    FAILED = "failed"
    STOPPED = "stopped"


@final
class PipelineConfig:
    """A checked configuration. Made by `from_yaml` and `from_dict`.

    Two configurations are equal when they describe the same pipeline, wherever they came from.
    """

    __slots__ = ("_native",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, native: _native.PipelineConfig) -> None:
        if not isinstance(native, _native.PipelineConfig):
            raise TypeError("use PipelineConfig.from_yaml(path) or PipelineConfig.from_dict(raw)")
        self._native = native

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> Self:
        """Read a configuration from a YAML file.

        Raises:
            OSError: the file cannot be read.
            ConfigValidationError: everything that is wrong with it, each problem with its line.
        """
        # A missing file is no fault of a configuration: let the system say so.
        with builtins.open(path, "rb"):
            return cls(_native.PipelineConfig.from_yaml(os.fspath(path)))

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
        try:
            text = _json.dumps(dict(raw) if isinstance(raw, Mapping) else raw)
        except (TypeError, ValueError) as problem:
            raise ConfigValidationError(f"pipeline config: {problem}") from problem
        return cls(_native.PipelineConfig.from_json(text, os.fspath(base)))

    def to_dict(self) -> dict[str, Any]:
        """The configuration as `from_dict` reads it; keys with default values are left out."""
        document: dict[str, Any] = json.loads(self._native.to_json())
        return document

    @property
    def base_path(self) -> Path:
        """Folder that relative paths in the configuration start from."""
        return self._native.base_path

    @property
    def source_path(self) -> Path | None:
        """The file the configuration was read from."""
        return self._native.source_path

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PipelineConfig):
            return NotImplemented
        return self._native.equals(other._native)

    def __repr__(self) -> str:
        if self.source_path is None:
            return f"PipelineConfig.from_dict({self.to_dict()!r})"
        return f"PipelineConfig.from_yaml({str(self.source_path)!r})"


@final
class PipelineManager:
    """A pipeline: builds its streams, starts and stops its workers, one process per stage.

    ```python
    manager = PipelineManager("pipeline.yaml")
    manager.build()
    manager.start()
    manager.get_stream("input_frame").write(frame)
    result = manager.get_stream("scaled_frame").read_new(timeout=2.0)
    manager.stop()
    manager.shutdown()
    ```

    A manager is a context manager whose block ends with `shutdown`. One that is collected, or
    still there when the interpreter ends, shuts down as well: no process and no stream is left.
    Workers end with the process that started them, even if that is killed.

    Args:
        config: a configuration, the path of a YAML file, or a mapping.
        worker_start_timeout: seconds workers may take to become ready.
        config_base_path: folder that relative paths in a mapping start from; None is the current.

    Raises:
        ConfigValidationError, OSError: as for `PipelineConfig`.
        FileNotFoundError: the `thalweg` command of this installation, which workers run, is gone.
    """

    def __init__(
        self,
        config: PipelineConfig | Mapping[str, Any] | str | os.PathLike[str],
        *,
        worker_start_timeout: float = 10.0,
        config_base_path: str | os.PathLike[str] | None = None,
    ) -> None:
        if isinstance(config, (str, os.PathLike)):
            config = PipelineConfig.from_yaml(config)
        elif not isinstance(config, PipelineConfig):
            config = PipelineConfig.from_dict(config, config_base_path)
        self._config = config
        self._native = _native.Pipeline(config._native, find_binary(), worker_start_timeout)
        self._streams: dict[str, SharedMemory] = {}
        # Also runs when the interpreter ends.
        self._end = weakref.finalize(self, self._native.shutdown, True, False)

    @property
    def config(self) -> PipelineConfig:
        """The configuration."""
        return self._config

    @property
    def state(self) -> PipelineState:
        """The state; `FAILED` as soon as a worker of a running pipeline failed."""
        return PipelineState(self._native.state())

    def build(self) -> None:
        """Check kinds and wiring, then make the streams and fill those with `initial` values.

        What a killed run has left of them is removed first. After an error nothing is left.

        Raises:
            ConfigValidationError: everything that does not fit, each problem with its place.
            StateTransitionError: the state is neither INITIALIZED nor STOPPED.
            ShmPipelineError: a stream belongs to another pipeline that runs.
            FileExistsError, FileNotFoundError: for streams with `mode: create` and `attach`.
            OSError: there is no room, or no permission.
        """
        self._streams = {name: SharedMemory(native) for name, native in self._native.build()}

    def start(self) -> None:
        """Start all workers, wait until they are ready, then let the sources begin.

        Whatever is written from now on is seen by every stage.

        Raises:
            WorkerProcessError: a worker failed or was not ready in time; all are ended again.
            StateTransitionError: the state is not BUILT.
        """
        for stream in self._streams.values():
            if not stream._native.is_closed:
                stream._native.rebase()
        self._native.start()

    def get_stream(self, name: str) -> SharedMemory:
        """The handle of the stream `name`, always the same one from `build` to `shutdown`.

        For this handle `read_new` treats as new every frame that the handle has not returned since
        `start`: the answer to a write is not missed, however fast the pipeline is.

        Args:
            name: the name in the configuration, without namespace.

        Raises:
            KeyError: the configuration has no such stream, or the pipeline is not built.
        """
        try:
            return self._streams[name]
        except KeyError:
            known = ", ".join(repr(known) for known in self._streams)
            reason = f"known are {known}" if known else "call build() first"
            raise KeyError(f"no stream {name!r}: {reason}") from None

    def status(self) -> dict[str, Any]:
        """How everything is doing, as nested dictionaries of plain values.

        Returns:
            `state`; `runtime_s` since the start; `workers`, `sources` and `sinks`, each by name;
            `failures`, a list; and `summary` with totals. For a worker: `kind`, `pid`, `alive`,
            `exitcode`, `health`, `idle_s`, `frames_processed`, `missed_inputs`,
            `throughput_hz`, `avg_exec_us`, `last_output_count`, its own measurements in `figures`,
            and the distributions `execution`, `wait` and `latency` (from the origin of the data
            to its publication here), in ns. Observing costs the workers nothing.
        """
        return status_of(self.state, self._native.status())

    def stop(self, timeout: float = 5.0, force: bool = False) -> None:
        """End all workers, sources first. The streams stay, and `start` is possible again.

        Args:
            timeout: seconds to wait for them; those that take longer are killed.
            force: do not wait, kill.

        Raises:
            StateTransitionError: the pipeline is neither RUNNING, PAUSED, FAILED nor BUILT.
        """
        self._native.stop(0.0 if force else timeout)

    def shutdown(
        self, unlink: bool = True, unlink_external: bool = False, force: bool = False
    ) -> None:
        """End all workers, close all handles of `get_stream` and remove the streams.

        Possible in every state, any number of times. Arrays stay valid.

        Args:
            unlink: remove the streams this pipeline created. Those that are kept can be read and
                written until this process ends; from then on they are debris that the next run, or
                `purge`, removes.
            unlink_external: remove those it attached to as well.
            force: kill the workers instead of asking them to end.
        """
        if force and self.state in ("running", "paused", "failed"):
            self.stop(force=True)
        self._native.shutdown(unlink, unlink_external)
        for stream in self._streams.values():
            stream.close()
        self._streams = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()

    def __repr__(self) -> str:
        return f"<PipelineManager {self.state.value}: {self._config!r}>"
