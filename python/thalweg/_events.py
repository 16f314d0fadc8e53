"""What happens to kernels, sources and sinks, told as it is noticed: in the log, and as events."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from typing import Any, TypeAlias

from thalweg import _native
from thalweg._status import Report, failure_of

_log = logging.getLogger("thalweg.pipelines")

Event: TypeAlias = dict[str, Any]

# Metrics of one worker are told at most this often.
_METRICS_S = 0.25
_KEPT = 256
_FRESH = 1024


class Events:
    """Takes what the runtime has noted, without anybody waiting for it to be taken."""

    def __init__(self) -> None:
        # Reentrant: a garbage collection in here may end the run, whose last look comes in here.
        self._lock = threading.RLock()
        self._fresh: deque[Event] = deque(maxlen=_FRESH)
        self._kept: deque[Event] = deque(maxlen=_KEPT)
        self._sequence = 0
        # What was told about the frames of each worker, and when.
        self._told: dict[str, tuple[int, float]] = {}

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

    def is_behind(self, native: _native.Pipeline) -> bool:
        """Whether something has happened that was not taken yet."""
        return native.events_after(self._sequence) != "[]"

    def observe(self, native: _native.Pipeline, report: Report) -> None:
        """Take what has happened into account."""
        with self._lock:
            for event in json.loads(native.events_after(self._sequence)):
                if event["sequence"] <= self._sequence:
                    continue  # Taken by the last look, in the midst of this one.
                self._sequence = event["sequence"]
                self._take(event, report)
            for name, metrics in report.metrics.items():
                self._measure(name, metrics)

    def _take(self, event: dict[str, Any], report: Report) -> None:
        name, role, what = event["node"], event["role"], event["event"]
        noun = "worker" if role == "kernel" else role
        entry = report.entry_of(role, name)
        about: Event = {"type": f"{noun}_{what}", "kernel": name}
        about["pid"] = event.get("pid", entry.get("pid"))
        about["cpu_slot"] = entry.get("cpu_slot")
        if what == "failed":
            about = failure_of(event["failure"], report)
            _log.error("%s %r failed: %s", noun, name, about["error"])
        elif what == "restarting":
            about["error"], about["delay_s"] = event["error"], event["delay_s"]
            _log.warning(
                "%s %r failed and is started again in %.3g s: %s",
                noun,
                name,
                event["delay_s"],
                event["error"],
            )
        else:
            if what == "stopped":
                about["exitcode"] = entry.get("exitcode")
            _log.info("%s %r %s (process %s)", noun, name, what, about["pid"])
        self._add(about)

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
