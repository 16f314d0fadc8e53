"""Seeing what pipelines log.

Everything is logged below the logger `thalweg`: `thalweg.pipelines` has changes of state and
workers that start, stop and fail; `thalweg.streams` has streams that are made and removed.
"""

from __future__ import annotations

import logging
import sys
from typing import ClassVar

__all__ = ["ColorFormatter", "configure_colored_logging", "get_logger"]


class ColorFormatter(logging.Formatter):
    """A formatter that colours the names of levels.

    Args:
        fmt: as for `logging.Formatter`.
        use_color: false prints them plainly.
    """

    _COLORS: ClassVar[dict[int, int]] = {
        logging.DEBUG: 36,
        logging.INFO: 32,
        logging.WARNING: 33,
        logging.ERROR: 31,
        logging.CRITICAL: 35,
    }

    def __init__(self, fmt: str, *, use_color: bool = True) -> None:
        super().__init__(fmt)
        self.use_color = use_color

    def format(self, record: logging.LogRecord) -> str:
        """One line for a record, which stays as it is."""
        color = self._COLORS.get(record.levelno)
        if not self.use_color or color is None:
            return super().format(record)
        colored = logging.makeLogRecord(record.__dict__)
        colored.levelname = f"\033[{color}m{record.levelname}\033[0m"
        return super().format(colored)


def get_logger(name: str) -> logging.Logger:
    """The logger `thalweg.<name>`."""
    return logging.getLogger(f"thalweg.{name}")


def configure_colored_logging(
    *,
    level: int | str = logging.INFO,
    fmt: str = "%(asctime)s | %(levelname)s | %(name)s | %(message)s",
) -> None:
    """Log everything to standard error, in colours if that is a terminal.

    Args:
        level: the least level that is shown.
        fmt: as for `logging.Formatter`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(ColorFormatter(fmt, use_color=sys.stderr.isatty()))
    logging.basicConfig(level=level, handlers=[handler], force=True)
