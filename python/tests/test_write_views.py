"""Writing in place: what the block gets, when it publishes, and what an abort leaves."""

import asyncio
import gc
import threading
import weakref

import numpy as np
import pytest
from waiting_thread import WaitingThread

import thalweg

pytestmark = pytest.mark.cpu

SCOPES = ["write_view", "write_view_locked", "loan"]


@pytest.fixture
def shm():
    """A stream of 2 x 3 floats with one frame, all ones, of the id 5."""
    with thalweg.stream("write_views", shape=(2, 3)) as handle:
        handle.write(np.ones((2, 3)), frame_id=5)
        yield handle


@pytest.fixture
def strict():
    """As `shm`, with the strict behaviour after an abort."""
    with thalweg.stream("strict", shape=(2, 3), on_abort="invalidate") as handle:
        handle.write(np.ones((2, 3)), frame_id=5)
        yield handle


def scope_of(shm, kind, **options):
    return getattr(shm, kind)(**options)


# On success


@pytest.mark.parametrize("kind", SCOPES)
def test_the_block_gets_a_writable_array_and_publishes_it(shm, kind):
    with shm.locked():
        with scope_of(shm, kind, frame_id=8) as array:
            assert type(array) is np.ndarray
            assert (array.shape, array.dtype) == ((2, 3), np.float32)
            assert array.flags.writeable and array.flags.c_contiguous and array.flags.aligned
            assert not array.flags.owndata, "it is the slot's memory"
            if kind != "loan":
                assert (array == 1).all(), "it begins as a copy of the last frame"
            array[...] = 4
            assert (shm.count, shm.frame_id) == (1, 5), "nothing is published yet"
            assert (shm.read() == 1).all()
            assert shm.write_sequence == 3, "odd while a frame is under way"
        assert (shm.count, shm.frame_id, shm.write_sequence) == (2, 8, 4)
        assert (shm.read() == 4).all()


def test_a_view_of_an_unwritten_stream_begins_as_zeros():
    with thalweg.stream("unwritten", shape=(3,), dtype="int32") as shm:
        for value in range(8):  # every slot has been used by then
            with shm.write_view() as array:
                assert array.tolist() == [value, 0, 0]
                array[0] += 1
        assert shm.read().tolist() == [8, 0, 0]
        assert shm.count == 8


class Weighed:
    """Something whose end can be seen."""


@pytest.mark.parametrize("kind", SCOPES)
def test_a_block_keeps_no_variable_of_its_function_alive(shm, kind):
    weighed = Weighed()
    seen = weakref.ref(weighed)
    with shm.locked(), scope_of(shm, kind) as array:
        array[...] = 2
    del weighed
    assert seen() is None
    assert not array.flags.writeable and (shm.read() == 2).all()


def test_a_block_in_a_generator_keeps_no_variable_of_it_alive(shm):
    def frames():
        weighed = Weighed()
        yield weakref.ref(weighed)
        with shm.loan() as array:
            array[...] = 2
        del weighed
        yield array

    running = frames()
    seen = next(running)
    assert next(running) is not None and seen() is None


def test_a_block_empties_no_namespace(shm):
    weighed = Weighed()
    mine = locals()
    with shm.loan() as array:
        array[...] = 2
    assert mine["weighed"] is weighed
    script = "with shm.loan() as array:\n    array[...] = value\nafter = value"
    for is_one in (True, False):
        outer = {"shm": shm, "value": 3}
        inner = outer if is_one else {"value": 3}
        exec(script, outer, inner)
        assert inner["after"] == 3 and not inner["array"].flags.writeable

    class Namespace:
        value = 4
        with shm.loan() as array:
            array[...] = value

    assert Namespace.value == 4 and not Namespace.array.flags.writeable
    assert (shm.read() == 4).all()


def test_changes_in_place_may_overlap(shm):
    with shm.write_view() as array:
        array.flat[:] = np.arange(6)
    with shm.write_view() as array:
        flat = array.reshape(-1)
        flat[1:] = flat[:-1]
    assert shm.read().tolist() == [[0, 0, 1], [2, 3, 4]]
    with shm.borrow() as frame, shm.write_view() as array:
        array[...] = frame.array[::-1]
    assert shm.read().tolist() == [[2, 3, 4], [0, 0, 1]]
    with shm.locked():
        shm.write_locked(shm.read(safe=False)[::-1])
    assert shm.read().tolist() == [[0, 0, 1], [2, 3, 4]]


