"""The command `pyshmem`: lists and removes streams."""

import argparse
import sys
from collections.abc import Sequence

import pyshmem


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: words after the command's name; None takes those this process was started with.

    Returns:
        The exit code: 0, or 1 if something failed or no subcommand was given.

    Raises:
        SystemExit: with 2 after wrong usage, with 0 after `--help`.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        match arguments.command:
            case "list":
                _list()
            case "unlink":
                _unlink(arguments.names)
            case "purge":
                _purge(arguments.include_cuda_orphans)
            case _:
                parser.print_help()
                return 1
    except (OSError, RuntimeError, ValueError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pyshmem", description="List and remove streams.")
    commands = parser.add_subparsers(dest="command", metavar="command")
    commands.add_parser("list", help="print the names of all streams, one per line")
    unlink = commands.add_parser("unlink", help="remove streams by name")
    unlink.add_argument("names", nargs="+", metavar="NAME")
    purge = commands.add_parser("purge", help="remove all streams")
    purge.add_argument(
        "--include-cuda-orphans",
        action="store_true",
        help="also remove what CUDA producers that died have left",
    )
    return parser


def _list() -> None:
    names = pyshmem.list_streams()
    if not names:
        print("no streams found", file=sys.stderr)
    for name in names:
        print(name)


def _unlink(names: Sequence[str]) -> None:
    for name in names:
        pyshmem.unlink(name)
        print(f"unlinked {name!r}")


def _purge(include_cuda_orphans: bool) -> None:
    removed = pyshmem.purge(include_cuda_orphans=include_cuda_orphans)
    if not removed:
        print("no streams found", file=sys.stderr)
        return
    for name in removed:
        print(f"purged {name!r}")
    print(f"removed {len(removed)} stream(s)")


if __name__ == "__main__":
    sys.exit(main())
