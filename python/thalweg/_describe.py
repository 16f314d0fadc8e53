"""What the `thalweg` command learns about kinds that are Python classes.

It asks with a JSON object on standard input and gets one on standard output:

- asked `{"kinds": true}`: `kinds`, a list of objects with `kind`, `role`, `summary`, `distribution`
  and, where the class cannot be loaded, `problem`;
- asked `{"config": ..., "base_path": ..., "nodes": [name, ...]}`: `nodes`, an object with an entry
  for each of them: `plugin`, what a worker needs to find the class; or `problems`, a list of texts;
  or neither, if no installed package offers its kind. And `problems`, what is wrong with the paths
  of feedback.

Every answer has the `version` of the package.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from typing import Any

from thalweg import __version__, _json
from thalweg._node_spec import NodeConfig, role_of
from thalweg._plugins import plugin_of
from thalweg.config import PipelineConfig
from thalweg.errors import ConfigValidationError
from thalweg.graph import feedback_errors
from thalweg.registry import KernelRegistry, get_default_registry


def describe() -> int:
    """Answer one question; the exit status."""
    # The command has them blocked; here they end what takes too long.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as answer:
        # What packages print while they are imported is no answer.
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        asked = json.load(sys.stdin)
        registry = get_default_registry()
        found = _kinds(registry) if asked.get("kinds") else _nodes(asked, registry)
        answer.write(_json.dumps({"version": __version__, **found}))
    return 0


def _kinds(registry: KernelRegistry) -> dict[str, Any]:
    listed = [
        ("kernel", registry.kinds(), registry.get),
        ("source", registry.source_kinds(), registry.get_source),
        ("sink", registry.sink_kinds(), registry.get_sink),
    ]
    found = []
    for role, kinds, load in listed:
        for kind in kinds:
            entry = registry.entry_point(role, kind)
            if entry is None:
                continue  # Built in.
            about = {"kind": kind, "role": role, "summary": "", "distribution": ""}
            if entry.dist is not None:
                about["distribution"] = f"{entry.dist.name} {entry.dist.version}"
            try:
                about["summary"] = (load(kind).__doc__ or "").strip().partition("\n")[0]
            except Exception as problem:  # Whatever importing it raises.
                about["problem"] = _told(problem)
            found.append(about)
    return {"kinds": found}


def _nodes(asked: Mapping[str, Any], registry: KernelRegistry) -> dict[str, Any]:
    config = PipelineConfig.from_dict(asked["config"], asked["base_path"])
    wanted = set(asked["nodes"])
    nodes: dict[str, Any] = {}
    every: list[NodeConfig] = [*config.sources, *config.kernels, *config.sinks]
    for node in every:
        if node.name in wanted:
            nodes[node.name] = _node(node, config, registry)
    hosted = {name for name, about in nodes.items() if "plugin" in about}
    has_feedback = any(source.name in hosted for source in config.sources)
    return {"nodes": nodes, "problems": feedback_errors(config, registry) if has_feedback else []}


def _node(node: NodeConfig, config: PipelineConfig, registry: KernelRegistry) -> dict[str, Any]:
    role = role_of(node)
    if registry.entry_point(role, node.kind) is None:
        return {}
    methods: dict[str, tuple[Any, Any]] = {
        "kernel": (registry.get, registry.validate),
        "source": (registry.get_source, registry.validate_source),
        "sink": (registry.get_sink, registry.validate_sink),
    }
    load, validate = methods[role]
    try:
        found = load(node.kind)
        validate(node, config.shared_memory_by_name)
        return {"plugin": plugin_of(registry, node, found)}
    except ConfigValidationError as problem:
        return {"problems": str(problem).splitlines()}
    except Exception as problem:  # Whatever the package raises.
        traceback.print_exception(problem)
        return {"problems": [f"the plugin of kind {node.kind!r} cannot be used: {_told(problem)}"]}


def _told(problem: BaseException) -> str:
    return f"{type(problem).__name__}: {problem}"
