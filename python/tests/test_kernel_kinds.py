"""Kinds that join, reduce and control, through `thalweg.kernels.run`, against NumPy."""

import numpy as np
import pytest

import thalweg

pytestmark = pytest.mark.cpu

FLOATS = ["float16", "float32", "float64"]
INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
COMPLEX = ["complex64", "complex128"]
SEEDS = range(8)
OPERATORS = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
}


@pytest.fixture(params=SEEDS)
def rng(request):
    return np.random.default_rng(1000 + request.param)


def random_shape(rng, most_axes=4):
    longest = int(rng.choice([1, 3, 9, 40]))
    return tuple(int(n) for n in rng.integers(1, longest + 1, rng.integers(1, most_axes + 1)))


def random_array(rng, shape, dtype):
    dtype = np.dtype(dtype)
    if dtype.kind == "c":
        return (rng.normal(0, 10, shape) + 1j * rng.normal(0, 10, shape)).astype(dtype)
    if dtype.kind == "f":
        values = rng.normal(0, 10, shape)
        values[rng.random(shape) < 0.02] = rng.choice([0.0, -0.0, np.inf, -np.inf, np.nan])
        return values.astype(dtype)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, endpoint=True, dtype=dtype)


def run(kind, inputs, parameters=None, **auxiliary):
    return thalweg.kernels.run(f"cpu.{kind}", inputs, parameters, auxiliary=auxiliary or None)


def assert_equal(result, expected):
    assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(result, expected)


def assert_close(result, expected, tolerance):
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance)


def tolerance_of(dtype):
    return {2: 4e-3, 4: 1e-5, 8: 1e-11}[np.dtype(dtype).itemsize]


# Two arrays, element by element


NUMPYS = [
    (operator, dtype)
    for operator in OPERATORS
    for dtype in [*FLOATS, *INTEGERS, "bool"]
    if not (operator == "divide" and dtype not in FLOATS)
    and (operator, dtype) != ("subtract", "bool")
]


@pytest.mark.parametrize(("operator", "dtype"), NUMPYS)
def test_elementwise_operators_are_numpys(rng, operator, dtype):
    shape = random_shape(rng)
    array, other = (random_array(rng, shape, dtype) for _ in range(2))
    if dtype in FLOATS:
        other[rng.random(shape) < 0.1] = 0
    with np.errstate(all="ignore"):
        expected = OPERATORS[operator](array, other)
    assert_equal(run(f"elementwise_{operator}", array, other=other), expected)


@pytest.mark.parametrize("dtype", COMPLEX)
@pytest.mark.parametrize("operator", OPERATORS)
def test_elementwise_operators_of_complex_numbers(rng, operator, dtype):
    shape = random_shape(rng)
    array, other = (random_array(rng, shape, dtype) for _ in range(2))
    result = run(f"elementwise_{operator}", array, other=other)
    assert result.dtype == dtype
    tolerance = 1e-5 if dtype == "complex64" else 1e-13
    np.testing.assert_allclose(result, OPERATORS[operator](array, other), rtol=tolerance)


@pytest.mark.parametrize("dtype", [*INTEGERS, "bool"])
def test_quotients_of_integers_are_refused_before_the_first_frame(dtype):
    """Defect W22: the worker died with its first frame."""
    array = np.ones(3, dtype)
    with pytest.raises(ValueError, match=rf"floating-point.*{dtype}.*float32"):
        run("elementwise_divide", array, other=array)


def test_differences_of_truth_values_are_refused():
    array = np.ones(3, bool)
    with pytest.raises(ValueError, match="truth values have no difference"):
        run("elementwise_subtract", array, other=array)


def test_nothing_is_broadcast():
    with pytest.raises(ValueError, match=r"matching shapes.*\[3\].*\[1\]"):
        run("elementwise_add", np.ones(3), other=np.ones(1))
    with pytest.raises(ValueError, match="matching dtypes"):
        run("elementwise_add", np.ones(3), other=np.ones(3, np.float32))
    with pytest.raises(ValueError, match="expects 1 auxiliary stream"):
        run("elementwise_add", np.ones(3))


