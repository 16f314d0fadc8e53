"""What streams promise: values, names, errors, newness, locks."""

import os
import signal
import threading
import time

import numpy as np
import pytest

import thalweg

pytestmark = pytest.mark.cpu

DTYPES = [
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
]


@pytest.fixture
def pair():
    """A writer and a reader of a stream of three floats."""
    with thalweg.stream("pair", shape=(3,)) as writer, thalweg.open("pair") as reader:
        yield writer, reader


def random_array(dtype, shape, seed=0):
    bits = np.random.default_rng(seed).integers(0, 256, (*shape, np.dtype(dtype).itemsize), "u1")
    if dtype == "bool":
        bits %= 2
    return bits.view(dtype)[..., 0]


def unaligned(array):
    copy = np.frombuffer(b"x" + array.tobytes(), "u1")[1:].view(array.dtype).reshape(array.shape)
    assert not copy.flags.aligned
    return copy


# Values


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5), (2, 3, 4, 5), (300, 257)])
def test_every_dtype_and_shape_arrives_bit_by_bit(dtype, shape):
    value = random_array(dtype, shape)
    with (
        thalweg.stream("values", shape=shape, dtype=dtype) as writer,
        thalweg.open("values") as reader,
    ):
        assert (reader.shape, reader.dtype) == (shape, np.dtype(dtype))
        assert not reader.read().view("u1").any(), "zeros before the first write"
        writer.write(value)
        out = np.empty(shape, dtype)
        with reader.borrow() as frame:
            results = [reader.read(), reader.read(out=out), frame.array.copy()]
    for result in results:
        assert result.dtype == value.dtype
        assert result.flags.c_contiguous and result.flags.writeable
        assert (result.view("u1") == value.view("u1")).all()


@pytest.mark.parametrize(
    "value",
    [
        [[1, 2, 3], [4, 5, 6]],
        ((1.0, 2, 3), (4, 5, True)),
        np.arange(1, 7).reshape(2, 3),
        np.arange(1.0, 7.0).reshape(3, 2).T.copy().T.reshape(2, 3, order="C"),
        np.asfortranarray(np.arange(1.0, 7.0, dtype=np.float32).reshape(2, 3)),
        np.arange(1, 13, dtype=np.float32)[::2].reshape(2, 3) // 2 + 1,
        np.arange(1.0, 7.0, dtype=">f4").reshape(2, 3),
        unaligned(np.arange(1.0, 7.0, dtype=np.float32).reshape(2, 3)),
        memoryview(np.arange(1.0, 7.0, dtype="f4").reshape(2, 3)),
    ],
)
def test_what_numpy_can_convert_can_be_written(value):
    with thalweg.stream("converted", shape=(2, 3)) as shm:
        shm.write(value)
        assert (shm.read() == np.asarray(value, np.float32)).all()
        assert shm.count == 1


def test_every_other_column_is_written():
    value = np.arange(24.0, dtype=np.float32).reshape(4, 6)[:, ::2]
    with thalweg.stream("strided", shape=(4, 3)) as shm:
        shm.write(value)
        assert (shm.read() == value).all()


def test_conversion_is_numpys():
    with thalweg.stream("integers", shape=(3,), dtype="uint8") as shm:
        shm.write(np.array([300, -1, 7]))
        assert shm.read().tolist() == [44, 255, 7]
        with pytest.raises(OverflowError):
            shm.write([300, 0, 0])
        assert shm.count == 1


@pytest.mark.parametrize("value", [5, [1, 2], [[1, 2, 3]], np.zeros((4,)), np.zeros(3)[:0], None])
def test_another_shape_is_refused_before_anything_happens(pair, value):
    writer, reader = pair
    writer.write([1, 2, 3])
    with pytest.raises(ValueError, match=r"expected shape \(3,\), got \("):
        writer.write(value)
    assert reader.count == 1
    assert reader.read().tolist() == [1, 2, 3]


def test_reads_are_private(pair):
    writer, reader = pair
    writer.write([1, 2, 3])
    first = reader.read()
    first[:] = 9
    writer.write([4, 5, 6])
    assert first.tolist() == [9, 9, 9]
    assert reader.read().tolist() == [4, 5, 6]