@pytest.mark.parametrize("kind", SCOPES)
def test_a_scope_can_be_used_again_but_not_twice_at_once(shm, kind):
    with shm.locked():
        scope = scope_of(shm, kind)
        with pytest.raises(RuntimeError, match="not entered"):
            scope.__exit__(None, None, None)
        for value in (2, 3):
            with scope as array:
                array[...] = value
                with pytest.raises(RuntimeError, match="entered already"):
                    scope.__enter__()
            assert (shm.read() == value).all()
        with pytest.raises(RuntimeError, match="not entered"):
            scope.__exit__(None, None, None)
    assert shm.count == 3


@pytest.mark.parametrize("kind", SCOPES)
def test_every_other_way_to_write_is_refused_inside(shm, kind):
    with shm.locked(), scope_of(shm, kind) as array:
        array[...] = 2
        with thalweg.open("write_views") as sibling:
            for handle in (shm, sibling):
                for write in (
                    lambda handle=handle: handle.write(np.zeros((2, 3))),
                    lambda handle=handle: handle.write_locked(np.zeros((2, 3))),
                    handle.clear,
                    *(
                        lambda handle=handle, other=other: scope_of(handle, other).__enter__()
                        for other in SCOPES
                    ),
                ):
                    with pytest.raises(RuntimeError, match="being written already"):
                        write()
    assert (shm.read() == 2).all()
    assert shm.count == 2
    shm.write(np.full((2, 3), 3))
    assert shm.count == 3


def test_views_of_two_streams_at_once(shm, strict):
    with shm.write_view() as one, strict.write_view() as other:
        one[...] = 2
        other[...] = 3
    assert (shm.read() == 2).all() and (strict.read() == 3).all()


def test_waiters_hear_of_a_view_when_it_is_published(shm):
    with thalweg.open("write_views") as reader:
        waiting = WaitingThread(lambda: reader.read_new(timeout=30))
        waiting.until_asleep()
        with shm.write_view() as array:
            array[...] = 2
        assert (waiting.value() == 2).all()


# The lock


@pytest.mark.parametrize("kind", ["write_view", "loan"])
@pytest.mark.parametrize("timeout", [0, -1, 0.01])
def test_the_timeout_bounds_the_wait_for_the_lock(shm, kind, timeout):
    held, done = threading.Event(), threading.Event()

    def hold():
        with thalweg.open("write_views") as other, other.locked():
            held.set()
            assert done.wait(30)

    holder = WaitingThread(hold)
    assert held.wait(30)
    with pytest.raises(TimeoutError, match="shared memory lock"):
        scope_of(shm, kind, timeout=timeout).__enter__()
    assert (shm.count, shm.write_sequence) == (1, 2)
    done.set()
    holder.value()
    with scope_of(shm, kind, timeout=timeout) as array:
        array[...] = 2
    assert shm.count == 2


def test_write_view_locked_needs_the_lock_when_it_is_entered(shm):
    scope = shm.write_view_locked()
    with pytest.raises(RuntimeError, match="write_view_locked requires"):
        scope.__enter__()
    with shm.locked():
        error = WaitingThread(lambda: shm.write_view_locked().__enter__()).error()
        assert isinstance(error, RuntimeError) and "write_view_locked" in str(error)
        with scope as array:
            array[...] = 2
        with pytest.raises(ZeroDivisionError), shm.write_view_locked() as array:
            raise ZeroDivisionError
        # Neither end has given the caller's lock away.
        error = WaitingThread(lambda: thalweg.open("write_views").acquire(timeout=0)).error()
        assert isinstance(error, TimeoutError)
    assert (shm.read() == 2).all()
    shm.acquire(timeout=0)
    shm.release()


@pytest.mark.parametrize("kind", ["write_view", "loan"])
def test_the_lock_is_free_after_the_block(shm, kind):
    def take():
        with thalweg.open("write_views") as other, other.locked(timeout=0):
            pass

    with scope_of(shm, kind):
        assert isinstance(WaitingThread(take).error(), TimeoutError)
    WaitingThread(take).value()
    with pytest.raises(ZeroDivisionError), scope_of(shm, kind):
        raise ZeroDivisionError
    WaitingThread(take).value()


@pytest.mark.parametrize("kind", SCOPES)
def test_read_only_handles_write_nothing_in_place(shm, kind):
    with thalweg.open("write_views", readonly=True) as reader:
        with pytest.raises(PermissionError, match="read-only"):
            scope_of(reader, kind).__enter__()


@pytest.mark.parametrize("kind", SCOPES)
def test_closed_handles_write_nothing_in_place(shm, kind):
    handle = thalweg.open("write_views")
    handle.close()
    with pytest.raises(RuntimeError, match="closed shared memory"):
        scope_of(handle, kind).__enter__()


# Aborts


class CustomError(BaseException):
    pass


def leave_by(error):
    def leave(scope):
        with scope as array:
            array[...] = -1
            raise error

    return leave


