"""Views without a copy: what they show, how long, and that no order of events breaks them."""

import gc
import io
import itertools
import os
import threading

import numpy as np
import pytest

import thalweg

pytestmark = pytest.mark.cpu


@pytest.fixture
def shm():
    with thalweg.stream("views", shape=(4, 8)) as handle:
        yield handle


# Borrowed frames


def test_a_borrowed_frame_stays_what_it_was(shm):
    shm.write(np.full((4, 8), 1.0), frame_id=5)
    with shm.borrow() as frame:
        array = frame.array
        for value in range(2, 20):
            shm.write(np.full((4, 8), value))
        assert (array == 1).all()
        assert (frame.count, frame.frame_id) == (1, 5)
        assert 0 < frame.write_time <= shm.write_time
        assert "views" in repr(frame)
    assert (shm.read() == 19).all()


def test_a_borrowed_frame_is_read_only(shm):
    shm.write(np.ones((4, 8)))
    with shm.borrow() as frame:
        array = frame.array
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 2
        assert memoryview(frame).readonly
        with pytest.raises(TypeError, match="read-write"):
            io.BytesIO(b"x" * 128).readinto(frame)
        assert (array == 1).all()


def test_frames_speak_the_buffer_protocol(shm):
    values = np.arange(32.0, dtype=np.float32).reshape(4, 8)
    shm.write(values)
    with shm.borrow() as frame:
        view = memoryview(frame)
        assert (view.shape, view.strides, view.format) == ((4, 8), (32, 4), "f")
        assert view.tobytes() == values.tobytes()
        assert bytes(frame) == values.tobytes()
        assert (np.asarray(frame) == values).all()
        assert np.shares_memory(np.asarray(frame), frame.array)
        view.release()


def test_borrowing_is_bounded_and_the_message_names_the_holder(shm):
    frames = []
    for value in range(2):  # 4 slots: all but two
        shm.write(np.full((4, 8), value))
        frames.append(shm.borrow())
    assert shm.borrow().count == 2, "views of one frame share its ticket"
    shm.write(np.full((4, 8), 9))
    with pytest.raises(RuntimeError, match=rf"process {os.getpid()}\b.*slots >= 5"):
        shm.borrow()
    frames[0].release()
    assert shm.borrow().count == 3


def test_release_waits_for_the_last_view(shm):
    held = []
    for value in range(2):
        shm.write(np.full((4, 8), value))
        with shm.borrow() as frame:
            held.append(frame.array[1:3])
    shm.write(np.full((4, 8), 9))
    with pytest.raises(RuntimeError, match="that can be borrowed at once are held"):
        shm.borrow()
    assert (held[0] == 0).all() and (held[1] == 1).all()
    del held[0]
    with shm.borrow() as frame:
        assert frame.count == 3


def test_a_released_frame_gives_nothing_out(shm):
    shm.write(np.ones((4, 8)))
    frame = shm.borrow()
    frame.release()
    frame.release()
    for use in (lambda: frame.array, lambda: memoryview(frame)):
        with pytest.raises(ValueError, match="was released"):
            use()
    assert "released" in repr(frame)


def test_borrowing_needs_a_frame_and_three_slots(shm):
    with pytest.raises(RuntimeError, match="no frame to borrow yet"):
        shm.borrow()
    with thalweg.stream("two", shape=(1,), slots=2) as two:
        two.write([1])
        with pytest.raises(RuntimeError, match="slots >= 3"):
            two.borrow()


def test_a_borrowed_frame_can_be_written_back(shm):
    shm.write(np.arange(32).reshape(4, 8))
    with shm.borrow() as frame:
        shm.write(frame.array)
        assert shm.count == 2
        assert (shm.read() == frame.array).all()


# Loans