def test_out_of_another_dtype_is_converted_safely(pair):
    writer, reader = pair
    writer.write([1.5, 2, 3])
    wide = np.zeros(3, np.float64)
    assert reader.read(out=wide) is wide
    assert wide.tolist() == [1.5, 2, 3]
    strided = np.zeros(6, np.float32)[::2]
    assert reader.read(out=strided).tolist() == [1.5, 2, 3]
    with pytest.raises(TypeError, match="cannot cast float32 to int32"):
        reader.read(out=np.zeros(3, np.int32))
    with pytest.raises(TypeError, match="must be a numpy array, got list"):
        reader.read(out=[0, 0, 0])
    with pytest.raises(ValueError, match=r"expected shape \(3,\), got \(2, 3\)"):
        reader.read(out=np.zeros((2, 3)))
    frozen = np.zeros(3, np.float32)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        reader.read(out=frozen)
    assert not frozen.any()


def test_facts_about_the_newest_frame(pair):
    writer, reader = pair
    assert (reader.count, reader.frame_id, reader.write_time) == (0, 0, 0.0)
    before = time.time()
    writer.write([1, 2, 3], frame_id=7)
    writer.write([1, 2, 3])
    assert (reader.count, reader.frame_id) == (2, 7), "an id stays until another is stamped"
    assert before - 1 <= reader.write_time <= time.time() + 1
    for given, stamped in [(-1, 2**64 - 1), (2**64, 0), (1.9, 1), (2**64 - 1, 2**64 - 1)]:
        writer.write([1, 2, 3], frame_id=given)
        assert reader.frame_id == stamped
    with pytest.raises(ValueError, match="invalid literal"):
        writer.write([4, 5, 6], frame_id="seven")
    assert reader.read().tolist() == [1, 2, 3], "nothing was written"


def test_repr_is_exact():
    with thalweg.stream("it's", shape=(3, 4), dtype="int16") as shm:
        assert repr(shm) == (
            "SharedMemory(name=\"it's\", shape=(3, 4), dtype='int16', gpu_device=None)"
        )


# Names and lifecycle


def test_create_refuses_what_exists(pair):
    with pytest.raises(FileExistsError, match=r"already exists; use thalweg\.open\('pair'\)"):
        thalweg.create("pair", shape=(3,))


def test_open_refuses_what_does_not():
    with pytest.raises(
        FileNotFoundError, match=r"does not exist; use thalweg\.create\('absent', \.\.\.\)"
    ):
        thalweg.open("absent")


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"name": ""}, ValueError, "non-empty"),
        ({"name": "  "}, ValueError, "non-empty"),
        ({"name": 5}, ValueError, "non-empty string, got 5"),
        ({"name": "x" * 257}, ValueError, "too long"),
        ({"name": "a\0b"}, ValueError, "NUL"),
        ({"shape": ()}, ValueError, "at least one dimension"),
        ({"shape": (3, 0)}, ValueError, "must be positive"),
        ({"shape": (3, -1)}, ValueError, "must be positive"),
        ({"shape": 3}, TypeError, "sequence of integers, got 3"),
        ({"shape": (2.7,)}, TypeError, "integer"),
        ({"shape": (2**62, 2)}, ValueError, "too large"),
        ({"dtype": object}, ValueError, "unsupported dtype"),
        ({"dtype": "U3"}, ValueError, "unsupported dtype"),
        ({"dtype": ">f4"}, ValueError, "unsupported dtype '>f4'.*byte order"),
        ({"dtype": np.longdouble}, ValueError, "unsupported dtype"),
        ({"dtype": "datetime64[s]"}, ValueError, "unsupported dtype"),
        ({"dtype": [("a", "f4")]}, ValueError, "unsupported dtype"),
        ({"size": 13}, ValueError, "size does not match: 13 bytes given.*has 12"),
        ({"slots": 1}, ValueError, "slots must be between 2 and"),
    ],
)
def test_create_explains_what_is_not_possible(arguments, error, text):
    with pytest.raises(error, match=text):
        thalweg.create(**{"name": "wrong", "shape": (3,), **arguments})
    assert thalweg.list_streams() == []


def test_arguments_beside_the_name_are_keywords():
    with pytest.raises(TypeError, match="positional"):
        thalweg.create("positional", (3,))


def test_defaults():
    with thalweg.stream("defaults", shape=[2, np.int64(3)], size=24) as shm:
        assert (shm.name, shm.shape, shm.dtype) == ("defaults", (2, 3), np.dtype("float32"))
        assert shm.dtype is np.dtype("float32")


def test_handles_are_not_made_by_hand():
    with pytest.raises(TypeError, match=r"thalweg\.open"):
        thalweg.SharedMemory("pair")