def leave_by_closing_a_generator(scope):
    def generate():
        with scope as array:
            array[...] = -1
            yield array

    generator = generate()
    next(generator)
    generator.close()


def leave_by_collecting_a_generator(scope):
    def generate():
        with scope as array:
            array[...] = -1
            yield

    generator = generate()
    next(generator)
    del generator
    gc.collect()


def leave_by_throwing_into_a_coroutine(scope):
    async def work():
        with scope as array:
            array[...] = -1
            await asyncio.sleep(3600)

    async def main():
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


ABORTS = {
    "ValueError": leave_by(ValueError()),
    "KeyboardInterrupt": leave_by(KeyboardInterrupt()),
    "SystemExit": leave_by(SystemExit(3)),
    "GeneratorExit": leave_by(GeneratorExit()),
    "StopIteration": leave_by(StopIteration()),
    "BaseException": leave_by(CustomError()),
    "closed generator": leave_by_closing_a_generator,
    "collected generator": leave_by_collecting_a_generator,
    "cancelled task": leave_by_throwing_into_a_coroutine,
}


@pytest.mark.parametrize("kind", SCOPES)
@pytest.mark.parametrize("abort", ABORTS.values(), ids=ABORTS)
def test_after_an_abort_the_last_frame_is_still_there(shm, kind, abort):
    facts = (shm.count, shm.frame_id, shm.write_time, shm.write_sequence)
    with shm.locked():
        try:
            abort(scope_of(shm, kind, frame_id=99))
        except BaseException as error:
            assert not isinstance(error, AssertionError)
        assert (shm.count, shm.frame_id, shm.write_time, shm.write_sequence) == facts
    with thalweg.open("write_views", readonly=True) as reader:
        assert (reader.read() == 1).all()
        assert reader.read_publication().frame_id == 5
    with shm.write_view() as array:
        assert (array == 1).all(), "nothing of the aborted frame is left"
        array[0, 0] = 2
    assert (shm.count, shm.frame_id) == (2, 5)


@pytest.mark.parametrize("kind", SCOPES)
@pytest.mark.parametrize("abort", ABORTS.values(), ids=ABORTS)
def test_in_a_strict_stream_an_abort_invalidates(strict, kind, abort):
    with strict.locked():
        try:
            abort(scope_of(strict, kind, frame_id=99))
        except BaseException as error:
            assert not isinstance(error, AssertionError)
    assert_invalid(strict)
    strict.write(np.full((2, 3), 2))
    assert (strict.read() == 2).all()
    assert (strict.count, strict.frame_id, strict.write_sequence) == (2, 5, 4)


def every_safe_read(handle):
    yield "read", handle.read
    yield "read(out=)", lambda: handle.read(out=np.empty((2, 3), np.float32))
    yield "read_publication", handle.read_publication
    yield "read_new", lambda: handle.read_new(timeout=30)
    yield "read_new_publication", lambda: handle.read_new_publication(timeout=30)
    yield "read_after", lambda: handle.read_after(handle.count, timeout=30)
    yield "read_after_publication", lambda: handle.read_after_publication(0, timeout=30)
    yield "wait_for_count", lambda: handle.wait_for_count(after=handle.count, timeout=30)
    yield "borrow", handle.borrow
    yield "borrow_after", lambda: handle.borrow_after(0, timeout=30)
    yield "history", lambda: handle.history(2)
    yield "dlpack", lambda: np.from_dlpack(handle)
    yield "read_new_async", lambda: asyncio.run(handle.read_new_async(timeout=30))
    yield (
        "read_after_async",
        lambda: asyncio.run(handle.read_after_async(handle.count, timeout=30)),
    )
    yield (
        "wait_for_count_async",
        lambda: asyncio.run(handle.wait_for_count_async(after=handle.count, timeout=30)),
    )


def assert_invalid(shm):
    count = shm.count
    with thalweg.open(shm.name) as other, thalweg.open(shm.name, readonly=True) as reader:
        for handle in (shm, other, reader):
            for name, read in every_safe_read(handle):
                with pytest.raises(thalweg.InconsistentStreamError, match="incomplete write"):
                    pytest.fail(f"{name} returned {read()!r}")
            assert handle.write_sequence < 0, "negative: invalid"
            assert handle.count == count
    assert thalweg.stat(shm.name)["write_sequence"] < 0
    with shm.locked():
        shm.read(safe=False)  # Does not ask.


def test_an_aborted_first_frame_invalidates_every_stream():
    with thalweg.stream("first", shape=(2, 3)) as shm:
        with pytest.raises(ZeroDivisionError), shm.write_view():
            raise ZeroDivisionError
        assert_invalid(shm)
        shm.clear()
        assert (shm.read() == 0).all()
        with pytest.raises(ZeroDivisionError), shm.write_view():
            raise ZeroDivisionError
        assert (shm.read() == 0).all(), "once there is a good frame it stays"


