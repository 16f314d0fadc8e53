"""From what the runtime reports to the dictionaries of `PipelineManager.status`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

from thalweg._endpoints import Endpoint
from thalweg.config import PipelineConfig, SinkConfig, SourceConfig

_GROUP = {"kernel": "workers", "source": "sources", "sink": "sinks"}
_FAILURE = {"kernel": "worker_failed", "source": "source_failed", "sink": "sink_failed"}
# Under which health a worker counts where in the summary.
_SUMMARY = {
    "active": "active_workers",
    "finished": "stopped_workers",
    "idle": "idle_workers",
    "starting": "waiting_workers",
    "waiting-input": "waiting_workers",
    "paused": "paused_workers",
    "failed": "failed_workers",
    "stopped": "stopped_workers",
}


class Report:
    """One look at a pipeline.

    Args:
        text: what the runtime reports, a JSON document; None before the first build.
        config: the configuration.
        endpoints: sources and sinks on threads of the manager, by name.
    """

    def __init__(
        self, text: str | None, config: PipelineConfig, endpoints: Mapping[str, Endpoint]
    ) -> None:
        native: dict[str, Any] = {"runtime_s": 0.0, "nodes": [], "failures": []}
        if text is not None:
            native = json.loads(text)
        self.runtime_s: float = native["runtime_s"]
        nodes: list[Any] = [*config.sources, *config.kernels, *config.sinks]
        self._configs: dict[str, Any] = {node.name: node for node in nodes}
        self._endpoints = endpoints
        self.groups: dict[str, dict[str, Any]] = {"workers": {}, "sources": {}, "sinks": {}}
        self.metrics: dict[str, Any] = {}
        for node in native["nodes"]:
            self.groups[_GROUP[node["role"]]][node["name"]] = self._entry(node)
        self.failures = tuple(failure_of(failure, self) for failure in native["failures"])

    def entry_of(self, role: str, name: str) -> dict[str, Any]:
        """The entry of a node of a role (`kernel`, `source` or `sink`); empty if there is none."""
        entry: dict[str, Any] = self.groups[_GROUP[role]].get(name, {})
        return entry

    def config_of(self, name: str) -> Any:
        """The configuration of a node; None if there is none."""
        return self._configs.get(name)

    def summary(self) -> dict[str, int]:
        """Totals."""
        workers = self.groups["workers"].values()
        summary = {"workers_total": len(workers)} | dict.fromkeys(_SUMMARY.values(), 0)
        for worker in workers:
            summary[_SUMMARY[worker["health"]]] += 1
        for group in ("sources", "sinks"):
            entries = self.groups[group].values()
            failed = [entry["health"] == "failed" for entry in entries]
            summary[f"{group}_total"] = len(entries)
            summary[f"active_{group}"] = _count(
                entry["alive"] and not is_failed
                for entry, is_failed in zip(entries, failed, strict=True)
            )
            summary[f"failed_{group}"] = _count(failed)
        return summary

    def _entry(self, node: dict[str, Any]) -> dict[str, Any]:
        entry = {
            "name": node["name"],
            "kind": node["kind"],
            "pid": node["pid"],
            "alive": node["health"] not in ("failed", "stopped", "finished")
            and node["pid"] is not None,
            "exitcode": node["exit_code"],
            "cpu_slot": _cpu_slot(node),
            "health": node["health"],
            "idle_s": node["idle_s"],
            "last_metric_age_s": node["idle_s"],
            "restarts": node["restarts"],
            "throughput_hz": node["rate_hz"],
            "deadline_missed": node["deadline_missed"],
            "last_error": node["last_error"],
            "placement": node["placement"],
            "figures": {figure["name"]: figure["value"] for figure in node["figures"]},
            "execution": node["execution"],
            "latency": node["latency"],
        }
        if node["role"] == "kernel":
            return self._worker(node, entry)
        return self._endpoint(node, entry)

    def _worker(self, node: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
        execution = node["execution"]
        last_ns = node["last_execution_ns"] if node["frames"] else None
        metrics = {
            "pid": node["pid"],
            "cpu_slot": entry["cpu_slot"],
            "frames_processed": node["frames"],
            "last_exec_ms": _scaled(last_ns, 1e-6),
            "last_exec_us": _scaled(last_ns, 1e-3),
            "avg_exec_ms": _scaled(execution["mean_ns"], 1e-6),
            "avg_exec_us": _scaled(execution["mean_ns"], 1e-3),
            "jitter_us_rms": _scaled(execution["deviation_ns"], 1e-3),
            "throughput_hz": node["rate_hz"],
            "runtime_s": self.runtime_s,
            "last_output_count": node["output_count"],
            "metrics_window": execution["count"],
            "missed_inputs": node["missed"],
            "frame_sync_skew_events": node["skew_events"],
            "frame_sync_skipped_generations": node["skew_skipped"],
            "frame_sync_timeouts": node["skew_timeouts"],
        }
        if node["frames"]:
            self.metrics[node["name"]] = metrics
        return {**entry, "wait": node["wait"], **metrics}

    def _endpoint(self, node: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
        config = self._configs[node["name"]]
        endpoint = self._endpoints.get(node["name"])
        if endpoint is not None:
            entry["restarts"] = endpoint.restarts
        entry["stream"] = config.stream
        entry["plugin_metrics"] = (
            node.get("plugin_metrics", entry["figures"])
            if endpoint is None
            else endpoint.plugin_metrics()
        )
        started = _wall(node["ready_ns"])
        last = None if node["idle_s"] is None else time.time() - node["idle_s"]
        duration_ms = _scaled(node["last_execution_ns"] if node["frames"] else None, 1e-6)
        age_s = None if started is None else max(time.time() - started, 1e-9)
        entry["effective_rate_hz"] = 0.0 if age_s is None else node["frames"] / age_s
        entry["started_at"] = started
        if endpoint is not None and endpoint.last_error is not None:
            entry["last_error"] = endpoint.last_error
        if isinstance(config, SourceConfig):
            return {
                **entry,
                "streams": list(config.output_streams),
                "poll_interval": config.poll_interval,
                "frames_written": node["frames"],
                "coordinated_generation_count": node["frames"],
                "last_write_time": last,
                "last_write_duration_ms": duration_ms,
            }
        assert isinstance(config, SinkConfig)
        return {
            **entry,
            "outputs": list(config.output_streams),
            "read_timeout": config.read_timeout,
            "pause_sleep": config.pause_sleep,
            "wait": node["wait"],
            "frames_consumed": node["frames"],
            "missed_writes": node["missed"],
            "last_read_time": last,
            "last_read_duration_ms": duration_ms,
        }


def failure_of(failure: dict[str, Any], report: Report) -> dict[str, Any]:
    """A failure as programs get it."""
    role, name = failure["role"], failure["node"]
    entry = {
        "type": _FAILURE[role],
        "kernel": name,
        "kind": failure["kind"],
        "pid": failure["pid"],
        "error": failure["error"],
        "traceback": failure.get("traceback"),
        "stderr": failure["stderr"],
    }
    if role == "kernel":
        return {**entry, "cpu_slot": report.entry_of(role, name).get("cpu_slot")}
    config = report.config_of(name)
    entry["component_type"] = role
    entry["stream"] = getattr(config, "stream", None)
    if role == "sink":
        entry["outputs"] = list(getattr(config, "outputs", ()))
    return entry


def _cpu_slot(node: dict[str, Any]) -> int | None:
    """The CPU a node is kept on, if it is one."""
    cpus: list[int] = node["placement"]["cpus"]
    return cpus[0] if len(cpus) == 1 else None


def _wall(at_ns: int) -> float | None:
    """A time of the monotonic clock, in seconds since 1970; None for 0."""
    return time.time() - (time.monotonic_ns() - at_ns) * 1e-9 if at_ns else None


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _count(conditions: Iterable[bool]) -> int:
    return sum(1 for condition in conditions if condition)
