"""Kinds, classes, and the built-in ones as objects that compute on arrays."""

import importlib
import pickle

import numpy as np
import pytest

import thalweg
from thalweg import (
    Kernel,
    KernelConfig,
    KernelContext,
    KernelRegistry,
    SharedMemoryConfig,
    Sink,
    SinkConfig,
    SinkContext,
    Source,
    SourceConfig,
    SourceContext,
    get_default_registry,
)
from thalweg.errors import ConfigValidationError
from thalweg.kernels import cpu

pytestmark = pytest.mark.cpu


class Bias(Kernel):
    kind = "test.bias"

    def compute_into(self, trigger_input, output, auxiliary_inputs):
        output[...] = trigger_input + self.context.config.parameters["bias"]


class Camera(Source):
    kind = "test.camera"

    def read(self):
        return np.zeros(4)


class Display(Sink):
    kind = "test.display"

    def consume(self, value):
        pass


def streams(**shapes):
    return {
        name: SharedMemoryConfig(name, shape, "float64" if name.endswith("64") else "float32")
        for name, shape in shapes.items()
    }


def context(kind, inputs, outputs, **fields):
    """The context of a kernel with these streams: name to shape."""
    auxiliary = fields.pop("auxiliary", {})
    config = KernelConfig(
        "stage",
        kind,
        next(iter(inputs)),
        next(iter(outputs)),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        auxiliary={name: name for name in auxiliary},
        **fields,
    )
    return KernelContext(config, streams(**inputs, **outputs, **auxiliary))


# Registering


def test_copies_do_not_change_what_they_are_copies_of():
    registry = KernelRegistry()
    extended = registry.extended(Bias, sources=(Camera,), sinks=(Display,))
    assert extended.get("test.bias") is Bias
    assert extended.get_source("test.camera") is Camera
    assert extended.get_sink("test.display") is Display
    assert "test.bias" in extended.kinds() and "test.bias" not in registry.kinds()
    assert registry.extended_sources(Camera).get_source("test.camera") is Camera
    assert registry.extended_sinks(Display).get_sink("test.display") is Display
    assert list(extended.kinds()) == sorted(extended.kinds())
    assert {"cpu.scale", "cpu.custom_operation"} <= set(registry.kinds())
    assert "synthetic.array" in registry.source_kinds() and "null.sink" in registry.sink_kinds()


def test_a_kind_is_taken_once():
    registry = KernelRegistry({"test.bias": Bias})

    class Other(Bias):
        pass

    with pytest.raises(ValueError, match=r"'test\.bias' is registered already"):
        registry.register(Other)
    registry.register(Other, replace=True)
    assert registry.get("test.bias") is Other
    with pytest.raises(ValueError, match=r"'test\.bias' is registered already"):
        registry.extended(Bias)
    assert registry.extended(Bias, replace=True).get("test.bias") is Bias

    class Shadow(Bias):
        kind = "cpu.scale"

    with pytest.raises(ValueError, match="built in"):
        registry.register(Shadow, replace=True)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Display, "no kernel class"),
        (Bias(KernelContext(None, {})), "expected a kernel class"),
        (type("NoKind", (Kernel,), {}), "has no `kind`"),
        ("test.bias", "expected a kernel class"),
    ],
)
def test_only_kernel_classes_are_kernels(found, text):
    with pytest.raises(TypeError, match=text):
        KernelRegistry().register(found)


def test_the_default_registry_is_one_and_managers_use_it():
    class Once(Source):
        kind = "test.once"

        def read(self):
            return np.ones(4)

    registry = get_default_registry()
    assert registry is get_default_registry()
    registry.register_source(Once)
    try:
        manager = thalweg.PipelineManager(
            {
                "shared_memory": [{"name": "raw", "shape": [4], "dtype": "float32"}],
                "sources": [{"name": "once", "kind": "test.once", "stream": "raw"}],
            }
        )
        with manager:
            manager.build()
            manager.start()
            assert manager.get_stream("raw").read_new(timeout=30).tolist() == [1] * 4
    finally:
        del registry._classes["source"]["test.once"]


