"""Handing frames to other array libraries by DLPack."""

import gc
import importlib.util

import numpy as np
import pytest

import thalweg

pytestmark = pytest.mark.cpu

needs_numpy_2_1 = pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "2.1.0", reason="read-only DLPack needs NumPy 2.1"
)


@pytest.fixture
def shm():
    with thalweg.stream("dlpack", shape=(3, 4)) as handle:
        handle.write(np.arange(12).reshape(3, 4))
        yield handle


def test_a_handle_exports_a_copy(shm):
    array = np.from_dlpack(shm)
    array[0, 0] = 7
    assert shm.read()[0, 0] == 0
    assert shm.__dlpack_device__() == (1, 0)
    with thalweg.open("dlpack", readonly=True) as reader:
        assert (np.from_dlpack(reader) == shm.read()).all()
    with pytest.raises(RuntimeError, match="closed shared memory"):
        np.from_dlpack(reader)


@needs_numpy_2_1
@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint16", "int64", "float16", "float32", "complex64", "complex128"]
)
def test_a_frame_exports_its_memory(dtype):
    with thalweg.stream("dtypes", shape=(2, 5), dtype=dtype) as handle:
        handle.write(np.arange(10).reshape(2, 5) % 2)
        with handle.borrow() as frame:
            array = np.from_dlpack(frame)
            assert array.dtype == dtype
            assert np.shares_memory(array, frame.array)
            assert not array.flags.writeable
            assert (array == handle.read()).all()


@needs_numpy_2_1
def test_the_slot_is_held_as_long_as_the_tensor(shm):
    frame = shm.borrow()
    array = np.from_dlpack(frame)
    frame.release()
    del frame
    for value in range(20):
        shm.write(np.full((3, 4), value))
    assert (array == np.arange(12).reshape(3, 4)).all()
    others = [shm.borrow()]
    shm.write(np.zeros((3, 4)))
    with pytest.raises(RuntimeError, match="all 2 frames"):
        shm.borrow()
    del array
    gc.collect()
    shm.borrow().release()
    others.pop().release()


def test_capsules_nobody_consumes_give_the_slot_back(shm):
    frame = shm.borrow()
    for _ in range(100):
        frame.__dlpack__(max_version=(1, 0))
    frame.release()
    for value in range(10):
        shm.write(np.full((3, 4), value))
        shm.borrow().release()


def test_what_dlpack_cannot_do_is_refused(shm):
    with shm.borrow() as frame:
        assert frame.__dlpack_device__() == (1, 0)
        with pytest.raises(BufferError, match="read-only"):
            frame.__dlpack__()
        with pytest.raises(BufferError, match="CPU"):
            frame.__dlpack__(max_version=(1, 0), dl_device=(2, 0))
        copied = frame.__dlpack__(max_version=(1, 0), copy=True)
        assert "dltensor" in repr(copied)
    with pytest.raises(ValueError, match="released"):
        frame.__dlpack__(max_version=(1, 0))


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_torch_reads_frames_in_place(shm):
    import torch

    with shm.borrow() as frame:
        tensor = torch.from_dlpack(frame)
        assert tensor.data_ptr() == frame.array.ctypes.data
        assert tensor.sum().item() == 66
    with shm.loan() as array:
        torch.from_numpy(array).copy_(torch.ones(3, 4))
    assert (shm.read() == 1).all()
    assert torch.from_dlpack(shm).sum().item() == 12
    shm.write(torch.full((3, 4), 5.0))
    assert (shm.read() == 5).all()
