"""The writer lock: who has it, who may what with it, and how it is given back."""

import gc
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from waiting_thread import WaitingThread

import thalweg

pytestmark = pytest.mark.cpu


@pytest.fixture
def pair():
    """Two handles of a stream of three floats with one frame."""
    with thalweg.stream("locks", shape=(3,)) as one, thalweg.open("locks") as other:
        one.write([1, 2, 3])
        yield one, other


@contextmanager
def held_elsewhere(name):
    """The lock, held by another thread through a handle of its own."""
    held, done = threading.Event(), threading.Event()

    def hold():
        with thalweg.open(name) as own, own.locked():
            held.set()
            assert done.wait(60)

    thread = WaitingThread(hold)
    assert held.wait(30)
    try:
        yield
    finally:
        done.set()
        thread.value()


def is_free(name):
    """Whether another thread can take the lock at once."""

    def take():
        with thalweg.open(name) as own, own.locked(timeout=0):
            pass

    try:
        WaitingThread(take).value()
    except TimeoutError:
        return False
    return True


# One stream


@pytest.mark.parametrize("timeout", [0, -1, 1e-9, 0.05])
def test_a_timeout_is_an_error_that_leaves_nothing(pair, timeout):
    one, _ = pair
    with held_elsewhere("locks"):
        for take in (
            lambda: one.acquire(timeout=timeout),
            lambda: one.locked(timeout=timeout).__enter__(),
            lambda: one.write_view(timeout=timeout).__enter__(),
        ):
            with pytest.raises(TimeoutError, match="shared memory lock"):
                take()
        with pytest.raises(RuntimeError, match="unlocked"):
            one.release()
    assert is_free("locks")


@pytest.mark.parametrize("timeout", [None, 0, -1, 30, float("inf"), 1e300])
def test_a_free_lock_is_taken_whatever_the_timeout(pair, timeout):
    one, _ = pair
    one.acquire(timeout=timeout)
    assert not is_free("locks")
    one.release()
    with one.locked(timeout=timeout):
        assert not is_free("locks")
    assert is_free("locks")


def test_a_timeout_has_to_be_a_number(pair):
    one, _ = pair
    with pytest.raises(ValueError, match="nan"):
        one.acquire(timeout=float("nan"))
    with pytest.raises(TypeError):
        one.acquire(timeout="1")
    assert is_free("locks")


@pytest.mark.parametrize("poll_interval", [1e-3, 0, -1, float("nan")])
def test_a_poll_interval_has_no_effect(pair, poll_interval):
    one, _ = pair
    one.acquire(timeout=1, poll_interval=poll_interval)
    with one.locked(poll_interval=poll_interval):
        assert one.read(poll_interval=poll_interval).tolist() == [1, 2, 3]
    one.release()


def test_levels_are_counted(pair):
    one, other = pair
    for _ in range(50):
        one.acquire()
        other.acquire()
    for _ in range(49):
        one.release()
        other.release()
    assert not is_free("locks")
    one.release()
    assert not is_free("locks"), "the other handle has one level left"
    other.release()
    assert is_free("locks")
    for handle in pair:
        with pytest.raises(RuntimeError, match="unlocked"):
            handle.release()


def test_a_scope_is_usable_again_and_yields_the_handle(pair):
    one, _ = pair
    scope = one.locked()
    for _ in range(3):
        with scope as outer, scope as inner:
            assert outer is inner is one
            assert not is_free("locks")
        assert is_free("locks")


def test_exceptions_pass_through_a_scope(pair):
    one, _ = pair
    for error in (ZeroDivisionError("mine"), KeyboardInterrupt(), StopIteration(5)):
        with pytest.raises(type(error)) as raised, one.locked():
            raise error
        assert raised.value is error
        assert is_free("locks")


def test_only_the_thread_that_has_the_lock_gives_it_back(pair):
    one, _ = pair
    with one.locked():
        assert "another thread" in str(WaitingThread(one.release).error())
        assert not is_free("locks")
        error = WaitingThread(lambda: thalweg.open("locks").release()).error()
        assert isinstance(error, RuntimeError) and "unlocked" in str(error)
    assert is_free("locks")


