"""How streams and handles come and go: closing, unlinking, generations, forks."""

import asyncio
import gc
import itertools
import os
import pickle
import re

import numpy as np
import pytest
from waiting_thread import WaitingThread

import thalweg

pytestmark = pytest.mark.cpu

WAITS = {
    "read_new": lambda shm: shm.read_new(timeout=60),
    "read_new, for ever": lambda shm: shm.read_new(),
    "read_new, parked": lambda shm: shm.read_new(wait="park"),
    "read_new_publication": lambda shm: shm.read_new_publication(),
    "read_after": lambda shm: shm.read_after(1),
    "read_after_publication": lambda shm: shm.read_after_publication(1),
    "wait_for_count": lambda shm: shm.wait_for_count(after=1),
    "borrow_after": lambda shm: shm.borrow_after(1),
    "wait_any": lambda shm: thalweg.wait_any([(shm, 1)]),
}


@pytest.fixture
def stream():
    """A handle of a stream with one frame, which is gone after the test, however often replaced."""
    handle = thalweg.create("lifecycle", shape=(2,))
    handle.write([1, 1])
    yield handle
    thalweg.unlink("lifecycle")


# Closing


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
@pytest.mark.parametrize("readonly", [False, True])
def test_close_ends_the_waits_of_its_handle_alone(stream, wait, readonly):
    reader = thalweg.open("lifecycle", readonly=readonly)
    other = thalweg.open("lifecycle")
    waiting = WaitingThread(lambda: wait(reader)).until_asleep()
    going_on = WaitingThread(lambda: wait(other)).until_asleep()
    reader.close()
    error = waiting.error()
    assert type(error) is RuntimeError
    assert "closed while a read was waiting" in str(error)
    going_on.until_asleep()
    stream.write([2, 2])
    going_on.value()
    other.close()


def test_close_is_idempotent_and_takes_a_timeout(stream):
    for timeout in (None, 0, -1, 5.0):
        handle = thalweg.open("lifecycle")
        handle.close(timeout=timeout)
        handle.close()
        handle.close(timeout=timeout)
    assert stream.read().tolist() == [1, 1]


def test_a_with_block_closes(stream):
    with thalweg.open("lifecycle") as handle:
        assert handle.read().tolist() == [1, 1]
    with pytest.raises(RuntimeError, match="closed shared memory"):
        handle.read()
    with pytest.raises(ZeroDivisionError), thalweg.open("lifecycle") as handle:
        raise ZeroDivisionError
    with pytest.raises(RuntimeError, match="closed shared memory"):
        handle.read()
    with stream:
        stream.close()
    assert thalweg.list_streams() == ["lifecycle"]


def test_collecting_closes_and_unlinks_nothing():
    handle = thalweg.create("lifecycle", shape=(2,), auto_unlink=True)
    handle.write([1, 1])
    del handle
    gc.collect()
    assert thalweg.list_streams() == ["lifecycle"]
    thalweg.unlink("lifecycle")


# Unlinking


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
@pytest.mark.parametrize("readonly", [False, True])
def test_unlink_elsewhere_ends_every_wait(stream, wait, readonly):
    reader = thalweg.open("lifecycle", readonly=readonly)
    waiting = WaitingThread(lambda: wait(reader)).until_asleep()
    thalweg.unlink("lifecycle")
    assert isinstance(waiting.error(), thalweg.StaleStreamError)
    with pytest.raises(thalweg.StaleStreamError, match="unlinked"):
        wait(reader)
    # Reads and writes go on, safe and isolated.
    assert reader.read().tolist() == [1, 1]
    stream.write([2, 2])
    assert reader.read_after(1, timeout=0).tolist() == [2, 2]
    assert thalweg.list_streams() == []
    reader.close()
    stream.close()


def test_unlink_in_every_form_is_silent_when_there_is_nothing():
    thalweg.unlink("absent")
    thalweg.unlink_quiet("absent")
    for how in ("unlink", "delete"):
        handle = thalweg.create("lifecycle", shape=(1,))
        getattr(handle, how)()
        assert thalweg.list_streams() == []
        handle.unlink()
        handle.delete()
        handle.close()
    handle = thalweg.create("lifecycle", shape=(1,))
    thalweg.unlink("lifecycle")
    handle.unlink()


