"""`python -m thalweg` is the `thalweg` command of this installation."""

import os
import sys

from thalweg._find import find_binary

if __name__ == "__main__":
    try:
        command = find_binary()
    except FileNotFoundError as problem:
        sys.exit(f"error: {problem}")
    sys.stdout.flush()
    os.execv(command, [command, *sys.argv[1:]])
