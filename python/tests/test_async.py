"""Waiting in asyncio: every form, how it ends, and what it costs."""

import asyncio
import math
import os
import threading

import numpy as np
import pytest

import thalweg

pytestmark = pytest.mark.cpu

WATCHDOG_S = 30


@pytest.fixture
def pair():
    """A writer and a reader of a stream of three floats with one frame."""
    with thalweg.stream("async", shape=(3,)) as writer, thalweg.open("async") as reader:
        writer.write([1, 1, 1])
        yield writer, reader


def run(coroutine):
    """What `coroutine` comes to, under a watchdog."""

    async def watched():
        return await asyncio.wait_for(coroutine, WATCHDOG_S)

    return asyncio.run(watched())


def threads():
    """Names of the threads of this process."""
    names = []
    for thread_id in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread_id}/comm") as file:
                names.append(file.read().strip())
        except OSError:
            continue  # Ended meanwhile.
    return names


# Every form: how it is called, and the count it comes to when `written` frames are there.
FORMS = {
    "read_new_async": lambda shm, **options: shm.read_new_async(**options),
    "read_new_publication_async": lambda shm, **options: shm.read_new_publication_async(**options),
    "read_after_async": lambda shm, **options: shm.read_after_async(1, **options),
    "read_after_publication_async": lambda shm, **options: shm.read_after_publication_async(
        1, **options
    ),
    "wait_for_count_async": lambda shm, **options: shm.wait_for_count_async(after=1, **options),
    "wait_any_async": lambda shm, **options: thalweg.wait_any_async([(shm, 1)], **options),
}
LEVEL_FORMS = [name for name in FORMS if "new" not in name]


def check_second_frame(outcome):
    """The outcome of any form once the second frame, of twos, is there."""
    if isinstance(outcome, thalweg.Publication):
        assert outcome.count == 2
        outcome = outcome.payload
    if isinstance(outcome, np.ndarray):
        assert outcome.tolist() == [2, 2, 2]
        assert outcome.flags.owndata and outcome.flags.writeable
    else:
        assert outcome in (0, 2), "a position or a count"


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_write_ends_the_wait(pair, form):
    writer, reader = pair

    async def main():
        task = asyncio.create_task(form(reader))
        while writer.count == 1:
            await asyncio.sleep(0)  # The task is under way now.
            assert not task.done()
            writer.write([2, 2, 2])
        return await task

    check_second_frame(run(main()))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_write_of_another_thread_ends_the_wait(pair, form):
    writer, reader = pair

    async def main():
        task = asyncio.create_task(form(reader))
        await asyncio.sleep(0)
        await asyncio.to_thread(writer.write, [2, 2, 2])
        return await task

    check_second_frame(run(main()))


@pytest.mark.parametrize("name", LEVEL_FORMS)
def test_level_waits_are_over_at_once_when_the_frame_is_there(pair, name):
    writer, reader = pair
    writer.write([2, 2, 2])
    for timeout in (None, 0, 1):
        check_second_frame(run(FORMS[name](reader, timeout=timeout)))


def test_edge_waits_do_not_take_what_was_there(pair):
    _, reader = pair
    for form in ("read_new_async", "read_new_publication_async"):
        with pytest.raises(TimeoutError, match="a new write"):
            run(FORMS[form](reader, timeout=0.01))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("timeout", [0, 0.01])
def test_timeouts(pair, form, timeout):
    _, reader = pair
    with pytest.raises(TimeoutError, match="timed out waiting for"):
        run(form(reader, timeout=timeout))
    assert reader.total_missed_writes == 0


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("timeout", [math.inf, 1e300, 1e9])
def test_timeouts_that_never_come(pair, form, timeout):
    writer, reader = pair

    async def main():
        task = asyncio.create_task(form(reader, timeout=timeout))
        await asyncio.sleep(0)
        writer.write([2, 2, 2])
        return await task

    check_second_frame(run(main()))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_timeout_has_to_be_a_number(pair, form):
    with pytest.raises(ValueError, match="nan"):
        run(form(pair[1], timeout=math.nan))


@pytest.mark.parametrize("name", FORMS)
def test_negative_timeouts(pair, name):
    if name in LEVEL_FORMS:
        with pytest.raises(ValueError, match="negative"):
            run(FORMS[name](pair[1], timeout=-1))
    else:
        with pytest.raises(TimeoutError, match="a new write"):
            run(FORMS[name](pair[1], timeout=-1))


@pytest.mark.parametrize("after", [None, "x", -1])
def test_impossible_counts(pair, after):
    _, reader = pair
    for wait in (
        lambda: reader.read_after_async(after),
        lambda: reader.read_after_publication_async(after),
        lambda: reader.wait_for_count_async(after=after),
        lambda: thalweg.wait_any_async([(reader, after)]),
    ):
        with pytest.raises(ValueError, match="after must"):
            run(wait())


