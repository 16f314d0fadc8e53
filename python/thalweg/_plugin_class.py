"""How a worker finds the class of its node: the counterpart of whoever wrote down where it is."""

from __future__ import annotations

import base64
import importlib
import importlib.util
import os
import pickle
import sys
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from importlib.metadata import entry_points
from typing import Any

SCRIPT_MODULE = "__thalweg_main__"
"""Name under which the script of the program is run, so that its part for `__main__` is not."""


def load_class(plugin: Mapping[str, Any]) -> type:
    """The class that `plugin` describes.

    Args:
        plugin: `path`, the folders to look for modules in, if it is there; and one of
            `module` with `qualname`, an importable class;
            `script` with `qualname`, a class of a file that is run under another name than
            `__main__`;
            `pickle`, a class by value, pickled by cloudpickle, in base64;
            `entry_point` with `group` and `name`, what an installed package offers.

    Raises:
        ValueError: it is none of these, or there is no such entry point.
        TypeError: what is there is no class.
        Exception: whatever importing it raises.
    """
    path = plugin.get("path")
    if path is not None:
        sys.path[:] = path
    if "module" in plugin:
        found: Any = importlib.import_module(plugin["module"])
        found = _member(found, plugin["qualname"])
    elif "script" in plugin:
        found = _member(_run_script(plugin["script"]), plugin["qualname"])
    elif "pickle" in plugin:
        found = pickle.loads(base64.b64decode(plugin["pickle"]))
    elif "entry_point" in plugin:
        found = _entry_point(**plugin["entry_point"])
    else:
        raise ValueError(f"expected module, script, pickle or entry_point, got {sorted(plugin)}")
    if not isinstance(found, type):
        raise TypeError(f"expected a class, found {found!r}")
    return found


def _member(found: Any, qualname: str) -> Any:
    for name in qualname.split("."):
        found = getattr(found, name)
    return found


def _run_script(script: str) -> Any:
    loader = SourceFileLoader(SCRIPT_MODULE, script)
    spec = importlib.util.spec_from_file_location(SCRIPT_MODULE, script, loader=loader)
    if spec is None:
        raise ImportError(f"cannot run the script {script}")
    module = importlib.util.module_from_spec(spec)
    # What the script pickles or inspects finds its module like any other.
    sys.modules[SCRIPT_MODULE] = module
    folder = os.path.dirname(os.path.abspath(script))
    if folder not in sys.path:
        sys.path.insert(0, folder)
    sys.argv = [script]
    loader.exec_module(module)
    return module


def _entry_point(group: str, name: str) -> Any:
    for entry in entry_points(group=group, name=name):
        return entry.load()
    raise ValueError(
        f"no installed package offers {name!r} in the entry-point group {group!r} any more"
    )