def test_a_closed_handle_can_unlink(stream):
    stream.close()
    stream.unlink()
    assert thalweg.list_streams() == []


def test_any_handle_can_unlink_but_a_read_only_one(stream):
    with thalweg.open("lifecycle", readonly=True) as reader:
        for unlink in (reader.unlink, reader.delete):
            with pytest.raises(PermissionError, match="read-only"):
                unlink()
        assert reader.read().tolist() == [1, 1]
    with pytest.raises(PermissionError, match="read-only"):
        reader.unlink()
    thalweg.open("lifecycle").unlink()
    assert thalweg.list_streams() == []
    with pytest.raises(FileNotFoundError, match="does not exist"):
        thalweg.open("lifecycle")


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_temporary_streams_go_whatever_happens(error):
    with pytest.raises(error), thalweg.stream("temporary", shape=(1,)):
        raise error
    with pytest.raises(error), thalweg.create("temporary", shape=(1,), auto_unlink=True):
        raise error
    with thalweg.stream("temporary", shape=(1,)) as handle:
        handle.unlink()
    with thalweg.stream("temporary", shape=(1,)):
        thalweg.unlink("temporary")
    assert thalweg.list_streams() == []


def test_auto_unlink_is_of_one_handle_only(stream):
    stream.unlink()
    with thalweg.create("lifecycle", shape=(2,), auto_unlink=True):
        with thalweg.open("lifecycle"):
            pass
        assert thalweg.list_streams() == ["lifecycle"]
    assert thalweg.list_streams() == []


def test_a_temporary_stream_that_was_replaced_says_so():
    with pytest.raises(thalweg.StaleStreamError, match="newer generation"):
        with thalweg.stream("lifecycle", shape=(1,)):
            thalweg.unlink("lifecycle")
            replacement = thalweg.create("lifecycle", shape=(1,))
    assert thalweg.list_streams() == ["lifecycle"]
    replacement.unlink()


# Generations


def test_every_generation_has_an_identity_of_its_own():
    seen = set()
    for _ in range(20):
        with thalweg.stream("lifecycle", shape=(1,)) as shm, thalweg.open("lifecycle") as other:
            assert re.fullmatch("[0-9a-f]{32}", shm.instance_id)
            assert other.instance_id == shm.instance_id == thalweg.stat("lifecycle")["instance_id"]
            seen.add(shm.instance_id)
    assert len(seen) == 20


def test_generations_are_isolated(stream):
    reader = thalweg.open("lifecycle")
    thalweg.unlink("lifecycle")
    with thalweg.create("lifecycle", shape=(3,), dtype="int8") as new:
        new.write([7, 7, 7])
        stream.write([2, 2])
        assert reader.read().tolist() == [2, 2]
        assert (reader.count, new.count) == (2, 1)
        with stream.locked(), new.locked(timeout=0):
            pass
        with stream.locked():
            WaitingThread(lambda: new.write([7, 7, 7])).value()
        for old in (stream, reader):
            with pytest.raises(thalweg.StaleStreamError):
                old.read_new(timeout=60)
            with pytest.raises(thalweg.StaleStreamError, match="newer generation"):
                old.unlink()
            with pytest.raises(RuntimeError, match="closed shared memory"):
                old.read()
            with pytest.raises(thalweg.StaleStreamError, match="newer generation"):
                old.unlink()
        with thalweg.open("lifecycle") as again:
            assert again.read().tolist() == [7, 7, 7]
    thalweg.unlink("lifecycle")
    stream.unlink()  # Now there is none at all.


def test_open_during_replacements_never_mixes_generations(start_python):
    """Each generation has its number as its extent, its contents and its frame ids."""
    process = start_python(
        """
        import itertools, sys, numpy as np, thalweg
        print("ready")
        for number in itertools.count(1):
            try:
                with thalweg.stream("replaced", shape=(number % 500 + 1,)) as shm:
                    shm.write(np.full(shm.shape, shm.shape[0]), frame_id=shm.shape[0])
            except thalweg.StaleStreamError:
                pass
            if number % 100 == 0 and thalweg.list_streams().count("stop"):
                break
        """
    )
    assert process.stdout.readline() == "ready\n"
    opened = 0
    while opened < 100:
        try:
            handle = thalweg.open("replaced")
        except FileNotFoundError:
            continue
        with handle:
            publication = handle.read_publication()
            if publication.count:
                opened += 1
                assert (publication.payload == handle.shape[0]).all()
                assert publication.frame_id == handle.shape[0]
    with thalweg.stream("stop", shape=(1,)):
        assert process.wait(timeout=120) == 0