def test_out_is_filled_and_returned(pair):
    writer, reader = pair
    writer.write([2, 2, 2])
    for dtype in (np.float32, np.float64):
        out = np.zeros(3, dtype)
        assert run(reader.read_after_async(1, out=out)) is out
        assert out.tolist() == [2, 2, 2]
        out[...] = 0
        assert run(reader.read_after_publication_async(1, out=out)).payload is out
        assert out.tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match="shape"):
        run(reader.read_after_async(1, out=np.zeros(2, np.float32)))
    with pytest.raises(RuntimeError, match="safe=False requires"):
        run(reader.read_new_async(safe=False))
    with reader.locked():
        assert run(reader.read_after_async(1, safe=False)).tolist() == [2, 2, 2]


def test_missed_frames_are_counted(pair):
    writer, reader = pair
    for _ in range(4):
        writer.write([2, 2, 2])
    publication = run(reader.read_after_publication_async(0))
    assert (publication.count, publication.missed_publications) == (5, 4)
    assert run(reader.wait_for_count_async(after=0)) == 5
    assert (reader.last_read_count, reader.missed_writes, reader.total_missed_writes) == (5, 4, 4)


# How else waits end


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_closing_the_handle_ends_the_wait(pair, form):
    _, reader = pair

    async def main():
        task = asyncio.create_task(form(reader))
        await asyncio.sleep(0)
        reader.close()
        await task

    with pytest.raises(RuntimeError, match="closed while a read was waiting"):
        run(main())


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("readonly", [False, True])
def test_unlinking_the_stream_ends_the_wait(form, readonly):
    writer = thalweg.create("ending", shape=(3,))
    writer.write([1, 1, 1])
    reader = thalweg.open("ending", readonly=readonly)

    async def main():
        task = asyncio.create_task(form(reader))
        await asyncio.sleep(0)
        await asyncio.to_thread(thalweg.unlink, "ending")
        await task

    with pytest.raises(thalweg.StaleStreamError, match="unlinked"):
        run(main())
    with pytest.raises(thalweg.StaleStreamError, match="unlinked"):
        run(form(reader))
    writer.close()
    reader.close()


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_closed_handle_cannot_be_awaited(pair, form):
    handle = thalweg.open("async")
    handle.close()
    with pytest.raises(RuntimeError, match="closed shared memory"):
        run(form(handle))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_cancelling_the_task_ends_the_wait_and_nothing_else(pair, form):
    writer, reader = pair

    async def main():
        tasks = [asyncio.create_task(form(reader)) for _ in range(10)]
        await asyncio.sleep(0)
        for task in tasks[:-1]:
            task.cancel()
        cancelled = await asyncio.gather(*tasks[:-1], return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in cancelled)
        assert not tasks[-1].done()
        writer.write([2, 2, 2])
        return await tasks[-1]

    check_second_frame(run(main()))


def test_a_timeout_from_outside_is_a_cancellation(pair):
    writer, reader = pair

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await reader.read_new_async()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read_new_async(timeout=60), 0.01)
        task = asyncio.create_task(reader.read_new_async())
        await asyncio.sleep(0)
        writer.write([2, 2, 2])
        return await task

    assert run(main()).tolist() == [2, 2, 2]


@pytest.mark.parametrize("name", sorted(set(FORMS) - {"wait_any_async"}))
@pytest.mark.parametrize("readonly", [False, True])
def test_a_strict_stream_tells_tasks_of_aborts(name, readonly):
    with thalweg.stream("strict", shape=(3,), on_abort="invalidate") as writer:
        writer.write([1, 1, 1])
        with thalweg.open("strict", readonly=readonly) as reader:

            async def main():
                task = asyncio.create_task(FORMS[name](reader))
                await asyncio.sleep(0)
                with pytest.raises(ZeroDivisionError), writer.write_view():
                    raise ZeroDivisionError
                await task

            with pytest.raises(thalweg.InconsistentStreamError, match="incomplete write"):
                run(main())


def test_a_wait_for_any_stream_minds_no_abort(pair):
    """It waits for the next frame, whatever becomes of others."""
    with thalweg.stream("strict", shape=(3,), on_abort="invalidate") as writer:
        writer.write([1, 1, 1])

        async def main():
            task = asyncio.create_task(thalweg.wait_any_async([(pair[1], 1), (writer, 1)]))
            await asyncio.sleep(0)
            with pytest.raises(ZeroDivisionError), writer.write_view():
                raise ZeroDivisionError
            await asyncio.sleep(0)
            writer.write([2, 2, 2])
            return await task

        assert run(main()) == 1


# Many


def test_tasks_share_one_thread(pair):
    writer, reader = pair

    async def main():
        tasks = [
            asyncio.create_task(form(reader)) for form in list(FORMS.values()) * 100
        ]
        await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)
        assert threads().count("thalweg-reactor") == 1
        assert not any(name.startswith("asyncio") for name in threads())
        writer.write([2, 2, 2])
        return await asyncio.gather(*tasks)

    for outcome in run(main()):
        check_second_frame(outcome)


