"""Arguments that are not possible: which error, which words, and nothing left behind."""

import math

import numpy as np
import pytest

import thalweg

pytestmark = pytest.mark.cpu

DTYPES = [
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
]


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ([2, 3], (2, 3)),
        (np.array([2, 3]), (2, 3)),
        (iter([2, 3]), (2, 3)),
        (range(2, 4), (2, 3)),
        ((np.int64(2), np.uint8(3)), (2, 3)),
        ((2.0, np.float32(3)), (2, 3)),
        ((True, 3), (1, 3)),
        ((1,) * 32, (1,) * 32),
        ({2: "a", 3: "b"}, (2, 3)),
    ],
)
def test_shapes(shape, found):
    with thalweg.stream("shape", shape=shape) as shm:
        assert shm.shape == found
        assert all(type(extent) is int for extent in shm.shape)
        shm.write(np.ones(found))
        assert shm.read().shape == found
        with shm.write_view() as array, shm.borrow() as frame:
            assert array.shape == frame.array.shape == found


@pytest.mark.parametrize(
    ("shape", "error", "text"),
    [
        (None, ValueError, "at least one dimension"),
        (0, ValueError, "at least one dimension"),
        ((), ValueError, "at least one dimension"),
        ([], ValueError, "at least one dimension"),
        (5, TypeError, "sequence of integers, got 5"),
        (2.5, TypeError, "sequence of integers"),
        ("12", TypeError, "sequence of integers, got '12'"),
        (b"12", TypeError, "sequence of integers"),
        ((2.7,), TypeError, "2.7"),
        ((math.nan,), TypeError, "nan"),
        ((math.inf,), TypeError, "inf"),
        (("2",), TypeError, "'2'"),
        ((None,), TypeError, "None"),
        ((2, 0), ValueError, "must be positive"),
        ((-1,), ValueError, "must be positive"),
        ((False,), ValueError, "must be positive"),
        ((1,) * 33, ValueError, "33 dimensions, at most 32"),
        ((2**63, 2**63), ValueError, "too large"),
        ((10**30,), ValueError, "too large"),
        (np.array([[2, 3]]), TypeError, "integer"),
    ],
)
def test_impossible_shapes(shape, error, text):
    with pytest.raises(error, match=text):
        thalweg.create("shape", shape=shape)
    assert thalweg.list_streams() == []


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        *((dtype, dtype) for dtype in DTYPES),
        (None, "float64"),
        (float, "float64"),
        (int, "int64"),
        (bool, "bool"),
        (complex, "complex128"),
        ("f4", "float32"),
        ("<u2", "uint16"),
        ("?", "bool"),
        (np.uint8, "uint8"),
        (np.dtype("longlong"), "int64"),
        (np.dtype("intc"), "int32"),
        ("c8", "complex64"),
    ],
)
def test_dtypes(dtype, name):
    with thalweg.stream("dtype", shape=(2,), dtype=dtype) as shm, thalweg.open("dtype") as reader:
        for handle in (shm, reader):
            assert handle.dtype.name == name and handle.dtype.isnative
        assert thalweg.stat("dtype")["dtype"] == name
        assert shm.to_config()["dtype"] == name
        assert f"dtype:        {name}" in shm.describe().splitlines()
        assert shm.read().dtype == shm.dtype


@pytest.mark.parametrize(
    "dtype",
    [">f4", ">u2", "O", "S3", "U", "V4", "M8[s]", "m8[ms]", "longdouble", "clongdouble", "f4,i4"],
)
def test_impossible_dtypes(dtype):
    with pytest.raises(ValueError, match="unsupported dtype"):
        thalweg.create("dtype", shape=(2,), dtype=dtype)
    with pytest.raises(TypeError):
        thalweg.create("dtype", shape=(2,), dtype="no such type")
    assert thalweg.list_streams() == []


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("", ValueError, "non-empty"),
        (" \t\n", ValueError, "non-empty"),
        (None, ValueError, "non-empty string, got None"),
        (b"bytes", ValueError, "non-empty string"),
        (5, ValueError, "non-empty string, got 5"),
        ("x" * 257, ValueError, "too long"),
        ("é" * 129, ValueError, "too long"),
        ("a\0b", ValueError, "NUL"),
        ("\udc80", UnicodeEncodeError, "surrogates"),
    ],
)
def test_impossible_names_are_refused_everywhere(name, error, text):
    for use in (
        lambda: thalweg.create(name, shape=(2,)),
        lambda: thalweg.open(name),
        lambda: thalweg.open(name, wait=0),
        lambda: thalweg.stat(name),
        lambda: thalweg.unlink(name),
        lambda: thalweg.unlink_quiet(name),
        lambda: thalweg.stream(name, shape=(2,)).__enter__(),
    ):
        with pytest.raises(error, match=text):
            use()
    assert thalweg.list_streams() == []