# Other processes


HANDED_OVER = """
import multiprocessing, sys, thalweg

def child(handle, queue):
    frame = handle.read()
    handle.write(frame + 1, frame_id=9)
    with handle.locked(timeout=30), handle.write_view_locked() as array:
        array += 1
    queue.put((frame.tolist(), handle.owner, handle.name, handle.readonly))

def main(method):
    stream = thalweg.open("lifecycle")
    owned = thalweg.create("owned", shape=(2,))
    context = multiprocessing.get_context(method)
    for handle in (stream, owned):
        queue = context.Queue()
        process = context.Process(target=child, args=(handle, queue))
        process.start()
        print(queue.get(timeout=60))
        process.join(60)
        assert process.exitcode == 0
    print(stream.read().tolist(), stream.count, stream.frame_id)
    owned.unlink()
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_handle_can_be_handed_to_a_process(stream, run_python, tmp_path, monkeypatch, method):
    (tmp_path / "handed_over.py").write_text(HANDED_OVER)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    # Nothing on standard error, in particular of a resource tracker.
    output = run_python("import sys, handed_over; handed_over.main(sys.argv[1])", method)
    # A forked child has the handle itself, others open the stream by its name.
    assert output.splitlines() == [
        "([1.0, 1.0], False, 'lifecycle', False)",
        f"([0.0, 0.0], {method == 'fork'}, 'owned', False)",
        "[3.0, 3.0] 3 9",
    ]
    assert thalweg.list_streams() == ["lifecycle"]


def test_pickles_keep_what_a_handle_may_do(stream):
    with thalweg.open("lifecycle", readonly=True) as reader:
        copies = [
            pickle.loads(pickle.dumps(reader, protocol=protocol))
            for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
        ]
    for copy in copies:
        assert copy.readonly and not copy.owner
        with pytest.raises(PermissionError, match="read-only"):
            copy.write([1, 2])
        assert copy.read().tolist() == [1, 1]
        copy.close()
        with pytest.raises(RuntimeError, match="closed shared memory"):
            pickle.dumps(copy)


def test_a_stream_outlives_its_creator_without_a_word(run_python):
    run_python(
        """
        import thalweg
        shm = thalweg.create("persistent", shape=(2,))
        shm.write([3, 4], frame_id=5)
        thalweg.open("persistent").read()
        """
    )  # Nothing on standard error, in particular of a resource tracker.
    with thalweg.open("persistent") as shm:
        publication = shm.read_publication()
        assert (publication.payload.tolist(), publication.frame_id) == ([3, 4], 5)
        assert (publication.count, shm.creator_pid > 0, shm.producer_alive()) == (1, True, False)
        shm.unlink()


def test_no_helper_process_and_no_helper_thread(run_python):
    output = run_python(
        """
        import os, thalweg
        with thalweg.stream("quiet", shape=(2,)) as shm, thalweg.open("quiet") as reader:
            shm.write([1, 2])
            reader.read_after(0)
            def read(path):
                with open(f"/proc/self/task/{path}") as file:
                    return file.read()
            children = read(f"{os.getpid()}/children")
            threads = [read(f"{task}/comm") for task in os.listdir("/proc/self/task")]
            print(repr(children), sum(name.startswith("thalweg") for name in threads))
        """
    )
    assert output == "'' 0\n"


# Forks, with what the parent was doing at the moment


def fork_script(before, child, parent):
    return f"""