REPAIRS = {
    "write": lambda shm: shm.write(np.zeros((2, 3))),
    "clear": lambda shm: shm.clear(),
    "view": lambda shm: shm.write_view(),
    "loan": lambda shm: shm.loan(),
}


@pytest.mark.parametrize("repair", REPAIRS.values(), ids=REPAIRS)
def test_any_complete_frame_repairs(strict, repair):
    for _ in range(5):
        with pytest.raises(ZeroDivisionError), strict.write_view() as array:
            array[...] = -1
            raise ZeroDivisionError
        scope = repair(strict)
        if scope is not None:
            with scope as array:
                array[...] = 0
        assert (strict.read() == 0).all()
    assert strict.count == 6
    assert strict.write_sequence == 12


WAITS = {
    "read_new": lambda reader: reader.read_new(timeout=30),
    "read_after": lambda reader: reader.read_after(1, timeout=30),
    "wait_for_count": lambda reader: reader.wait_for_count(after=1, timeout=30),
    "read_new park": lambda reader: reader.read_new(timeout=30, wait="park"),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
@pytest.mark.parametrize("readonly", [False, True])
def test_sleepers_hear_of_an_abort_in_a_strict_stream(strict, wait, readonly):
    with thalweg.open("strict", readonly=readonly) as reader:
        waiting = WaitingThread(lambda: wait(reader)).until_asleep()
        with pytest.raises(ZeroDivisionError), strict.write_view():
            raise ZeroDivisionError
        assert isinstance(waiting.error(), thalweg.InconsistentStreamError)


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_sleepers_do_not_mind_an_abort_otherwise(shm, wait):
    with thalweg.open("write_views") as reader:
        waiting = WaitingThread(lambda: wait(reader)).until_asleep()
        with pytest.raises(ZeroDivisionError), shm.write_view():
            raise ZeroDivisionError
        waiting.until_asleep()
        shm.write(np.full((2, 3), 2))
        assert np.max(waiting.value()) == 2


# Writers that die


DIES_IN_A_VIEW = """
    import sys, thalweg
    shm = thalweg.open(sys.argv[1])
    with shm.write_view() as array:
        array[0] = -1
        print("half way")
        sys.stdin.read()
"""


def die_in_a_view(start_python, name, meanwhile=lambda: None):
    process = start_python(DIES_IN_A_VIEW, name)
    assert process.stdout.readline() == "half way\n"
    meanwhile()
    process.kill()
    process.wait()


@pytest.mark.parametrize("next_to_come", ["reader", "reader of another kind", "writer", "locker"])
def test_after_a_writers_death_the_last_frame_is_there_whoever_comes(
    shm, start_python, next_to_come
):
    die_in_a_view(start_python, "write_views")
    with thalweg.open("write_views", readonly=next_to_come != "reader") as reader:
        if next_to_come == "locker":
            with shm.locked(timeout=30):
                pass
        if next_to_come == "writer":
            with shm.write_view(timeout=30) as array:
                assert (array == 1).all()
                array[0, 0] = 1
        assert (reader.read(timeout=30) == 1).all()
        for number in range(2, 8):
            shm.write(np.full((2, 3), number), frame_id=number)
            publication = reader.read_publication()
            assert (publication.payload == number).all()
            assert publication.frame_id == number
            assert reader.write_sequence == 2 * reader.count


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_sleepers_hear_of_a_death_in_a_strict_stream(strict, start_python, wait, readonly):
    with thalweg.open("strict", readonly=readonly) as reader:
        sleepers = []

        def sleep():
            sleepers.append(WaitingThread(lambda: wait(reader)).until_asleep())

        die_in_a_view(start_python, "strict", sleep)
        assert isinstance(sleepers[0].error(), thalweg.InconsistentStreamError)
    assert_invalid(strict)
    strict.write(np.full((2, 3), 3))
    assert (strict.read() == 3).all()


@pytest.mark.parametrize("readonly", [False, True])
def test_a_death_in_the_first_frame_is_an_error_until_there_is_one(start_python, readonly):
    with thalweg.stream("first", shape=(2, 3)) as shm:
        with thalweg.open("first", readonly=readonly) as reader:
            die_in_a_view(start_python, "first")
            with pytest.raises(thalweg.InconsistentStreamError, match="incomplete write"):
                reader.read(timeout=30)
            with pytest.raises(thalweg.InconsistentStreamError, match="incomplete write"):
                reader.read_new(timeout=30)
            shm.write(np.ones((2, 3)))
            assert (reader.read() == 1).all()
