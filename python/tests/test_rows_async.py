"""Waiting in asyncio for rows of frames that are still written."""

import asyncio
import math
import os

import numpy as np
import pytest

import thalweg

pytestmark = pytest.mark.cpu

WATCHDOG_S = 30


@pytest.fixture
def pair():
    """A writer and a reader of a stream of frames of 8 rows."""
    with (
        thalweg.stream("rows_async", shape=(8, 2), progressive=True) as writer,
        thalweg.open("rows_async") as reader,
    ):
        yield writer, reader


def run(coroutine):
    """What `coroutine` comes to, under a watchdog."""

    async def watched():
        return await asyncio.wait_for(coroutine, WATCHDOG_S)

    return asyncio.run(watched())


def thread_names():
    """Names of the threads of this process."""
    names = []
    for thread_id in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread_id}/comm") as file:
                names.append(file.read().strip())
        except OSError:
            continue  # Ended meanwhile.
    return names


def test_rows_end_the_wait_before_their_frame_is_published(pair):
    writer, reader = pair

    async def main():
        task = asyncio.create_task(reader.read_rows_async(3))
        await asyncio.sleep(0)
        with writer.write_rows() as frame:
            frame.array[:2] = 1
            frame.announce(2)
            await asyncio.sleep(0)
            assert not task.done()
            frame.array[2:4] = 1
            frame.announce(4)
            part = await task
            assert part.payload.tolist() == [[1, 1]] * 3
            assert part.payload.flags.owndata and part.payload.flags.writeable
            assert (part.count, part.start, part.rows, part.is_complete) == (1, 0, 4, False)
            assert reader.count == 0
            task = asyncio.create_task(reader.read_rows_async(6, start=3, more_of=part))
            await asyncio.sleep(0)
            frame.array[4:] = 2
            frame.announce(6)
            more = await task
            assert more.payload.tolist() == [[1, 1], [2, 2], [2, 2]]
            task = asyncio.create_task(reader.read_rows_async(8, start=6, more_of=more))
            await asyncio.sleep(0)
        rest = await task
        assert (rest.is_complete, rest.payload.tolist()) == (True, [[2, 2]] * 2)
        return await reader.read_rows_async(8, timeout=0)

    assert run(main()).is_complete


def test_a_task_follows_a_writer_in_another_thread_row_by_row(pair):
    writer, reader = pair
    frames = 20

    def write():
        for value in range(frames):
            with writer.write_rows() as frame:
                for row in range(8):
                    frame.array[row] = value * 8 + row
                    frame.announce(row + 1)

    async def main():
        writing = asyncio.create_task(asyncio.to_thread(write))
        seen = torn = 0
        while seen < frames:
            try:
                part = await reader.read_rows_async(1, after=seen)
                seen = part.count
                for row in range(1, 8):
                    part = await reader.read_rows_async(row + 1, start=row, more_of=part)
                    torn += (part.payload != (seen - 1) * 8 + row).any()
            except thalweg.InconsistentStreamError:
                continue  # The writer was faster: that frame is gone.
        await writing
        return torn

    assert not run(main())


def test_a_frame_that_is_given_up_ends_the_wait_for_more_of_it(pair):
    writer, reader = pair

    async def main():
        with pytest.raises(ZeroDivisionError), writer.write_rows() as frame:
            frame.array[:] = 1
            frame.announce(4)
            part = await reader.read_rows_async(4)
            of_it = asyncio.create_task(reader.read_rows_async(8, more_of=part))
            of_any = asyncio.create_task(reader.read_rows_async(8))
            await asyncio.sleep(0)
            raise ZeroDivisionError
        with pytest.raises(thalweg.InconsistentStreamError, match="given up"):
            await of_it
        with writer.write_rows() as frame:
            frame.array[:] = 2
        return await of_any

    assert run(main()).payload.tolist() == [[2, 2]] * 8


def test_cancelling_and_timeouts_end_the_wait_and_nothing_else(pair):
    writer, reader = pair

    async def main():
        before = len(thread_names())
        tasks = [asyncio.create_task(reader.read_rows_async(1)) for _ in range(50)]
        await asyncio.sleep(0)
        assert "thalweg-reactor" in thread_names()
        assert len(thread_names()) <= before + 1, "a thread for each wait"
        for task in tasks[:-1]:
            task.cancel()
        cancelled = await asyncio.gather(*tasks[:-1], return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in cancelled)
        for timeout in (0, 0.01):
            with pytest.raises(TimeoutError, match="waiting for 1 rows of a frame of stream"):
                await reader.read_rows_async(1, timeout=timeout)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read_rows_async(1), 0.01)
        assert not tasks[-1].done()
        with writer.write_rows() as frame:
            frame.array[:] = 3
            frame.announce(1)
            return await tasks[-1]

    assert run(main()).payload.tolist() == [[3, 3]]


@pytest.mark.parametrize("readonly", [False, True])
def test_the_end_of_the_stream_and_of_the_handle_end_the_wait(readonly):
    writer = thalweg.create("rows_ending", shape=(8, 2), progressive=True)
    closing, ending = (thalweg.open("rows_ending", readonly=readonly) for _ in range(2))

    async def main():
        tasks = [asyncio.create_task(handle.read_rows_async(1)) for handle in (closing, ending)]
        await asyncio.sleep(0)
        closing.close()
        with pytest.raises(RuntimeError, match="closed while a read was waiting"):
            await tasks[0]
        assert not tasks[1].done()
        writer.unlink()
        with pytest.raises(thalweg.StaleStreamError, match="unlinked"):
            await tasks[1]
        with pytest.raises(RuntimeError, match="closed shared memory"):
            await closing.read_rows_async(1)

    run(main())
    ending.close()


def test_what_can_never_be_awaited_is_refused(pair):
    _, reader = pair
    for arguments, options in [((9,), {}), ((2,), {"start": 3}), ((2,), {"start": -1})]:
        with pytest.raises(ValueError):
            run(reader.read_rows_async(*arguments, **options))
    with pytest.raises(ValueError, match="after must"):
        run(reader.read_rows_async(1, after=-1))
    with pytest.raises(ValueError, match="negative"):
        run(reader.read_rows_async(1, timeout=-1))
    with pytest.raises(ValueError, match="nan"):
        run(reader.read_rows_async(1, timeout=math.nan))
    with thalweg.stream("whole", shape=(8,)) as whole:
        whole.write(np.zeros(8))
        with pytest.raises(ValueError, match="not progressive"):
            run(whole.read_rows_async(1))
