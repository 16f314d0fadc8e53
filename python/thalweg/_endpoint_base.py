"""What sources and sinks in Python have in common."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol

__all__ = ["EndpointBase", "Runner"]


class Runner(Protocol):
    """Who runs a source or sink, and says when to stop and pause."""

    def wait(self, duration_s: float) -> bool:
        """Sleep; true as soon as a stop is wanted."""

    def stop_requested(self) -> bool:
        """Whether a stop is wanted."""

    def paused(self) -> bool:
        """Whether the pipeline pauses."""


class EndpointBase:
    """What `Source` and `Sink` offer the classes that derive from them."""

    context: Any
    _runner: Runner | None = None

    def open(self) -> None:
        """Prepare, such as by opening a device. Exceptions reach the caller of `start`."""

    def close(self) -> None:
        """Give back what `open` took. Runs once, after the last frame, whatever happened."""

    def wait(self, duration: float) -> bool:
        """Sleep for `duration` seconds; true, at once, when the pipeline wants to stop."""
        if self._runner is not None:
            return self._runner.wait(duration)
        time.sleep(max(0.0, duration))
        return False

    def stop_requested(self) -> bool:
        """Whether the pipeline wants to stop. Whatever takes long looks here now and then."""
        return self._runner is not None and self._runner.stop_requested()

    def paused(self) -> bool:
        """Whether the pipeline pauses."""
        return self._runner is not None and self._runner.paused()

    def read_auxiliary(self, alias: str, timeout: float = 0.01) -> Any | None:
        """A copy of the newest frame of an auxiliary stream.

        Args:
            alias: what the configuration calls it for this node.
            timeout: seconds to go on trying while frames are replaced faster than they can be
                copied.

        Returns:
            An array, or None before the first frame and after `timeout`.

        Raises:
            KeyError: the node has no such auxiliary stream.
        """
        streams: Mapping[str, Any] = self.context.auxiliary_streams
        try:
            stream = streams[alias]
        except KeyError:
            known = ", ".join(map(repr, streams)) or "none"
            raise KeyError(f"no auxiliary stream {alias!r}; there are: {known}") from None
        if stream.count == 0:
            return None
        try:
            return stream.read(timeout=timeout)
        except TimeoutError:
            return None

    def plugin_metrics(self) -> dict[str, Any]:
        """Measurements of one's own, shown in status and snapshots. Called from other threads."""
        return {}