def test_a_loan_publishes_when_the_block_ends(shm):
    shm.write(np.zeros((4, 8)), frame_id=3)
    with shm.loan(frame_id=8) as array:
        assert (array.shape, array.dtype, array.flags.writeable) == ((4, 8), np.float32, True)
        array[...] = 5
        assert shm.count == 1, "not yet"
        assert (shm.read() == 0).all()
    assert (shm.read() == 5).all()
    assert (shm.count, shm.frame_id) == (2, 8)


def test_a_loan_is_given_up_when_the_block_raises(shm):
    shm.write(np.ones((4, 8)))
    for error in (ZeroDivisionError, KeyboardInterrupt, GeneratorExit):
        with pytest.raises(error), shm.loan() as array:
            array[...] = 5
            raise error
    assert (shm.read() == 1).all()
    assert shm.count == 1


def test_the_lent_array_is_read_only_afterwards(shm):
    with shm.loan() as array:
        array[...] = 1
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 2
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True
    with pytest.raises(ValueError, match="WRITEABLE"):
        array[1:].flags.writeable = True
    try:
        with shm.loan() as array:
            array[...] = 3
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 2
    assert (shm.read() == 1).all()


def derived_views():
    yield "slice", lambda array: array[1:]
    yield "slice of a slice", lambda array: array[1:][:, 2:]
    yield "row of a loop", lambda array: list(array)[-1]
    yield "reshape", lambda array: array.reshape(-1)
    yield "transpose", lambda array: array.T
    yield "view", lambda array: array.view("u1")
    yield "buffer", lambda array: memoryview(array.base.base)
    yield "memoryview", memoryview
    yield "array of a memoryview", lambda array: np.asarray(memoryview(array))


@pytest.mark.parametrize("derive", [pytest.param(d, id=name) for name, d in derived_views()])
@pytest.mark.parametrize("scope", ["loan", "write_view"])
def test_views_that_outlive_a_block_become_private_copies(shm, derive, scope):
    shm.write(np.ones((4, 8)))
    with getattr(shm, scope)() as array:
        array[...] = 5
        survivor = derive(array)
    assert (shm.read() == 5).all()
    survivor = np.asarray(survivor)
    kept = survivor.copy()
    with shm.borrow() as frame:
        survivor.flat[0] = 7
        assert (frame.array == 5).all(), "nothing outside the stream can change a frame"
    for value in range(6, 16):
        shm.write(np.full((4, 8), value))
    assert (survivor.flat[1:] == kept.flat[1:]).all(), "and the survivor keeps what it showed"
    assert survivor.flat[0] == 7
    assert not array.flags.writeable


@pytest.mark.parametrize(
    "rebind",
    [
        lambda array: array.view(np.recarray),
        memoryview,
        lambda array: np.ma.array(array, copy=False),
        lambda array: np.ndarray(array.shape, array.dtype, array.base.base),
    ],
    ids=["recarray", "memoryview", "masked", "same memory"],
)
@pytest.mark.parametrize("keeps_the_array", [True, False])
def test_what_takes_the_place_of_the_blocks_variable_is_found(shm, rebind, keeps_the_array):
    def write():
        with shm.loan() as array:
            array[...] = 5
            survivor = rebind(array)
            if not keeps_the_array:
                del array
        return survivor

    survivor = np.asarray(write())
    survivor.flat[0] = 7
    assert (shm.read() == 5).all()
    for value in range(6, 16):
        with shm.loan() as array:
            array[...] = value
        survivor.flat[1] = 8
        assert (shm.read() == value).all()


def test_a_forked_child_cannot_change_the_frame_its_parent_writes(run_python):
    run_python(
        """
        import os, signal
        import numpy as np
        import thalweg

        with thalweg.stream("forked", shape=(4, 8)) as shm:
            shm.write(np.zeros((4, 8)))
            said, asked = os.pipe(), os.pipe()
            with shm.loan() as array:
                array[...] = 5
                child = os.fork()
                if child == 0:
                    os.read(asked[0], 1)
                    array[...] = 66
                    os.write(said[1], b"x")
                    signal.pause()
            assert (shm.read() == 5).all()
            os.write(asked[1], b"x")
            os.read(said[0], 1)
            os.kill(child, 9)
            os.waitpid(child, 0)
            assert (shm.read() == 5).all()
            for value in range(10):
                with shm.loan() as array:
                    array[...] = value
                assert (shm.read() == value).all()
        """
    )