@pytest.mark.parametrize("size", [8, "8", 8.0, np.int64(8), True + 7])
def test_a_size_is_compared_as_an_integer(size):
    with thalweg.stream("size", shape=(2,), size=size) as shm:
        assert shm.size == 8


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"size": 9}, ValueError, "size does not match"),
        ({"size": 0}, ValueError, "size does not match"),
        ({"size": "eight"}, ValueError, "invalid literal"),
        ({"slots": 1}, ValueError, "slots must be between 2 and 127"),
        ({"slots": 128}, ValueError, "slots must be between 2 and 127"),
        ({"slots": -1}, ValueError, "slots must not be negative, got -1"),
        ({"slots": 2.5}, TypeError, "slots must be an integer, got 2.5"),
        ({"mode": -1}, ValueError, "mode must not be negative"),
        ({"mode": "0600"}, TypeError, "mode must be an integer"),
        ({"group": -1}, ValueError, "group must not be negative"),
        ({"group": 1.5}, TypeError, "group must be an integer"),
        ({"group": "no such group"}, ValueError, "no group 'no such group'"),
        ({"on_abort": "explode"}, ValueError, "on_abort must be 'keep' or 'invalidate'"),
    ],
)
def test_what_else_cannot_be_created(arguments, error, text):
    with pytest.raises(error, match=text):
        thalweg.create("wrong", shape=(2,), **arguments)
    assert thalweg.list_streams() == []


@pytest.mark.parametrize("slots", [2, 3, 127])
def test_slots(slots):
    with thalweg.stream("slots", shape=(2,), slots=slots) as shm:
        for number in range(300):
            shm.write([number, number])
        assert shm.slots == slots
        assert shm.read().tolist() == [299, 299]
        counts = [frame.count for frame in shm.history(1000)]
        assert counts == list(range(301 - len(counts), 301))
        assert len(counts) >= slots - 1


def test_what_exists_is_refused_by_create_and_found_by_open():
    with thalweg.stream("it's", shape=(2,)):
        with pytest.raises(FileExistsError, match=r"already exists; use thalweg\.open\('it\\'s'\)"):
            thalweg.create("it's", shape=(3,))
    with pytest.raises(FileNotFoundError, match=r"does not exist; use thalweg\.create\('it\\'s', "):
        thalweg.open("it's")


@pytest.mark.parametrize(
    ("after", "text"),
    [
        (None, "must be an integer"),
        ("x", "must be an integer"),
        ([1], "must be an integer"),
        (math.inf, "must be an integer"),
        (math.nan, "must be an integer"),
        (-1, "must not be negative"),
    ],
)
def test_impossible_counts_are_refused_by_every_wait(after, text):
    with thalweg.stream("after", shape=(2,)) as shm:
        shm.write([1, 2])
        for wait in (
            lambda: shm.read_after(after, timeout=0),
            lambda: shm.read_after_publication(after, timeout=0),
            lambda: shm.wait_for_count(after=after, timeout=0),
            lambda: shm.borrow_after(after, timeout=0),
            lambda: thalweg.wait_any([(shm, after)], timeout=0),
        ):
            with pytest.raises(ValueError, match=text):
                wait()


@pytest.mark.parametrize("after", [0, 0.9, "0", False, np.uint64(0)])
def test_counts_are_taken_as_integers(after):
    with thalweg.stream("after", shape=(2,)) as shm:
        shm.write([1, 2])
        assert shm.read_after(after, timeout=0).tolist() == [1, 2]
        assert shm.wait_for_count(after=after, timeout=0) == 1


@pytest.mark.parametrize("after", [2**52, 2**64 - 1, 2**64, 10**30, 1e300])
def test_no_count_is_too_large_to_wait_for(after):
    with thalweg.stream("after", shape=(2,)) as shm:
        shm.write([1, 2])
        with pytest.raises(TimeoutError, match="to pass count"):
            shm.read_after(after, timeout=0)


def test_timeouts_of_level_waits_are_not_negative():
    with thalweg.stream("timeouts", shape=(2,)) as shm:
        shm.write([1, 2])
        for timeout, text in ((-1, "negative"), (-math.inf, "negative"), (math.nan, "nan")):
            for wait in (
                lambda timeout=timeout: shm.read_after(0, timeout=timeout),
                lambda timeout=timeout: shm.read_after_publication(0, timeout=timeout),
                lambda timeout=timeout: shm.wait_for_count(after=0, timeout=timeout),
                lambda timeout=timeout: shm.borrow_after(0, timeout=timeout),
                lambda timeout=timeout: thalweg.wait_any([(shm, 0)], timeout=timeout),
            ):
                with pytest.raises(ValueError, match=text):
                    wait()
        for timeout in (0, -1, -math.inf):
            with pytest.raises(TimeoutError, match="a new write"):
                shm.read_new(timeout=timeout)
            with pytest.raises(TimeoutError, match="a new write"):
                shm.read_new_publication(timeout=timeout)
            assert shm.read(timeout=timeout).tolist() == [1, 2]
        with pytest.raises(ValueError, match="nan"):
            shm.read_new(timeout=math.nan)
        with pytest.raises(ValueError, match="nan"):
            shm.read(timeout=math.nan)


def test_wait_policies():
    with thalweg.stream("policies", shape=(2,)) as shm:
        shm.write([1, 2])
        for policy in ("adaptive", "park", "spin"):
            assert shm.read_after(0, wait=policy).tolist() == [1, 2]
            with pytest.raises(TimeoutError):
                shm.read_new(timeout=0.01, wait=policy)
        with pytest.raises(ValueError, match="'adaptive', 'park' or 'spin', got 'polling'"):
            shm.read_after(0, wait="polling")
