"""How a class gets into another interpreter."""

from __future__ import annotations

import base64
import importlib
import os
import sys
from typing import Any

from thalweg._node_spec import NodeConfig, role_of
from thalweg.errors import ConfigValidationError
from thalweg.registry import KernelRegistry


def plugin_of(registry: KernelRegistry, config: NodeConfig, kind: type) -> dict[str, Any]:
    """What a worker needs to find the class `kind` of the node `config`.

    Raises:
        ConfigValidationError: there is no way; the message names the class and the reason.
    """
    role = role_of(config)
    entry = registry.entry_point(role, config.kind)
    if entry is not None:
        return {"entry_point": {"group": entry.group, "name": entry.name}}
    module, qualname = kind.__module__, kind.__qualname__
    is_local = "<locals>" in qualname
    if not is_local and module == "__main__":
        script = _main_script()
        if script is not None:
            return {"script": script, "qualname": qualname, **_search_path()}
    elif not is_local and _is_importable(kind):
        return {"module": module, "qualname": qualname, **_search_path()}
    who = f"{role} {config.name!r}: class {module}.{qualname}"
    return {"pickle": _pickled(who, kind), **_search_path()}


def _search_path() -> dict[str, Any]:
    # Where this program finds its modules, such as beside its script.
    return {"path": [os.path.abspath(folder) for folder in sys.path]}


def _main_script() -> str | None:
    """The file of the running program, if it is one that can be run again."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    return os.path.abspath(file) if file is not None and os.path.isfile(file) else None


def _is_importable(kind: type) -> bool:
    """Whether another interpreter that imports the module finds this class there."""
    try:
        found: Any = importlib.import_module(kind.__module__)
        for name in kind.__qualname__.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError):
        return False
    spec = getattr(sys.modules[kind.__module__], "__spec__", None)
    # A module somebody made by hand is in this process only.
    return found is kind and spec is not None and spec.origin is not None


def _pickled(who: str, kind: type) -> str:
    try:
        import cloudpickle  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        raise ConfigValidationError(
            f"{who} cannot be imported by a worker process, and to send it there by value needs "
            "the package cloudpickle: put the class at the top level of a module or of the "
            "script, or install cloudpickle"
        ) from None
    try:
        return base64.b64encode(cloudpickle.dumps(kind)).decode("ascii")
    except Exception as problem:  # cloudpickle raises whatever what it meets raises.
        raise ConfigValidationError(
            f"{who} cannot be imported by a worker process, nor be sent there by value: "
            f"{type(problem).__name__}: {problem}"
        ) from problem