# Concatenation


@pytest.mark.parametrize("dtype", ["float16", "float64", "uint8", "int32", "bool", "complex128"])
def test_concatenate(rng, dtype):
    shape = list(random_shape(rng))
    axis = int(rng.integers(-len(shape), len(shape)))
    arrays = []
    for _ in range(int(rng.integers(2, 6))):
        shape[axis] = int(rng.integers(1, 9))
        arrays.append(random_array(rng, tuple(shape), dtype))
    result = run("concatenate", arrays, {"axis": axis})
    assert_equal(result, np.concatenate(arrays, axis=axis))


def test_concatenate_joins_the_first_axis_by_default():
    result = run("concatenate", [np.zeros((1, 2)), np.ones((2, 2))])
    assert result.tolist() == [[0, 0], [1, 1], [1, 1]]


@pytest.mark.parametrize(
    ("shapes", "parameters", "text"),
    [
        ([(2, 3)], {}, "at least two"),
        ([(2, 3), (3,)], {}, "equal rank"),
        ([(2, 3), (2, 4)], {}, r"equal extents.*\[2, 3\].*\[2, 4\]"),
        ([(2, 3), (2, 3)], {"axis": 2}, "'axis' to be an integer from -2 to 1, got 2"),
        ([(2, 3), (2, 3)], {"axis": -3}, "'axis'"),
        ([(2, 3), (2, 3)], {"axis": 0.5}, "'axis'"),
        ([(2, 3), (2, 3)], {"axis": True}, "'axis'"),
    ],
)
def test_what_does_not_join_is_refused(shapes, parameters, text):
    with pytest.raises(ValueError, match=text):
        run("concatenate", [np.ones(shape) for shape in shapes], parameters)


# Reduction


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS, "bool"])
@pytest.mark.parametrize("operation", ["sum", "mean", "max", "min"])
def test_reduce(rng, operation, dtype):
    array = random_array(rng, random_shape(rng), dtype)
    if dtype in FLOATS and rng.random() < 0.7:
        array = np.nan_to_num(array, posinf=1, neginf=-1)
    with np.errstate(all="ignore"):
        expected = getattr(np, operation)(array)
        expected = np.asarray(expected).astype(dtype, casting="unsafe").reshape(1)
    result = run("reduce", array, {"operation": operation})
    assert result.dtype == dtype
    if dtype in FLOATS and operation in ("sum", "mean"):
        # NumPy rounds in the dtype of the array on the way.
        size = np.nansum(np.abs(array, dtype=np.float64))
        tolerance = np.finfo(dtype).eps * 4
        np.testing.assert_allclose(
            result.astype(float), expected.astype(float), tolerance, tolerance * size
        )
    elif operation == "mean" and np.dtype(dtype).itemsize == 8:
        # Doubles hold 53 bits; the order of the additions shows in the others.
        difference = int(result[0]) - int(expected[0])
        assert abs(difference) <= 2.0**-50 * np.abs(array.astype(float)).max()
    else:
        assert_equal(result, expected)


@pytest.mark.parametrize("dtype", COMPLEX)
@pytest.mark.parametrize("operation", ["sum", "mean"])
def test_reduce_complex_numbers(rng, operation, dtype):
    array = random_array(rng, random_shape(rng), dtype)
    expected = np.asarray(getattr(np, operation)(array.astype(complex))).reshape(1)
    result = run("reduce", array, {"operation": operation})
    tolerance = 1e-5 if dtype == "complex64" else 1e-12
    assert result.dtype == dtype
    np.testing.assert_allclose(result, expected, tolerance, tolerance * np.abs(array).sum())


def test_the_mean_is_the_default_and_nan_propagates():
    assert run("reduce", np.array([1.0, 2.0, 6.0])).tolist() == [3.0]
    for operation in ("sum", "mean", "max", "min"):
        assert np.isnan(run("reduce", np.array([1.0, np.nan, 2.0]), {"operation": operation})[0])


