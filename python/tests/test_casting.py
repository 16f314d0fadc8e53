"""Conversion to the stream's dtype: NumPy's, unsafe unless asked otherwise, and done first."""

import warnings

import numpy as np
import pytest

import thalweg

pytestmark = pytest.mark.cpu

NAN = float("nan")


def written(value, dtype, **options):
    """What arrives when `value` is written to a stream of `dtype`."""
    shape = np.shape(value)
    with thalweg.stream("casting", shape=shape, dtype=dtype) as shm:
        shm.write(value, **options)
        with shm.locked():
            shm.write_locked(value, **options)
        assert shm.count == 2
        result = shm.read()
        (first, second) = shm.history(2)
        assert first.payload.tobytes() == second.payload.tobytes()
        return result


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (np.array([2.7, -2.7]), "int32", [2, -2]),
        (np.array([1 << 40, 7]), "int32", [0, 7]),
        (np.array([300, -1, 7]), "uint8", [44, 255, 7]),
        (np.array([300, -1], np.int16), "int8", [44, -1]),
        (np.array([2.0, 0.0]), "bool", [True, False]),
        (np.array([True, False]), "float32", [1, 0]),
        ([True, False], "int8", [1, 0]),
        (np.array([1e300, -1e300]), "float64", [1e300, -1e300]),
        (["1.5", "-2"], "float32", [1.5, -2]),
        (np.array(["12", "34"]), "int16", [12, 34]),
        (np.array([b"12", b"34"]), "int16", [12, 34]),
        (np.ma.masked_array([1, 2, 3], mask=[0, 1, 0]), "float32", [1, 2, 3]),
        (np.arange(3, dtype=">i4"), "int32", [0, 1, 2]),
        (np.arange(3, dtype=">f8"), "float64", [0, 1, 2]),
        (np.arange(3, dtype=">c16"), "complex128", [0, 1, 2]),
        (np.arange(6.0)[::2], "float64", [0, 2, 4]),
        (np.arange(3.0)[::-1], "float64", [2, 1, 0]),
        (np.broadcast_to(np.float32(7), (3,)), "float32", [7, 7, 7]),
        (np.array([1, 2.5, True], dtype=object), "float32", [1, 2.5, 1]),
        (range(3), "float32", [0, 1, 2]),
        (memoryview(b"\x01\x02"), "float64", [1, 2]),
        (bytearray(b"\x01\x02"), "uint8", [1, 2]),
        ([1 + 2j, 3], "complex64", [1 + 2j, 3]),
        (np.array([1.5, 2.5]), "complex64", [1.5, 2.5]),
        ([np.float64(1.5), np.int8(2)], "float16", [1.5, 2]),
    ],
)
def test_values_are_converted_as_numpy_does(value, dtype, expected):
    result = written(value, dtype)
    assert result.dtype == dtype
    assert type(result) is np.ndarray
    assert result.tolist() == expected
    assert (result == np.asarray(value, dtype)).all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_layouts_do_not_matter(dtype, order):
    value = np.asarray(np.arange(24.0).reshape(2, 3, 4), order=order)
    for view in (value, value[::-1], value[:, ::2], value.transpose(2, 0, 1), value.swapaxes(0, 1)):
        assert (written(view, dtype) == view).all()


@pytest.mark.parametrize(
    ("value", "dtype", "warning", "expected"),
    [
        (np.array([NAN, 1.0]), "int32", RuntimeWarning, None),
        (np.array([1e300, 1.0]), "float32", RuntimeWarning, [np.inf, 1]),
        (np.array([1 + 2j, 3]), "float32", np.exceptions.ComplexWarning, [1, 3]),
    ],
)
def test_numpy_warns_of_what_gets_lost(value, dtype, warning, expected):
    with pytest.warns(warning):
        result = written(value, dtype)
    if expected is not None:
        assert result.tolist() == expected
    assert result[1] == value[1].real


@pytest.mark.parametrize(
    ("value", "dtype", "error"),
    [
        ([300, 0], "uint8", OverflowError),
        ([-1, 0], "uint8", OverflowError),
        ([2**70, 0], "int64", OverflowError),
        ([NAN, 0], "int32", ValueError),
        (["one", "two"], "float32", ValueError),
        ([1j, 0], "float32", TypeError),
        ([None, 1], "int32", TypeError),
        ([{}, 1], "float32", TypeError),
        ([[1], [2, 3]], "float32", ValueError),
    ],
)
def test_what_numpy_refuses_changes_nothing(value, dtype, error):
    with thalweg.stream("refused", shape=(2,), dtype=dtype) as shm:
        shm.write(np.ones(2), frame_id=5)
        with shm.locked():
            for write in (shm.write, shm.write_locked):
                with pytest.raises(error):
                    write(value, frame_id=77)
                assert (shm.count, shm.frame_id, shm.write_sequence) == (1, 5, 2)
        assert (shm.read() == 1).all()