import os, sys, threading, numpy as np, thalweg
shm = thalweg.create("forked", shape=(1000,))
shm.write(np.ones(1000), frame_id=5)
other = thalweg.open("forked")
{before}
pid = os.fork()
if pid == 0:
    try:
{child}
    except BaseException as error:
        print(repr(error), file=sys.stderr)
        os._exit(1)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
{parent}
shm.unlink()
"""


FORKS = {
    "at rest": (
        "",
        """
        shm.write(np.full(1000, 2))
        with shm.locked(timeout=0), shm.write_view_locked() as array:
            array += 1
        assert shm.owner and shm.creator_pid == os.getppid()
        other.close()
        shm.close()
        """,
        "assert (shm.read() == 3).all() and other.count == 3",
    ),
    "holding the lock": (
        "shm.acquire(); shm.acquire()",
        """
        for handle in (shm, other):
            try:
                handle.write_locked(np.zeros(1000))
            except RuntimeError as error:
                assert "write_locked" in str(error)
            else:
                raise AssertionError("the lock is the parent's")
            try:
                handle.acquire(timeout=0.01)
            except TimeoutError as error:
                assert f"process {os.getppid()}" in str(error), error
            else:
                raise AssertionError("the lock is the parent's")
        shm.close()
        other.close()
        """,
        """
shm.write_locked(np.full(1000, 2))
shm.release()
shm.release()
assert (other.read() == 2).all()
""",
    ),
    "holding the lock, which the child then waits for": (
        "shm.acquire(); waits, tells = os.pipe()",
        """
        os.write(tells, b"x")
        shm.acquire()
        shm.write_locked(np.full(1000, 3))
        shm.release()
        try:
            shm.release()
        except RuntimeError as error:
            assert "unlocked" in str(error), error
        else:
            raise AssertionError("released twice")
        """,
        "assert shm.count == 2",
    ),
    "in a write view": (
        "scope = shm.write_view(); array = scope.__enter__(); array[...] = 2",
        """
        assert (shm.read() == 1).all()
        try:
            scope.__exit__(None, None, None)
        except RuntimeError as error:
            assert "parent process" in str(error), error
        else:
            raise AssertionError("the frame is the parent's")
        del array
        shm.close()
        """,
        """
array += 1
scope.__exit__(None, None, None)
assert (shm.read() == 3).all() and shm.count == 2
""",
    ),
    "in a write view, aborted there": (
        "scope = shm.write_view(); array = scope.__enter__(); array[...] = 2",
        """
        scope.__exit__(ValueError, ValueError(), None)
        del scope, array
        assert (shm.read() == 1).all()
        """,
        """
scope.__exit__(None, None, None)
assert (shm.read() == 2).all() and shm.count == 2
""",
    ),
    "with the live view": (
        "shm.acquire(); view = shm.read(safe=False)",
        "        assert (view == 1).all(); del view",
        "assert (view == 1).all(); shm.release()",
    ),
    "after awaiting": (
        """
import asyncio
async def wait(value):
    task = asyncio.create_task(shm.read_after_async(shm.count, timeout=30))
    await asyncio.sleep(0)
    shm.write(np.full(1000, value))
    return (await task)[0]
assert asyncio.run(wait(2)) == 2
""",
        "        assert asyncio.run(wait(3)) == 3",
        "assert asyncio.run(wait(4)) == 4",
    ),
    "while threads wait": (
        """
threads = [threading.Thread(target=lambda: shm.read_after(1, timeout=30)) for _ in range(3)]
for thread in threads:
    thread.start()
""",
        "        shm.write(np.full(1000, 2)); assert (other.read() == 2).all()",
        """
for thread in threads:
    thread.join()
""",
    ),
    "while threads write": (
        """
stop = False
def work():
    while not stop:
        shm.write(np.full(1000, 4))
        with other.locked():
            shm.read()
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
""",
        """
        for _ in range(100):
            shm.write(np.full(1000, 4))
            with other.locked(timeout=30):
                shm.read(safe=False)
        """,
        """
stop = True
for thread in threads:
    thread.join()
