"""PEP 517 build backend: maturin, plus the `thalweg` command.

maturin builds the extension module and packs everything below `wheel-data/scripts` as commands of
the wheel. This wrapper builds the command from the same workspace and puts it there first, so that
`pip install .` and `pip install --editable .` both deliver the two together.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import maturin
from maturin import (  # noqa: F401  (hooks this wrapper has nothing to add to)
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
)

_ROOT = Path(__file__).resolve().parents[2]
_SCRIPTS = _ROOT / "wheel-data" / "scripts"
_BUILD = ["cargo", "build", "--locked", "--release", "--package=thalweg-cli"]


def _stage_command():
    # PYO3_* describe the interpreter to the extension; here they would only force a rebuild.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYO3_")}
    messages = subprocess.run(
        [*_BUILD, "--message-format=json-render-diagnostics"],
        cwd=_ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True,
    ).stdout  # fmt: skip
    # Asking cargo for the place respects CARGO_TARGET_DIR and every other way to move it.
    built = [json.loads(line).get("executable") for line in messages.splitlines()]
    [executable] = filter(None, built)
    shutil.rmtree(_SCRIPTS, ignore_errors=True)
    _SCRIPTS.mkdir(parents=True)
    shutil.copy(executable, _SCRIPTS)


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    _SCRIPTS.mkdir(parents=True, exist_ok=True)  # maturin insists on it before anything is built
    return maturin.prepare_metadata_for_build_wheel(metadata_directory, config_settings)


def prepare_metadata_for_build_editable(metadata_directory, config_settings=None):
    _SCRIPTS.mkdir(parents=True, exist_ok=True)
    return maturin.prepare_metadata_for_build_editable(metadata_directory, config_settings)


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    _stage_command()
    return maturin.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    _stage_command()
    return maturin.build_editable(wheel_directory, config_settings, metadata_directory)