@pytest.mark.parametrize("name", ["a/b", "..", "tab\tand space", "Ünïcödé ✓", "x" * 256, "é" * 128])
def test_any_text_is_a_name(name):
    with thalweg.stream(name, shape=(1,)):
        assert thalweg.list_streams() == [name]
        with thalweg.open(name) as reader:
            assert reader.name == name


def test_a_full_file_system_is_an_error_and_no_crash():
    free = os.statvfs(os.environ["THALWEG_SHM_DIR"])
    elements = 2 * free.f_bavail * free.f_frsize // 4
    with pytest.raises(OSError, match="bytes needed, .* bytes free"):
        thalweg.create("huge", shape=(elements,))
    assert thalweg.list_streams() == []


def test_a_folder_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("THALWEG_SHM_DIR", str(tmp_path / "absent"))
    with pytest.raises(OSError, match="absent"):
        thalweg.create("nowhere", shape=(1,))
    with pytest.raises(OSError, match="absent"):
        thalweg.list_streams()


def test_closed_handles_say_so(pair):
    writer, _ = pair
    handle = thalweg.open("pair")
    handle.close()
    handle.close()
    uses = [
        lambda: handle.count,
        lambda: handle.frame_id,
        lambda: handle.write_time,
        lambda: handle.write([1, 2, 3]),
        handle.read,
        lambda: handle.read(out=np.zeros(3, np.float32)),
        lambda: handle.read_new(timeout=1),
        lambda: handle.read_after(0, timeout=1),
        handle.borrow,
        lambda: handle.loan().__enter__(),
        handle.acquire,
        handle.release,
        lambda: handle.locked().__enter__(),
    ]
    for use in uses:
        with pytest.raises(
            RuntimeError, match=r"closed shared memory 'pair'.*thalweg\.open\('pair'\)"
        ):
            use()
    assert (handle.name, handle.shape, handle.dtype.name) == ("pair", (3,), "float32")
    assert "pair" in repr(handle)
    writer.write([1, 2, 3])


def test_streams_outlive_their_handles():
    thalweg.create("persistent", shape=(1,)).write([5])
    with thalweg.open("persistent") as again:
        assert again.read()[0] == 5
        again.unlink()
        again.unlink()
    thalweg.unlink("persistent")  # gone: no error


def test_auto_unlink():
    with pytest.raises(ZeroDivisionError), thalweg.create("auto", shape=(1,), auto_unlink=True):
        raise ZeroDivisionError
    assert thalweg.list_streams() == []
    with thalweg.create("kept", shape=(1,)):
        pass
    assert thalweg.list_streams() == ["kept"]
    thalweg.unlink("kept")


def test_stale_handles_leave_the_new_generation_alone():
    old = thalweg.create("again", shape=(1,))
    closed = thalweg.open("again")
    closed.close()
    thalweg.unlink("again")
    with thalweg.stream("again", shape=(2,)) as new:
        for handle in (old, closed):
            with pytest.raises(thalweg.StaleStreamError, match="newer generation"):
                handle.unlink()
        assert thalweg.list_streams() == ["again"]
        new.write([1, 2])
    with pytest.raises(RuntimeError, match="closed shared memory"):
        old.read()


def test_purge_removes_and_tells():
    names = ["a.1", "a.2", "b.1"]
    handles = [thalweg.create(name, shape=(1,)) for name in names]
    assert thalweg.purge(prefix="a.", dry_run=True) == ["a.1", "a.2"]
    assert thalweg.list_streams() == names
    assert thalweg.purge(prefix="a.") == ["a.1", "a.2"]
    assert thalweg.purge() == ["b.1"]
    assert thalweg.purge() == []
    for handle in handles:
        handle.close()


def test_files_that_are_no_streams_do_not_disturb(shared_memory_folder):
    stranger = shared_memory_folder / "thalweg.stranger"
    stranger.write_bytes(b"something else")
    with thalweg.stream("mine", shape=(1,)):
        assert thalweg.list_streams() == ["mine"]
        with pytest.raises(ValueError, match="stranger"):
            thalweg.open("stranger")
    thalweg.unlink("stranger")  # no name is ever stuck
    assert not stranger.exists()


def test_handles_are_pickled_by_name(pair):
    import copy
    import pickle

    writer, reader = pair
    pickled = pickle.dumps(reader)
    with pickle.loads(pickled) as other, copy.copy(writer) as shallow, copy.deepcopy(writer) as deep:
        writer.write([1, 2, 3])
        for handle in (other, shallow, deep):
            assert (handle.read() == [1, 2, 3]).all()
            assert not handle.owner
    thalweg.unlink("pair")
    with pytest.raises(FileNotFoundError, match="pair"):
        pickle.loads(pickled)
    with thalweg.stream("pair", shape=(3,)):
        with pytest.raises(thalweg.StaleStreamError, match="newer generation"):
            pickle.loads(pickled)