def test_a_forked_child_holds_a_frame_it_asks_for_itself(run_python):
    run_python(
        """
        import os
        import numpy as np
        import thalweg

        with thalweg.stream("forked", shape=(4,), slots=6) as shm:
            shm.write(np.full(4, 1.0))
            frame = shm.borrow()
            said, asked = os.pipe(), os.pipe()
            child = os.fork()
            if child == 0:
                array = np.asarray(frame)
                os.write(said[1], b"x")
                os.read(asked[0], 1)
                os._exit(0 if (array == 1).all() else 1)
            os.read(said[0], 1)
            frame.release()
            for value in range(2, 40):
                shm.write(np.full(4, value))
            os.write(asked[1], b"x")
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        """
    )


def test_a_process_out_of_descriptors_takes_nobody_for_dead(shm, start_python):
    shm.write(np.ones((4, 8)))
    process = start_python(
        """
        import os, resource, sys
        import numpy as np
        import thalweg

        shm = thalweg.open("views")
        with shm.locked():
            print("attached")
        sys.stdin.readline()
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        taken = []
        try:
            while True:
                taken.append(os.dup(0))
        except OSError:
            pass
        try:
            shm.borrow()
            print("borrowed")
        except RuntimeError as problem:
            print("all" in str(problem))
        try:
            shm.write(np.zeros((4, 8)), timeout=0.1)
            print("wrote")
        except TimeoutError:
            print(True)
        """
    )
    assert process.stdout.readline() == "attached\n"
    frames = [shm.borrow()]
    shm.write(np.full((4, 8), 2))
    frames.append(shm.borrow())
    shm.write(np.full((4, 8), 3))
    with shm.locked():
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.read() == "True\nTrue\n"
    process.wait()
    assert (frames[0].array == 1).all()
    assert (frames[1].array == 2).all()


def test_views_that_are_gone_cost_nothing(shm, shared_memory_folder):
    def mappings():
        with open("/proc/self/maps") as maps:
            return sum(str(shared_memory_folder) in line for line in maps)

    with shm.loan() as array:
        array[...] = 1
    before = mappings()
    for _ in range(100):
        with shm.loan() as array:
            array[...] = 6
            array[1:].reshape(-1)
    assert mappings() == before, "one mapping serves all loans"
    for _ in range(100):
        with shm.loan() as array:
            array[...] = 6
            survivor = array[1:]
    del survivor, array
    gc.collect()
    assert mappings() <= before, "and what survivors cut off goes with them"


def test_a_loan_excludes_other_writers(shm):
    with shm.loan() as array:
        array[...] = 1
        with pytest.raises(RuntimeError, match="being written already"):
            shm.write(np.zeros((4, 8)))
        with pytest.raises(RuntimeError, match="being written already"):
            shm.loan().__enter__()
        failures = []

        def other():
            try:
                with shm.loan(timeout=0.01):
                    pass
            except TimeoutError as error:
                failures.append(str(error))

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert "shared memory lock" in failures[0]
    assert (shm.read() == 1).all()


def test_a_loan_outlives_its_handle(shm):
    own = thalweg.open("views")
    with own.loan() as array:
        own.close()
        array[...] = 4
    assert (shm.read() == 4).all()


def test_a_loan_that_is_dropped_gives_the_lock_back(shm):
    shm.write(np.ones((4, 8)))
    scope = shm.loan()
    scope.__enter__()[...] = 2
    del scope
    gc.collect()
    shm.write(np.full((4, 8), 3))
    assert (shm.read() == 3).all()


