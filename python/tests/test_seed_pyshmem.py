"""Every code block of the page pyshmem 1.0.4 has on the package index, restated as a test.

The calls, their arguments and their order are those of the page; only the import differs. Where
the page leaves something open (a `process` function, an endless loop, the other process) a test
brings it along. Names of the tests are the headings of the page.
"""

import itertools
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import thalweg as pyshmem

COMMAND = Path(sys.prefix, "bin", "pyshmem")

# The code blocks of the page that need a CUDA device.
GPU_BLOCKS = [
    "Quick Start: GPU stream",
    "GPU Streams: Performance mode (default)",
    "GPU Streams: Compatibility mode",
    "GPU Streams: Opening a GPU stream in another process",
]


class EnoughError(Exception):
    """Ends a loop that has no end on the page."""


class GoingOn:
    """Another process that goes on writing to a stream, frame after frame."""

    def __init__(self, start_python, name):
        self.process = start_python(
            """
            import sys
            import numpy as np
            import thalweg as pyshmem

            writer = pyshmem.open(sys.argv[1])
            print("opened")
            for line in sys.stdin:
                writer.write(np.full(writer.shape, float(line)))
                print("written")
            """,
            name,
        )
        assert self.process.stdout.readline() == "opened\n"
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.write, daemon=True)

    def write(self):
        for value in itertools.count(2):
            if self.is_over.is_set():
                return
            self.process.stdin.write(f"{value}\n")
            self.process.stdin.flush()
            assert self.process.stdout.readline() == "written\n"

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join(timeout=30)
        assert not self.thread.is_alive()
        self.process.stdin.close()
        assert self.process.wait(timeout=30) == 0


@pytest.mark.cpu
def test_quick_start_cpu_stream(start_python):
    # Create in one process
    writer = pyshmem.create("demo_frame", shape=(480, 640), dtype=np.float32)

    # Attach in another process (or the same one)
    reader = pyshmem.open("demo_frame")

    writer.write(np.ones((480, 640), dtype=np.float32))

    frame = reader.read()  # latest completed write
    assert frame.dtype == np.float32
    assert (frame == np.ones((480, 640))).all()

    with GoingOn(start_python, "demo_frame"):
        next_frame = reader.read_new(timeout=30.0)  # block until a new write arrives
    assert next_frame.shape == (480, 640)
    assert next_frame[0, 0] >= 2
    assert (next_frame == next_frame[0, 0]).all()

    reader.close()
    writer.unlink()


@pytest.mark.cpu
def test_quick_start_temporary_stream_with_automatic_cleanup():
    with pyshmem.stream("scratch", shape=(256,)) as shm:
        shm.write(np.zeros(256, dtype=np.float32))
        result = shm.read()
    # stream is destroyed when the block exits

    assert result.shape == (256,)
    assert (result == 0).all()
    assert pyshmem.list_streams() == []
    with pytest.raises(FileNotFoundError):
        pyshmem.open("scratch")


@pytest.mark.cpu
def test_api_reference_top_level_functions():
    shm = pyshmem.create(
        "all",
        shape=(2,),
        dtype=np.float32,
        gpu_device=None,
        cpu_mirror=None,
        auto_unlink=False,
    )
    pyshmem.open("all", gpu_device=None).close()
    assert pyshmem.list_streams() == ["all"]
    pyshmem.unlink("all")
    pyshmem.unlink("all")
    shm.close()
    with pyshmem.stream("all", shape=(2,), dtype=np.float32, gpu_device=None, cpu_mirror=None):
        assert pyshmem.list_streams() == ["all"]
    with pyshmem.create("all", shape=(2,), auto_unlink=True):
        assert pyshmem.list_streams() == ["all"]
    assert pyshmem.list_streams() == []
    assert isinstance(pyshmem.gpu_available(), bool)
    assert isinstance(pyshmem.GPU_SUPPORTED_DTYPES, frozenset)


@pytest.mark.cpu
def test_api_reference_shared_memory_attributes():
    with pyshmem.stream("attributes", shape=(480, 640)) as shm:
        reader = pyshmem.open("attributes")
        shm.write(np.ones((480, 640)))
        assert type(shm.name) is str
        assert shm.name == "attributes"
        assert type(shm.shape) is tuple
        assert shm.shape == (480, 640)
        assert {type(extent) for extent in shm.shape} == {int}
        assert isinstance(shm.dtype, np.dtype)
        assert shm.dtype == np.float32
        assert type(shm.size) is int
        assert shm.size == 1228800
        assert shm.gpu_device is None
        assert shm.gpu_enabled is False
        assert shm.cpu_mirror is True
        assert (shm.owner, reader.owner) == (True, False)
        assert type(shm.count) is int
        assert shm.count == 1
        assert type(shm.write_time) is float
        assert shm.write_time > 1.7e9
        assert type(shm.write_sequence) is int
        assert shm.write_sequence % 2 == 0  # even = stable
        reader.close()


