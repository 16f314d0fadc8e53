"""Frames that are read while they are written, and streams that take the place of others."""

import threading

import numpy as np
import pytest

import thalweg

pytestmark = pytest.mark.cpu


@pytest.fixture
def shm():
    with thalweg.stream("rows", shape=(8, 2), progressive=True) as handle:
        yield handle


def test_rows_are_read_before_the_frame_is_published(shm):
    with shm.write_rows(frame_id=5) as frame:
        frame.array[:3] = 1
        frame.announce(3)
        part = shm.read_rows(3)
        assert part.payload.tolist() == [[1, 1]] * 3
        assert (part.count, part.start, part.rows, part.is_complete) == (1, 0, 3, False)
        assert shm.count == 0
        with pytest.raises(TimeoutError):
            shm.read_rows(4, timeout=0.01)
        frame.array[3:] = 2
        frame.announce(6)
        more = shm.read_rows(6, start=3, more_of=part)
        assert more.payload.tolist() == [[2, 2]] * 3
        frame.announce(8)
    assert (shm.count, shm.frame_id) == (1, 5)
    rest = shm.read_rows(8, start=6, more_of=more)
    assert (rest.is_complete, rest.payload.shape) == (True, (2, 2))


def test_a_reader_follows_a_writer_row_by_row(shm):
    frames = 20

    def write():
        for value in range(frames):
            with shm.write_rows() as frame:
                for row in range(8):
                    frame.array[row] = value * 8 + row
                    frame.announce(row + 1)

    reader = thalweg.open("rows")
    writer = threading.Thread(target=write)
    writer.start()
    seen, torn = 0, 0
    while seen < frames:
        try:
            part = reader.read_rows(1, after=seen, timeout=30)
            seen = part.count
            for row in range(1, 8):
                part = reader.read_rows(row + 1, start=row, more_of=part, timeout=30)
                torn += (part.payload != (seen - 1) * 8 + row).any()
        except thalweg.InconsistentStreamError:
            continue  # The writer was faster: that frame is gone.
    writer.join()
    reader.close()
    assert not torn


def test_rows_of_a_frame_that_is_given_up_are_no_part_of_the_stream(shm):
    with pytest.raises(ZeroDivisionError), shm.write_rows() as frame:
        frame.array[:] = 1
        frame.announce(4)
        part = shm.read_rows(4)
        raise ZeroDivisionError
    with pytest.raises(thalweg.InconsistentStreamError, match="given up"):
        shm.read_rows(8, more_of=part, timeout=10)
    with shm.write_rows() as frame:
        frame.array[:] = 2
    assert shm.read_rows(8).payload.tolist() == [[2, 2]] * 8


def test_announcements_are_checked(shm):
    with shm.write_rows() as frame:
        frame.array[:] = 0
        frame.announce(4)
        for wrong in (3, 9):
            with pytest.raises((RuntimeError, ValueError), match=f"found {wrong}"):
                frame.announce(wrong)
        part = shm.read_rows(4)
    with pytest.raises(RuntimeError, match="not entered, or has ended"):
        frame.announce(8)
    with pytest.raises(RuntimeError, match="not entered, or has ended"):
        _ = frame.array
    with pytest.raises(ValueError):
        shm.read_rows(9)
    with pytest.raises(ValueError, match="no range"):
        shm.read_rows(2, start=3)
    assert not part.payload.any()
    with thalweg.stream("whole", shape=(8,)) as whole:
        whole.write(np.zeros(8))
        with pytest.raises(ValueError, match="not progressive"):
            whole.read_rows(1)
        with pytest.raises(RuntimeError, match="not progressive"), whole.write_rows() as frame:
            frame.announce(1)
    assert thalweg.SharedMemory.create_from_config({**shm.to_config(), "name": "again"}).slots == 4
    thalweg.unlink("again")


def test_a_stream_is_replaced_without_a_moment_without_one():
    old = thalweg.create("replaced", shape=(2,))
    old.write([1, 2])
    with thalweg.create("replaced", shape=(3,), replace=True) as new:
        new.write([3, 4, 5])
        assert thalweg.open("replaced").read().tolist() == [3, 4, 5]
        assert old.read().tolist() == [1, 2], "the old one stays what it was"
        with pytest.raises(thalweg.StaleStreamError, match="replaced"):
            old.read_new(timeout=10)
        with pytest.raises(thalweg.StaleStreamError, match="newer generation"):
            old.unlink()
        new.unlink()
    with thalweg.create("replaced", shape=(3,), replace=True) as new:
        assert new.count == 0, "nothing to replace is fine"
        new.unlink()
