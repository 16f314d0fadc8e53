"""What the native loop of a worker calls: one object for each node, made of the user's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from thalweg import _json, _native
from thalweg._handle import SharedMemory
from thalweg._publication import Publication
from thalweg.config import PipelineConfig
from thalweg.kernel import Kernel, KernelContext
from thalweg.sink import Sink, SinkContext
from thalweg.source import Source, SourceContext

# Own measurements are told at most this often.
_METRICS_S = 0.25


class Runner(Protocol):
    """What all runners have."""

    def finish(self) -> None:
        """Give back what the node took, after its last frame."""


def runner_of(
    role: str, found: type, told: Mapping[str, Any], control: _native.WorkerControl
) -> Runner:
    """The runner of a new object of the class `found`.

    Args:
        role: `kernel`, `source` or `sink`.
        found: the class.
        told: what the worker was told about the node.
        control: what the worker offers.
    """
    base_dir = Path(told["spec"]["base_dir"])
    config = PipelineConfig.from_dict(told["document"], base_dir)
    if role == "kernel":
        return KernelRunner(found, config, base_dir)
    if role == "source":
        return SourceRunner(found, config, base_dir, told, control)
    return SinkRunner(found, config, base_dir, told, control)


class KernelRunner:
    """A kernel.

    A class may have beside what `Kernel` has: `warm_up()`, called before the pipeline runs, such as
    to compile; `trial_call = True`, which has `compute_into` called once with zeros before that;
    `keeps_output = True`, which has outputs begin as the frame before instead of undefined; and
    `close()`, called after the last frame.
    """

    def __init__(self, found: type, config: PipelineConfig, base_dir: Path) -> None:
        own = config.kernels[0]
        context = KernelContext(own, config.shared_memory_by_name, base_dir)
        self._object: Any = found(context)
        self.takes_list = len(own.all_outputs) > 1 or not _defines(found, "compute_into", Kernel)
        self.keeps_output = bool(getattr(found, "keeps_output", False))
        self.compute: Callable[..., Any] = (
            self._object.compute_into_multiple if self.takes_list else self._object.compute_into
        )
        if getattr(found, "trial_call", False):
            self._try(context)
        warm_up = getattr(self._object, "warm_up", None)
        if warm_up is not None:
            warm_up()

    def _try(self, context: KernelContext) -> None:
        def zeros(names: tuple[str, ...]) -> list[Any]:
            specs = [context.shared_memory[name] for name in names]
            return [np.zeros(spec.shape, spec.dtype) for spec in specs]

        own = context.config
        triggers, outputs = zeros(own.trigger_inputs), zeros(own.all_outputs)
        auxiliary = dict(zip(own.auxiliary_aliases, zeros(own.auxiliary_names), strict=True))
        for array in (*triggers, *auxiliary.values()):
            array.flags.writeable = False
        self.compute(
            triggers[0] if len(triggers) == 1 else tuple(triggers),
            outputs if self.takes_list else outputs[0],
            auxiliary,
        )

    def finish(self) -> None:
        """Close it."""
        close = getattr(self._object, "close", None)
        if close is not None:
            close()


class _EndpointRunner:
    """What sources and sinks have in common."""

    def __init__(self, control: _native.WorkerControl) -> None:
        self._control = control
        self._object: Any = None
        self._metrics: _Metrics | None = None

    def _adopt(self, found: Any, base: type) -> None:
        self._object = found
        try:
            found._runner = self
        except AttributeError:
            pass  # A class of its own without the helpers of ours.
        if _defines(type(found), "plugin_metrics", base):
            self._metrics = _Metrics(found.plugin_metrics, self._control)

    # What the object sees of us.

    def wait(self, duration_s: float) -> bool:
        """Sleep; true as soon as a stop is wanted."""
        return self._control.wait(duration_s)

    def stop_requested(self) -> bool:
        """Whether a stop is wanted."""
        return self._control.stop_requested()

    def paused(self) -> bool:
        """Whether the pipeline pauses."""
        return self._control.paused()

    # What the loop calls.

    def open(self) -> None:
        """Let it prepare."""
        prepare = getattr(self._object, "open", None)
        if prepare is not None:
            prepare()
        if self._metrics is not None:
            self._metrics.start()

    def close(self) -> None:
        """Let it give back what it took."""
        if self._metrics is not None:
            self._metrics.end()
        close = getattr(self._object, "close", None)
        if close is not None:
            close()

    def finish(self) -> None:
        """Nothing: the loop calls `close`."""

    def _handles(
        self, names: tuple[str, ...], full_names: list[str], is_readonly: bool
    ) -> dict[str, SharedMemory]:
        return {
            name: SharedMemory(self._control.open(full_name, is_readonly))
            for name, full_name in zip(names, full_names, strict=True)
        }


class SourceRunner(_EndpointRunner):
    """A source. Its frames are copied into the stream by the loop, or it writes them itself."""

    def __init__(
        self,
        found: type,
        config: PipelineConfig,
        base_dir: Path,
        told: Mapping[str, Any],
        control: _native.WorkerControl,
    ) -> None:
        super().__init__(control)
        own = config.sources[0]
        streams = config.shared_memory_by_name
        auxiliary = self._handles(own.auxiliary_aliases, told["auxiliary"], True)
        context = SourceContext(own, streams, auxiliary, base_dir)
        self._adopt(found(context), Source)
        self.timeout_s = own.read_timeout
        self.returns_frames = len(own.output_streams) == 1 and _defines(found, "read", Source)
        self._stream = streams[own.stream]
        if self.returns_frames:
            self.step: Callable[[], Any] = self._read
        else:
            self._writers = self._handles(own.output_streams, told["outputs"], False)
            self.step = self._produce

    def _read(self) -> Any:
        payload = self._object.read()
        if payload is None:
            return None
        spec = self._stream
        array = np.asarray(payload, dtype=spec.dtype)
        if array.shape != spec.shape:
            raise ValueError(
                f"stream {spec.name!r}: expected shape {spec.shape}, got {array.shape}"
            )
        return np.require(array, requirements=("C", "A"))

    def _produce(self) -> int:
        return int(self._object.produce(self._writers) or 0)


class SinkRunner(_EndpointRunner):
    """A sink."""

    def __init__(
        self,
        found: type,
        config: PipelineConfig,
        base_dir: Path,
        told: Mapping[str, Any],
        control: _native.WorkerControl,
    ) -> None:
        super().__init__(control)
        own = config.sinks[0]
        auxiliary = self._handles(own.auxiliary_aliases, told["auxiliary"], True)
        context = SinkContext(own, config.shared_memory_by_name, auxiliary, base_dir)
        self._adopt(found(context), Sink)
        self.timeout_s = own.consume_timeout
        self._writers = self._handles(own.output_streams, told["outputs"], False)
        takes_all = bool(self._writers) or _defines(found, "consume_publication", Sink)
        self.step: Callable[..., None] = self._consume_all if takes_all else self._consume

    def _consume(self, payload: Any, *_facts: Any) -> None:
        self._object.consume(payload)

    def _consume_all(
        self,
        payload: Any,
        count: int,
        frame_id: int,
        write_time: float,
        missed: int,
        publish_ns: int,
        origin_ns: int,
    ) -> None:
        publication = Publication(
            payload, count, frame_id, write_time, missed, publish_ns, origin_ns
        )
        self._object.consume_publication(publication, self._writers)


class _Metrics:
    """A thread that tells what a node measures about itself, when that has changed.

    Of its own, so that the last values arrive although no frame comes any more, and a slow
    measurement delays no frame.
    """

    def __init__(
        self, measure: Callable[[], Mapping[str, Any]], control: _native.WorkerControl
    ) -> None:
        self._measure = measure
        self._control = control
        self._told = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._main, name="thalweg-metrics", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Tell the last values; unless the thread is stuck in the node's code."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join(_METRICS_S)
            if not self._thread.is_alive():
                self._tell()

    def _main(self) -> None:
        while not self._over.wait(_METRICS_S):
            self._tell()

    def _tell(self) -> None:
        try:
            text = _json.dumps(dict(self._measure()))
        except Exception as problem:  # A measurement is no reason to end.
            text = _json.dumps({"error": f"{type(problem).__name__}: {problem}"})
        if text != self._told and self._control.report_metrics(text):
            self._told = text


def _defines(found: type, method: str, base: type) -> bool:
    """Whether a class defines a method itself, and does not only inherit it from our base class."""
    own = getattr(found, method, None)
    return own is not None and own is not getattr(base, method, None)
