"""The defects of pyshmem 1.4.0, by the letters its users know them under: none of them is here.

Starvation, which is no wrong answer but no answer, comes first.
"""

import gc
import os
import signal
import threading
import time

import numpy as np
import pytest
from waiting_thread import WaitingThread

import thalweg

pytestmark = pytest.mark.cpu

# Writes frames in place, one after the other without a pause, each filled with its own number and
# half of that before; the second half of the work is done while the slot is half written.
BACK_TO_BACK = """
    import sys, numpy as np, thalweg
    shm = thalweg.open(sys.argv[1])
    work = int(sys.argv[2])
    print("started")
    number = shm.count
    while thalweg.list_streams():
        for _ in range(20):
            number += 1
            with shm.write_view(frame_id=number) as array:
                half = array.size // 2
                array[:half] = number
                for _ in range(work):
                    pass
                array[half:] = number
"""


def torn(frame):
    return not (frame == frame.flat[0]).all()


def stopped(process, shm):
    """Ends a writer of the kind above."""
    shm.unlink()
    assert process.wait(timeout=60) == 0


# Starvation


def test_starvation_readers_of_a_slot_that_is_always_being_written(start_python):
    """A producer that computes inside `write_view` kept the one slot odd: readers saw a fifth."""
    with thalweg.stream("starved", shape=(1000,)) as shm:
        process = start_python(BACK_TO_BACK, "starved", 20_000)
        assert process.stdout.readline() == "started\n"
        shm.wait_for_count(after=0, timeout=60)
        for _ in range(100):
            frame = shm.read(timeout=0)  # One look is enough: the last frame is always there.
            assert not torn(frame)
        received = missed = 0
        for _ in range(100):
            publication = shm.read_after_publication(shm.last_read_count, timeout=60)
            received += 1
            missed += publication.missed_publications
            assert publication.frame_id == publication.count == publication.payload[0]
            assert not torn(publication.payload)
        assert received == 100
        stopped(process, shm)


def test_starvation_timed_acquire_against_a_peer_that_takes_the_lock_again(start_python):
    """A peer that holds the lock 2 ms, lets it go and takes it again kept it from all others."""
    with thalweg.stream("contended", shape=(1,)) as shm:
        process = start_python(
            """
            import time, thalweg
            shm = thalweg.open("contended")
            print("started")
            while thalweg.list_streams():
                with shm.locked():
                    end = time.monotonic() + 2e-3
                    while time.monotonic() < end:
                        pass
            """
        )
        assert process.stdout.readline() == "started\n"
        for _ in range(30):
            with shm.locked(timeout=5):
                pass
            with thalweg.locked_many([shm], timeout=5):
                pass
        stopped(process, shm)


def test_starvation_looking_at_a_frame_does_not_keep_others_out():
    """Reading without a copy needed the lock of writers; borrowing needs none."""
    with thalweg.stream("shared", shape=(1000,)) as shm:
        shm.write(np.ones(1000))
        with shm.borrow() as one, thalweg.open("shared").borrow() as other:
            shm.write(np.full(1000, 2))
            WaitingThread(lambda: thalweg.open("shared").write(np.full(1000, 3))).value()
            assert (one.array == 1).all() and (other.array == 1).all()
        assert (shm.read() == 3).all()


# A


@pytest.mark.parametrize("meanwhile", ["nothing", "the lock is taken and released"])
@pytest.mark.parametrize("readonly", [False, True])
def test_a_writer_killed_mid_write_and_the_next_to_come_is_a_writer(
    start_python, meanwhile, readonly
):
    """The sequence was inverted: torn frames were returned for good, idle ones not."""
    with thalweg.stream("parity", shape=(100_000,)) as shm:
        with thalweg.open("parity", readonly=readonly) as reader:
            shm.write(np.zeros(100_000))
            process = start_python(
                """
                import sys, thalweg
                with thalweg.open("parity").write_view() as array:
                    array[:50_000] = 1
                    print("half way")
                    sys.stdin.read()
                """
            )
            assert process.stdout.readline() == "half way\n"
            process.kill()
            process.wait()
            if meanwhile != "nothing":
                with shm.locked(timeout=30):
                    pass
            writer = start_python(BACK_TO_BACK, "parity", 0)
            assert writer.stdout.readline() == "started\n"
            count = shm.count
            for _ in range(200):
                publication = reader.read_after_publication(count, timeout=60)
                assert not torn(publication.payload)
                assert publication.payload[0] == publication.count == publication.frame_id
                count = publication.count
            stopped(writer, shm)
            assert reader.write_sequence == 2 * reader.count
            assert not torn(reader.read(timeout=0))