@pytest.mark.parametrize(
    ("dtype", "operation", "text"),
    [
        ("float32", "median", "unsupported reduce operation 'median'.*sum, mean, max, min"),
        ("float32", 3, "unsupported reduce operation 3"),
        ("complex64", "max", "no order"),
    ],
)
def test_wrong_reductions_are_refused(dtype, operation, text):
    with pytest.raises(ValueError, match=text):
        run("reduce", np.ones(3, dtype), {"operation": operation})


# Spots


def spot_reference(image, background=0.0, threshold=0.0, weight_power=1.0):
    weights = image.astype(np.float64) - background
    weights = np.where(weights > threshold, weights, 0.0)
    with np.errstate(invalid="ignore"):
        weights = np.where(weights != 0, weights**weight_power, 0.0)
    total = weights.sum()
    if total <= 0:
        return np.zeros(2)
    rows, columns = np.indices(image.shape)
    centre = (np.array(image.shape) - 1) / 2
    with np.errstate(invalid="ignore"):
        return np.array([(weights * rows).sum(), (weights * columns).sum()]) / total - centre


@pytest.mark.parametrize("dtype", [*FLOATS, "uint16", "int32"])
def test_spot_centroid(rng, dtype):
    shape = tuple(int(n) for n in rng.integers(1, 40, 2))
    image = rng.gamma(2.0, 20.0, shape).astype(dtype)
    parameters = {"background": float(rng.normal(10, 5)), "threshold": float(rng.normal(5, 5))}
    if rng.random() < 0.6:
        parameters["threshold"] = abs(parameters["threshold"])
        parameters["weight_power"] = float(rng.uniform(0.3, 3))
    expected = spot_reference(image, **parameters)
    result = run("spot_centroid", image, parameters)
    assert (result.dtype, result.shape) == (np.dtype(dtype), (2,))
    if dtype in FLOATS:
        assert_close(result, expected, tolerance_of(dtype) * 10)
    else:
        assert np.abs(result - np.trunc(expected)).max() <= 1


