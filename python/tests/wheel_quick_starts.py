"""The first steps of a user who has installed the wheel; run by `cargo xtask wheel`'s test.

Not a test of pytest: the environment it runs in has nothing but the wheel and what it needs.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import thalweg

PIPELINE = """
shared_memory:
  - {name: wheel_input, shape: [4], dtype: float32}
  - {name: wheel_output, shape: [4], dtype: float32}
kernels:
  - {name: scale, kind: cpu.scale, input: wheel_input, output: wheel_output,
     parameters: {factor: 2.0}}
"""


def streams() -> None:
    """One process writes, another reads."""
    with thalweg.create("wheel_stream", shape=(3,), dtype=np.float32) as stream:
        stream.write(np.array([1, 2, 3], dtype=np.float32))
        read = (
            "import sys, thalweg;"
            "print(thalweg.open('wheel_stream').read().tolist())"
        )
        shown = subprocess.run(
            [sys.executable, "-I", "-c", read], check=True, capture_output=True, text=True
        )
        assert shown.stdout == "[1.0, 2.0, 3.0]\n", shown.stdout
    thalweg.unlink_quiet("wheel_stream")


def pipelines() -> None:
    """A pipeline from a file, workers being the command that the wheel brings."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pipeline.yaml")
        path.write_text(PIPELINE)
        manager = thalweg.PipelineManager(thalweg.PipelineConfig.from_yaml(path))
        manager.build()
        manager.start()
        manager.get_stream("wheel_input").write(np.array([1, 2, 3, 4], dtype=np.float32))
        result = manager.get_stream("wheel_output").read_new(timeout=60)
        manager.stop()
        manager.shutdown()
        assert result.tolist() == [2, 4, 6, 8], result
        command = Path(sys.executable).with_name("thalweg")
        subprocess.run([command, "validate", path], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Both, in an environment without a compiler."""
    assert shutil.which("cargo") is None, "this is to show that no Rust is needed"
    where = Path(thalweg.__file__)
    assert where.is_relative_to(sys.prefix), where
    streams()
    pipelines()
    print(f"both quick starts have run with {where.parent}")


main()
