"""From what the runtime reports to the dictionaries of `PipelineManager.status`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

_GROUP = {"kernel": "workers", "source": "sources", "sink": "sinks"}
_FAILURE = {"kernel": "worker_failed", "source": "source_failed", "sink": "sink_failed"}
# Under which health an entry counts where in the summary of workers.
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


def status_of(state: str, report: str | None) -> dict[str, Any]:
    """The status, from the report of the runtime; there is none before the first build."""
    native: dict[str, Any] = {"runtime_s": 0.0, "nodes": [], "failures": []}
    if report is not None:
        native = json.loads(report)
    groups: dict[str, dict[str, Any]] = {"workers": {}, "sources": {}, "sinks": {}}
    for node in native["nodes"]:
        groups[_GROUP[node["role"]]][node["name"]] = _entry(node)
    return {
        "state": str(state),
        "runtime_s": native["runtime_s"],
        **groups,
        "failures": [_failure(failure) for failure in native["failures"]],
        "summary": _summary(groups),
    }


def _entry(node: dict[str, Any]) -> dict[str, Any]:
    entry = {
        "name": node["name"],
        "kind": node["kind"],
        "pid": node["pid"],
        "alive": node["pid"] is not None and node["exit_code"] is None,
        "exitcode": node["exit_code"],
        "health": node["health"],
        "idle_s": node["idle_s"],
        "throughput_hz": node["rate_hz"],
        "figures": {figure["name"]: figure["value"] for figure in node["figures"]},
        "execution": node["execution"],
        "latency": node["latency"],
    }
    if node["role"] == "source":
        return {**entry, "frames_written": node["frames"]}
    entry["wait"] = node["wait"]
    if node["role"] == "sink":
        return {**entry, "frames_consumed": node["frames"], "missed_writes": node["missed"]}
    mean_ns = node["execution"]["mean_ns"]
    return {
        **entry,
        "frames_processed": node["frames"],
        "missed_inputs": node["missed"],
        "last_output_count": node["output_count"],
        "avg_exec_us": None if mean_ns is None else mean_ns / 1e3,
    }


def _failure(failure: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": _FAILURE[failure["role"]],
        "kernel": failure["node"],
        "kind": failure["kind"],
        "pid": failure["pid"],
        "error": failure["error"],
        "stderr": failure["stderr"],
    }


def _summary(groups: dict[str, dict[str, Any]]) -> dict[str, int]:
    summary = {"workers_total": len(groups["workers"])}
    summary |= dict.fromkeys(_SUMMARY.values(), 0)
    for worker in groups["workers"].values():
        summary[_SUMMARY[worker["health"]]] += 1
    for group in ("sources", "sinks"):
        entries = groups[group].values()
        summary[f"{group}_total"] = len(entries)
        summary[f"active_{group}"] = _count(entry["alive"] for entry in entries)
        summary[f"failed_{group}"] = _count(entry["health"] == "failed" for entry in entries)
    return summary


def _count(conditions: Iterable[bool]) -> int:
    return sum(1 for condition in conditions if condition)
