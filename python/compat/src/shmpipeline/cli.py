"""The command `shmpipeline`: that of `thalweg`."""

import sys

from thalweg.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
