"""The process of one kernel, source or sink that is a Python class: `python -m thalweg.worker`.

Pipelines start it; nobody else needs to. It reads its order on standard input, imports the class,
makes an object of it and runs the native loop, which calls the object with every frame. What the
class prints appears on the standard error of the program that runs the pipeline, after the name of
its node.

`python -m thalweg.worker --describe` answers what there is to know about kinds that are Python
classes, for the `thalweg` command.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from thalweg import _native
    from thalweg._node_runners import Runner

__all__ = ["main"]

# How long what a program registered for its end may take.
_END_S = 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Be a worker, or answer the `thalweg` command.

    Args:
        arguments: words after the command's name; None takes those this process was started with.

    Returns:
        The exit status of `--describe`. A worker does not return: it ends the process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--describe"]:
        from thalweg._describe import describe

        return describe()
    if words:
        print("usage: python -m thalweg.worker [--describe]", file=sys.stderr)
        return 2
    _end(_work())


def _work() -> int:
    # Ctrl-C is for the program that runs the pipeline.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A crash in native code shows where every thread was.
    faulthandler.enable()
    from thalweg import _native

    made: list[Runner] = []

    def build(told: str, control: _native.WorkerControl) -> Runner:
        if not made:
            _settle()
        from thalweg._node_runners import runner_of
        from thalweg._plugin_class import load_class

        document = json.loads(told)
        found = load_class(document["plugin"])
        made.append(runner_of(document["role"], found, document, control))
        return made[0]

    pid = os.getpid()
    status = _native.run_worker(build)
    for runner in made:
        try:
            runner.finish()
        except BaseException as problem:
            _stay(pid)
            text = f"{type(problem).__name__}: {problem}"
            if status == 0:
                _native.report_failure(text, "".join(traceback.format_exception(problem)))
            status = 1
        _stay(pid)
    return status


def _stay(pid: int) -> None:
    """End a forked child that came back from the class: the run is its parent's."""
    if os.getpid() != pid:
        os._exit(1)


def _settle() -> None:
    """Be as other programs are, for what the class prints and for the programs it starts."""
    if hasattr(sys.stdout, "reconfigure"):
        # It was block buffered, as it was a pipe; now it is standard error.
        sys.stdout.reconfigure(line_buffering=True)
    # These are for the program that runs the pipeline. A handler, unlike the wish to ignore a
    # signal, is not passed on.
    ours = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in ours:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ours)


def _end(status: int) -> NoReturn:
    """End the process, whatever threads the class has left behind."""
    # Should something registered for the end take too long.
    limit = threading.Timer(_END_S, os._exit, (status,))
    limit.daemon = True
    limit.start()
    try:
        import atexit

        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass  # Nobody listens any more, or the class has closed it.
    os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