# Lifetimes, each in an interpreter of its own: a crash there is a failure here


def test_any_order_of_dropping(run_python):
    """Stream, frame, array, slice and memoryview go in every order; what is left can be read."""
    run_python(
        """
        import gc, itertools, os, numpy as np, thalweg
        names = ["close", "unlink", "frame", "array", "slice", "view"]
        for number, order in enumerate(itertools.permutations(names)):
            shm = thalweg.create(f"order{number}", shape=(64, 1024))
            shm.write(np.full((64, 1024), 7))
            frame = shm.borrow()
            array = frame.array
            have = {
                "frame": frame, "array": array, "slice": array[3:, ::2], "view": memoryview(frame)
            }
            del frame, array
            for step in order:
                if step == "close":
                    shm.close()
                elif step == "unlink":
                    shm.unlink()
                    shm = thalweg.create(f"order{number}", shape=(1,))
                    shm.unlink()
                else:
                    del have[step]
                gc.collect(0)
                for name in ("array", "slice"):
                    if name in have:
                        assert (have[name] == 7).all()
                if "view" in have:
                    assert have["view"][0, 0] == 7
                if "frame" in have:
                    assert np.asarray(have["frame"])[5, 5] == 7
        """,
        timeout_s=300,
    )


def test_arrays_that_hold_only_the_object_do_not_dangle(run_python):
    """`numpy.ndarray(buffer=...)` lets the buffer go at once and keeps the object."""
    run_python(
        """
        import gc, numpy as np, thalweg
        shm = thalweg.create("object", shape=(64, 1024))
        shm.write(np.full((64, 1024), 7))
        frame = shm.borrow()
        array = np.ndarray((64, 1024), np.float32, buffer=frame)
        frame.release()
        shm.unlink()
        del frame, shm
        gc.collect()
        assert array.sum() == 7 * 64 * 1024
        """
    )


def test_loans_survive_everything(run_python):
    run_python(
        """
        import gc, numpy as np, thalweg
        shm = thalweg.create("loan", shape=(64, 1024))
        with shm.loan() as array:
            shm.unlink()
            array[...] = 1
        del shm
        gc.collect()
        assert array.sum() == 64 * 1024
        other = thalweg.create("loan", shape=(64, 1024))
        try:
            with other.loan() as lent:
                lent[...] = 2
                part = lent[1:]
                raise ZeroDivisionError
        except ZeroDivisionError:
            other.unlink()
        del other, lent
        gc.collect()
        assert part.sum() == 2 * 63 * 1024
        part[...] = 3
        """
    )


def test_closing_while_threads_look(run_python):
    run_python(
        """
        import threading, numpy as np, thalweg
        for number in range(20):
            shm = thalweg.create(f"threads{number}", shape=(1024, 1024))
            shm.write(np.ones((1024, 1024)))
            arrays = [shm.borrow().array, thalweg.open(shm.name).borrow().array]
            ready = threading.Barrier(5)
            results = []
            def look(array):
                ready.wait()
                for _ in range(3):
                    results.append(int(array.sum()))
            def copy():
                out = np.empty((1024, 1024), np.float32)
                ready.wait()
                try:
                    for _ in range(100):
                        shm.read(out=out)
                        assert (out[::64] == 1).all()
                except RuntimeError as error:
                    assert "closed" in str(error), error
            threads = [threading.Thread(target=look, args=(array,)) for array in arrays * 2]
            threads[3] = threading.Thread(target=copy)
            for thread in threads:
                thread.start()
            ready.wait()
            shm.unlink()
            del arrays
            for thread in threads:
                thread.join()
            assert results == [1024 * 1024] * 9, results
        """,
        timeout_s=300,
    )