def test_registries_can_be_pickled():
    registry = KernelRegistry([Bias], [Camera], [Display])
    copy = pickle.loads(pickle.dumps(registry))
    assert copy.get("test.bias") is Bias and copy.get_source("test.camera") is Camera


def test_unknown_kinds_say_what_there_is():
    with pytest.raises(
        ConfigValidationError, match=r"unknown kernel kind: 'cpu\.scal'.*cpu\.scale"
    ):
        get_default_registry().get("cpu.scal")


def test_wrong_numbers_of_streams_and_storage():
    registry = KernelRegistry([Bias])
    here = context("test.bias", {"a": (4,)}, {"b": (4,)}, auxiliary={"c": (4,)})
    with pytest.raises(ConfigValidationError, match="takes 0 auxiliary streams, found 1: c"):
        registry.validate(here.config, here.shared_memory)
    here = context("test.bias", {"a": (4,), "x": (4,)}, {"b": (4,)})
    with pytest.raises(ConfigValidationError, match="takes 1 trigger stream, found 2: a, x"):
        registry.validate(here.config, here.shared_memory)

    class OnGpu(Bias):
        kind = "test.gpu"
        storage = "gpu"

    here = context("test.gpu", {"a": (4,)}, {"b": (4,)})
    with pytest.raises(
        ConfigValidationError, match="requires gpu shared memory for 'a', found cpu"
    ):
        KernelRegistry([OnGpu]).validate(here.config, here.shared_memory)


def test_objects_are_made_after_checking(tmp_path):
    registry = KernelRegistry([Bias], [Camera], [Display])
    here = context("test.bias", {"a": (4,)}, {"b": (4,)}, parameters={"bias": 2})
    kernel = registry.create(here.config, here.shared_memory, config_base_dir=tmp_path)
    assert kernel.context.config_base_dir == tmp_path
    assert kernel.context.input_specs == kernel.context.trigger_input_specs
    output = np.zeros(4)
    kernel.compute_into(np.ones(4), output, {})
    assert output.tolist() == [3] * 4
    outputs = [np.zeros(4)]
    kernel.compute_into_multiple(np.ones(4), outputs, {})
    assert outputs[0].tolist() == [3] * 4

    config = SourceConfig("s", "test.camera", "a", {"dark": "b"})
    source = registry.create_source(config, here.shared_memory, {"b": "handle"})
    assert source.context.auxiliary_streams == {"dark": "handle"}
    assert source.context.auxiliary_specs["dark"].name == "b"
    assert source.context.stream_spec.name == "a"
    assert not source.wait(0) and not source.stop_requested() and not source.paused()
    with pytest.raises(KeyError, match="no auxiliary stream 'flat'; there are: 'dark'"):
        source.read_auxiliary("flat")
    sink = registry.create_sink(SinkConfig("s", "test.display", "a"), here.shared_memory)
    assert sink.context.output_specs == ()


# Built-in kinds as classes


def test_there_is_a_class_for_every_kind_and_a_module_for_every_class():
    registry = get_default_registry()
    for name in cpu.__all__:
        kind = getattr(cpu, name)
        assert registry.get(kind.kind) is kind
        module = importlib.import_module("thalweg.kernels." + kind.kind)
        assert getattr(module, name) is kind
    built_in = [kind for kind in registry.kinds() if kind.startswith("cpu.")]
    assert sorted(getattr(cpu, name).kind for name in cpu.__all__) == built_in
    # Kinds of other crates have classes as well.
    for kind in registry.kinds():
        assert issubclass(registry.get(kind), Kernel) and registry.get(kind).kind == kind


