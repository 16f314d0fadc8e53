"""The `thalweg` command, for programs: `main(["validate", "pipeline.yaml"])` is its exit status."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from thalweg._find import find_binary

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the `thalweg` command of this installation and wait for its end.

    Args:
        argv: its arguments; None is those of this program.

    Returns:
        Its exit status: 0, 1 if the pipeline failed or its configuration is invalid, 2 after wrong
        usage, 130 if it was interrupted.
    """
    try:
        command = find_binary()
    except FileNotFoundError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    arguments = [command, *(sys.argv[1:] if argv is None else argv)]
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    replaced = [_is_replaced(sys.stdout, 1), _is_replaced(sys.stderr, 2)]
    with subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE if replaced[0] else None,
        stderr=subprocess.PIPE if replaced[1] else None,
        text=True,
    ) as process:
        output, errors = _ended(process)
    if output:
        sys.stdout.write(output)
    if errors:
        sys.stderr.write(errors)
    # A signal that ended it, as a shell reports it.
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _ended(process: subprocess.Popen[str]) -> tuple[str | None, str | None]:
    """What the process printed. Ctrl-C reaches it as well, and it ends by itself then."""
    while True:
        try:
            return process.communicate()
        except KeyboardInterrupt:
            continue


def _is_replaced(stream: object, descriptor: int) -> bool:
    """Whether a program put something of its own in the place of an output, such as a StringIO."""
    try:
        found: int = stream.fileno()  # type: ignore[attr-defined]
        return found != descriptor
    except (AttributeError, OSError):
        return True


if __name__ == "__main__":
    sys.exit(main())