def test_all_handles_of_a_thread_share_what_it_owns(pair):
    one, other = pair
    with one.locked():
        other.write([4, 5, 6])
        other.write_locked([5, 6, 7])
        with other.write_view_locked() as array:
            array += 1
        assert other.read(safe=False).tolist() == [6, 7, 8]
        other.clear()
        with thalweg.open("locks") as third, third.locked(timeout=0):
            pass
    assert one.count == 5
    assert is_free("locks")


def test_a_waiter_is_next(pair):
    one, _ = pair
    taken = []

    def take():
        with thalweg.open("locks") as own, own.locked(timeout=30):
            taken.append(own.count)

    with one.locked():
        waiting = WaitingThread(take).until_asleep()
        one.write([4, 5, 6])
        assert not taken
    waiting.value()
    assert taken == [2]


def gated(handle):
    yield "write_locked", lambda: handle.write_locked([0, 0, 0])
    yield "write_view_locked", lambda: handle.write_view_locked().__enter__()
    yield "safe=False requires", lambda: handle.read(safe=False)
    yield "safe=False requires", lambda: handle.read_publication(safe=False)
    yield "safe=False requires", lambda: handle.read_new(safe=False, timeout=0)
    yield "safe=False requires", lambda: handle.read_new_publication(safe=False, timeout=0)
    yield "safe=False requires", lambda: handle.read_after(0, safe=False)
    yield "safe=False requires", lambda: handle.read_after_publication(0, safe=False)


def test_what_needs_the_lock_says_so(pair):
    one, other = pair
    for text, use in gated(one):
        with pytest.raises(RuntimeError, match=text):
            use()
    with other.locked():  # Held, but by another thread than the one that asks.
        for text, use in gated(one):
            error = WaitingThread(use).error()
            assert isinstance(error, RuntimeError) and text in str(error)
        with pytest.raises(ValueError, match="safe CPU reads"):
            one.read(safe=False, out=np.empty(3, np.float32))
        with pytest.raises(ValueError, match="safe CPU reads"):
            one.read_after(0, safe=False, out=np.empty(3, np.float32))
    assert one.count == 1


def test_read_only_handles_are_refused_everything_that_writes(pair):
    with thalweg.open("locks", readonly=True) as reader:
        for use in (
            lambda: reader.write([0, 0, 0]),
            lambda: reader.write_locked([0, 0, 0]),
            lambda: reader.write_view().__enter__(),
            lambda: reader.write_view_locked().__enter__(),
            lambda: reader.loan().__enter__(),
            reader.clear,
            reader.acquire,
            lambda: reader.locked().__enter__(),
            lambda: thalweg.locked_many([reader]).__enter__(),
            lambda: reader.read(safe=False),
            lambda: reader.read(safe=False, out=np.empty(3, np.float32)),
            lambda: reader.read_publication(safe=False),
            reader.pinned_buffer,
            reader.unlink,
            reader.delete,
        ):
            with pytest.raises(PermissionError, match="read-only"):
                use()
        # And the lock of a thread that has it does not change that.
        with pair[0].locked(), pytest.raises(PermissionError, match="read-only"):
            reader.write_locked([0, 0, 0])
        assert reader.read().tolist() == [1, 2, 3]
        assert reader.readonly and not pair[0].readonly
    assert thalweg.list_streams() == ["locks"]


def test_the_live_view_is_stable_and_read_only(pair):
    one, other = pair
    with one.locked():
        view = one.read(safe=False)
        assert view.tolist() == [1, 2, 3]
        assert not view.flags.writeable and not view.flags.owndata
        with pytest.raises(ValueError, match="read-only"):
            view[0] = 5
        with pytest.raises(ValueError, match="WRITEABLE"):
            view.flags.writeable = True
        with other.write_view() as array:
            array[...] = 9
            assert view.tolist() == [1, 2, 3], "the frame under way lies elsewhere"
        assert one.read(safe=False).tolist() == [9, 9, 9]


def test_a_collected_handle_gives_its_levels_back(pair):
    handle = thalweg.open("locks")
    handle.acquire()
    handle.acquire()
    assert not is_free("locks")
    del handle
    gc.collect()
    assert is_free("locks")


