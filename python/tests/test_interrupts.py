"""Signal handlers that raise, at any moment of any call: the stream stays whole and the lock free.

Each test is a process of its own in which a timer fires a handler that raises, some thousand times,
into a tight loop of one operation. Another process then checks what is left.
"""

import pytest

import thalweg

pytestmark = pytest.mark.cpu

HARNESS = """
import asyncio, signal, sys, numpy as np, thalweg

class Interrupted(BaseException):
    pass

# Where nobody can catch it, as in a finalizer, Python only tells of it.
def tell(raised):
    if raised.exc_type is not Interrupted:
        sys.__unraisablehook__(raised)
sys.unraisablehook = tell

interrupts = 0
is_armed = False

def interrupt(*_):
    global interrupts, is_armed
    if is_armed:
        is_armed = False
        interrupts += 1
        raise Interrupted

def storm(operation, wanted=1000):
    '''Calls `operation` again and again while the handler fires into it; how often it returned.'''
    global is_armed
    done = 0
    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
    while interrupts < wanted:
        try:
            is_armed = True
            operation()
            is_armed = False
            done += 1
        except Interrupted:
            pass
    signal.setitimer(signal.ITIMER_REAL, 0)
    return done

shm = thalweg.open("storm")
values = np.zeros(shm.shape, shm.dtype)
"""

CHECK = """
import sys, numpy as np, thalweg
shm = thalweg.open("storm")
with shm.locked(timeout=0):
    frame = shm.read(safe=False)
    assert (frame == frame.flat[0]).all()
    assert shm.write_sequence == 2 * shm.count
    for held in shm.history(4):
        assert (held.payload == held.payload.flat[0]).all()
for _ in range(10):
    count = shm.count
    shm.write(np.full(shm.shape, count))
    assert shm.count == count + 1
    assert (shm.read() == count).all()
    with shm.write_view(timeout=0) as array:
        assert (array == count).all()
    with shm.borrow():
        shm.write(np.full(shm.shape, count))
        with shm.borrow() as frame:
            assert (frame.array == count).all()
"""


@pytest.fixture
def storm(run_python):
    """A function that runs a storm on a stream, and checks from outside what it left."""

    def run(script, elements=16):
        # The process that was interrupted is still there when the other one looks.
        check = f"""
import subprocess
result = subprocess.run([sys.executable, "-W", "error", "-c", {CHECK!r}], timeout=60)
assert result.returncode == 0
"""
        with thalweg.stream("storm", shape=(elements,), dtype="int64") as shm:
            shm.write([0] * elements)
            run_python(HARNESS + script + check, timeout_s=120)

    return run


WRITES = {
    "write": """
def operation():
    values[...] += 1
    shm.write(values, frame_id=shm.count + 1)
""",
    "write_locked": """
def operation():
    with shm.locked():
        values[...] += 1
        shm.write_locked(values)
""",
    "write_view": """
def operation():
    with shm.write_view() as array:
        array += 1
""",
    "write_view_locked": """
def operation():
    with shm.locked(), shm.write_view_locked() as array:
        array += 1
""",
    "loan": """
def operation():
    with shm.loan() as array:
        array[...] = 7
        part = array[1:]
        part += 0
""",
    "clear": """
def operation():
    shm.clear()
""",
}


