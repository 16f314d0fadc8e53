"""One run of a pipeline, from build to shutdown; it may outlive its manager for a moment."""

from __future__ import annotations

import logging
import sys
import threading
import weakref
from collections.abc import Mapping
from typing import Any

from thalweg import _json, _native
from thalweg._endpoints import Endpoint
from thalweg._events import Events
from thalweg._handle import SharedMemory
from thalweg._node_spec import NodeConfig, role_of
from thalweg._plugins import plugin_of
from thalweg._status import Report
from thalweg.config import PipelineConfig, SinkConfig, SourceConfig
from thalweg.errors import ConfigValidationError, ShmPipelineError
from thalweg.graph import feedback_errors
from thalweg.registry import KernelRegistry
from thalweg.synthetic import SyntheticInput

_log = logging.getLogger("thalweg.pipelines")

# How often somebody looks whether something happened, to log it.
_LOOK_S = 0.1
# How long a thread of the manager may take to end when nobody wants to wait.
_FORCED_S = 0.2


class Run:
    """Streams, workers, endpoints and synthetic inputs of one pipeline."""

    def __init__(
        self,
        config: PipelineConfig,
        registry: KernelRegistry,
        program: str,
        start_timeout_s: float,
        cpu_slots: dict[str, int | None] | None,
    ) -> None:
        self.config = config
        self.streams: dict[str, SharedMemory] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.synthetic: dict[str, SyntheticInput] = {}
        self.events = Events()
        self._registry = registry
        hosts, self._in_threads = _checked_hosts(config, registry)
        self.native = _native.Pipeline(
            config._native_handle, program, start_timeout_s, hosts, cpu_slots
        )
        self._monitor: Monitor | None = None
        # How things were when a stop began, for those who ask from inside of what is to end.
        self._before_stop: tuple[str, Report] | None = None

    def state(self) -> str:
        """A word for the state."""
        before = self._before_stop
        if before is not None and self._is_asked_by_endpoint():
            return before[0]
        return self.native.state()

    def _is_asked_by_endpoint(self) -> bool:
        """Whether the calling thread is one that a stop waits for, and must not wait for it."""
        return any(endpoint.is_here() for endpoint in self.endpoints.values())

    def build(self) -> None:
        """Make the streams and what runs in threads here."""
        self.streams = {name: SharedMemory(native) for name, native in self.native.build()}
        resource_names = {
            name: stream.resource_name for name, stream in self.config.shared_memory_by_name.items()
        }
        for node in self._in_threads:
            self.endpoints[node.name] = Endpoint(
                node, self._creator(node), self.native.endpoint(node.name), resource_names
            )

    def start(self) -> None:
        """Start everybody: sinks, then workers, then sources."""
        for stream in self.streams.values():
            if not stream._native.is_closed:
                stream._native.rebase()
        if self.native.state() != "built":
            self.native.start()  # Says why not.
        sinks = [end for end in self.endpoints.values() if end.role == "sink"]
        sources = [end for end in self.endpoints.values() if end.role == "source"]
        opened: list[Endpoint] = []
        try:
            for endpoint in sinks:
                endpoint.open()
                opened.append(endpoint)
            self.native.start()
            for endpoint in sinks:
                endpoint.begin()
            for endpoint in sources:
                endpoint.open()
                opened.append(endpoint)
                endpoint.begin()
        except BaseException:
            self._take_back(opened)
            raise
        self._monitor = Monitor(self)

    def _take_back(self, opened: list[Endpoint]) -> None:
        """After a start that came half the way."""
        if self.native.state() in ("running", "failed"):
            self.stop(1.0, force=True)
        for endpoint in opened:
            endpoint.discard()

    def restart(self, timeout: float | None) -> None:
        """Start those again that failed or ended."""
        ended = [
            endpoint
            for endpoint in self.endpoints.values()
            if not endpoint.alive and not endpoint.has_finished
        ]
        for endpoint in ended:
            # From here on its failure is history; `open` may have a new one.
            endpoint.discard()
            endpoint.native.stopped()
        self.native.restart(timeout)
        for endpoint in ended:
            try:
                endpoint.open()
            except BaseException as error:
                endpoint.fail(error)
                raise
            endpoint.begin()

    def change(self, config: PipelineConfig, timeout: float | None) -> None:
        """Make the running pipeline that of `config`, all or nothing. Sources and sinks on threads
        of this process stay as they are."""
        hosts, in_threads = _checked_hosts(config, self._registry)
        if in_threads != self._in_threads:
            raise ConfigValidationError(
                "sources and sinks on threads of the manager cannot be changed while they run"
            )
        fresh = self.native.change(config._native_handle, hosts, list(self.streams), timeout)
        self.config = config
        self.streams |= {name: SharedMemory(native) for name, native in fresh}
        for name in set(self.streams) - set(config.shared_memory_by_name):
            self.streams.pop(name).close()

    def stop(self, timeout: float, force: bool) -> None:
        """End everybody: sources, then workers and sinks."""
        patience = _FORCED_S if force else timeout
        alive = [endpoint for endpoint in self.endpoints.values() if endpoint.alive]
        for endpoint in [endpoint for endpoint in alive if endpoint.is_here()]:
            # The one that asks for the stop ends when it returns from where it is, also if it has
            # started the pipeline again by then.
            endpoint.leave()
            alive.remove(endpoint)
        # Threads cannot be killed. Those that do not end in time lose the right to write instead.
        timer = threading.Timer(patience, _abandon, (alive,))
        timer.daemon = True
        has_timer = bool(alive) and _has_started(timer)
        self._before_stop = (self.native.state(), self.look())
        try:
            self.native.stop(0.0 if force and not alive else patience)
        except ShmPipelineError:
            if has_timer:
                raise
            # Those in the way may be threads that nobody has given up in time.
            _abandon(alive)
            self.native.stop(_FORCED_S)
        finally:
            self._before_stop = None
            timer.cancel()
        if self._monitor is not None:
            self._monitor.end()
            self._monitor = None
        for endpoint in alive:
            endpoint.join(_FORCED_S)
        if not has_timer:
            _abandon(alive)
        self.look()

    def shutdown(self, unlink: bool, unlink_external: bool, force: bool) -> None:
        """End everything, close all handles, remove the streams."""
        try:
            is_active = self.native.state() in ("running", "paused", "failed")
        except RuntimeError:
            return  # A forked child: the run is its parent's.
        for running in self.synthetic.values():
            running.stop(2.0)
        # Whatever did not end in time has been told to, and ends by itself.
        self.synthetic.clear()
        if is_active:
            self.stop(5.0, force)
        self.native.shutdown(unlink, unlink_external)
        for endpoint in self.endpoints.values():
            endpoint.discard()
        for stream in self.streams.values():
            stream.close()
        self.streams = {}
        self.endpoints = {}

    def stop_synthetic(self, name: str, timeout: float) -> None:
        """End one synthetic input, if there is one."""
        running = self.synthetic.pop(name, None)
        if running is not None and not running.stop(timeout):
            self.synthetic[name] = running
            raise TimeoutError(
                f"the synthetic input of stream {name!r} did not end within {timeout:g} s: another "
                "writer holds the stream"
            )

    def look(self) -> Report:
        """How everything is, with events noticed."""
        before = self._before_stop
        if before is not None and self._is_asked_by_endpoint():
            return before[1]
        report = Report(self.native.status(), self.config, self.endpoints)
        self.events.observe(self.native, report)
        return report

    def _creator(self, node: SourceConfig | SinkConfig) -> Any:
        registry, config = self._registry, self.config
        create = registry.create_source if isinstance(node, SourceConfig) else registry.create_sink

        def make(streams: Mapping[str, Any]) -> Any:
            return create(
                node,  # type: ignore[arg-type]
                config.shared_memory_by_name,
                streams,
                config_base_dir=config.base_path,
            )

        return make