def test_native_code_computes_on_arrays():
    kernel = cpu.ScaleCpuKernel(
        context("cpu.scale", {"a": (2, 3)}, {"b": (2, 3)}, parameters={"factor": 2.5})
    )
    trigger = np.arange(6, dtype=np.float32).reshape(2, 3)
    output = np.empty((2, 3), np.float32)
    kernel.compute_into(trigger, output, {})
    np.testing.assert_array_equal(output, trigger * 2.5)
    # Whatever the layout.
    strided = np.empty((3, 2), ">f4").T
    kernel.compute_into(np.asfortranarray(trigger), strided, {})
    np.testing.assert_array_equal(strided, trigger * 2.5)


def test_states_are_kept():
    kernel = cpu.LeakyIntegratorCpuKernel(
        context(
            "cpu.leaky_integrator", {"a": (2,)}, {"b": (2,)}, parameters={"leak": 0.5, "gain": 1.0}
        )
    )
    output, state = np.empty(2, np.float32), 0.0
    for _ in range(4):
        kernel.compute_into(np.ones(2, np.float32), output, {})
        state = 0.5 * state + 1.0
        assert output.tolist() == [state] * 2


def test_auxiliary_arrays_count_as_they_are_now():
    kernel = cpu.AffineTransformCpuKernel(
        context(
            "cpu.affine_transform",
            {"x": (3,)},
            {"y": (2,)},
            auxiliary={"matrix": (2, 3), "offset": (2,)},
        )
    )
    x, y = np.arange(3, dtype=np.float32), np.empty(2, np.float32)
    matrix, offset = np.ones((2, 3), np.float32), np.zeros(2, np.float32)
    for factor in (1, 2):
        matrix[:] = factor
        kernel.compute_into(x, y, {"matrix": matrix, "offset": offset})
        np.testing.assert_array_equal(y, [3 * factor] * 2)


def test_wrong_arrays_are_refused():
    kernel = cpu.CopyCpuKernel(context("cpu.copy", {"a": (4,)}, {"b": (4,)}))
    right = np.zeros(4, np.float32)
    for trigger, output, error in [
        (np.zeros(5, np.float32), right, ValueError),
        (np.zeros(4, np.float64), right, ValueError),
        (right, np.zeros(3, np.float32), ValueError),
        (right, [0] * 4, TypeError),
        (right, right, ValueError),  # in place
        (right[:], right[:], ValueError),
    ]:
        with pytest.raises(error):
            kernel.compute_into(trigger, output, {})
    with pytest.raises(KeyError):
        cpu.ScaleOffsetCpuKernel(
            context(
                "cpu.scale_offset",
                {"a": (4,)},
                {"b": (4,)},
                auxiliary={"dark": (4,)},
                parameters={"gain": 1.0},
            )
        ).compute_into(right, right.copy(), {})


def test_native_kinds_check_their_entries():
    here = context("cpu.scale", {"a": (4,)}, {"b": (5,)}, parameters={"factor": "two"})
    with pytest.raises(ConfigValidationError) as failure:
        cpu.ScaleCpuKernel.validate_config(here.config, here.shared_memory)
    assert "'factor'" in str(failure.value) and "shape" in str(failure.value)
    with pytest.raises(ConfigValidationError, match="factor"):
        cpu.ScaleCpuKernel(here)


def test_sources_and_sinks_as_objects():
    config = SourceConfig(
        "s", "synthetic.array", "a", parameters={"pattern": "random", "seed": 5, "amplitude": 2}
    )
    source = thalweg.sources.SyntheticArraySource(SourceContext(config, streams(a=(2, 3))))
    rng = np.random.default_rng(5)
    for _ in range(3):
        expected = (2 * rng.standard_normal((2, 3))).astype(np.float32)
        np.testing.assert_array_equal(source.read(), expected)
    sink = thalweg.sinks.NullSink(SinkContext(SinkConfig("s", "null.sink", "a"), streams(a=(2, 3))))
    for _ in range(4):
        sink.consume(np.zeros((2, 3)))
    assert sink.plugin_metrics()
    with pytest.raises(ValueError, match="shape"):
        sink.consume(np.zeros(3))