@pytest.mark.parametrize("script", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("elements", [16, 50_000])
def test_interrupted_writers_leave_whole_frames(storm, script, elements):
    storm(
        script
        + """
before = shm.count
done = storm(operation)
# A call that was interrupted on its way out, or in, may or may not have published.
assert done <= shm.count - before <= done + interrupts, (before, done, shm.count, interrupts)
""",
        elements,
    )


LOCKS = {
    "locked": """
def operation():
    with shm.locked():
        with other.locked():
            pass
""",
    "locked_many": """
def operation():
    with thalweg.locked_many([third, shm]) as streams:
        streams[0].write_locked([1])
""",
    "live view": """
def operation():
    with shm.locked():
        shm.read(safe=False)
""",
}


@pytest.mark.parametrize("script", LOCKS.values(), ids=LOCKS)
def test_interrupted_lock_scopes_leave_the_lock_free(storm, script):
    storm(
        """
import threading
other = thalweg.open("storm")
third = thalweg.create("third", shape=(1,))
"""
        + script
        + """
storm(operation)
def take():
    for stream in (shm, other, third):
        with stream.locked(timeout=0):
            taken.append(stream)
taken = []
thread = threading.Thread(target=take)
thread.start()
thread.join()
assert len(taken) == 3, taken
third.unlink()
"""
    )


READS = {
    "read": "shm.read()",
    "read(out=)": "shm.read(out=values)",
    "read_publication": "shm.read_publication()",
    "read_new": "shm.read_new(timeout=1e-3)",
    "read_after": "shm.read_after(shm.count, timeout=60)",
    "wait_for_count": "shm.wait_for_count(after=shm.count, timeout=60)",
    "borrow": "shm.borrow().array.sum()",
    "history": "shm.history(3)",
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_interrupted_readers_leave_nothing(storm, read):
    storm(
        f"""
def operation():
    try:
        {read}
    except TimeoutError:
        pass
storm(operation, 200)
"""
    )


def test_interrupted_event_loops_leave_nothing(storm):
    storm(
        """
import warnings
# Of coroutines that were made, and interrupted before anybody awaited them.
warnings.simplefilter("ignore", RuntimeWarning)
async def wait():
    await asyncio.gather(*(shm.read_after_async(shm.count, timeout=1e-3) for _ in range(3)),
                         return_exceptions=True)
loop = asyncio.new_event_loop()
def operation():
    task = loop.create_task(wait())
    try:
        loop.run_until_complete(task)
    except RuntimeError:
        pass  # What asyncio says of a run after one that was interrupted.
    finally:
        task.cancel()
        # Neither complete nor collected in time: that is for the loop to complain of, not for us.
        task._log_destroy_pending = False
loop.set_exception_handler(lambda *_: None)
storm(operation, 200)
for task in asyncio.all_tasks(loop):
    task._log_destroy_pending = False
    task.cancel()
async def last():
    task = asyncio.create_task(shm.read_after_async(shm.count))
    await asyncio.sleep(0)
    shm.write(values)
    return await task
assert (asyncio.run(last()) == values).all()
loop.close()
"""
    )


# Ctrl-C in a wait for the lock

WAITS_FOR_THE_LOCK = {
    "acquire": "shm.acquire()",
    "acquire, timed": "shm.acquire(timeout=60)",
    "locked": "shm.locked().__enter__()",
    "locked_many": "thalweg.locked_many([first, shm]).__enter__()",
    "write": "shm.write(values)",
    "write_view": "shm.write_view().__enter__()",
    "loan": "shm.loan(timeout=60).__enter__()",
    "clear": "shm.clear()",
}


@pytest.mark.parametrize("wait", WAITS_FOR_THE_LOCK.values(), ids=WAITS_FOR_THE_LOCK)
def test_ctrl_c_in_a_wait_for_the_lock_leaks_nothing_to_other_threads(run_python, wait):
    output = run_python(
        f"""
        import os, signal, threading, numpy as np, thalweg
        signal.signal(signal.SIGINT, signal.default_int_handler)
        shm = thalweg.create("waits", shape=(3,))
        first = thalweg.create("first", shape=(1,))
        values = np.ones(3)
        held, done = threading.Event(), threading.Event()
        def hold():
            with thalweg.open("waits") as own, own.locked():
                held.set()
                # Once the main thread sleeps on the stream's lock, interrupt it.
                while True:
                    with open(f"/proc/self/task/{{os.getpid()}}/syscall") as file:
                        word = file.read().split()
                    if len(word) > 1 and any(int(word[1], 16) in part for part in ours):
                        break
                os.kill(os.getpid(), signal.SIGINT)
                done.wait()
        with open("/proc/self/maps") as maps:
            ours = [range(*(int(bound, 16) for bound in line.split()[0].split("-")))
                    for line in maps if os.environ["THALWEG_SHM_DIR"] in line]
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        try:
            {wait}
        except KeyboardInterrupt:
            print("interrupted")
        done.set()
        thread.join()
        def use():
            for stream in (shm, first):
                with stream.locked(timeout=0):
                    stream.write_locked(np.full(stream.shape, 5))
                    used.append(stream.count)
        used = []
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
        print(used, shm.read().tolist())
        shm.unlink()
        first.unlink()
        """
    )
    assert output == "interrupted\n[1, 1] [5.0, 5.0, 5.0]\n"