# B


def test_b_an_impossible_frame_id_poisons_nothing():
    """It was looked at after the copy: the stream stayed odd, and later writes inverted it."""
    with thalweg.stream("poison", shape=(3,)) as shm:
        shm.write([1, 1, 1], frame_id=5)
        for _ in range(3):
            with pytest.raises((TypeError, ValueError)):
                shm.write([2, 2, 2], frame_id="x")
            assert (shm.count, shm.write_sequence, shm.frame_id) == (1, 2, 5)
            assert shm.read(timeout=0).tolist() == [1, 1, 1]
        shm.write([3, 3, 3])
        assert (shm.count, shm.write_sequence, shm.frame_id) == (2, 4, 5)


def test_b_a_handler_that_raises_into_writes_poisons_nothing(run_python):
    """One interrupt in ten left the sequence odd."""
    run_python(
        """
        import signal, numpy as np, thalweg
        shm = thalweg.create("interrupted", shape=(100,))
        values = np.ones(100)
        shm.write(values)
        armed = False
        def handler(*_):
            global armed
            if armed:
                armed = False
                raise KeyboardInterrupt
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
        interrupts = 0
        while interrupts < 500:
            try:
                armed = True
                while True:
                    shm.write(values)
            except KeyboardInterrupt:
                interrupts += 1
                assert shm.write_sequence == 2 * shm.count
                assert (shm.read(timeout=0) == 1).all()
        signal.setitimer(signal.ITIMER_REAL, 0)
        shm.unlink()
        """
    )


def test_b_a_failed_writes_frame_id_is_not_stamped_by_the_next():
    """It stayed pending, and `clear()` took it."""
    with thalweg.stream("pending", shape=(3,)) as shm, shm.locked():
        with pytest.raises(ValueError, match="shape"):
            shm.write_locked([1, 2], frame_id=77)
        shm.clear()
        assert (shm.count, shm.frame_id) == (1, 0)


# C


def test_c_no_handle_mixes_generations():
    """`open` mapped header and payload one after the other: of two generations, now and then."""
    stop = threading.Event()

    def replace():
        number = 0
        while not stop.is_set():
            number = number % 50 + 1
            with thalweg.stream("generations", shape=(number,), dtype="int32") as shm:
                shm.write(np.full(number, number), frame_id=number)

    replacing = WaitingThread(replace)
    try:
        seen = 0
        while seen < 200:
            try:
                handle = thalweg.open("generations")
            except FileNotFoundError:
                continue
            with handle:
                publication = handle.read_publication()
                if publication.count == 1:
                    seen += 1
                    extent = handle.shape[0]
                    assert publication.payload.tolist() == [extent] * extent
                    assert publication.frame_id == extent
    finally:
        stop.set()
        replacing.value()


# D


@pytest.mark.parametrize("how", ["close()", "unlink()", "__exit__(None, None, None)"])
def test_d_views_of_closed_handles_can_be_touched(run_python, how):
    """A `safe=False` or `write_view` array crashed the process after close, or after collection."""
    run_python(
        f"""
        import gc, numpy as np, thalweg
        keep = thalweg.create("views", shape=(512, 1024))
        keep.write(np.ones((512, 1024)))
        shm = thalweg.open("views")
        shm.acquire()
        live = shm.read(safe=False)
        with shm.write_view() as array:
            array[0] = 2
        scope = shm.write_view()
        open_array = scope.__enter__()
        shm.{how}
        del shm
        gc.collect()
        assert live.shape == (512, 1024) and live.sum() > 0
        assert array.shape == (512, 1024) and array.sum() >= 0
        open_array[...] = 3
        del scope
        gc.collect()
        assert open_array.sum() >= 0
        keep.unlink()
        """
    )


def test_d_a_closed_handle_answers_instead_of_crashing(run_python):
    """`to_config()` of a closed handle crashed, as did the original of a dropped `copy.copy`."""
    run_python(
        """
        import copy, gc, numpy as np, thalweg
        shm = thalweg.create("copied", shape=(1024,))
        shm.write(np.ones(1024))
        for _ in range(3):
            other = copy.copy(shm)
            assert other.read().sum() == 1024
            del other
            gc.collect()
            shm.write(shm.read())
        copy.deepcopy(shm).close()
        assert shm.read().sum() == 1024
        shm.unlink()
        for call in (shm.to_config, shm.describe, shm.read):
            try:
                call()
            except RuntimeError as error:
                assert "closed shared memory" in str(error)
            else:
                raise AssertionError(call)
        """
    )