def test_edge_cases_of_spots():
    dark = np.zeros((4, 6))
    assert run("spot_centroid", dark).tolist() == [0, 0]
    assert run("spot_centroid", -np.ones((4, 6))).tolist() == [0, 0]
    spot = dark.copy()
    spot[3, 1] = 5
    assert run("spot_centroid", spot).tolist() == [1.5, -1.5]
    # A negative threshold keeps negative weights; a fractional power of them is no number.
    spot[0, 0] = -1
    negative = {"threshold": -2.0}
    assert_close(run("spot_centroid", spot, negative), spot_reference(spot, threshold=-2.0), 1e-12)
    assert np.isnan(run("spot_centroid", spot, {**negative, "weight_power": 0.5})).all()
    # NaN is not above any threshold.
    spot[2, 2] = np.nan
    assert run("spot_centroid", spot).tolist() == [1.5, -1.5]
    for wrong in ({"weight_power": 0}, {"weight_power": "two"}, {"threshold": "high"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            run("spot_centroid", spot, wrong)
    with pytest.raises(ValueError, match="2-D image"):
        run("spot_centroid", np.ones(4))


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_first_frame_of_a_tip_tilt_controller(rng, dtype):
    shape = tuple(int(n) for n in rng.integers(2, 30, 2))
    image = rng.gamma(2.0, 2.0, shape).astype(dtype)
    matrix, bias = (rng.normal(size=size).astype(dtype) for size in [(2, 2), 2])
    parameters = {"background": 0.5, "threshold": 0.25, "control_gain": float(rng.normal())}
    centroid = spot_reference(image, 0.5, 0.25)
    expected = matrix.astype(float) @ (parameters["control_gain"] * centroid) + bias
    # The order decides, whatever the names.
    result = run("tip_tilt_controller", image, parameters, b=matrix, a=bias)
    assert result.dtype == dtype
    assert_close(result, expected, tolerance_of(dtype) * 30)


def test_wrong_matrices_of_a_tip_tilt_controller_are_refused():
    image = np.ones((4, 4))
    with pytest.raises(ValueError, match=r"matrix of shape \[2, 2\]"):
        run("tip_tilt_controller", image, m=np.ones(2), b=np.ones(2))
    with pytest.raises(ValueError, match="matching dtypes"):
        run("tip_tilt_controller", image, m=np.ones((2, 2), "f4"), b=np.ones(2))
    with pytest.raises(ValueError, match="expects 2 auxiliary streams"):
        run("tip_tilt_controller", image, m=np.ones((2, 2)))


# Tomography


def tomography(rng, number, pixel, tile, rows, columns, actuators, cube):
    """Arrays and parameters of a controller."""
    image = (rows * tile, columns * tile)
    images = [rng.gamma(2.0, 20.0, image) for _ in range(8)]
    images[3][:tile, :tile] = -1  # no light there
    images = [one.astype(pixel) for one in images]
    sensors = {
        "dark": [rng.normal(0.5, 0.1, image).astype(number) for _ in range(8)],
        "inverse_flat": [rng.normal(1, 0.1, image).astype(number) for _ in range(8)],
        "slope_offset": [rng.normal(0, 0.1, (rows, columns, 2)).astype(number) for _ in range(8)],
    }
    slopes = 8 * 2 * rows * columns
    control = {
        "reconstructor": rng.normal(0, slopes**-0.5, (actuators, slopes)).astype(number),
        "reconstructor_bias": rng.normal(0, 0.1, actuators).astype(number),
        "command_offset": rng.normal(0, 0.1, actuators).astype(number),
        "command_low": rng.normal(-1, 0.1, actuators).astype(number),
        "command_high": rng.normal(1, 0.1, actuators).astype(number),
    }
    parameters = {"tile_size": tile}
    for name in ("slope_gain", "leak", "control_gain", "command_gain"):
        parameters[name] = float(rng.normal(1, 0.3))
    if cube:
        inputs = np.stack(images)
        auxiliary = {f"wfs_{name}": np.stack(planes) for name, planes in sensors.items()}
    else:
        inputs = images
        auxiliary = {
            f"wfs{index}_{name}": planes[index]
            for name, planes in sensors.items()
            for index in range(8)
        }
    auxiliary |= control
    # In any order: aliases decide.
    order = rng.permutation(list(auxiliary))
    auxiliary = {str(name): auxiliary[str(name)] for name in order}
    return inputs, parameters, auxiliary, (images, sensors, control)


def tomography_reference(parameters, arrays):
    images, sensors, control = arrays
    tile = parameters["tile_size"]
    slopes = []
    for index, image in enumerate(images):
        calibrated = (image.astype(float) - sensors["dark"][index]) * sensors["inverse_flat"][index]
        rows, columns = (size // tile for size in image.shape)
        tiles = calibrated.reshape(rows, tile, columns, tile).swapaxes(1, 2)
        flux = tiles.sum(axis=(2, 3))
        distances = np.arange(tile) - (tile - 1) / 2
        moments = [
            np.einsum("rcij,i->rc", tiles, distances),
            np.einsum("rcij,j->rc", tiles, distances),
        ]
        with np.errstate(all="ignore"):
            centroids = np.where(flux[..., None] > 0, np.stack(moments, -1) / flux[..., None], 0)
        slopes.append(parameters["slope_gain"] * centroids - sensors["slope_offset"][index])
    reconstruction = control["reconstructor"].astype(float) @ np.concatenate(slopes, None)
    state = parameters["control_gain"] * (reconstruction + control["reconstructor_bias"])
    commands = parameters["command_gain"] * state - control["command_offset"]
    return np.minimum(np.maximum(commands, control["command_low"]), control["command_high"])


@pytest.mark.parametrize("cube", [False, True], ids=["separate", "cube"])
@pytest.mark.parametrize(
    ("number", "pixel"),
    [("float32", "float32"), ("float64", "float64"), ("float16", "float16"), ("float32", "uint16")],
)
def test_the_first_frame_of_a_tomographic_controller(rng, number, pixel, cube):
    tile, rows, columns = (int(n) for n in rng.integers(1, 9, 3))
    actuators = int(rng.integers(1, 50))
    inputs, parameters, auxiliary, arrays = tomography(
        rng, number, pixel, tile, rows, columns, actuators, cube
    )
    result = run("tomographic_controller", inputs, parameters, **auxiliary)
    assert (result.dtype, result.shape) == (np.dtype(number), (actuators,))
    assert_close(result, tomography_reference(parameters, arrays), tolerance_of(number) * 10)


def test_threads_change_nothing_and_half_precision_little():
    rng = np.random.default_rng(5)
    inputs, parameters, auxiliary, arrays = tomography(
        rng, "float32", "float32", 4, 16, 16, 512, cube=True
    )
    kind = "tomographic_controller"
    one = run(kind, inputs, parameters, **auxiliary)
    three = run(kind, inputs, {**parameters, "blas_threads": 3}, **auxiliary)
    assert_equal(three, one)
    half = run(kind, inputs, {**parameters, "matrix_storage": "float16"}, **auxiliary)
    assert_close(half, tomography_reference(parameters, arrays), 2e-3)
    assert (half != one).any(), "the option has an effect"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda a: a.pop("command_low"), "aliases that are missing: command_low"),
        (lambda a: a.update(dark=a["command_low"]), 'no auxiliary alias "dark"'),
        (
            lambda a: a.update(reconstructor=a["reconstructor"][:, :-1].copy()),
            "reconstructor columns to match the 64 slopes",
        ),
        (
            lambda a: a.update(wfs_dark=a["wfs_dark"][:7].copy()),
            r"'wfs_dark' of shape \[8, 8, 8\]",
        ),
        (
            lambda a: a.update(command_high=a["command_high"].astype("f8")),
            "'command_high' of the output's dtype float32",
        ),
    ],
)
def test_what_does_not_fit_a_tomographic_controller_is_named(change, text):
    rng = np.random.default_rng(6)
    inputs, parameters, auxiliary, _ = tomography(rng, "float32", "uint8", 4, 2, 2, 5, cube=True)
    change(auxiliary)
    with pytest.raises(ValueError, match=text):
        run("tomographic_controller", inputs, parameters, **auxiliary)


