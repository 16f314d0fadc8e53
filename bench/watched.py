"""Writers and the readers that watch them, from Python: `python bench/watched.py LIBRARY`.

The writer has the first CPU, all readers share the second. Requests:

    write READERS asleep|looking COUNT   what writing 100 floats takes while that many processes
                                         watch: `asleep` until there is a frame, of which there is
                                         one a millisecond, or `looking` once a millisecond at a
                                         writer that never pauses
    in_place FRAMES                      frames that are filled in place for 10 ms each, one right
                                         after the other, and how many a reader gets to see
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import numpy as np
from party import Answer, Party, create_stream, in_us, load, pin, serve, times_ns

TIMEOUT_S = 10.0
FLOATS = 100
PERIOD_S = 0.001
FILLING_S = 0.01
BATCH = 64
# What a frame begins with after which there is none.
LAST = -1.0


class Writer:
    """Writes, and takes the time."""

    def __init__(self, library: str) -> None:
        self._library = library
        self._name = f"bench-watched-{os.getpid()}"
        self._stream = create_stream(load(library), self._name, (FLOATS,))
        self._readers: list[Party] = []
        pin(0)

    def _watched_by(self, readers: int, how: str) -> list[Party]:
        while len(self._readers) < readers:
            self._readers.append(Party(self._library, self._name))
        watching = self._readers[:readers]
        for reader in watching:
            reader.ask("open")
        for reader in watching:
            reader.begin(f"watch {how}")
        return watching

    def write(self, readers: str, how: str, count: str) -> Answer:
        """Writing, which nobody may slow down."""
        watching = self._watched_by(int(readers), how)
        stream = self._stream
        frame = np.ones(FLOATS, np.float32)
        if how == "asleep":
            samples = np.array([self._paced(frame) for _ in range(int(count))])
        else:
            samples = times_ns(lambda: stream.write(frame), int(count), BATCH)
        frame[0] = LAST
        stream.write(frame)
        for reader in watching:
            reader.end()
        return in_us(samples)

    def _paced(self, frame: Any) -> float:
        time.sleep(PERIOD_S)
        began = time.perf_counter_ns()
        self._stream.write(frame)
        return time.perf_counter_ns() - began

    def in_place(self, frames: str) -> Answer:
        """Filling frames where readers will find them."""
        stream = self._stream
        stream.write(np.zeros(FLOATS, np.float32))
        # A fresh part of the stream where there is one, else its only copy.
        frame_in_place = stream.loan if hasattr(stream, "loan") else stream.write_view
        (reader,) = self._watched_by(1, "asleep")
        for number in [*range(1, int(frames) + 1), LAST]:
            with frame_in_place() as frame:
                frame[:] = number
                time.sleep(FILLING_S)
        seen = reader.end()["seen"] - 1  # the last is none of them
        return {
            "published": int(frames),
            "seen": seen,
            "seen_percent": round(100 * seen / int(frames), 2),
        }

    def close(self) -> None:
        """Leave nothing behind."""
        for reader in self._readers:
            reader.close()
        self._stream.unlink()


class Reader:
    """Watches until it is told that there is no more."""

    def __init__(self, library: str, name: str) -> None:
        self._stream = load(library).open(name)
        self._seen = 0
        pin(1)

    def open(self) -> Answer:
        """Take the count to start from."""
        self._seen = self._stream.count
        return {}

    def watch(self, how: str) -> Answer:
        """Read what comes; how many different frames that was."""
        stream, after, seen = self._stream, self._seen, 0
        frame = np.zeros(FLOATS, np.float32)
        while frame[0] != LAST:
            before = frame[0]
            if how == "looking":
                time.sleep(PERIOD_S)
                stream.read(out=frame)
            else:
                stream.read_after(after, timeout=TIMEOUT_S, out=frame)
                # Where frames were missed, the newest comes again until this has caught up.
                after += 1
            seen += int(frame[0] != before)
        return {"seen": seen}


def main(library: str, name: str | None = None) -> None:
    """Be the writer, or a reader of one."""
    if name is not None:
        reader = Reader(library, name)
        serve({"open": reader.open, "watch": reader.watch})
        return
    writer = Writer(library)
    try:
        serve({"write": writer.write, "in_place": writer.in_place})
    finally:
        writer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