def test_every_task_gets_every_frame_it_asks_for(pair):
    writer, _ = pair
    readers = [thalweg.open("async") for _ in range(20)]

    async def consume(reader):
        counts = []
        while not counts or counts[-1] < 201:
            publication = await reader.read_after_publication_async(reader.last_read_count)
            assert (publication.payload == publication.count).all()
            counts.append(publication.count)
        assert len(counts) + reader.total_missed_writes == 200

    async def produce():
        for number in range(2, 202):
            await asyncio.to_thread(writer.write, [number] * 3)

    async def main():
        await asyncio.gather(produce(), *(consume(reader) for reader in readers))

    run(main())
    for reader in readers:
        reader.close()


def test_two_loops_in_two_threads(pair):
    writer, reader = pair
    started = threading.Barrier(3)
    outcomes = []

    def loop():
        async def main():
            task = asyncio.create_task(reader.read_after_async(1))
            await asyncio.sleep(0)
            started.wait(WATCHDOG_S)
            outcomes.append((await task).tolist())

        run(main())

    workers = [threading.Thread(target=loop) for _ in range(2)]
    for worker in workers:
        worker.start()
    started.wait(WATCHDOG_S)
    writer.write([2, 2, 2])
    for worker in workers:
        worker.join(WATCHDOG_S)
    assert outcomes == [[2, 2, 2]] * 2


def test_any_of_many_streams():
    handles = [thalweg.create(f"any{number}", shape=(1,)) for number in range(150)]

    async def main(position):
        pairs = [(handle, handle.count) for handle in handles]
        task = asyncio.create_task(thalweg.wait_any_async(pairs, timeout=WATCHDOG_S))
        await asyncio.sleep(0)
        handles[position].write([1])
        assert await task == position

    for position in (0, 149, 75, 127, 126):
        run(main(position))
    for handle in handles:
        handle.unlink()


def test_the_first_of_several_that_are_ready(pair):
    writer, reader = pair
    assert run(thalweg.wait_any_async([(writer, 1), (reader, 0), (writer, 0)])) == 1
    with pytest.raises(ValueError, match="nothing to wait for"):
        run(thalweg.wait_any_async([]))


def test_a_loop_that_was_closed_is_left_alone(pair, capfd):
    """Its waits were abandoned with it: what comes later has nobody to be told."""
    writer, reader = pair
    for form in FORMS.values():
        loop = asyncio.new_event_loop()
        task = loop.create_task(form(reader))
        loop.call_soon(loop.stop)
        loop.run_forever()
        task._log_destroy_pending = False
        loop.close()
        writer.write([2, 2, 2])
        task.get_coro().close()
        del task
    assert run(reader.wait_for_count_async(after=0)) == 1 + len(FORMS)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_leaving_with_tasks_under_way(run_python):
    run_python(
        """
        import asyncio, thalweg
        shm = thalweg.create("leaving", shape=(1,))
        async def main():
            tasks = [asyncio.create_task(shm.read_new_async()) for _ in range(10)]
            await asyncio.sleep(0)
            shm.unlink()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert all("closed while" in str(result) for result in results), results
        asyncio.run(main())
        other = thalweg.create("leaving", shape=(1,))
        async def wait():
            await other.read_new_async()
        loop = asyncio.new_event_loop()
        task = loop.create_task(wait())
        loop.call_soon(loop.stop)
        loop.run_forever()
        task._log_destroy_pending = False
        other.unlink()
        loop.close()
        """
    )


# Streams that are yet to come


def test_opening_what_is_there():
    async def main():
        for wait in (None, 0, 10):
            with await thalweg.open_async("there", readonly=True, wait=wait) as reader:
                assert (reader.shape, reader.readonly) == ((3,), True)

    with thalweg.stream("there", shape=(3,)):
        run(main())


def test_opening_what_comes(start_python):
    async def main():
        ticks = 0
        task = asyncio.create_task(thalweg.open_async("comes", wait=math.inf))
        while not task.done():
            await asyncio.sleep(0)
            ticks += 1
            if ticks == 100:
                await asyncio.to_thread(thalweg.create, "comes", shape=(3,))
        return await task

    with run(main()) as handle:
        assert handle.shape == (3,)
        handle.unlink()


def test_opening_what_never_comes():
    with pytest.raises(FileNotFoundError, match="does not exist"):
        run(thalweg.open_async("never"))
    for wait in (0, 0.01):
        with pytest.raises(TimeoutError, match="never"):
            run(thalweg.open_async("never", wait=wait))
    with pytest.raises(ValueError, match="non-empty"):
        run(thalweg.open_async("", wait=1))
