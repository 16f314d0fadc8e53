"""Pipelines that run: build, start, pause, stop, and see how they do."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, final

from thalweg import _native
from thalweg._find import find_binary
from thalweg._handle import SharedMemory
from thalweg._run import Run
from thalweg._status import Report
from thalweg.config import KernelConfig, PipelineConfig, SharedMemoryConfig
from thalweg.errors import ConfigValidationError, StateTransitionError, WorkerProcessError
from thalweg.graph import PipelineGraph
from thalweg.registry import KernelRegistry, get_default_registry
from thalweg.scheduling import (
    NoAffinityPlacementPolicy,
    RoundRobinPlacementPolicy,
    WorkerPlacementPolicy,
)
from thalweg.state import PipelineState
from thalweg.synthetic import SyntheticInput, SyntheticInputConfig

__all__ = ["PipelineManager"]

_log = logging.getLogger("thalweg.pipelines")


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

    Sources and sinks that are Python classes run on threads of this process, so that objects they
    share with the program work; with `process: own` in their entry they get a process instead.
    Calls of one manager from several threads wait for each other.

    Args:
        config: a configuration, the path of a YAML file, or a mapping.
        spawn_method: accepted; workers are programs of their own, started in one way only.
        placement_policy: chooses CPUs for kernels that do not say; None goes round robin.
        registry: the kinds; None is `get_default_registry()`.
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
        spawn_method: str = "spawn",
        placement_policy: WorkerPlacementPolicy | None = None,
        registry: KernelRegistry | None = None,
        worker_start_timeout: float = 10.0,
        config_base_path: str | os.PathLike[str] | None = None,
    ) -> None:
        if spawn_method not in ("spawn", "fork", "forkserver"):
            raise ValueError(
                f"spawn_method must be spawn, fork or forkserver, got {spawn_method!r}"
            )
        if isinstance(config, (str, os.PathLike)):
            config = PipelineConfig.from_yaml(config)
        elif not isinstance(config, PipelineConfig):
            config = PipelineConfig.from_dict(config, config_base_path)
        _native.check_duration("worker_start_timeout", worker_start_timeout)
        self._config = config
        self._registry = get_default_registry() if registry is None else registry
        self._has_policy = placement_policy is not None
        self._placement_policy = _policy_of(config, placement_policy)
        self._worker_start_timeout = worker_start_timeout
        self._program = find_binary()
        self._lock = threading.RLock()
        self._run: Run | None = None
        # Before the first build, and after a shutdown without one.
        self._idle_state = PipelineState.INITIALIZED
        self._end: weakref.finalize[[bool, bool, bool], PipelineManager] | None = None

    @property
    def config(self) -> PipelineConfig:
        """The configuration."""
        return self._config

    @property
    def registry(self) -> KernelRegistry:
        """The kinds."""
        return self._registry

    @property
    def placement_policy(self) -> WorkerPlacementPolicy:
        """Who chooses CPUs for kernels that do not say."""
        return self._placement_policy

    @property
    def graph(self) -> PipelineGraph:
        """The graph of the configuration."""
        return PipelineGraph.from_config(self._config)

    @property
    def state(self) -> PipelineState:
        """The state; `FAILED` as soon as a kernel, source or sink of a running pipeline failed."""
        run = self._run
        if run is None:
            return self._idle_state
        return PipelineState(run.state())

    # From build to shutdown.

    def build(self) -> None:
        """Check kinds and wiring, then make the streams and fill those with `initial` values.

        What a killed run has left of them is removed first. After an error nothing is left.

        Raises:
            ConfigValidationError: everything that does not fit, each problem with its place.
            StateTransitionError: the state is neither INITIALIZED nor STOPPED.
            ShmPipelineError: a stream belongs to another pipeline that runs.
            FileExistsError, FileNotFoundError: for streams with `mode: create` and `attach`.
            OSError: there is no room, or no permission.
            Exception: what a `validate_config` of a plugin raises.
        """
        with self._lock:
            before = self.state
            self._expect("build", before, PipelineState.INITIALIZED, PipelineState.STOPPED)
            run = Run(
                self._config,
                self._registry,
                self._program,
                self._worker_start_timeout,
                self._cpu_slots() if self._has_policy else None,
            )
            try:
                run.build()
            except BaseException:
                run.shutdown(True, False, True)
                raise
            if self._end is not None:
                self._end.detach()
            self._run = run
            # Also runs when the interpreter ends.
            self._end = weakref.finalize(self, run.shutdown, True, False, False)
            self._tell(before)

    def start(self) -> None:
        """Start all workers, wait until they are ready, then let the sources begin.

        Whatever is written from now on is seen by every stage.

        Raises:
            WorkerProcessError: a worker failed or was not ready in time; all are ended again.
            StateTransitionError: the state is not BUILT.
            Exception: what `open` of a source or sink raises; all are ended again.
        """
        with self._lock:
            before = self.state
            run = self._expect_run("start", PipelineState.BUILT)
            run.start()
            self._tell(before)

    def pause(self) -> None:
        """Have kernels, sources and sinks wait after the frame they are at. Synthetic inputs go on.

        Raises:
            StateTransitionError: the state is not RUNNING.
        """
        with self._lock:
            before = self.state
            self._expect_run("pause", PipelineState.RUNNING).native.pause()
            self._tell(before)

    def resume(self) -> None:
        """Have everybody go on.

        Raises:
            StateTransitionError: the state is not PAUSED.
        """
        with self._lock:
            before = self.state
            self._expect_run("resume", PipelineState.PAUSED).native.resume()
            self._tell(before)

    def stop(self, timeout: float = 5.0, force: bool = False) -> None:
        """End all workers, sources first. The streams stay, and `start` is possible again.

        What failed stays known until then, in `failures`.

        Args:
            timeout: seconds to wait for them; those that take longer are killed. Threads of sources
                and sinks that take longer are left behind, and can write no more.
            force: do not wait, kill.

        Raises:
            StateTransitionError: the pipeline is neither RUNNING, PAUSED, FAILED nor BUILT.
        """
        with self._lock:
            before = self.state
            run = self._expect_run(
                "stop",
                PipelineState.RUNNING,
                PipelineState.PAUSED,
                PipelineState.FAILED,
                PipelineState.BUILT,
            )
            _native.check_duration("timeout", timeout)
            if before is not PipelineState.BUILT:
                run.stop(timeout, force)
                self._tell(before)

    def shutdown(
        self, unlink: bool = True, unlink_external: bool = False, force: bool = False
    ) -> None:
        """End everything, close all handles of `get_stream` and remove the streams.

        Possible in every state, any number of times. Arrays stay valid.

        Args:
            unlink: remove the streams this pipeline created. Those that are kept can be read and
                written until this process ends; from then on they are debris that the next run, or
                `purge`, removes.
            unlink_external: remove those it attached to as well.
            force: kill the workers instead of asking them to end.
        """
        with self._lock:
            if self._run is None:
                self._idle_state = PipelineState.STOPPED
                return
            try:
                before = self.state
            except RuntimeError:
                return  # A forked child: the run is its parent's.
            self._run.shutdown(unlink, unlink_external, force)
            if before is not PipelineState.STOPPED:
                self._tell(before)

    def _expect(self, action: str, found: PipelineState, *expected: PipelineState) -> None:
        """Complain unless the state is one of `expected`."""
        if found not in expected:
            names = [state.name for state in expected]
            wanted = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
            raise StateTransitionError(
                f"cannot {action} a pipeline that is {found.value}; it has to be {wanted}"
            )

    def _expect_run(self, action: str, *expected: PipelineState) -> Run:
        """The run, if the state is one of `expected`, none of which is possible without one."""
        self._expect(action, self.state, *expected)
        assert self._run is not None
        return self._run

    def _tell(self, before: PipelineState) -> None:
        after = self.state
        if after is not before:
            _log.info("pipeline state: %s -> %s", before.value, after.value)

    def _cpu_slots(self) -> dict[str, int | None]:
        """The CPU of each kernel, as the policy wants it."""
        allowed = sorted(os.sched_getaffinity(0))
        slots: dict[str, int | None] = {}
        for index, kernel in enumerate(self._config.kernels):
            slot = self._placement_policy.cpu_slot_for(
                kernel=kernel, index=index, cpu_count=len(allowed)
            )
            slots[kernel.name] = None if slot is None else allowed[slot % len(allowed)]
        return slots

    # Changes of a running pipeline.

    def restart(self, timeout: float | None = None) -> None:
        """Start kernels, sources and sinks again that have failed or ended; the others are not
        disturbed. What is started begins from its initial state.

        Args:
            timeout: seconds workers may take to become ready; None is `worker_start_timeout`.

        Raises:
            WorkerProcessError: a worker failed again or was not ready in time.
            StateTransitionError: the pipeline is neither RUNNING, PAUSED nor FAILED.
            Exception: what `open` of a source or sink raises.
        """
        with self._lock:
            before = self.state
            run = self._expect_run(
                "restart", PipelineState.RUNNING, PipelineState.PAUSED, PipelineState.FAILED
            )
            if timeout is not None:
                _native.check_duration("timeout", timeout)
            run.restart(timeout)
            self._tell(before)

    def add_kernel(
        self,
        kernel: KernelConfig | Mapping[str, Any],
        shared_memory: Iterable[SharedMemoryConfig | Mapping[str, Any]] = (),
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Add a kernel to a running pipeline, with the streams it needs that are not there yet.

        All or nothing: after an error the pipeline runs on as it was, and nothing is left of what
        was begun. The other stages do not stop.

        Args:
            kernel: its entry.
            shared_memory: entries of streams.
            timeout: seconds its worker may take to become ready; None is `worker_start_timeout`.

        Returns:
            `status()`.

        Raises:
            ConfigValidationError: the pipeline with it would not be valid.
            WorkerProcessError: its worker failed or was not ready in time.
            StateTransitionError: the state is neither RUNNING nor PAUSED.
            ShmPipelineError, OSError: a stream cannot be made.
        """
        added = _entry(KernelConfig, kernel)
        streams = tuple(
            dataclasses.replace(
                _entry(SharedMemoryConfig, stream), namespace=self._config.namespace
            )
            for stream in shared_memory
        )
        return self._change(
            lambda config: dataclasses.replace(
                config,
                kernels=(*config.kernels, added),
                shared_memory=(*config.shared_memory, *streams),
            ),
            timeout,
        )

    def replace_kernel(self, kernel: KernelConfig | Mapping[str, Any]) -> dict[str, Any]:
        """Put a kernel in the place of the one with its name, such as one with other parameters.

        The new one is started beside the old one and takes over with the first frame the old one
        did not take. Otherwise as `add_kernel`.

        ```python
        [scale] = manager.config.kernels
        manager.replace_kernel(dataclasses.replace(scale, parameters={"factor": 3.0}))
        ```

        Raises:
            KeyError: there is no kernel of that name.
            As `add_kernel`.
        """
        new = _entry(KernelConfig, kernel)
        self._expect_kernel(new.name)
        return self._change(
            lambda config: dataclasses.replace(
                config,
                kernels=tuple(new if old.name == new.name else old for old in config.kernels),
            )
        )

    def remove_kernel(self, name: str) -> dict[str, Any]:
        """Take a kernel out of a running pipeline. Its streams stay. Otherwise as `add_kernel`.

        Raises:
            KeyError: there is no kernel of that name.
            As `add_kernel`.
        """
        self._expect_kernel(name)
        return self._change(
            lambda config: dataclasses.replace(
                config, kernels=tuple(old for old in config.kernels if old.name != name)
            )
        )

    def _expect_kernel(self, name: str) -> None:
        known = [kernel.name for kernel in self._config.kernels]
        if name not in known:
            raise KeyError(f"no kernel {name!r}; there are {', '.join(map(repr, known)) or 'none'}")

    def _change(
        self, change: Callable[[PipelineConfig], PipelineConfig], timeout: float | None = None
    ) -> dict[str, Any]:
        with self._lock:
            run = self._expect_run("change", PipelineState.RUNNING, PipelineState.PAUSED)
            config = change(self._config)
            run.change(config, timeout)
            self._config = config
            return self.status()

    # Data.

    def get_stream(self, name: str) -> SharedMemory:
        """The handle of the stream `name`, always the same one from `build` to `shutdown`.

        For this handle `read_new` treats as new every frame that the handle has not returned since
        `start`: the answer to a write is not missed, however fast the pipeline is.

        Args:
            name: the name in the configuration, without namespace.

        Raises:
            KeyError: the configuration has no such stream, or the pipeline is not built.
        """
        streams = {} if self._run is None else self._run.streams
        try:
            return streams[name]
        except KeyError:
            known = ", ".join(repr(known) for known in streams)
            reason = f"known are {known}" if known else "call build() first"
            raise KeyError(f"no stream {name!r}: {reason}") from None

    # How it does.

    def status(self, poll: bool = True) -> dict[str, Any]:
        """How everything is doing, as nested dictionaries of plain values.

        Observing costs the workers nothing, and nobody has to do it.

        Args:
            poll: accepted; a status is always of this moment.

        Returns:
            `state`; `runtime_s` since the start; `workers`, `sources` and `sinks`, each by name;
            `metrics` of the workers that have computed something; `synthetic_sources` by stream;
            `failures`, a list; `placement_policy`; and `summary` with totals.

            Of a worker: `pid`, `alive`, `exitcode`, `cpu_slot`, `health` (`starting`,
            `waiting-input`, `active`, `idle`, `paused`, `failed` or `stopped`), `idle_s` since its
            last frame, `restarts`, `frames_processed`, `missed_inputs`, `throughput_hz`,
            `avg_exec_us`, `jitter_us_rms`, `last_output_count`, `frame_sync_*`, its own
            measurements in `figures`, and the distributions `execution`, `wait` and `latency` (from
            the origin of the data to its publication here), in ns.
        """
        report = self._look()
        return {
            "state": str(self.state),
            "runtime_s": report.runtime_s,
            **report.groups,
            "failures": [dict(failure) for failure in report.failures],
            "metrics": report.metrics,
            "synthetic_sources": self.synthetic_input_status(),
            "placement_policy": self._placement_policy.describe(),
            "summary": report.summary(),
        }

    def runtime_snapshot(self, poll: bool = True) -> dict[str, Any]:
        """`status` with the `timestamp`, in seconds since 1970, and the `graph`."""
        return {
            "timestamp": time.time(),
            **self.status(poll=poll),
            "graph": self.graph.to_dict(),
        }

    def source_status(self) -> dict[str, Any]:
        """The sources of `status`."""
        sources: dict[str, Any] = self._look().groups["sources"]
        return sources

    def sink_status(self) -> dict[str, Any]:
        """The sinks of `status`."""
        sinks: dict[str, Any] = self._look().groups["sinks"]
        return sinks

    @property
    def failures(self) -> tuple[dict[str, Any], ...]:
        """What failed since the last start: `type`, `kernel` (its name), `error`, `traceback`..."""
        return self._look().failures

    def raise_if_failed(self) -> None:
        """Raise the first of `failures`, if there is one.

        Raises:
            WorkerProcessError: `worker 'name' failed: ...`, or a source or sink.
        """
        for failure in self.failures:
            noun = failure.get("component_type", "worker")
            raise WorkerProcessError(f"{noun} {failure['kernel']!r} failed: {failure['error']}")

    def poll_events(self) -> list[dict[str, Any]]:
        """What happened since the last call: `worker_started`, `worker_stopped`, `worker_failed`,
        `source_failed`, `sink_failed`, and, at most four times a second for each worker,
        `worker_metrics`.

        Nobody has to call it: events beyond the last thousand are dropped, and nothing waits.
        """
        if self._run is None:
            return []
        self._run.look()
        return self._run.events.drain()

    @property
    def events(self) -> tuple[dict[str, Any], ...]:
        """The last 256 events."""
        return () if self._run is None else self._run.events.kept()

    def _look(self) -> Report:
        if self._run is None:
            return Report(None, self._config, {})
        return self._run.look()

    # Test patterns.

    def start_synthetic_input(self, spec: SyntheticInputConfig | Mapping[str, Any]) -> None:
        """Write a test pattern into a stream from now on. One that runs there already is replaced.

        It is written by a thread without an interpreter; pauses do not concern it, and `stop` does
        not end it.

        Raises:
            StateTransitionError: the pipeline is not built.
            KeyError: the configuration has no such stream.
            ConfigValidationError: a source of the configuration writes that stream.
        """
        if not isinstance(spec, SyntheticInputConfig):
            spec = SyntheticInputConfig.from_dict(spec)
        with self._lock:
            run = self._expect_run(
                "start a synthetic input of",
                PipelineState.BUILT,
                PipelineState.RUNNING,
                PipelineState.PAUSED,
                PipelineState.FAILED,
            )
            name = spec.stream_name
            stream = self.get_stream(name)
            for source in self._config.sources:
                if name in source.output_streams:
                    raise ConfigValidationError(
                        f"stream {name!r} is written by source {source.name!r}; a synthetic input "
                        "cannot write it as well"
                    )
            self.stop_synthetic_input(name)
            shared_memory = self._config.shared_memory_by_name[name]
            run.synthetic[name] = SyntheticInput(spec, stream, shared_memory)

    def stop_synthetic_input(self, stream_name: str, timeout: float = 2.0) -> None:
        """End the test pattern of a stream, if there is one.

        Raises:
            TimeoutError: it did not end in time.
        """
        with self._lock:
            if self._run is not None:
                self._run.stop_synthetic(stream_name, timeout)

    def stop_all_synthetic_inputs(self, timeout: float = 2.0) -> None:
        """End all test patterns."""
        for name in list(self.synthetic_input_status()):
            self.stop_synthetic_input(name, timeout)

    def synthetic_input_status(self) -> dict[str, dict[str, Any]]:
        """Settings and progress of the test patterns, by stream."""
        if self._run is None:
            return {}
        return {name: running.status() for name, running in list(self._run.synthetic.items())}

    # Measuring.

    def benchmark(
        self,
        duration_s: float = 5.0,
        source: SyntheticInputConfig | Mapping[str, Any] | None = None,
        output_stream: str | None = None,
        warmup_s: float = 0.5,
        poll_interval: float = 1e-4,
    ) -> dict[str, Any]:
        """Measure what comes out of a running pipeline.

        Args:
            duration_s: how long.
            source: a test pattern to write meanwhile.
            output_stream: where to look; None looks where the pipeline ends, if that is one place.
            warmup_s: how long not to look at first.
            poll_interval: accepted; nothing polls.

        Returns:
            `output_stream`, `duration_s`, `frames`, `throughput_hz`; `inter_arrival_ms`, the
            distribution of times from one publication to the next; `latency_ms`, that of the true
            latencies, from the origin of the data to its publication (each with `count` and, if
            that is not 0, `min`, `mean`, `max`, `p50`, `p90`, `p99`, `p99_9`); and `workers`, for
            each `avg_exec_ms`, `jitter_us_rms` and `throughput_hz`.

        Raises:
            StateTransitionError: the state is not RUNNING.
            ValueError: a duration is out of range, or it is not clear where to look.
            KeyError: there is no such stream.
        """
        with self._lock:
            run = self._expect_run("benchmark", PipelineState.RUNNING)
        name = self._output_of(output_stream)
        stream = self.get_stream(name)
        if duration_s <= 0:
            raise ValueError(f"duration_s must be positive, got {duration_s!r}")
        if isinstance(source, Mapping):
            source = SyntheticInputConfig.from_dict(source)
        if source is not None:
            self.start_synthetic_input(source)
        try:
            seen = json.loads(_native.observe(stream._native, warmup_s, duration_s))
            workers = run.look().groups["workers"]
        finally:
            if source is not None:
                self.stop_synthetic_input(source.stream_name)
        self.raise_if_failed()
        return {
            "output_stream": name,
            "duration_s": seen["elapsed_s"],
            "frames": seen["frames"],
            "throughput_hz": seen["frames"] / seen["elapsed_s"],
            "inter_arrival_ms": seen["interval_ms"],
            "latency_ms": seen["latency_ms"],
            "workers": {
                worker: {
                    key: entry[key] for key in ("avg_exec_ms", "jitter_us_rms", "throughput_hz")
                }
                for worker, entry in workers.items()
            },
        }

    def _output_of(self, name: str | None) -> str:
        """The stream to measure."""
        if name is not None:
            self.get_stream(name)
            return name
        config = self._config
        read = {stream for kernel in config.kernels for stream in kernel.all_inputs}
        consumed = {sink.stream for sink in config.sinks}
        written = [kernel.output for kernel in config.kernels]
        ends = [stream for stream in written if stream not in read | consumed]
        # A pipeline that ends in sinks is measured where its last stages write.
        ends = ends or [stream for stream in written if stream in consumed]
        ends = ends or sorted(consumed)
        if len(ends) == 1:
            return ends[0]
        found = ", ".join(map(repr, ends)) or "none"
        raise ValueError(
            f"name output_stream: the pipeline has not one end but {len(ends)}: {found}"
        )

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


_Record = TypeVar("_Record", KernelConfig, SharedMemoryConfig)


def _entry(record: type[_Record], given: _Record | Mapping[str, Any]) -> _Record:
    return given if isinstance(given, record) else record.from_dict(given)  # type: ignore[arg-type]


def _policy_of(
    config: PipelineConfig, policy: WorkerPlacementPolicy | None
) -> WorkerPlacementPolicy:
    """The policy of the program, or that of the configuration."""
    if policy is not None:
        return policy
    placement = config.placement or {}
    if placement.get("policy") == "none":
        return NoAffinityPlacementPolicy()
    return RoundRobinPlacementPolicy(offset=placement.get("offset") or 0)
