"""What happens to workers, told as it is noticed: in the log, and as events."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Any, TypeAlias

from thalweg._status import Report

_log = logging.getLogger("thalweg.pipelines")

Event: TypeAlias = dict[str, Any]

# Metrics of one worker are told at most this often.
_METRICS_S = 0.25
_KEPT = 256


class Events:
    """Compares looks at a pipeline and tells what is different."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fresh: deque[Event] = deque(maxlen=4 * _KEPT)
        self._kept: deque[Event] = deque(maxlen=_KEPT)
        # Process and health of each worker, and what was told about its frames.
        self._before: dict[str, tuple[int | None, str]] = {}
        self._told: dict[str, tuple[int, float]] = {}
        self._failures: list[Event] = []

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._fresh.clear()
            self._kept.clear()
            self._before.clear()
            self._told.clear()
            self._failures.clear()

    def kept(self) -> tuple[Event, ...]:
        """The last events."""
        with self._lock:
            return tuple(self._kept)

    def drain(self) -> list[Event]:
        """The events since the last time."""
        with self._lock:
            events = list(self._fresh)
            self._fresh.clear()
            return events

    def observe(self, report: Report) -> None:
        """Take a look into account."""
        with self._lock:
            for name, worker in report.groups["workers"].items():
                self._compare(name, worker)
            for failure in report.failures:
                if failure not in self._failures:
                    self._failures.append(failure)
                    self._add(dict(failure))
                    noun = failure.get("component_type", "worker")
                    _log.error("%s %r failed: %s", noun, failure["kernel"], failure["error"])
            for name, metrics in report.metrics.items():
                self._measure(name, metrics)

    def _compare(self, name: str, worker: dict[str, Any]) -> None:
        now = (worker["pid"], worker["health"])
        pid_before, health_before = self._before.get(name, (None, "stopped"))
        self._before[name] = now
        about = {"kernel": name, "pid": worker["pid"], "cpu_slot": worker["cpu_slot"]}
        was_up = health_before not in ("stopped", "starting", "failed", "finished")
        is_up = worker["health"] not in ("stopped", "starting", "failed", "finished")
        has_changed = pid_before is not None and pid_before != worker["pid"]
        if was_up and (not is_up or has_changed):
            exitcode = None if has_changed and is_up else worker["exitcode"]
            self._add({"type": "worker_stopped", **about, "pid": pid_before, "exitcode": exitcode})
            _log.info("worker %r stopped (process %s)", name, pid_before)
        if is_up and (not was_up or has_changed):
            self._add({"type": "worker_started", **about})
            _log.info("worker %r started (process %s)", name, worker["pid"])

    def _measure(self, name: str, metrics: dict[str, Any]) -> None:
        frames, now = metrics["frames_processed"], time.monotonic()
        told_frames, told_at = self._told.get(name, (0, 0.0))
        if frames < told_frames:
            told_frames = 0
        if frames > told_frames and now - told_at >= _METRICS_S:
            self._told[name] = (frames, now)
            self._add({"type": "worker_metrics", "kernel": name, **metrics})

    def _add(self, event: Event) -> None:
        self._fresh.append(event)
        self._kept.append(event)