# Newness


def test_read_new_is_edge_triggered(pair):
    writer, reader = pair
    writer.write([1, 2, 3])
    for timeout in (0, -1, 0.01):
        with pytest.raises(TimeoutError, match="a new write"):
            reader.read_new(timeout=timeout)


def test_read_after_is_level_triggered(pair):
    writer, reader = pair
    writer.write([1, 2, 3])
    writer.write([4, 5, 6])
    out = np.zeros(3, np.float32)
    assert reader.read_after(1, timeout=0).tolist() == [4, 5, 6]
    assert reader.read_after(1.9, timeout=5, out=out) is out
    with pytest.raises(TimeoutError, match="to pass count 2"):
        reader.read_after(2, timeout=0.01)
    for wrong in (None, "x", [1]):
        with pytest.raises(ValueError, match="must be an integer"):
            reader.read_after(wrong)
    with pytest.raises(ValueError, match="negative"):
        reader.read_after(-1)
    with pytest.raises(ValueError, match="negative"):
        reader.read_after(0, timeout=-1)
    with pytest.raises(ValueError, match="nan"):
        reader.read_after(0, timeout=float("nan"))


@pytest.mark.parametrize("timeout", [None, 60.0, float("inf"), 1e30])
def test_a_write_of_another_process_ends_the_wait(pair, start_python, timeout):
    _, reader = pair
    process = start_python(
        """
        import thalweg
        shm = thalweg.open("pair")
        while shm.read()[0] >= 0:
            shm.write([shm.count + 1, 2, 3])
        """
    )
    value = np.float32(0)
    for _ in range(20):
        newer = reader.read_new(timeout=timeout)
        assert newer[0] > value
        value = newer[0]
    wide = reader.read_new(timeout=timeout, out=np.zeros(3))
    assert wide[0] > value
    # The writer reads what it finds: a last word from here, as often as it is overwritten.
    while process.poll() is None:
        reader.write([-1, 0, 0])
    assert process.returncode == 0


def test_waiting_ends_when_the_handle_is_closed(pair):
    _, reader = pair
    errors = wait_in_a_thread(lambda: reader.read_new(timeout=60))
    errors.when_waiting(reader.close)
    assert isinstance(errors.result(), RuntimeError)
    assert "closed while a read was waiting" in str(errors.result())


def test_waiting_ends_when_the_stream_is_unlinked():
    writer = thalweg.create("ending", shape=(1,))
    reader = thalweg.open("ending")
    errors = wait_in_a_thread(lambda: reader.read_after(0))
    errors.when_waiting(writer.unlink)
    assert isinstance(errors.result(), thalweg.StaleStreamError)
    assert "unlinked" in str(errors.result())
    reader.close()


class wait_in_a_thread:
    """Call `wait` in a thread that is certain to sleep before the test goes on."""

    def __init__(self, wait):
        self._error = None
        self._thread = threading.Thread(target=self._run, args=(wait,), daemon=True)
        self._thread.start()

    def _run(self, wait):
        try:
            wait()
        except Exception as error:
            self._error = error

    def when_waiting(self, act):
        # The kernel tells when the thread sleeps; it holds no lock of ours then but waits.
        stat = f"/proc/self/task/{self._thread.native_id}/syscall"
        deadline = time.monotonic() + 30
        while True:
            with open(stat) as file:
                if file.read().split()[0] not in ("running", "-1"):
                    break
            assert time.monotonic() < deadline, "the thread never began to wait"
        act()

    def result(self):
        self._thread.join(timeout=30)
        assert not self._thread.is_alive(), "the wait goes on"
        return self._error


def test_ctrl_c_ends_waits(run_python):
    waits = {
        "read_new": "shm.read_new()",
        "read_after": "shm.read_after(0)",
        "acquire": "shm.acquire()",
        "write": "shm.write([1, 2, 3])",
        "loan": "shm.loan().__enter__()",
    }
    for wait in waits.values():
        output = run_python(
            f"""
            import os, signal, threading, thalweg
            holder = thalweg.create("waits", shape=(3,))
            shm = thalweg.open("waits")
            held, done = threading.Event(), threading.Event()
            def hold():
                with holder.locked():
                    held.set()
                    done.wait()
            thread = threading.Thread(target=hold)
            thread.start()
            held.wait()
            # Real time, so that it arrives during the wait, which gives the interpreter away.
            signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            try:
                {wait}
            except KeyboardInterrupt:
                print("interrupted")
            done.set()
            thread.join()
            shm.write([4, 5, 6])
            print(shm.read().tolist())
            holder.unlink()
            """
        )
        assert output == "interrupted\n[4.0, 5.0, 6.0]\n"


