"""The code blocks of shmpipeline's quick start for CPU pipelines, with only the import changed."""

import sys

import numpy as np
import pytest

import thalweg

pytestmark = pytest.mark.cpu

CONFIGURATION_EXAMPLE = """\
shared_memory:
- name: input_frame
  shape: [4]
  dtype: float32
  storage: cpu
- name: scaled_frame
  shape: [4]
  dtype: float32
  storage: cpu
kernels:
- name: scale_stage
  kind: cpu.scale
  input: input_frame
  output: scaled_frame
  parameters:
    factor: 2.0
"""


@pytest.fixture(autouse=True)
def pipeline_yaml(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "pipeline.yaml"
    path.write_text(CONFIGURATION_EXAMPLE)
    return path


def test_quick_start():
    import numpy as np

    from thalweg import PipelineConfig, PipelineManager

    config = PipelineConfig.from_yaml("pipeline.yaml")
    manager = PipelineManager(config)
    manager.build()
    manager.start()
    manager.get_stream("input_frame").write(np.array([1, 2, 3, 4], dtype=np.float32))
    result = manager.get_stream("scaled_frame").read_new(timeout=2.0)
    manager.stop()
    manager.shutdown()

    assert result.dtype == np.float32
    assert result.tolist() == [2, 4, 6, 8]
    assert thalweg.list_streams() == []


def test_quick_start_under_the_old_name():
    import thalweg as shmpipeline

    config = shmpipeline.PipelineConfig.from_yaml("pipeline.yaml")
    manager = shmpipeline.PipelineManager(config)
    manager.build()
    manager.start()
    manager.get_stream("input_frame").write(np.array([1, 2, 3, 4], dtype=np.float32))
    result = manager.get_stream("scaled_frame").read_new(timeout=2.0)
    manager.stop()
    manager.shutdown()

    assert result.tolist() == [2, 4, 6, 8]


def test_fused_expression_of_the_page(tmp_path):
    from thalweg import PipelineManager

    (tmp_path / "custom.yaml").write_text(
        """\
shared_memory:
- name: ao_wfs_image
  shape: [120, 120]
  dtype: float32
  storage: cpu
- name: ao_dark_image
  shape: [120, 120]
  dtype: float32
  storage: cpu
- name: ao_flat_image
  shape: [120, 120]
  dtype: float32
  storage: cpu
- name: ao_clean_image
  shape: [120, 120]
  dtype: float32
  storage: cpu
kernels:
- name: image_processing
  kind: cpu.custom_operation
  operation: (input - dark) / flat
  input: ao_wfs_image
  output: ao_clean_image
  auxiliary:
    dark: ao_dark_image
    flat: ao_flat_image
"""
    )
    rng = np.random.default_rng(3)
    image, dark, flat = (rng.uniform(1, 9, (120, 120)).astype(np.float32) for _ in range(3))
    with PipelineManager("custom.yaml") as manager:
        manager.build()
        manager.start()
        manager.get_stream("ao_dark_image").write(dark)
        manager.get_stream("ao_flat_image").write(flat)
        manager.get_stream("ao_wfs_image").write(image)
        clean = manager.get_stream("ao_clean_image").read_new(timeout=10)
    np.testing.assert_allclose(clean, (image - dark) / flat, rtol=1e-6)


ASKING_OFTEN = """
import os, sys
import numpy as np
from thalweg import PipelineConfig, PipelineManager

if sys.argv[1] == "one":
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # workers inherit it
config = PipelineConfig.from_yaml("pipeline.yaml")
manager = PipelineManager(config)
manager.build()
manager.start()
question = np.zeros(4, dtype=np.float32)
for number in range(10_000):
    question[:] = number
    manager.get_stream("input_frame").write(question)
    result = manager.get_stream("scaled_frame").read_new(timeout=20.0)
    assert (result == 2 * number).all(), (number, result)
manager.stop()
manager.shutdown()
print("answered")
"""


@pytest.mark.parametrize("processors", ["all", "one"])
def test_answers_that_were_faster_than_the_question_are_not_missed(run_python, processors):
    """The quick start writes first and asks afterwards; by then a fast worker has answered."""
    assert run_python(ASKING_OFTEN, processors, timeout_s=300) == "answered\n"


def test_the_old_package_is_not_needed():
    # Where they are there, they are the names that thalweg-compat gives.
    manager = thalweg.PipelineManager
    assert getattr(sys.modules.get("shmpipeline"), "PipelineManager", manager) is manager
    assert getattr(sys.modules.get("pyshmem"), "create", thalweg.create) is thalweg.create
