"""`thalweg.kernels.run` against NumPy, over random shapes, dtypes and values."""

import numpy as np
import pytest

import thalweg

pytestmark = pytest.mark.cpu

FLOATS = ["float16", "float32", "float64"]
INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
SEEDS = range(8)


@pytest.fixture(params=SEEDS)
def rng(request):
    return np.random.default_rng(request.param)


def random_shape(rng, most_axes=4):
    # Long enough now and then to leave every vector loop and block of the kernels half full.
    longest = int(rng.choice([1, 3, 9, 40]))
    return tuple(int(n) for n in rng.integers(1, longest + 1, rng.integers(1, most_axes + 1)))


def random_array(rng, shape, dtype):
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        values = rng.normal(0, 10, shape)
        values[rng.random(shape) < 0.02] = rng.choice([0.0, -0.0, np.inf, -np.inf, np.nan])
        return values.astype(dtype)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    limits = np.iinfo(dtype)
    low, high = max(limits.min, -(2**31)), min(limits.max, 2**31)
    return rng.integers(low, high, shape, endpoint=True).astype(dtype)


def stored(values, dtype):
    """Doubles as C stores them on x86: integers truncated, narrow ones wrapped."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.dtype(dtype).kind == "f":
            return values.astype(dtype)
        truncated = np.trunc(values)
        if dtype == "int32":
            # Not wrapped: what does not fit is the most negative number.
            limits = np.iinfo(np.int32)
            fits = (truncated >= limits.min) & (truncated <= limits.max)
            return np.where(fits, truncated, limits.min).astype(np.int32)
        return truncated.astype(np.int64).astype(dtype)


def assert_equal(result, expected):
    assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(result, expected)


def doubles(array):
    with np.errstate(invalid="ignore"):
        return array.astype(np.float64)


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS, "bool", "complex64", "complex128"])
def test_copy_and_flatten(rng, dtype):
    if dtype.startswith("complex"):
        parts = [random_array(rng, (3, 5), "float64") for _ in range(2)]
        array = (parts[0] + 1j * np.nan_to_num(parts[1])).astype(dtype)
    else:
        array = random_array(rng, random_shape(rng), dtype)
    assert_equal(thalweg.kernels.run("cpu.copy", array), array)
    assert_equal(thalweg.kernels.run("cpu.flatten", array), array.reshape(-1))


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS)
def test_scale_and_add_constant(rng, dtype):
    array = random_array(rng, random_shape(rng), dtype)
    number = float(np.round(rng.normal(0, 3), 3))
    with np.errstate(invalid="ignore"):
        scaled, added = doubles(array) * number, doubles(array) + number
    result = thalweg.kernels.run("cpu.scale", array, {"factor": number})
    assert_equal(result, stored(scaled, dtype))
    result = thalweg.kernels.run("cpu.add_constant", array, {"constant": number})
    assert_equal(result, stored(added, dtype))


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS)
def test_scale_offset(rng, dtype):
    shape = random_shape(rng)
    array, offset = (random_array(rng, shape, dtype) for _ in range(2))
    gain = float(rng.normal(0, 3))
    with np.errstate(invalid="ignore"):
        expected = gain * doubles(array) - doubles(offset)
    result = thalweg.kernels.run(
        "cpu.scale_offset", array, {"gain": gain}, auxiliary={"offset": offset}
    )
    assert_equal(result, stored(expected, dtype))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("bound", [(), ("gain",), ("gain", "leak")])
def test_the_first_frame_of_a_leaky_integrator(rng, dtype, bound):
    error = random_array(rng, random_shape(rng, 1), dtype)
    values = {"gain": float(np.float16(rng.normal())), "leak": float(np.float16(rng.random()))}
    with np.errstate(invalid="ignore"):
        expected = values["leak"] * 0.0 + values["gain"] * doubles(error)
    result = thalweg.kernels.run(
        "cpu.leaky_integrator",
        error,
        {name: value for name, value in values.items() if name not in bound},
        auxiliary={name: np.array([values[name]], dtype) for name in bound},
    )
    assert_equal(result, stored(expected, dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_affine_transform(rng, dtype):
    rows, columns = (int(n) for n in rng.integers(1, 300, 2))
    matrix, bias, vector = (
        rng.normal(size=shape).astype(dtype) for shape in [(rows, columns), rows, columns]
    )
    result = thalweg.kernels.run(
        "cpu.affine_transform", vector, auxiliary={"matrix": matrix, "bias": bias}
    )
    expected = doubles(matrix) @ doubles(vector) + doubles(bias)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    assert result.dtype == dtype
    np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance * columns**0.5)


def test_affine_transform_in_half_precision(rng):
    rows, columns = (int(n) for n in rng.integers(1, 300, 2))
    matrix = rng.normal(size=(rows, columns)).astype(np.float32)
    bias, vector = np.zeros(rows, np.float32), rng.normal(size=columns).astype(np.float32)
    arguments = ("cpu.affine_transform", vector)
    auxiliary = {"matrix": matrix, "bias": bias}
    exact = thalweg.kernels.run(*arguments, auxiliary=auxiliary)
    half = thalweg.kernels.run(*arguments, {"matrix_storage": "float16"}, auxiliary=auxiliary)
    expected = doubles(matrix) @ doubles(vector)
    error = np.abs(half - expected)
    bound = np.abs(doubles(matrix)) @ np.abs(doubles(vector)) * 2.0**-10
    assert (error <= bound + 1e-4).all()
    if columns > 20:
        assert (half != exact).any(), "the option has an effect"


@pytest.mark.parametrize("kind", ["cpu.shack_hartmann_centroid", "cpu.centroid"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint16"])
def test_centroids(rng, kind, dtype):
    tile, rows, columns = (int(n) for n in rng.integers(1, 12, 3))
    image = rng.gamma(2.0, 20.0, (rows * tile, columns * tile))
    image[:tile, :tile] = 0  # no light: zero
    image = image.astype(dtype)
    result = thalweg.kernels.run(kind, image, {"tile_size": tile})

    tiles = doubles(image).reshape(rows, tile, columns, tile).swapaxes(1, 2)
    flux = tiles.sum(axis=(2, 3))
    offsets = np.arange(tile) - (tile - 1) / 2
    moments = np.stack(
        [np.einsum("rcij,i->rc", tiles, offsets), np.einsum("rcij,j->rc", tiles, offsets)], axis=-1
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = np.where(flux[..., None] > 0, moments / flux[..., None], 0.0)
    assert (result.dtype, result.shape) == (np.dtype(dtype), (rows, columns, 2))
    if dtype == "uint16":
        assert np.abs(result.astype(np.int16) - np.trunc(expected)).max() <= 1
    else:
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


class Expression:
    """A random expression, and its value as NumPy computes it."""

    def __init__(self, rng, operands):
        self._rng = rng
        self._operands = operands

    def draw(self, depth):
        choice = self._rng.integers(0, 10) if depth > 0 else 9
        if choice < 5:
            operator = self._rng.choice(["+", "-", "*", "/"])
            left, right = self.draw(depth - 1), self.draw(depth - 1)
            apply = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide}[operator]
            return f"({left[0]} {operator} {right[0]})", apply(left[1], right[1])
        if choice == 5:
            text, value = self.draw(depth - 1)
            return f"-{text}", -value
        if choice == 6:
            text, value = self.draw(depth - 1)
            return f"abs({text})", np.abs(value)
        if choice == 7:
            name = self._rng.choice(["min", "max", "minimum", "maximum"])
            left, right = self.draw(depth - 1), self.draw(depth - 1)
            apply = np.minimum if name.startswith("min") else np.maximum
            return f"{name}({left[0]}, {right[0]})", apply(left[1], right[1])
        if choice == 8:
            text, value = self.draw(depth - 1)
            return f"clip({text}, -2.5, 7)", np.clip(value, -2.5, 7)
        name = self._rng.choice(list(self._operands))
        return str(name), self._operands[name]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("variant", range(10))
def test_custom_operation(rng, dtype, variant):
    shape = random_shape(rng, 3)
    narrow = tuple(1 if rng.random() < 0.4 else n for n in shape)
    operands = {
        "input": random_array(rng, shape, dtype),
        "dark": random_array(rng, shape, dtype),
        "row": random_array(rng, shape[-1:], dtype),
        "narrow": random_array(rng, narrow, dtype),
    }
    with np.errstate(all="ignore"):
        text, value = Expression(rng, operands).draw(int(rng.integers(1, 5)))
        text, expected = f"input + {text}", operands["input"] + value
    array = operands.pop("input")
    result = thalweg.kernels.run("cpu.custom_operation", array, auxiliary=operands, operation=text)
    assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(result, expected, err_msg=text)


def test_the_dark_and_flat_of_the_documentation():
    rng = np.random.default_rng(1)
    image, dark, flat = (rng.uniform(1, 9, (120, 120)).astype(np.float32) for _ in range(3))
    result = thalweg.kernels.run(
        "cpu.custom_operation",
        image,
        auxiliary={"dark": dark, "flat": flat},
        operation="(input - dark) / flat",
    )
    np.testing.assert_allclose(result, (image - dark) / flat, rtol=1e-6)


def test_dot_products_are_not_constants():
    """The predecessor took the inner product on a sample of ones."""
    result = thalweg.kernels.run(
        "cpu.custom_operation",
        np.array([2.0, 3.0]),
        auxiliary={"w": np.array([10.0, 100.0])},
        operation="input * (input @ w)",
    )
    assert result.tolist() == [640.0, 960.0]


# Arguments


def test_results_own_their_memory():
    result = thalweg.kernels.run("cpu.copy", np.arange(1000.0))
    result += 1
    assert result.flags.writeable and result.flags.aligned
    other = thalweg.kernels.run("cpu.copy", np.arange(1000.0))
    assert not np.shares_memory(result, other)
    assert other[0] == 0


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4).T,
        np.arange(24.0)[::2],
        np.arange(12.0, dtype=">f8"),
        np.frombuffer(b"x" + np.arange(4.0).tobytes(), "u1")[1:].view("f8"),
        np.broadcast_to(np.arange(3.0), (4, 3)),
    ],
    ids=["transposed", "strided", "big-endian", "unaligned", "broadcast"],
)
def test_memory_layout_does_not_matter(array):
    result = thalweg.kernels.run("cpu.scale", array, {"factor": 2})
    assert_equal(result, (array * 2.0).astype(np.float64))


def test_parameters_may_be_numpys():
    result = thalweg.kernels.run("cpu.scale", np.ones(2), {"factor": np.float32(0.5)})
    assert result.tolist() == [0.5, 0.5]
    image = np.ones((4, 4))
    assert thalweg.kernels.run("cpu.centroid", [image], {"tile_size": np.int64(2)}).shape == (
        2,
        2,
        2,
    )


def test_kinds_are_listed():
    kinds = thalweg.kernels.kinds()
    assert kinds == sorted(kinds)
    assert {"cpu.copy", "cpu.scale", "cpu.affine_transform", "cpu.custom_operation"} <= set(kinds)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (("cpu.scael", np.ones(2)), ValueError, "unknown kernel kind .*cpu.scale"),
        (("cpu.scale", np.ones(2)), ValueError, "parameters.*factor"),
        (("cpu.scale", np.ones(2), {"factor": "two"}), ValueError, "'factor' to be a number"),
        (("cpu.scale", np.ones(2), {"factor": float("nan")}), ValueError, "JSON compliant"),
        (("cpu.scale", np.ones(2), {"factor": object()}), TypeError, "expected numbers"),
        (("cpu.scale", np.float64(2), {"factor": 2}), TypeError, "at least one axis"),
        (("cpu.scale", [1.0, 2.0], {"factor": 2}), TypeError, r"inputs\[0\].*at least one axis"),
        (("cpu.scale", "text", {"factor": 2}), TypeError, "at least one axis"),
        (("cpu.copy", np.array(["text"])), TypeError, "dtype <U4"),
        (("cpu.copy", np.array([None])), TypeError, "dtype object"),
        (("cpu.copy", [np.ones(2), np.ones(2)]), ValueError, "input"),
        (("cpu.copy", []), ValueError, "input"),
        (("cpu.centroid", np.ones((5, 4)), {"tile_size": 2}), ValueError, "tile_size"),
    ],
)
def test_wrong_arguments_are_explained(arguments, error, text):
    with pytest.raises(error, match=text):
        thalweg.kernels.run(*arguments)


def test_everything_wrong_is_listed_at_once():
    with pytest.raises(ValueError) as failure:
        thalweg.kernels.run(
            "cpu.scale_offset",
            np.ones(3, np.float32),
            {"gain": "two"},
            auxiliary={"offset": np.ones(2, np.float32)},
        )
    lines = str(failure.value).splitlines()
    assert len(lines) == 2
    assert "matching shapes" in lines[0]
    assert lines[1].startswith("parameters.gain: ")


def test_parameters_keep_their_last_bit():
    for factor in np.random.default_rng(0).normal(size=500):
        assert thalweg.kernels.run("cpu.scale", np.ones(1), {"factor": factor})[0] == factor
