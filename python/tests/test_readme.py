"""The README's Python blocks run as they stand there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


def blocks(language):
    """The fenced code blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("block", "expression", "expected"),
    [
        (0, "(frame.shape, float(frame.sum()))", "((480, 640), 307200.0)"),
        (1, "result.tolist()", "[2.0, 4.0, 6.0, 8.0]"),
    ],
    ids=["stream", "pipeline"],
)
def test_readme_block(tmp_path, block, expression, expected):
    (tmp_path / "pipeline.yaml").write_text(blocks("yaml")[0])
    script = tmp_path / "block.py"
    script.write_text(f"{blocks('python')[block]}\nprint({expression})\n")
    result = subprocess.run(
        [sys.executable, "-W", "error", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{expected}\n", "")