def test_other_signals_do_not_end_waits(pair):
    writer, reader = pair
    calls = []

    def handle(*_):
        calls.append(1)
        if len(calls) == 5:
            signal.setitimer(signal.ITIMER_REAL, 0)
            writer.write([1, 2, 3])

    previous = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        assert reader.read_after(0, timeout=60).tolist() == [1, 2, 3]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


# Locks


def test_the_lock_excludes_other_threads_and_is_reentrant(pair):
    writer, reader = pair
    with writer.locked() as same, writer.locked():
        assert same is writer
        writer.write([1, 2, 3])
        reader.write([4, 5, 6])  # another handle, the same thread
        errors = wait_in_a_thread(lambda: reader.acquire(timeout=0.01))
        assert isinstance(errors.result(), TimeoutError)
        assert "shared memory lock" in str(errors.result())
        errors = wait_in_a_thread(writer.release)
        assert "another thread" in str(errors.result())
        errors = wait_in_a_thread(writer.close)
        assert "another thread owns its lock" in str(errors.result())
        assert reader.count == 2
    with pytest.raises(RuntimeError, match="unlocked"):
        writer.release()
    assert wait_in_a_thread(lambda: reader.write([7, 8, 9])).result() is None
    assert reader.read().tolist() == [7, 8, 9]


def test_closing_or_collecting_a_sibling_does_not_drop_the_lock(pair):
    writer, _ = pair
    with writer.locked():
        thalweg.open("pair").close()
        thalweg.open("pair")
        error = wait_in_a_thread(lambda: thalweg.open("pair").acquire(timeout=0)).result()
        assert isinstance(error, TimeoutError)


def test_closing_the_handle_that_has_the_lock_gives_it_back(pair):
    writer, _ = pair
    holder = thalweg.open("pair")
    with holder.locked():
        holder.acquire()
        holder.close()

    def take():
        with writer.locked(timeout=0):
            pass

    assert wait_in_a_thread(take).result() is None


def test_the_lock_excludes_other_processes_and_survives_them(pair, start_python):
    writer, _ = pair
    process = start_python(
        """
        import time, thalweg
        shm = thalweg.open("pair")
        shm.acquire()
        print("held")
        time.sleep(3600)
        """
    )
    assert process.stdout.readline() == "held\n"
    with pytest.raises(TimeoutError, match=f"process {process.pid}"):
        writer.acquire(timeout=0.05)
    process.kill()
    process.wait()
    writer.acquire(timeout=30)
    writer.write([1, 2, 3])
    writer.release()


def test_writers_of_many_threads_lose_nothing(pair):
    writer, reader = pair

    def write():
        with thalweg.open("pair") as own:
            for _ in range(500):
                own.write([1, 2, 3])

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reader.count == 2000


# Consistency


def test_an_aborted_first_write_is_an_error_until_a_complete_one(pair):
    writer, reader = pair
    with pytest.raises(ZeroDivisionError), writer.loan():
        raise ZeroDivisionError
    for read in (reader.read, reader.borrow, lambda: reader.read_after(0, timeout=1)):
        with pytest.raises(thalweg.InconsistentStreamError, match="incomplete write"):
            read()
    writer.write([1, 2, 3])
    assert reader.read().tolist() == [1, 2, 3]


@pytest.mark.parametrize("size", [16, 200_000])
def test_frames_are_never_torn(start_python, size):
    with thalweg.stream("torn", shape=(size,), dtype="int64") as reader:
        process = start_python(
            """
            import sys, numpy as np, thalweg
            shm = thalweg.open("torn")
            values = np.zeros(shm.shape, "int64")
            while shm.read()[0] >= 0:
                values += 1
                shm.write(values)
            """
        )
        out = np.empty(size, "int64")
        last = 0
        for _ in range(300):
            reader.read_new(timeout=60, out=out)
            assert (out == out[0]).all()
            assert out[0] > last
            last = out[0]
        while process.poll() is None:
            reader.write(np.full(size, -1))
        assert process.returncode == 0
