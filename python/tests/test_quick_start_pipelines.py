"""What users of shmpipeline's quick start rely on; its code blocks are in `test_seed_shmpipeline`."""

import sys

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
