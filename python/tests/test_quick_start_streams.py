"""The code blocks of pyshmem's quick start for CPU streams, with only the import changed."""

import pytest

pytestmark = pytest.mark.cpu


def test_cpu_stream():
    import numpy as np

    import thalweg as pyshmem

    # Create in one process
    writer = pyshmem.create("demo_frame", shape=(480, 640), dtype=np.float32)

    # Attach in another process (or the same one)
    reader = pyshmem.open("demo_frame")

    writer.write(np.ones((480, 640), dtype=np.float32))

    frame = reader.read()  # latest completed write
    # As the quick start stands, nobody writes a second frame.
    with pytest.raises(TimeoutError, match="a new write"):
        next_frame = reader.read_new(timeout=1.0)  # block until a new write arrives

    assert frame.dtype == np.float32
    assert (frame == np.ones((480, 640))).all()
    writer.unlink()
    reader.close()


def test_cpu_stream_in_two_processes(start_python):
    """The same calls where the page says they belong: in two processes. The writer goes on."""
    import thalweg as pyshmem

    writer_process = start_python(
        """
        import sys
        import numpy as np
        import thalweg as pyshmem

        writer = pyshmem.create("demo_frame", shape=(480, 640), dtype=np.float32)
        writer.write(np.ones((480, 640), dtype=np.float32))
        print("written")
        for line in sys.stdin:
            writer.write(np.full((480, 640), float(line), dtype=np.float32))
        writer.unlink()
        """
    )
    assert writer_process.stdout.readline() == "written\n"

    reader = pyshmem.open("demo_frame")
    frame = reader.read()
    assert (frame == 1).all()

    # A helper that asks for a frame once this process has begun to wait would need to look into
    # the wait; many frames, of which some come after it, do as well.
    for value in range(2, 2000):
        writer_process.stdin.write(f"{value}\n")
    writer_process.stdin.flush()
    next_frame = reader.read_new(timeout=30.0)
    assert (next_frame == next_frame[0, 0]).all()
    assert next_frame[0, 0] >= 2

    reader.close()
    writer_process.stdin.close()
    assert writer_process.wait(timeout=30) == 0


def test_temporary_stream_with_automatic_cleanup():
    import numpy as np

    import thalweg as pyshmem

    with pyshmem.stream("scratch", shape=(256,)) as shm:
        shm.write(np.zeros(256, dtype=np.float32))
        result = shm.read()
    # stream is destroyed when the block exits

    assert (result == 0).all()
    assert result.shape == (256,)
    assert pyshmem.list_streams() == []


def test_zero_allocation_reads():
    import numpy as np

    import thalweg as pyshmem

    def process(buf):
        assert (buf == 3).all()
        raise StopIteration

    with pyshmem.stream("stream", shape=(16,)) as writer:
        writer.write(np.full(16, 3.0))

        shm = pyshmem.open("stream")
        buf = np.empty(shm.shape, dtype=shm.dtype)

        with pytest.raises(StopIteration):
            while True:
                shm.read(out=buf)  # writes into buf directly; no new array allocated
                process(buf)

        assert shm.read(out=buf) is buf
        assert np.shares_memory(shm.read(out=buf), buf)
        shm.close()
