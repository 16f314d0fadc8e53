"""Readers that get every frame, and writers that wait for them."""

import asyncio
import gc
import signal
import threading

import numpy as np
import pytest

import thalweg

pytestmark = pytest.mark.cpu


@pytest.fixture
def shm():
    with thalweg.stream("lossless", shape=(3,)) as handle:
        yield handle


def test_frames_come_in_order_and_once(shm):
    shm.write([0, 0, 0])
    with shm.subscribe() as reader:
        assert (reader.budget, reader.position, reader.lag) == (2, 1, 0)
        shm.write([1, 1, 1], frame_id=7)
        shm.write([2, 2, 2])
        assert reader.lag == 2
        first, second = next(reader), next(reader)
        assert (first.count, first.frame_id, first.payload[0]) == (2, 7, 1)
        assert (second.count, second.payload[0]) == (3, 2)
        with pytest.raises(TimeoutError):
            reader.read_next(timeout=0.01)
        out = np.zeros(3, np.float32)
        shm.write([3, 3, 3])
        assert reader.read_next(out=out).payload is out
        assert out[0] == 3


def test_the_writer_waits_and_names_who_holds_it_up(shm, start_python):
    process = start_python(
        """
        import sys, thalweg
        reader = thalweg.open("lossless").subscribe()
        print("subscribed")
        sys.stdin.readline()
        print(sum(next(reader).count for _ in range(2)))
        sys.stdin.readline()
        """
    )
    assert process.stdout.readline() == "subscribed\n"
    for value in (1, 2):
        shm.write(np.full(3, value), timeout=10)
    for writing in (
        lambda: shm.write([9, 9, 9], timeout=0.05),
        lambda: shm.loan(timeout=0.05).__enter__(),
    ):
        with pytest.raises(TimeoutError, match=f"process {process.pid}|{process.pid}"):
            writing()
    assert shm.count == 2
    process.stdin.write("go\n")
    process.stdin.flush()
    shm.write([3, 3, 3], timeout=10)
    assert process.stdout.readline() == "3\n"
    shm.write([4, 4, 4], timeout=10)
    process.kill()
    process.wait()
    for value in range(5, 15):
        shm.write(np.full(3, value), timeout=10)
    assert shm.count == 14, "who dies holds nobody up"


def test_a_slow_reader_gets_all_of_a_fast_writer(shm):
    frames = 500

    def write():
        for value in range(frames):
            shm.write(np.full(3, value), timeout=30)

    with thalweg.open("lossless").subscribe(budget=3) as reader:
        writer = threading.Thread(target=write)
        writer.start()
        values = [next(reader).payload[0] for _ in range(frames)]
        writer.join()
    assert values == list(range(frames))


def test_asyncio(shm):
    async def run():
        async def follow():
            return [frame.payload[0] async for frame, _ in limited(reader, 20)]

        with shm.subscribe() as reader:
            following = asyncio.create_task(follow())
            for value in range(20):
                while reader.lag >= reader.budget:
                    await asyncio.sleep(0)
                shm.write(np.full(3, value), timeout=0)
            assert await following == list(range(20))
            with pytest.raises(TimeoutError, match="next frame of stream 'lossless'"):
                await reader.read_next_async(timeout=0.01)

    async def limited(reader, frames):
        for index in range(frames):
            yield await anext(reader), index

    asyncio.run(run())


def test_a_subscription_ends_with_its_reader(shm):
    reader = shm.subscribe(budget=1)
    shm.write([1, 1, 1], timeout=0)
    with pytest.raises(TimeoutError):
        shm.write([2, 2, 2], timeout=0)
    reader.close()
    reader.close()
    shm.write([2, 2, 2], timeout=0)
    with pytest.raises(RuntimeError, match="closed"):
        reader.read_next(timeout=0)
    reader = shm.subscribe(budget=1)
    del reader
    gc.collect()
    for value in range(5):
        shm.write(np.full(3, value), timeout=0)


def test_what_cannot_be_subscribed(shm):
    for budget in (0, 5):
        with pytest.raises(ValueError, match=f"1 to 4 frames.*found {budget}"):
            shm.subscribe(budget)
    with shm.subscribe() as reader:
        shm.write([1, 1, 1])
        for wrong in (np.zeros(4, np.float32), np.zeros(3), [0, 0, 0]):
            with pytest.raises(ValueError, match="expected a writable"):
                reader.read_next(out=wrong)
        assert reader.read_next().count == 1, "nothing is lost by that"
        assert repr(reader) == "LosslessReader(stream='lossless', budget=2)"
    shm.close()
    with pytest.raises(RuntimeError, match="closed shared memory"):
        shm.subscribe()
    thalweg.unlink("lossless")


def test_waiting_ends_with_the_stream(shm):
    reader = shm.subscribe()
    thalweg.unlink("lossless")
    with pytest.raises(thalweg.StaleStreamError, match="unlinked"):
        next(reader)


def test_a_reader_dies_while_signals_keep_the_writer_awake(shm, start_python):
    """Sleeps that signals cut short are not the slices after which the writer looks for the dead."""
    process = start_python(
        """
        import sys, thalweg
        reader = thalweg.open("lossless").subscribe(budget=1)
        print("subscribed")
        sys.stdin.read()
        """
    )
    assert process.stdout.readline() == "subscribed\n"
    shm.write([1, 1, 1], timeout=30)
    previous = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
    killer = threading.Timer(0.2, process.kill)
    try:
        killer.start()
        shm.write([2, 2, 2], timeout=30)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        killer.join()
        process.wait()
    assert shm.count == 2


def test_a_signal_handler_cannot_write_into_a_write_that_waits(shm):
    refused = []

    def handler(*_):
        reader.read_next(timeout=0)
        try:
            shm.write([9, 9, 9], timeout=0)
        except RuntimeError as problem:
            refused.append(str(problem))

    previous = signal.signal(signal.SIGALRM, handler)
    try:
        with shm.subscribe(budget=1) as reader:
            shm.write([1, 1, 1], timeout=0)
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            shm.write([2, 2, 2], timeout=30)
            assert reader.read_next(timeout=0).payload[0] == 2
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert "being written already" in refused[0]
    assert (shm.count, shm.read()[0]) == (2, 2)


def test_closing_ends_the_read_of_another_thread(shm):
    reader = shm.subscribe(budget=1)
    raised = []

    def read():
        try:
            reader.read_next()
        except RuntimeError as problem:
            raised.append(str(problem))

    thread = threading.Thread(target=read)
    thread.start()
    while reader_is_free(reader):
        pass
    reader.close()
    thread.join(30)
    assert not thread.is_alive()
    assert "was closed" in raised[0]
    for value in range(5):
        shm.write(np.full(3, value), timeout=30)


def reader_is_free(reader):
    try:
        return reader.position >= 0
    except RuntimeError:
        return False


def test_closing_the_handle_ends_its_subscriptions(shm):
    handle = thalweg.open("lossless")
    reader = handle.subscribe(budget=1)
    handle.close()
    for value in range(5):
        shm.write(np.full(3, value), timeout=0)
    with pytest.raises(RuntimeError, match="was closed"):
        reader.read_next(timeout=0)