def test_d_close_in_one_thread_while_another_reads(run_python):
    """A plain `read()` of a large stream crashed when another thread closed the handle."""
    run_python(
        """
        import threading, numpy as np, thalweg
        with thalweg.stream("large", shape=(1 << 20,)) as keep:
            keep.write(np.ones(1 << 20))
            for _ in range(10):
                shm = thalweg.open("large")
                ready = threading.Barrier(4)
                def read():
                    ready.wait()
                    try:
                        while True:
                            assert shm.read()[-1] == 1
                    except RuntimeError as error:
                        assert "closed shared memory" in str(error)
                threads = [threading.Thread(target=read) for _ in range(3)]
                for thread in threads:
                    thread.start()
                ready.wait()
                shm.close()
                for thread in threads:
                    thread.join()
        """
    )


# E


def test_e_the_count_is_that_of_the_payload(start_python):
    """It was sampled after the copy was confirmed: now and then it was one ahead."""
    with thalweg.stream("counted", shape=(4,), dtype="int64") as shm:
        process = start_python(BACK_TO_BACK, "counted", 0)
        assert process.stdout.readline() == "started\n"
        shm.wait_for_count(after=0, timeout=60)
        for _ in range(5000):
            publication = shm.read_publication()
            assert publication.payload.tolist() == [publication.count] * 4
            assert publication.frame_id == publication.count
        stopped(process, shm)


# F


def test_f_a_creator_killed_at_any_moment_blocks_no_name(start_python, shared_memory_folder):
    """Killed between two steps of `create`, it left a name that nothing could free."""
    for round_number in range(8):
        process = start_python(
            """
            import itertools, thalweg
            print("started")
            for number in itertools.count():
                shm = thalweg.create("stuck", shape=(1000,))
                shm.unlink()
            """
        )
        assert process.stdout.readline() == "started\n"
        # Some creations later, at whatever moment that is.
        for _ in range(round_number * 100):
            os.sched_yield()
        process.kill()
        process.wait()
        try:
            handle = thalweg.create("stuck", shape=(3,))
        except FileExistsError:
            assert thalweg.list_streams() == ["stuck"]
            with thalweg.open("stuck") as whole:
                assert whole.shape == (1000,)
            thalweg.unlink("stuck")
            handle = thalweg.create("stuck", shape=(3,))
        handle.unlink()
    thalweg.purge()
    left = {path.name for path in shared_memory_folder.iterdir()}
    assert not [name for name in left if "stuck" in name or "unpublished" in name]


@pytest.mark.parametrize("contents", [b"", b"\0" * 100, b"\0" * 100_000, b"THALWEG\0", b"x" * 4096])
def test_f_a_damaged_stream_can_be_removed_by_its_name(shared_memory_folder, contents):
    """`unlink` refused what it did not understand, and so did everything else."""
    (shared_memory_folder / "thalweg.damaged").write_bytes(contents)
    with pytest.raises(ValueError, match="damaged"):
        thalweg.open("damaged")
    thalweg.unlink("damaged")
    with thalweg.stream("damaged", shape=(1,)) as shm:
        shm.write([1])


# G


@pytest.mark.parametrize("scope", ["locked", "write_view", "loan", "acquire"])
@pytest.mark.parametrize("end", ["close", "collect", "with", "fail"])
def test_g_the_end_of_a_sibling_drops_no_lock(scope, end):
    """Closing or collecting any handle of the name gave the lock away in the middle of a scope."""

    def end_sibling():
        sibling = thalweg.open("siblings")
        if end == "close":
            sibling.read()
            sibling.close()
        elif end == "with":
            with sibling, sibling.locked(timeout=0):
                pass
        elif end == "fail":
            with pytest.raises(ZeroDivisionError), sibling, sibling.locked():
                raise ZeroDivisionError
        else:
            sibling.acquire()
            del sibling
            gc.collect()

    def take():
        with thalweg.open("siblings") as own:
            own.acquire(timeout=0)

    with thalweg.stream("siblings", shape=(2,)) as shm:
        if scope == "acquire":
            shm.acquire()
        else:
            entered = getattr(shm, scope)()
            entered.__enter__()
        for _ in range(3):
            end_sibling()
            assert isinstance(WaitingThread(take).error(), TimeoutError)
        if scope == "acquire":
            shm.release()
        else:
            entered.__exit__(None, None, None)
        WaitingThread(take).value()


# H


