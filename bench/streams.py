"""Streams from Python: `python bench/streams.py LIBRARY [pinned]`, where LIBRARY is importable.

Libraries are used through the same calls. Requests:

    round_trip ELEMENTS COUNT [USE]    a frame there and back, copied four times. USE is `copy`;
                                       `view`: the partner writes back what it borrowed, without
                                       reading it; or `poll`: as `copy`, with streams that do not
                                       wake their readers, which look again and again
    write COUNT                        writing 100 floats
    read COUNT                         reading them into an array

With `pinned` each of the two processes has a CPU of its own, and nothing else: then the one that
waits sleeps. Otherwise both may run on every CPU, and may spin where the library does that.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
from party import Answer, Party, calls_of, create_stream, in_us, load, pin, serve, times_ns

TIMEOUT_S = 10.0
FLOATS = 100
BATCH = 64


class Leader:
    """Sends frames and takes the time."""

    def __init__(self, library: str, place: str) -> None:
        self._module = load(library)
        self._prefix = f"bench-streams-{os.getpid()}"
        self._partner = Party(library, place, self._prefix)
        self._streams: dict[str, Any] = {}
        if place == "pinned":
            pin(0)

    def stream(self, name: str, elements: int, notify: bool = True) -> Any:
        """A stream of this process, made on first use."""
        if name not in self._streams:
            full_name = f"{self._prefix}-{name}"
            stream = create_stream(self._module, full_name, (elements,), notify)
            self._streams[name] = stream
        return self._streams[name]

    def round_trip(self, elements: str, count: str, use: str = "copy") -> Answer:
        """Frames to the partner and back."""
        suffix = f"{elements}-{'poll' if use == 'poll' else 'notify'}"
        there = self.stream(f"there-{suffix}", int(elements), use != "poll")
        back = self.stream(f"back-{suffix}", int(elements), use != "poll")
        sent = np.ones(int(elements), np.float32)
        received = np.empty_like(sent)
        self._partner.ask(f"open {suffix}")
        self._partner.begin(f"echo {suffix} {calls_of(int(count))} {use}")

        def exchange() -> None:
            answered = back.count
            there.write(sent)
            back.read_after(answered, timeout=TIMEOUT_S, out=received)

        samples = times_ns(exchange, int(count))
        self._partner.end()
        return in_us(samples)

    def write(self, count: str) -> Answer:
        """Writing a small frame that nobody waits for."""
        stream = self.stream("small", FLOATS)
        frame = np.ones(FLOATS, np.float32)
        return in_us(times_ns(lambda: stream.write(frame), int(count), BATCH))

    def read(self, count: str) -> Answer:
        """Reading a small frame that is there."""
        stream = self.stream("small", FLOATS)
        stream.write(np.ones(FLOATS, np.float32))
        frame = np.empty(FLOATS, np.float32)
        return in_us(times_ns(lambda: stream.read(out=frame), int(count), BATCH))

    def close(self) -> None:
        """Leave nothing behind."""
        self._partner.close()
        for stream in self._streams.values():
            stream.unlink()


class Follower:
    """Sends back what comes."""

    def __init__(self, library: str, place: str, prefix: str) -> None:
        self._module = load(library)
        self._prefix = prefix
        self._streams: dict[str, tuple[Any, Any]] = {}
        if place == "pinned":
            pin(1)

    def open(self, suffix: str) -> Answer:
        """Attach to two streams, and take the count to start from."""
        if suffix not in self._streams:
            there, back = (
                self._module.open(f"{self._prefix}-{name}-{suffix}") for name in ("there", "back")
            )
            self._streams[suffix] = there, back
        self._seen = self._streams[suffix][0].count
        return {}

    def echo(self, suffix: str, count: str, use: str) -> Answer:
        """Send back that many frames."""
        there, back = self._streams[suffix]
        frame = np.empty(there.shape, np.float32)
        for seen in range(self._seen, self._seen + int(count)):
            if use == "view":
                await_count(there, seen)
                with there.borrow() as borrowed:
                    back.write(borrowed.array)
            else:
                there.read_after(seen, timeout=TIMEOUT_S, out=frame)
                back.write(frame)
        return {}


def await_count(stream: Any, seen: int) -> None:
    """Wait for a frame without reading it: by looking, where there is no call for it."""
    if hasattr(stream, "wait_for_count"):
        stream.wait_for_count(after=seen, timeout=TIMEOUT_S)
    while stream.count <= seen:
        pass


def main(library: str, place: str = "free", prefix: str | None = None) -> None:
    """Be the leader, or the partner of one."""
    if prefix is not None:
        follower = Follower(library, place, prefix)
        serve({"open": follower.open, "echo": follower.echo})
        return
    leader = Leader(library, place)
    try:
        serve({"round_trip": leader.round_trip, "write": leader.write, "read": leader.read})
    finally:
        leader.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
