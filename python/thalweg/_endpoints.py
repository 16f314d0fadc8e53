"""Sources and sinks in Python that run on threads of the manager.

An *endpoint* is one entry of `sources` or `sinks`. A *life* is one object of its class with the
thread that calls it: an endpoint that is restarted has several, one after the other. A life that
does not come back from a call in time is given up: from that moment it cannot write any more,
whenever it comes back.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from thalweg import _native
from thalweg._handle import SharedMemory
from thalweg.config import SinkConfig, SourceConfig

_log = logging.getLogger("thalweg.pipelines")

# How often a thread that waits for nothing in particular looks around.
_SLICE_S = 1.0
# How long one attempt to write may take.
_WRITE_SLICE_S = 0.1
# Own measurements are taken at most this often.
_FIGURES_S = 0.25

EndpointConfig = SourceConfig | SinkConfig
Create = Callable[[Mapping[str, Any]], Any]


class Finished(Exception):
    """A source came to its end."""


class Overrun(TimeoutError):
    """A call took too long; `place` is where it is."""

    place: str | None = None


class Endpoint:
    """One source or sink.

    Args:
        config: its entry in the configuration.
        create: makes an object of its class, given handles by stream name.
        native: where it counts.
        resource_names: names of streams in the system by their names in the configuration.
    """

    def __init__(
        self,
        config: EndpointConfig,
        create: Create,
        native: _native.Endpoint,
        resource_names: Mapping[str, str],
    ) -> None:
        self.config = config
        self.role = "source" if isinstance(config, SourceConfig) else "sink"
        self.create = create
        self.native = native
        self.resource_names = resource_names
        self.restarts = 0
        self.last_error: str | None = None
        self.has_finished = False
        # Reentrant, as is a life's: a garbage collection under it may end the run.
        self._lock = threading.RLock()
        self._life: Life | None = None
        self._attempts: deque[float] = deque()
        self._is_over = False

    def open(self) -> None:
        """Make the object and let it prepare; whatever it raises comes out here."""
        life = Life(self)
        with self._lock:
            self._is_over = False
            self.has_finished = False
            self._attempts.clear()
            previous, self._life = self._life, life
        if previous is not None:
            # One that asked for the stop itself may still be on its way back.
            previous.give_up()
        try:
            life.open()
        except BaseException:
            life.give_up()
            raise

    def begin(self) -> None:
        """Let it work."""
        if self._life is not None:
            self._life.begin()

    def plugin_metrics(self) -> dict[str, Any]:
        """What it measures itself, as its own thread has taken it last."""
        life = self._life
        return {} if life is None else life.plugin_metrics()

    @property
    def alive(self) -> bool:
        """Whether it is at work."""
        life = self._life
        return life is not None and life.is_alive()

    def is_here(self) -> bool:
        """Whether the calling thread is its own."""
        life = self._life
        return life is not None and life.is_here()

    def leave(self) -> None:
        """Have it end when it comes back from where it is; nobody waits for that."""
        with self._lock:
            life = self._life
        if life is not None:
            life.is_ending = True
        self.native.stopped()

    def abandon(self) -> None:
        """Give up a thread that does not end."""
        with self._lock:
            self._is_over = True
            life = self._life
        if life is not None and life.is_alive() and life.give_up():
            _log.warning(
                "%s %r did not end in time; its thread is left behind and cannot write any more",
                self.role,
                self.config.name,
            )
            self.native.stopped()

    def join(self, timeout: float) -> None:
        """Wait for the end of its thread."""
        with self._lock:
            self._is_over = True
            life = self._life
        if life is not None:
            life.join(timeout)

    def fail(self, error: BaseException) -> None:
        """It could not be opened again."""
        self.last_error = _described(error)
        self.native.failed(self.last_error, _traced(error))

    def discard(self) -> None:
        """Give back what it holds, whether it ever worked or not."""
        with self._lock:
            self._is_over = True
            life, self._life = self._life, None
        if life is not None:
            life.discard()

    def ended(self, life: Life, error: BaseException | None) -> None:
        """A life has ended by itself: by being told to, by coming to its end, or by an error."""
        with self._lock:
            if life is not self._life or life.has_ended:
                return
            life.has_ended = True
            is_failure = error is not None and not isinstance(error, Finished)
            is_wanted = (
                not self._is_over and not life.is_ending and self.native.wanted() != "stop"
            )
            if is_failure:
                assert error is not None
                self.last_error = _described(error)
            delay_s = self._next_delay(time.monotonic(), is_failure) if is_wanted else None
            if delay_s is None:
                self._settle(error, is_failure and is_wanted)
                return
            self.restarts += 1
            _log.warning(
                "%s %r %s and is started again in %.3g s",
                self.role,
                self.config.name,
                f"failed ({self.last_error})" if is_failure else "ended",
                delay_s,
            )
            self._life = Life(self)
            self._life.begin(delay_s)

    def _settle(self, error: BaseException | None, is_failure: bool) -> None:
        if error is None:
            self.native.stopped()
        elif isinstance(error, Finished):
            self.has_finished = True
            self.native.finished()
        elif is_failure:
            self.native.failed(_described(error), _traced(error))
        else:
            # It was told to end, and has; how is worth a line, but no failure of the pipeline.
            _log.warning("%s %r ended with %s", self.role, self.config.name, _described(error))
            self.native.stopped()

    def _next_delay(self, now: float, is_failure: bool) -> float | None:
        """Seconds until the next attempt; None if there is to be none."""
        rule = self.config.restart
        if not isinstance(rule, Mapping):
            return None
        if rule["policy"] != "always" and not (is_failure and rule["policy"] == "on-failure"):
            return None
        window_s = rule["window_s"]
        while self._attempts and now - self._attempts[0] > window_s:
            self._attempts.popleft()
        limit = rule.get("limit")
        if limit is not None and len(self._attempts) >= limit:
            return None
        delay_s: float = min(
            rule["backoff_s"] * 2.0 ** min(len(self._attempts), 60), rule["backoff_max_s"]
        )
        self._attempts.append(now)
        return delay_s


class Life:
    """One object of a class, with its thread, its handles, and the right to write."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.config = endpoint.config
        self.native = endpoint.native
        self.has_ended = False
        # It has asked for a stop: whatever is wanted later is wanted of another one.
        self.is_ending = False
        self._object: Any = None
        self._handles: dict[str, SharedMemory] = {}
        self._thread: threading.Thread | None = None
        # Held while writing, and while the right to is taken away.
        self._gate = threading.RLock()
        self._is_given_up = False
        self._seen = 0
        # Taken by its own thread only, so that nobody who asks for them waits for it.
        self._metrics: dict[str, Any] = {}
        self._metrics_due = 0.0
        self._figures: list[str] = []
        timeout_s = (
            self.config.read_timeout
            if isinstance(self.config, SourceConfig)
            else self.config.consume_timeout
        )
        self._watchdog = None if timeout_s is None else Watchdog(self, timeout_s)

    # What the object sees of us.

    def wait(self, duration_s: float) -> bool:
        end = time.monotonic() + max(0.0, duration_s)
        while not self.stop_requested():
            left = end - time.monotonic()
            if left <= 0:
                return False
            self.native.wait_while(self.native.wanted(), min(left, _SLICE_S))
        return True

    def stop_requested(self) -> bool:
        return self._is_given_up or self.is_ending or self.native.wanted() == "stop"

    def paused(self) -> bool:
        return self.native.wanted() == "pause"

    # From outside.

    def open(self) -> None:
        """Attach to streams, make the object, let it prepare."""
        for name in dict.fromkeys(_streams_of(self.config)):
            native = _native.open(self.endpoint.resource_names[name], False, None)
            self._handles[name] = SharedMemory(native)
        if isinstance(self.config, SinkConfig):
            # Whatever is published from here on is seen.
            self._seen = self._handles[self.config.stream].count
        found = self.endpoint.create(self._handles)
        try:
            found._runner = self
        except AttributeError:
            pass  # A class of its own without the helpers of ours.
        self._object = found
        prepare = getattr(found, "open", None)
        if prepare is not None:
            prepare()

    def begin(self, delay_s: float | None = None) -> None:
        """Start the thread; with a delay it opens first."""
        name = f"thalweg-{self.endpoint.role}-{self.config.name}"
        # A daemon: code of others must not keep the interpreter from ending.
        self._thread = threading.Thread(target=self._main, args=(delay_s,), name=name, daemon=True)
        self._thread.start()

    def is_here(self) -> bool:
        return self._thread is threading.current_thread()

    def is_alive(self) -> bool:
        return not self._is_given_up and self._thread is not None and self._thread.is_alive()

    def join(self, timeout: float) -> None:
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(0.0 if self._is_given_up else timeout)

    def give_up(self) -> bool:
        """Take away the right to write; false if it was gone already."""
        with self._gate:
            if self._is_given_up:
                return False
            self._is_given_up = True
        self._close_handles()
        return True

    def discard(self) -> None:
        """Close what an object that never worked has opened."""
        if self._thread is None and self._object is not None and self.give_up():
            self._closed(None)
        self.give_up()

    def plugin_metrics(self) -> dict[str, Any]:
        return dict(self._metrics)

    def place(self) -> str | None:
        """Where its thread is at the moment."""
        ident = None if self._thread is None else self._thread.ident
        frame = sys._current_frames().get(ident) if ident is not None else None
        return None if frame is None else "".join(traceback.format_stack(frame))

    def overrun(self, error: Overrun) -> None:
        """A call took too long."""
        if self.give_up():
            self.endpoint.ended(self, error)

    # The thread.

    def _main(self, delay_s: float | None) -> None:
        outcome: BaseException | None = None
        try:
            if delay_s is not None:
                if self.wait(delay_s):
                    return
                self.open()
            self._get_ready()
            try:
                if isinstance(self.config, SourceConfig):
                    self._run_source(self.config)
                else:
                    self._run_sink(self.config)
            finally:
                if not self._is_given_up:
                    self._measure()
        except BaseException as error:  # Whatever it is, it is the end of this life only.
            outcome = error
        finally:
            if self._watchdog is not None:
                self._watchdog.end()
            outcome = self._closed(outcome)
            if not self._is_given_up:
                self._close_handles()
                self.endpoint.ended(self, outcome)

    def _closed(self, outcome: BaseException | None) -> BaseException | None:
        close = getattr(self._object, "close", None)
        if close is None:
            return outcome
        try:
            close()
        except BaseException as error:
            # The first error is the one to tell.
            return error if outcome is None or isinstance(outcome, Finished) else outcome
        return outcome

    def _close_handles(self) -> None:
        for handle in self._handles.values():
            try:
                handle.close()
            except RuntimeError:
                pass  # A thread that was given up holds the lock through it.

    def _get_ready(self) -> None:
        self._measure()
        self._figures = [name for name, value in self._metrics.items() if _is_number(value)]
        self.native.ready(self._figures)

    def _measure(self) -> None:
        """Take its own measurements."""
        measure = getattr(self._object, "plugin_metrics", None)
        if measure is None:
            return
        try:
            self._metrics = dict(self._call(measure))
        except Exception as problem:  # A measurement is no reason to end.
            self._metrics = {"error": _described(problem)}

    def _measure_if_due(self) -> None:
        now = time.monotonic()
        if now < self._metrics_due:
            return
        self._metrics_due = now + _FIGURES_S
        self._measure()
        if self._figures and not self._is_given_up:
            values = [self._metrics.get(name, 0.0) for name in self._figures]
            self.native.set_figures([float(v) if _is_number(v) else 0.0 for v in values])

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call code of the plugin, under the eye of the watchdog."""
        if self._watchdog is None:
            return function(*arguments)
        self._watchdog.arm()
        try:
            return function(*arguments)
        finally:
            self._watchdog.disarm()

    def _goes_on(self) -> bool:
        """Wait while the pipeline pauses; false at the end."""
        while not self.stop_requested():
            if self.native.wanted() == "run":
                return True
            self.native.wait_while("pause", _SLICE_S)
            self._measure_if_due()
        return False

    def _run_source(self, config: SourceConfig) -> None:
        source = self._object
        writers = {name: self._handles[name] for name in config.output_streams}
        first = writers[config.stream]
        produces = len(writers) > 1 or not _defines(source, "read")
        while self._goes_on():
            began_ns = time.monotonic_ns()
            try:
                if produces:
                    produced = self._call(source.produce, writers) or 0
                else:
                    payload = self._call(source.read)
                    produced = 0 if payload is None else self._write(first, payload)
            except StopIteration:
                raise Finished from None
            if self._is_given_up:
                return
            if produced:
                duration_ns = time.monotonic_ns() - began_ns
                self.native.count_produced(duration_ns, first.count)
            else:
                self.native.wait_while("run", config.poll_interval)
            self._measure_if_due()

    def _write(self, stream: SharedMemory, payload: Any) -> int:
        """Publish a frame, unless this life was given up meanwhile."""
        while not self.stop_requested():
            with self._gate:
                if self._is_given_up:
                    break
                try:
                    stream.write(payload, timeout=_WRITE_SLICE_S)
                    return 1
                except TimeoutError:
                    pass  # Somebody else writes; who wants to give us up may do so in between.
        return 0

    def _run_sink(self, config: SinkConfig) -> None:
        sink = self._object
        stream = self._handles[config.stream]
        writers = {name: self._handles[name] for name in config.output_streams}
        first = next(iter(writers.values()), None)
        takes_all = _defines(sink, "consume_publication") or bool(writers)
        is_behind = False
        while self._goes_on():
            waited_ns = time.monotonic_ns()
            # What the last frame has changed is measured although no other comes.
            patience_s = min(config.read_timeout, _FIGURES_S) if is_behind else config.read_timeout
            count = self.native.wait_count(stream._native, self._seen, patience_s)
            is_behind = count is not None
            if count is None:
                self._measure_if_due()
                continue
            publication = stream.read_publication()
            missed = publication.count - self._seen - 1
            self._seen = publication.count
            began_ns = time.monotonic_ns()
            if takes_all:
                self._call(sink.consume_publication, publication, writers)
            else:
                self._call(sink.consume, publication.payload)
            if self._is_given_up:
                return
            duration_ns = time.monotonic_ns() - began_ns
            self.native.count_consumed(
                duration_ns,
                began_ns - waited_ns,
                publication.origin_ns,
                missed,
                publication.count,
                None if first is None else first.count,
            )
            self._measure_if_due()


class Watchdog:
    """Gives a life up whose call takes too long."""

    def __init__(self, life: Life, timeout_s: float) -> None:
        self._life = life
        self._timeout_s = timeout_s
        self._changed = threading.Condition()
        self._deadline: float | None = None
        self._is_over = False
        self._thread: threading.Thread | None = None

    def arm(self) -> None:
        with self._changed:
            self._deadline = time.monotonic() + self._timeout_s
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._main, name="thalweg-watchdog", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def disarm(self) -> None:
        with self._changed:
            self._deadline = None

    def end(self) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify()

    def _main(self) -> None:
        with self._changed:
            while not self._is_over:
                if self._deadline is None:
                    self._changed.wait()
                    continue
                left = self._deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            if self._is_over:
                return
        config, role = self._life.config, self._life.endpoint.role
        what = "read_timeout" if role == "source" else "consume_timeout"
        error = Overrun(
            f"a call of {role} {config.name!r} took longer than its {what} of {self._timeout_s:g} s"
        )
        error.place = self._life.place()
        self._life.overrun(error)


def _streams_of(config: EndpointConfig) -> tuple[str, ...]:
    own = (config.stream,) if isinstance(config, SinkConfig) else ()
    return (*own, *config.output_streams, *config.auxiliary_names)


def _defines(found: Any, method: str) -> bool:
    """Whether a class defines a method itself, and has it not only from `Source` or `Sink`."""
    from thalweg.sink import Sink
    from thalweg.source import Source

    own = getattr(type(found), method, None)
    return own is not None and own not in (
        getattr(Source, method, None),
        getattr(Sink, method, None),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _described(error: BaseException) -> str:
    text = str(error)
    if isinstance(error, Overrun):
        return f"timeout: {text}"
    name = type(error).__name__
    return f"{name}: {text}" if text else name


def _traced(error: BaseException) -> str | None:
    if isinstance(error, Overrun):
        return error.place
    if error.__traceback__ is None:
        return None
    return "".join(traceback.format_exception(error))
