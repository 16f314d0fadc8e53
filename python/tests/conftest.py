"""Every test has a shared-memory folder of its own, and leaves it empty and no process behind."""

import os
import select
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

SHARED_MEMORY = Path("/dev/shm")
# One file per user, removed by the last who uses it: who may spin at the moment.
PERMANENT = f"thalweg-permits.{os.geteuid()}"


# A background job of a shell ignores Ctrl-C, and so would every child that is to be interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def shared_memory_folder(monkeypatch):
    """Streams of this test, and of all processes it starts, live in a folder of their own."""
    with tempfile.TemporaryDirectory(prefix="thalweg-test-", dir=SHARED_MEMORY) as folder:
        monkeypatch.setenv("THALWEG_SHM_DIR", folder)
        yield Path(folder)
        processes = {
            pid: command for pid, command in processes_using(folder).items() if not ends_soon(pid)
        }
        segments = sorted(set(os.listdir(folder)) - {PERMANENT})
        for pid in processes:
            os.kill(pid, 9)
        assert not processes, f"the test left processes behind: {processes}"
        assert not segments, f"the test left segments behind: {segments}"


def processes_using(folder):
    """Processes that were started with this folder in their environment: children of any depth."""
    wanted = f"THALWEG_SHM_DIR={folder}".encode()
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue  # Ended meanwhile, or not ours.
    return found


def ends_soon(pid):
    """Whether a process ends by itself: workers of a run that was killed need a moment."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], 10)[0])
    finally:
        os.close(process)


@pytest.fixture
def run_python():
    """Run a script in a new interpreter; a crash there is a failing test here."""

    def run(script, *arguments, timeout_s=60):
        result = subprocess.run(
            [sys.executable, "-W", "error", "-X", "faulthandler", "-c", textwrap.dedent(script)]
            + [str(argument) for argument in arguments],
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        assert result.returncode == 0, f"exit status {result.returncode}\n{result.stderr}"
        assert result.stderr == ""
        return result.stdout

    return run


@pytest.fixture
def start_python():
    """Start a script in a new interpreter, to talk to through its standard input and output."""
    processes = []

    def start(script, *arguments):
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-u", "-c", textwrap.dedent(script)]
            + [str(argument) for argument in arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        with process:  # Closes the pipes and waits.
            process.kill()