def test_wrong_images_and_threads_of_a_tomographic_controller_are_named():
    rng = np.random.default_rng(7)
    inputs, parameters, auxiliary, _ = tomography(rng, "float32", "uint8", 4, 2, 2, 5, cube=True)
    kind = "tomographic_controller"
    with pytest.raises(ValueError, match="eight equal 2-D images"):
        run(kind, inputs[:7], parameters, **auxiliary)
    with pytest.raises(ValueError, match="multiples of 'tile_size' 3"):
        run(kind, inputs, {"tile_size": 3}, **auxiliary)
    for threads in (0, -1, 1.5, True, "two"):
        with pytest.raises(ValueError, match="'blas_threads' to be a positive integer"):
            run(kind, inputs, {**parameters, "blas_threads": threads}, **auxiliary)


# Failing on purpose


def test_raise_error_raises_its_message():
    with pytest.raises(Exception, match="the message of the test"):
        run("raise_error", np.ones(2), {"message": "the message of the test"})
    for parameters in ({}, {"message": "  "}, {"message": 3}):
        with pytest.raises(ValueError, match="message"):
            run("raise_error", np.ones(2), parameters)


# Half precision, where the predecessor failed with its first frame (defect W22)


@pytest.mark.parametrize(
    ("kind", "parameters", "auxiliary"),
    [
        ("scale", {"factor": 2}, {}),
        ("add_constant", {"constant": 1}, {}),
        ("scale_offset", {"gain": 2}, {"offset": np.ones(4, "f2")}),
        ("flatten", {}, {}),
        ("leaky_integrator", {"leak": 1, "gain": 2}, {}),
    ],
)
def test_half_precision_works_everywhere(kind, parameters, auxiliary):
    result = run(kind, np.arange(4, dtype="f2"), parameters, **auxiliary)
    assert result.dtype == np.float16
    assert np.isfinite(result).all()