def test_close_is_refused_while_another_thread_is_in_the_scope_of_the_handle(pair):
    one, other = pair
    entered, done = threading.Event(), threading.Event()

    def hold():
        with one.locked():
            entered.set()
            assert done.wait(60)

    thread = WaitingThread(hold)
    assert entered.wait(30)
    with pytest.raises(RuntimeError, match="another thread owns its lock"):
        one.close()
    with pytest.raises(RuntimeError, match="another thread owns its lock"):
        one.unlink()
    assert one.read().tolist() == [1, 2, 3], "still open"
    other.close()  # Holds nothing: a lock that is held through another handle does not matter.
    done.set()
    thread.value()
    one.close()


def test_read_modify_write_under_the_lock_loses_nothing(start_python):
    script = """
        import threading, thalweg
        def work():
            with thalweg.open("counter") as shm:
                for _ in range(250):
                    with shm.locked():
                        shm.write_locked(shm.read(safe=False) + 1)
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    """
    with thalweg.stream("counter", shape=(2,), dtype="int64") as shm:
        processes = [start_python(script) for _ in range(2)]
        for process in processes:
            assert process.wait(timeout=120) == 0
        assert shm.read().tolist() == [1000, 1000]
        assert shm.count == 1000


def test_a_waiter_gets_the_lock_of_a_holder_that_is_killed(pair, start_python):
    one, _ = pair
    process = start_python(
        """
        import sys, thalweg
        shm = thalweg.open("locks")
        shm.acquire()
        print("held")
        sys.stdin.read()
        """
    )
    assert process.stdout.readline() == "held\n"

    def take():
        with thalweg.open("locks") as own:
            own.acquire(timeout=30)
            own.write([4, 5, 6])
            own.release()

    waiting = WaitingThread(take).until_asleep()
    process.kill()
    waiting.value()
    assert one.read().tolist() == [4, 5, 6]
    assert is_free("locks")


# Several streams


@pytest.fixture
def three():
    """Streams `c`, `a` and `b`, in this order."""
    handles = [thalweg.create(name, shape=(1,)) for name in "cab"]
    yield handles
    for handle in handles:
        handle.unlink()


class Recorder:
    """Something that can be locked, and writes down what happens to it."""

    def __init__(self, name, events, *, fails_with=None, swallows=False, fails_to_leave=None):
        self.name = name
        self._events = events
        self._fails_with = fails_with
        self._swallows = swallows
        self._fails_to_leave = fails_to_leave

    @contextmanager
    def _scope(self):
        if self._fails_with is not None:
            raise self._fails_with
        self._events.append(f"+{self.name}")
        try:
            yield self
        except BaseException as error:
            self._events.append(type(error).__name__)
            if not self._swallows:
                raise
        finally:
            self._events.append(f"-{self.name}")
            if self._fails_to_leave is not None:
                raise self._fails_to_leave

    def locked(self, *, timeout=None, poll_interval=None):
        self.arguments = (timeout, poll_interval)
        return self._scope()


def test_many_are_locked_and_come_in_the_callers_order(three):
    with thalweg.locked_many(iter(three)) as streams:
        assert type(streams) is tuple
        assert list(streams) == three
        assert not any(is_free(name) for name in "abc")
        for stream in streams:
            stream.write_locked([1])
    assert all(is_free(name) for name in "abc")


def test_none_is_fine():
    with thalweg.locked_many([]) as streams:
        assert streams == ()
    with thalweg.locked_many(iter(())) as streams:
        assert streams == ()


def test_they_are_taken_by_name_and_given_back_in_reverse():
    events = []
    recorders = [Recorder(name, events) for name in ("m", "é", "A", "b", "z")]
    with thalweg.locked_many(recorders) as streams:
        assert list(streams) == recorders
        events.append("block")
    assert events == ["+A", "+b", "+m", "+z", "+é", "block", "-é", "-z", "-m", "-b", "-A"]


def test_strangers_get_what_is_left_of_the_deadline_and_the_poll_interval(three):
    events = []
    first, last = Recorder("0", events), Recorder("z", events)
    with thalweg.locked_many([last, *three, first], timeout=30, poll_interval=0.25):
        pass
    for recorder in (first, last):
        timeout, poll_interval = recorder.arguments
        assert 0 < timeout <= 30
        assert poll_interval == 0.25
    assert last.arguments[0] <= first.arguments[0], "one deadline for all"
    with thalweg.locked_many([first]):
        assert first.arguments == (None, 1e-3)