@pytest.mark.parametrize("holder", ["array", "frame", "view", "slice", "loan", "lent", "handle"])
def test_leaving_the_interpreter_with_live_views(run_python, holder):
    run_python(
        f"""
        import atexit, builtins, numpy as np, thalweg
        shm = thalweg.create("exit", shape=(64, 1024))
        shm.write(np.ones((64, 1024)))
        frame = shm.borrow()
        scope = shm.loan() if {holder!r} in ("loan", "lent") else None
        lent = scope.__enter__() if scope else None
        things = dict(
            frame=frame, array=frame.array, view=memoryview(frame), slice=frame.array[1:],
            loan=scope, lent=lent, handle=shm,
        )
        builtins.kept = things[{holder!r}]      # outlives every module
        cycle = [things[{holder!r}]]
        cycle.append(cycle)
        atexit.register(lambda: things)
        thalweg.unlink("exit")
        """
    )


def test_twenty_thousand_views_leave_nothing(run_python):
    run_python(
        """
        import numpy as np, thalweg
        shm = thalweg.create("many", shape=(64, 1024))
        shm.write(np.ones((64, 1024)))
        def facts():
            with open("/proc/self/maps") as maps, open("/proc/self/statm") as memory:
                return len(maps.readlines()), int(memory.read().split()[1])
        def use():
            with shm.borrow() as frame:
                frame.array[1:]
            with shm.loan() as array:
                array[0] = 1
        for _ in range(1000):
            use()
        maps, pages = facts()
        for _ in range(20_000):
            use()
        later = facts()
        assert later[0] <= maps + 5, (maps, later)
        assert later[1] <= pages + 256, (pages, later)
        shm.unlink()
        """,
        timeout_s=300,
    )


def test_forked_children_leave_the_parents_views_alone(run_python):
    run_python(
        """
        import os, numpy as np, thalweg
        shm = thalweg.create("fork", shape=(1024,), slots=3)
        shm.write(np.ones(1024))
        frame = shm.borrow()
        array = frame.array
        child = os.fork()
        if child == 0:
            assert array.sum() == 1024
            frame.release()
            del array, frame
            for value in range(10):
                shm.write(np.full(1024, value))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert shm.count == 11
        assert array.sum() == 1024, "still pinned by the parent"
        shm.unlink()
        """
    )


def test_a_dead_borrower_gives_its_frames_back(shm, start_python):
    processes = []
    for value in range(2):
        shm.write(np.full((4, 8), value))
        process = start_python(
            """
            import sys, thalweg
            frame = thalweg.open("views").borrow()
            print("borrowed")
            sys.stdin.read()
            """
        )
        assert process.stdout.readline() == "borrowed\n"
        processes.append(process)
    shm.write(np.full((4, 8), 9))
    pids = ", ".join(str(pid) for pid in sorted(process.pid for process in processes))
    with pytest.raises(RuntimeError, match=f"by process {pids}"):
        shm.borrow()
    processes[0].kill()
    processes[0].wait()
    with shm.borrow() as frame:
        assert (frame.array == 9).all()


def test_a_dead_lender_leaves_the_last_frame(shm, start_python):
    shm.write(np.ones((4, 8)))
    process = start_python(
        """
        import sys, thalweg
        shm = thalweg.open("views")
        with shm.loan() as array:
            array[...] = 5
            print("half way")
            sys.stdin.read()
        """
    )
    assert process.stdout.readline() == "half way\n"
    process.kill()
    process.wait()
    assert (shm.read() == 1).all()
    shm.write(np.full((4, 8), 2))
    assert (shm.read() == 2).all()


def test_arrays_of_every_shape_have_a_buffer():
    for shape in itertools.product((1, 2, 5), repeat=3):
        with thalweg.stream("shapes", shape=shape, dtype="complex64") as shm:
            value = np.arange(np.prod(shape)).reshape(shape) * 1j
            shm.write(value)
            with shm.borrow() as frame:
                assert (frame.array == value).all()
