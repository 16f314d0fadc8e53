"""Runs the code blocks of one guide, in order, in the working directory: `run_guide.py GUIDE`.

- `python` blocks share one namespace. What a line prints has to be the comment at its end, if it
  has one; `...` in that comment stands for anything.
- A block whose first line is a comment with a file's name (`# camera.py`) is that file.
- The lines of a `console` block that begin with `$ ` are given to one bash, which waits for what it
  left in the background. The other lines are what they print, with `...` as above.

Blocks in other languages are for the eye only.
"""

import builtins
import doctest
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

FILE_NAME = re.compile(r"# ([\w.-]+\.\w+)")
CONSOLE_TIMEOUT_S = 60


class Block(NamedTuple):
    language: str
    # Number of its first line in the guide, counted from 1.
    line: int
    text: str


def blocks(text):
    """The fenced code blocks of a Markdown text, in order."""
    for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield Block(match[1], text.count("\n", 0, match.start()) + 2, match[2])


def matches(expected, found):
    """Whether an output is the expected one, where `...` stands for anything."""
    return doctest.OutputChecker().check_output(
        expected.strip() + "\n", found.strip() + "\n", doctest.ELLIPSIS
    )


class Guide:
    """One guide that is being run."""

    def __init__(self, path):
        self.path = path
        self.text = path.read_text()
        self.lines = self.text.splitlines()
        self.namespace = {"__name__": "__main__", "print": self.print}
        self.checked_outputs = 0

    def run(self):
        for block in blocks(self.text):
            place = f"{self.path}:{block.line}"
            file = FILE_NAME.fullmatch(block.text.partition("\n")[0])
            if file:
                Path(file[1]).write_text(block.text)
            elif block.language == "python":
                # Empty lines before it, so that tracebacks name lines of the guide.
                source = "\n" * (block.line - 1) + block.text
                exec(compile(source, self.path, "exec"), self.namespace)
            elif block.language == "console":
                self.run_console(place, block.text)

    def print(self, *values):
        """`print`, which compares with the comment at the end of the calling line."""
        builtins.print(*values)
        line = sys._getframe(1).f_lineno
        expected = self.lines[line - 1].partition("  # ")[2]
        found = " ".join(map(str, values))
        if expected:
            self.checked_outputs += 1
            assert matches(expected, found), (
                f"{self.path}:{line}: expected `{expected}`, found `{found}`"
            )

    def run_console(self, place, text):
        lines = text.splitlines()
        commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        expected = "\n".join(line for line in lines if not line.startswith("$ "))
        result = subprocess.run(
            ["bash", "-c", "\n".join([*commands, "code=$?; wait; exit $code"])],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=CONSOLE_TIMEOUT_S,
            check=False,
        )
        self.checked_outputs += 1
        assert matches(expected, result.stdout), (
            f"{place}: expected\n{expected}\nfound (exit code {result.returncode})\n{result.stdout}"
        )


if __name__ == "__main__":
    guide = Guide(Path(sys.argv[1]).resolve())
    guide.run()
    print(f"{guide.checked_outputs} outputs were as the guide says")
