"""Every guide does what it says: its code blocks run as they stand there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from run_guide import Guide, blocks, matches

RUNNER = Path(__file__).with_name("run_guide.py")
GUIDES = sorted((Path(__file__).parents[2] / "docs" / "guides").glob("*.md"))


def run_guide(guide, folder):
    # The commands of this very installation, whatever else is on the search path.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        [sys.executable, "-W", "error", "-X", "faulthandler", RUNNER, guide],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.parametrize("guide", GUIDES, ids=[guide.stem for guide in GUIDES])
def test_guide(guide, tmp_path):
    result = run_guide(guide, tmp_path)
    assert (result.returncode, result.stderr) == (0, ""), result.stdout + result.stderr
    # A guide whose blocks print nothing would not show what they do.
    assert int(result.stdout.splitlines()[-1].split()[0]) > 0


def test_there_are_guides():
    assert len(GUIDES) >= 8


def test_wrong_guides_fail(tmp_path):
    guide = tmp_path / "guide.md"
    for wrong, complaint in [
        ("```python\nprint(1 + 1)  # 3\n```\n", "guide.md:4: expected `3`, found `2`"),
        ("```console\n$ echo two\none\n```\n", "guide.md:4: expected\none\nfound"),
        ("```console\n$ false\n$ echo two\n```\n", "guide.md:4: expected\n\nfound"),
        ("```python\nraise ValueError('no')\n```\n", 'guide.md", line 4'),
    ]:
        guide.write_text(f"# A title\n\n{wrong}")
        result = run_guide(guide, tmp_path)
        assert result.returncode == 1
        assert complaint in result.stderr


def test_blocks_files_and_ellipses(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (
        "```python\nvalue = 1\n```\n\n```text\nnot run\n```\n"
        "```python\n# saved.py\nprint('from', 'a file')\n```\n"
        f"```console\n$ {sys.executable} saved.py &\nfrom a ...\n```\n"
        "```python\nprint(value)  # ...\n```\n"
    )
    assert [(block.language, block.line) for block in blocks(text)] == [
        ("python", 2),
        ("text", 6),
        ("python", 9),
        ("console", 13),
        ("python", 17),
    ]
    (tmp_path / "guide.md").write_text(text)
    guide = Guide(tmp_path / "guide.md")
    guide.run()
    assert guide.checked_outputs == 2
    assert capsys.readouterr().out == "1\n"
    assert matches("a ... c", "a b c")
    assert not matches("a ... d", "a b c")