@pytest.mark.cpu
def test_api_reference_shared_memory_methods(start_python):
    shm = pyshmem.create("methods", shape=(3,))
    shm.write([1, 2, 3])
    out = np.empty(3, dtype=np.float32)
    assert shm.read(safe=True, poll_interval=1e-6, out=None).tolist() == [1, 2, 3]
    assert shm.read(safe=True, poll_interval=1e-6, out=out) is out
    assert out.tolist() == [1, 2, 3]
    with GoingOn(start_python, "methods"):
        new = shm.read_new(timeout=30.0, safe=True, poll_interval=1e-5)
    assert new[0] >= 2

    shm.acquire(timeout=None, poll_interval=1e-3)
    shm.acquire(timeout=1.0)  # Re-entrant within the current thread.
    shm.write_locked([4, 5, 6])
    shm.release()
    shm.release()
    with pytest.raises(RuntimeError, match="unlocked"):
        shm.release()
    with shm.locked(timeout=None, poll_interval=1e-3):
        shm.write_locked([7, 8, 9])
    with pytest.raises(RuntimeError, match="write_locked"):
        shm.write_locked([0, 0, 0])

    count = shm.count
    shm.clear()
    assert shm.read().tolist() == [0, 0, 0]
    assert shm.count == count + 1

    shm.close()
    reopened = pyshmem.open("methods")
    assert reopened.count == count + 1
    reopened.delete()
    assert pyshmem.list_streams() == []


@pytest.mark.cpu
def test_zero_allocation_reads():
    def process(buf):
        assert (buf == 3).all()
        raise EnoughError

    writer = pyshmem.create("stream", shape=(16,))
    writer.write(np.full(16, 3.0))

    shm = pyshmem.open("stream")
    buf = np.empty(shm.shape, dtype=shm.dtype)

    with pytest.raises(EnoughError):
        while True:
            shm.read(out=buf)  # writes into buf directly; no new array allocated
            process(buf)

    assert shm.read(out=buf) is buf
    shm.close()
    writer.unlink()


@pytest.mark.cpu
def test_explicit_locking_and_write_locked():
    def transform(raw):
        return raw * 2

    shm = pyshmem.create("locking", shape=(4,))
    shm.write([1, 2, 3, 4])

    with shm.locked():
        raw = shm.read(safe=False)  # zero-copy view into backing storage
        shm.write_locked(transform(raw))  # write back without re-locking

    assert shm.read().tolist() == [2, 4, 6, 8]
    assert shm.count == 2
    shm.unlink()


@pytest.mark.cpu
def test_asyncio_integration(start_python):
    import asyncio

    frames = []

    async def process(frame):
        frames.append(frame)
        if len(frames) == 3:
            raise EnoughError

    async def consumer(name: str):
        shm = pyshmem.open(name)
        while True:
            frame = await shm.read_new_async(timeout=30.0)
            await process(frame)

    with pyshmem.stream("async", shape=(480, 640)):
        with GoingOn(start_python, "async"), pytest.raises(EnoughError):
            asyncio.run(consumer("async"))
    values = [float(frame[0, 0]) for frame in frames]
    assert values == sorted(set(values))
    assert all((frame == frame[0, 0]).all() for frame in frames)


@pytest.mark.cpu
def test_stream_introspection(capsys):
    owner = pyshmem.create("my_stream", shape=(480, 640))
    for _ in range(42):
        owner.write(np.ones((480, 640)))

    shm = pyshmem.open("my_stream")
    print(shm.describe())

    printed = capsys.readouterr().out.splitlines()
    # The page's lines, in their order; others may stand between them.
    expected = [
        "name:         my_stream",
        "shape:        (480, 640)",
        "dtype:        float32",
        "size:         1228800 bytes",
        "gpu_enabled:  False",
        "gpu_device:   None",
        "cpu_mirror:   True",
        "count:        42",
        r"write_time:   \d+\.\d+",
        "write_seq:    84",
        "owner:        False",
    ]
    remaining = iter(printed)
    for line in expected:
        pattern = line if line.startswith("write_time") else re.escape(line)
        assert any(re.fullmatch(pattern, found) for found in remaining), (line, printed)
    shm.close()
    owner.unlink()