def test_h_a_large_frame_that_changes_all_the_time_can_be_read(start_python):
    """Tiny changes in place invalidated every copy: reads timed out, or never returned."""
    elements = 4 << 20
    with thalweg.stream("large", shape=(elements,), dtype="uint8") as shm:
        shm.write(np.zeros(elements))
        process = start_python(
            """
            import thalweg
            shm = thalweg.open("large")
            print("started")
            while thalweg.list_streams():
                for _ in range(5):
                    with shm.write_view() as array:
                        array[0] += 1
                        array[-1] += 1
            """
        )
        assert process.stdout.readline() == "started\n"
        shm.wait_for_count(after=1, timeout=60)
        for _ in range(20):
            publication = shm.read_publication(timeout=30)
            first, last = publication.payload[0], publication.payload[-1]
            assert first == last == (publication.count - 1) % 256
        stopped(process, shm)


# I


def test_i_poll_intervals_cannot_do_harm():
    """A negative one was an error out of the middle of a sleep; here nothing polls."""
    with thalweg.stream("polled", shape=(1,)) as shm:
        shm.write([1])
        for interval in (-1, 0, float("nan"), 1e9):
            assert shm.read(poll_interval=interval).tolist() == [1]
            assert shm.read_after(0, poll_interval=interval).tolist() == [1]
            with pytest.raises(TimeoutError):
                shm.read_new(timeout=1e-3, poll_interval=interval)


def test_i_read_only_memory_is_read_only():
    """It was mapped for writing, and needed permission to write."""
    with thalweg.stream("readonly", shape=(4,)) as writer:
        writer.write([1, 2, 3, 4])
        with thalweg.open("readonly", readonly=True) as reader, reader.borrow() as frame:
            for array in (frame.array, np.asarray(memoryview(frame))):
                with pytest.raises(ValueError, match="read-only"):
                    array[0] = 9
            with pytest.raises(PermissionError, match="read-only"):
                reader.write([0, 0, 0, 0])


def test_i_modes_let_others_in(shared_memory_folder):
    """Files were of mode 0600, always."""
    for mode in (0o600, 0o640, 0o664):
        with thalweg.stream("mode", shape=(1,), mode=mode, group=os.getegid()):
            status = (shared_memory_folder / "thalweg.mode").stat()
            assert (status.st_mode & 0o777, status.st_gid) == (mode, os.getegid())


def test_i_no_lock_file_is_left(tmp_path, monkeypatch):
    """One for each name ever used stayed, in a folder anybody could have made before."""
    monkeypatch.setenv("PYSHMEM_LOCK_DIR", str(tmp_path / "locks"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with thalweg.stream("locked", shape=(1,)) as shm, shm.locked():
        shm.write_locked([1])
    assert list(tmp_path.iterdir()) == []


def test_i_unlink_is_told_to_who_waits():
    """Waits went on for ever."""
    shm = thalweg.create("told", shape=(1,))
    with thalweg.open("told") as reader:
        waiting = WaitingThread(reader.read_new).until_asleep()
        shm.unlink()
        assert isinstance(waiting.error(), thalweg.StaleStreamError)


def test_i_steps_of_the_clock_do_not_break_the_age():
    """It was the difference of two wall clocks."""
    with thalweg.stream("aged", shape=(1,)) as shm:
        shm.write([1])
        published_ns = shm.read_publication().publish_ns
        before = (time.monotonic_ns() - published_ns) / 1e9
        age = shm.age
        after = (time.monotonic_ns() - published_ns) / 1e9
        assert before <= age <= after


def test_i_a_dead_creator_is_known_and_does_no_harm(run_python):
    """Its pid alone was looked at, and a pid comes again."""
    run_python("import thalweg; thalweg.create('orphan', shape=(1,)).write([7])")
    with thalweg.open("orphan") as shm:
        assert not shm.producer_alive()
        shm.write([8])
        assert not shm.producer_alive(), "the creator, whoever writes"
        assert shm.read().tolist() == [8]
        shm.unlink()


def test_i_killed_readers_and_lockers_leave_nothing_in_the_way(start_python):
    with thalweg.stream("crowded", shape=(4,)) as shm:
        shm.write([1, 2, 3, 4])
        for _ in range(3):
            process = start_python(
                """
                import sys, thalweg
                shm = thalweg.open("crowded")
                frame = shm.borrow()
                shm.acquire()
                print("held")
                sys.stdin.read()
                """
            )
            assert process.stdout.readline() == "held\n"
            process.send_signal(signal.SIGKILL)
            process.wait()
        with shm.locked(timeout=30):
            shm.write_locked([5, 6, 7, 8])
        with shm.borrow() as first:
            shm.write([1, 1, 1, 1])
            with shm.borrow() as second:
                assert (first.array.tolist(), second.array.tolist()) == ([5, 6, 7, 8], [1, 1, 1, 1])