class Monitor:
    """A thread that notices what happens, so that it is logged when it does.

    Nothing depends on it: workers never wait for anybody who looks at them.
    """

    def __init__(self, run: Run) -> None:
        self._run = weakref.ref(run)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._main, name="thalweg-monitor", daemon=True)
        run.look()
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        if self._thread is not threading.current_thread():
            # It may be in the midst of somebody's log handler.
            self._thread.join(_FORCED_S)

    def _main(self) -> None:
        has_failed = False
        while not self._over.wait(_LOOK_S):
            run = self._run()
            if run is None:
                return
            try:
                # Nothing is measured unless something has happened.
                if run.events.is_behind(run.native):
                    run.look()
                if not has_failed and run.native.state() == "failed":
                    has_failed = True
                    _log.error("pipeline state: failed")
            except RuntimeError:
                return  # A forked child.
            del run


Threads = list[SourceConfig | SinkConfig]
Hosts = list[tuple[str, tuple[str, list[str], str] | None]]


def _hosted(config: PipelineConfig, registry: KernelRegistry) -> list[tuple[NodeConfig, type]]:
    """The nodes whose kinds are Python classes, with their classes."""
    nodes: list[NodeConfig] = [*config.sources, *config.kernels, *config.sinks]
    hosted: list[tuple[NodeConfig, type]] = []
    for node in nodes:
        role = role_of(node)
        if not registry.is_native(role, node.kind):
            try:
                hosted.append((node, registry.find(role, node.kind)))
            except ConfigValidationError:
                pass  # Unknown: said by whoever checks the kinds.
    return hosted


def _checked_hosts(config: PipelineConfig, registry: KernelRegistry) -> tuple[Hosts, Threads]:
    """Who runs the nodes whose kinds are Python classes, and which of them run in threads here.

    Raises:
        ConfigValidationError: everything that is wrong with the configuration.
    """
    hosted = _hosted(config, registry)
    names = [node.name for node, _ in hosted]
    problems = config._native_handle.problems(names)
    problems += _binding_problems(config, registry, set(names))
    problems += feedback_errors(config, registry)
    if problems:
        raise ConfigValidationError("\n".join(problems))
    hosts: Hosts = []
    in_threads: Threads = []
    for node, kind in hosted:
        if isinstance(node, (SourceConfig, SinkConfig)) and node.process != "own":
            hosts.append((node.name, None))
            in_threads.append(node)
            continue
        plugin = plugin_of(registry, node, kind)
        program = (sys.executable, ["-m", "thalweg.worker"], _json.dumps(plugin))
        hosts.append((node.name, program))
    return hosts, in_threads


def _binding_problems(
    config: PipelineConfig, registry: KernelRegistry, hosted: set[str]
) -> list[str]:
    """What the classes of hosted nodes do not accept."""
    problems: list[str] = []
    streams = config.shared_memory_by_name
    checks: list[tuple[Any, NodeConfig]] = [
        *((registry.validate, kernel) for kernel in config.kernels),
        *((registry.validate_source, source) for source in config.sources),
        *((registry.validate_sink, sink) for sink in config.sinks),
    ]
    for validate, node in checks:
        if node.name not in hosted:
            continue
        try:
            validate(node, streams)
        except ConfigValidationError as problem:
            problems.append(str(problem))
    return problems


def _has_started(thread: threading.Thread) -> bool:
    """Start a thread; false where the interpreter is ending and makes no new ones."""
    try:
        thread.start()
    except RuntimeError:
        return False
    return True


def _abandon(endpoints: list[Endpoint]) -> None:
    for endpoint in endpoints:
        endpoint.abandon()