@pytest.mark.cpu
def test_config_round_trip():
    shm = pyshmem.create("my_stream", shape=(480, 640))
    cfg = shm.to_config()
    page = {
        "name": "my_stream",
        "shape": [480, 640],
        "dtype": "float32",
        "gpu_device": None,
        "cpu_mirror": True,
    }
    assert {key: cfg[key] for key in page} == page

    shm.unlink()
    shm2 = pyshmem.SharedMemory.create_from_config(cfg)
    assert (shm2.name, shm2.shape, shm2.dtype) == ("my_stream", (480, 640), np.float32)
    assert shm2.to_config() == cfg
    shm2.unlink()


@pytest.mark.cpu
@pytest.mark.skipif(
    not COMMAND.exists(),
    reason="thalweg-compat is not installed: pip install -e python/compat",
)
def test_command_line_interface():
    def run(*arguments):
        result = subprocess.run(
            [COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=True
        )
        return result.stdout

    for name in ("my_stream", "stream_a", "stream_b", "stream_c"):
        pyshmem.create(name, shape=(2,)).close()

    assert run("list") == "my_stream\nstream_a\nstream_b\nstream_c\n"
    run("unlink", "my_stream")
    assert pyshmem.list_streams() == ["stream_a", "stream_b", "stream_c"]
    run("unlink", "stream_a", "stream_b", "stream_c")
    assert pyshmem.list_streams() == []


@pytest.mark.cpu
def test_reading_modes():
    with pyshmem.stream("modes", shape=(4,)) as writer:
        writer.write([1, 2, 3, 4])
        reader = pyshmem.open("modes")
        with pytest.raises(RuntimeError, match="safe=False requires"):
            reader.read(safe=False)
        with reader.locked():
            raw = reader.read(safe=False)
            assert raw.tolist() == [1, 2, 3, 4]
        buf = np.empty(4, dtype=np.float32)
        assert reader.read(out=buf) is buf
        reader.close()


@pytest.mark.cpu
def test_behavior_notes_after_close():
    shm = pyshmem.create("my_stream", shape=(2,))
    shm.close()
    for use in (
        shm.read,
        lambda: shm.write([1, 2]),
        shm.acquire,
        shm.describe,
        lambda: shm.count,
    ):
        with pytest.raises(RuntimeError, match=r"my_stream.*\.open\("):
            use()
    pyshmem.unlink("my_stream")


@pytest.mark.cpu
def test_behavior_notes_after_unlink(start_python):
    """What another process that is still attached sees: its waits end, its reads stay safe."""
    shm = pyshmem.create("my_stream", shape=(2,))
    shm.write([1, 2])
    attached = start_python(
        """
        import thalweg as pyshmem

        shm = pyshmem.open("my_stream")
        print("attached")
        try:
            shm.read_new(timeout=30.0)
        except pyshmem.StaleStreamError as problem:
            print(problem)
        print(shm.read().tolist())
        """
    )
    assert attached.stdout.readline() == "attached\n"
    shm.unlink()
    assert "unlinked" in attached.stdout.readline()
    assert attached.stdout.readline() == "[1.0, 2.0]\n"
    assert attached.wait(timeout=30) == 0


@pytest.mark.cpu
def test_environment_variables(monkeypatch, tmp_path):
    """`PYSHMEM_LOCK_DIR` is accepted and has no effect: there are no lock files."""
    monkeypatch.setenv("PYSHMEM_LOCK_DIR", str(tmp_path))
    with pyshmem.stream("locked", shape=(2,)) as shm, shm.locked():
        shm.write_locked([1, 2])
    assert os.listdir(tmp_path) == []


@pytest.mark.gpu
@pytest.mark.parametrize("block", GPU_BLOCKS)
def test_gpu_blocks(block):
    pytest.skip("needs a CUDA device, and GPU streams, which thalweg does not have yet")


@pytest.mark.cpu
def test_checking_gpu_dtype_support():
    assert np.dtype("float32") in pyshmem.GPU_SUPPORTED_DTYPES
    assert np.dtype("uint32") not in pyshmem.GPU_SUPPORTED_DTYPES


@pytest.mark.cpu
def test_supported_gpu_dtypes():
    names = "float16 float32 float64 int8 int16 int32 int64 uint8"
    assert pyshmem.GPU_SUPPORTED_DTYPES == {np.dtype(name) for name in names.split()}
    # uint16, uint32, and uint64: create() raises at construction time.
    for name in ("uint16", "uint32", "uint64"):
        with pytest.raises(ValueError, match=name):
            pyshmem.create("activations", shape=(4,), dtype=name, gpu_device="cuda:0")
    assert pyshmem.list_streams() == []
