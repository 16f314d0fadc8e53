"""`python -m thalweg` is the command of this very installation."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import thalweg
from thalweg._find import find_binary


def test_the_package_knows_its_version():
    assert thalweg.__version__ == version("thalweg")


def test_the_command_is_installed_beside_the_interpreter(monkeypatch):
    monkeypatch.delenv("THALWEG_BIN", raising=False)
    command = Path(find_binary())
    assert command.parent == Path(sys.prefix, "bin")
    assert os.access(command, os.X_OK)
    # A native program and no Python script: workers are this file, started again.
    assert command.read_bytes()[:4] == b"\x7fELF"


def test_the_environment_decides(monkeypatch, tmp_path):
    command = tmp_path / "another"
    command.touch()
    monkeypatch.setenv("THALWEG_BIN", str(command))
    assert find_binary() == str(command)


def test_a_wrong_environment_is_no_reason_to_run_something_else(monkeypatch, tmp_path):
    monkeypatch.setenv("THALWEG_BIN", str(tmp_path / "absent"))
    with pytest.raises(FileNotFoundError, match="THALWEG_BIN names `.*absent`"):
        find_binary()


def test_target_installations_are_found(monkeypatch, tmp_path):
    found = find_from(monkeypatch, tmp_path, "thalweg/_find.py", "bin/thalweg")
    assert found == str(tmp_path / "bin" / "thalweg")


def test_prefix_installations_are_found(monkeypatch, tmp_path):
    package = "lib/python3.11/site-packages/thalweg/_find.py"
    found = find_from(monkeypatch, tmp_path, package, "bin/thalweg")
    assert found == str(tmp_path / "bin" / "thalweg")


def test_a_missing_command_names_every_place(monkeypatch, tmp_path):
    with pytest.raises(FileNotFoundError) as failure:
        find_from(monkeypatch, tmp_path, "thalweg/_find.py", "elsewhere/thalweg")
    assert str(tmp_path / "bin") in str(failure.value)
    assert str(tmp_path / "scripts") in str(failure.value)
    assert "pip" in str(failure.value)


def find_from(monkeypatch, prefix, module, command):
    """Look for the command as if `module` and `command` were all that is installed."""
    monkeypatch.delenv("THALWEG_BIN", raising=False)
    monkeypatch.setattr("sysconfig.get_path", lambda *_, **__: str(prefix / "scripts"))
    monkeypatch.setattr("thalweg._find.__file__", str(prefix / module))
    (prefix / command).parent.mkdir(parents=True)
    (prefix / command).touch()
    return find_binary()


def test_the_module_becomes_the_command(tmp_path):
    command = tmp_path / "command"
    command.write_text('#!/bin/sh\nprintf "%s|" "$$" "$@"\nexit 7\n')
    command.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, "-m", "thalweg", "run", "two words", "--json"],
        env={**os.environ, "THALWEG_BIN": str(command)},
        stdout=subprocess.PIPE,
        text=True,
    )
    output, _ = process.communicate(timeout=60)
    assert output == f"{process.pid}|run|two words|--json|"
    assert process.returncode == 7


def test_the_module_explains_a_missing_command(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "thalweg"],
        env={**os.environ, "THALWEG_BIN": str(tmp_path / "absent")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: THALWEG_BIN names ")
    assert "Traceback" not in result.stderr