def test_an_error_in_the_conversion_leaves_the_stream_alone():
    class Explosive:
        def __array__(self, dtype=None, copy=None):
            raise KeyboardInterrupt

    with thalweg.stream("explosive", shape=(2,)) as shm:
        with pytest.raises(KeyboardInterrupt):
            shm.write(Explosive())
        assert (shm.count, shm.write_sequence) == (0, 0)
        assert shm.read().tolist() == [0, 0]
        shm.write([1, 2])


def test_a_warning_as_an_error_leaves_the_stream_alone():
    with thalweg.stream("warned", shape=(2,)) as shm:
        shm.write([1, 2])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(np.exceptions.ComplexWarning):
                shm.write(np.array([1j, 2]))
        assert (shm.count, shm.write_sequence) == (1, 2)
        assert shm.read().tolist() == [1, 2]


def test_the_value_is_converted_before_the_lock_is_taken():
    """So that a value that takes long, or writes to the stream itself, keeps nobody waiting."""

    class Nested:
        def __array__(self, dtype=None, copy=None):
            shm.write([5, 6])
            return np.array([7.0, 8.0])

    with thalweg.stream("nested", shape=(2,)) as shm:
        shm.write(Nested())
        assert [frame.payload.tolist() for frame in shm.history(3)] == [[5, 6], [7, 8]]


def test_the_value_is_left_as_it_was():
    value = np.arange(6, dtype=">i4").reshape(2, 3)
    with thalweg.stream("kept", shape=(2, 3)) as shm:
        shm.write(value)
        value[...] = 0
        assert shm.read().tolist() == [[0, 1, 2], [3, 4, 5]]


# casting=

# Which casting rules allow the conversion from the first to the second dtype.
RULES = ["no", "equiv", "safe", "same_kind", "unsafe"]
ALLOWED = [
    ("float32", "float32", RULES),
    (">f4", "float32", RULES[1:]),
    ("int16", "float32", RULES[2:]),
    ("int64", "float64", RULES[2:]),
    ("float64", "float32", RULES[3:]),
    ("int64", "int8", RULES[3:]),
    ("float64", "int64", RULES[4:]),
    ("complex64", "float32", RULES[4:]),
]


@pytest.mark.parametrize(("source", "target", "allowed"), ALLOWED)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
def test_casting_is_the_rule_of_numpy(source, target, allowed, rule):
    value = np.arange(3).astype(source)
    if rule in allowed:
        assert written(value, target, casting=rule).tolist() == [0, 1, 2]
        return
    with thalweg.stream("rule", shape=(3,), dtype=target) as shm:
        for write in (shm.write, shm.write_locked):
            with shm.locked(), pytest.raises(TypeError, match=f"cannot cast.*{rule!r}"):
                write(value, casting=rule)
        assert (shm.count, shm.write_sequence) == (0, 0)


def test_a_rule_there_is_not_is_refused():
    with thalweg.stream("rule", shape=(3,)) as shm:
        with pytest.raises(ValueError, match="casting"):
            shm.write(np.arange(3), casting="careless")
        with pytest.raises(ValueError, match="casting"):
            shm.write(np.arange(3, dtype="f4"), casting="careless")
        assert shm.count == 0


# out=


@pytest.mark.parametrize(
    ("target", "is_allowed"),
    [
        ("float16", True),
        ("float64", True),
        ("complex64", True),
        ("object", True),
        (">f4", True),
        ("longdouble", True),
        ("int64", False),
        ("bool", False),
    ],
)
def test_out_is_converted_to_the_same_kind(target, is_allowed):
    out = np.zeros(3, target)
    with thalweg.stream("out", shape=(3,)) as shm:
        shm.write([1, 2, 3])
        calls = [
            lambda: shm.read(out=out),
            lambda: shm.read_publication(out=out).payload,
            lambda: shm.read_after(0, out=out),
            lambda: shm.read_after_publication(0, out=out).payload,
        ]
        for call in calls:
            if is_allowed:
                assert call() is out
                assert out.tolist() == [1, 2, 3]
                out[...] = 0
            else:
                with pytest.raises(TypeError, match="cannot cast"):
                    call()
                assert not out.any()


def test_out_of_any_layout():
    with thalweg.stream("out", shape=(2, 3)) as shm:
        shm.write([[1, 2, 3], [4, 5, 6]])
        backing = np.zeros((4, 6), np.float32)
        for out in (
            np.zeros((2, 3), np.float32),
            np.zeros((2, 3), np.float32, order="F"),
            backing[::2, ::2],
            backing[::-1][:2, :3],
            np.zeros((3, 2), np.float64).T,
        ):
            assert shm.read(out=out) is out
            assert out.tolist() == [[1, 2, 3], [4, 5, 6]]
        for shape in ((3,), (2, 2), (3, 2), (1, 2, 3), (2, 2, 3), (6,), ()):
            with pytest.raises(ValueError, match="shape"):
                shm.read(out=np.zeros(shape, np.float32))