def test_strangers_see_the_exception_and_may_swallow_it(three):
    events = []
    with pytest.raises(ZeroDivisionError):
        with thalweg.locked_many([Recorder("a0", events), three[0]]):
            raise ZeroDivisionError
    assert events == ["+a0", "ZeroDivisionError", "-a0"]
    events.clear()
    with thalweg.locked_many([Recorder("x", events, swallows=True), Recorder("a0", events)]):
        raise ZeroDivisionError
    assert events == ["+a0", "+x", "ZeroDivisionError", "-x", "-a0"]
    assert is_free("c")


def test_a_failure_half_way_gives_everything_back(three):
    events = []
    strangers = [Recorder("b1", events), Recorder("b2", events, fails_with=LookupError("mine"))]
    with pytest.raises(LookupError, match="mine"):
        with thalweg.locked_many([*three, *strangers]):
            pytest.fail("entered")
    assert events == ["+b1", "LookupError", "-b1"]
    assert all(is_free(name) for name in "abc")
    with pytest.raises(OSError, match="stuck"):
        with thalweg.locked_many([*three, Recorder("a1", events, fails_to_leave=OSError("stuck"))]):
            pass
    assert all(is_free(name) for name in "abc"), "whatever one of them says"


def test_a_timeout_half_way_gives_everything_back(three):
    with held_elsewhere("b"):
        for timeout in (0, 0.02):
            with pytest.raises(TimeoutError, match="shared memory lock of stream .b."):
                with thalweg.locked_many(three, timeout=timeout):
                    pytest.fail("entered")
            assert is_free("a") and is_free("c")
    with thalweg.locked_many(three, timeout=0):
        pass
    assert all(is_free(name) for name in "abc")


def test_a_closed_one_half_way_gives_everything_back(three):
    closed = thalweg.open("b")
    closed.close()
    with pytest.raises(RuntimeError, match="closed shared memory"):
        with thalweg.locked_many([three[0], three[1], closed]):
            pytest.fail("entered")
    assert all(is_free(name) for name in "abc")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"timeout": -1}, "negative"),
        ({"timeout": float("nan")}, "nan"),
        ({"poll_interval": 0}, "poll_interval"),
        ({"poll_interval": -1.0}, "poll_interval"),
        ({"poll_interval": float("inf")}, "poll_interval"),
        ({"poll_interval": float("nan")}, "poll_interval"),
    ],
)
def test_arguments_are_checked_when_the_block_is_entered(three, options, text):
    scope = thalweg.locked_many(three, **options)
    with pytest.raises(ValueError, match=text):
        scope.__enter__()
    assert all(is_free(name) for name in "abc")


def test_names_have_to_be_unique(three):
    with thalweg.open("a") as sibling:
        scope = thalweg.locked_many([*three, sibling])
        with pytest.raises(ValueError, match="unique.*'a'"):
            scope.__enter__()
    with pytest.raises(ValueError, match="unique"):
        thalweg.locked_many([three[0], three[0]]).__enter__()
    assert all(is_free(name) for name in "abc")


def test_a_block_of_many_is_reentrant_for_its_thread(three):
    scope = thalweg.locked_many(three)
    for _ in range(2):
        with scope:
            with pytest.raises(RuntimeError, match="entered already"):
                scope.__enter__()
            with thalweg.locked_many(reversed(three), timeout=0):
                pass
            assert not any(is_free(name) for name in "abc")
        assert all(is_free(name) for name in "abc")


def test_threads_that_name_them_in_any_order_never_wait_for_each_other(three):
    def work(order):
        with thalweg.open("a") as a, thalweg.open("b") as b, thalweg.open("c") as c:
            handles = {"a": a, "b": b, "c": c}
            for _ in range(100):
                with thalweg.locked_many([handles[name] for name in order], timeout=60) as taken:
                    for handle in taken:
                        handle.write_locked(handle.read(safe=False) + 1)

    orders = ("abc", "cba", "bca", "ca", "ba")
    threads = [WaitingThread(lambda order=order: work(order)) for order in orders]
    for thread in threads:
        thread.value()
    values = {handle.name: handle.read()[0] for handle in three}
    assert values == {"a": 500, "b": 400, "c": 400}