shm.acquire(timeout=0)
assert (shm.read() == 4).all()
shm.release()
""",
    ),
}


@pytest.mark.parametrize(("before", "child", "parent"), FORKS.values(), ids=FORKS)
def test_forks(run_python, before, child, parent):
    if "waits, tells" in before:
        # The parent gives the lock back once the child is there.
        script = fork_script(before, child, parent)
        wait = "assert os.waitpid(pid, 0)[1] == 0\n"
        script = script.replace(wait, f"os.read(waits, 1)\nshm.release()\n{wait}")
    else:
        script = fork_script(before, child, parent)
    run_python(script)


# Views of all kinds, in every order of dropping, each in an interpreter of its own


def test_views_in_every_order_of_events(run_python):
    run_python(
        """
        import gc, itertools, numpy as np, thalweg
        shape = (64, 64)
        steps = ["close", "unlink", "exit", "release", "drop view", "drop peek"]
        for order in itertools.permutations(steps):
            if order.index("exit") > order.index("release"):
                continue  # A view ends before the lock it was taken under.
            shm = thalweg.create("order", shape=shape)
            shm.write(np.full(shape, 7))
            held = thalweg.open("order")
            held.acquire()
            peek = held.read(safe=False)
            scope = shm.write_view_locked()
            view = scope.__enter__()
            view[...] = 8
            part, flat = view[1:], memoryview(view)
            frames = shm.history(1)
            for step in order:
                if step == "close":
                    shm.close()
                elif step == "unlink":
                    thalweg.unlink("order")
                elif step == "exit":
                    scope.__exit__(None, None, None)
                    scope = None
                elif step == "release":
                    held.release()
                    held.close()
                elif step == "drop view":
                    view = None
                else:
                    peek = None
                gc.collect(0)
                assert (part == 8).all() and flat[0, 0] == 8
                assert view is None or (view == 8).all()
                assert peek is None or (peek == 7).all()
                assert (frames[0].payload == 7).all()
            part[...] = 9
            frames[0].payload[...] = 9
        """,
        timeout_s=120,
    )


@pytest.mark.parametrize("kind", ["write_view", "write_view_locked", "peek", "history", "lock"])
@pytest.mark.parametrize("last", ["close", "unlink", "nothing"])
def test_leaving_the_interpreter(run_python, kind, last):
    run_python(
        f"""
        import atexit, builtins, numpy as np, thalweg
        shm = thalweg.create("leaving", shape=(64, 64))
        shm.write(np.ones((64, 64)))
        keeper = thalweg.open("leaving")
        scope = shm.locked()
        scope.__enter__()
        if {kind!r} in ("write_view", "write_view_locked"):
            inner = getattr(shm, {kind!r})()
            kept = [scope, inner, inner.__enter__()]
        elif {kind!r} == "peek":
            kept = [scope, shm.read(safe=False), shm.read_publication(safe=False)]
        elif {kind!r} == "history":
            kept = [scope, shm.history(3)]
        else:
            kept = [scope, shm]
        kept.append(kept)
        builtins.kept = kept
        atexit.register(lambda: kept[1])
        if {last!r} != "nothing":
            getattr(shm, {last!r})()
        thalweg.unlink("leaving")
        """
    )


def test_the_live_view_outlives_its_handle(run_python):
    run_python(
        """
        import gc, numpy as np, thalweg
        shm = thalweg.create("peek", shape=(256, 1024))
        shm.write(np.full((256, 1024), 7))
        with shm.locked():
            view = shm.read(safe=False)
            publication = shm.read_publication(safe=False)
        parts = [view[1:], view.T, view.reshape(-1), memoryview(view), publication.payload]
        shm.unlink()
        del shm, view, publication
        gc.collect()
        assert all(np.asarray(part).sum() >= 7 * 255 * 1024 for part in parts)
        while parts:
            parts.pop(0)
            gc.collect()
            assert all(np.asarray(part).flat[-1] == 7 for part in parts)
        """
    )


def test_closing_while_tasks_and_threads_use_every_call():
    """No order of close and use crashes or hangs; what fails says that the handle is closed."""
    for _ in range(5):
        shm = thalweg.create("busy", shape=(50_000,))
        shm.write(np.ones(50_000))

        def use(call):
            try:
                for _ in itertools.count():
                    call()
            except RuntimeError as error:
                return str(error)

        calls = [
            lambda: shm.read(),
            lambda: shm.write(np.ones(50_000)),
            lambda: shm.read_after(0),
            lambda: shm.history(2),
            lambda: shm.borrow().release(),
            lambda: shm.describe(),
            lambda: shm.to_config(),
            lambda: asyncio.run(shm.read_after_async(0)),
        ]
        threads = [WaitingThread(lambda call=call: use(call)) for call in calls]
        closing = WaitingThread(lambda: retried(shm.unlink))
        closing.value()
        for thread in threads:
            assert "closed" in thread.value()


def retried(unlink):
    """Unlinks as soon as no other thread is inside a lock of the handle."""
    while True:
        try:
            return unlink()
        except RuntimeError as error:
            assert "another thread owns its lock" in str(error)
