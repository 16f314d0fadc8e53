"""What can be found out about streams and handles, and the exact form of the answers."""

import inspect
import json
import math
import os
import re
import time

import numpy as np
import pytest

import thalweg

pytestmark = pytest.mark.cpu


@pytest.fixture
def shm():
    with thalweg.stream("inspected", shape=(2, 3), dtype="int16") as handle:
        yield handle


# The surface itself

REQUIRED = inspect.Parameter.empty
CREATION = {
    "shape": REQUIRED,
    "dtype": np.float32,
    "size": None,
    "gpu_device": None,
    "cpu_mirror": None,
}
WAITING = {"timeout": None, "safe": True, "poll_interval": 1e-5, "out": None}
READING = {"safe": True, "poll_interval": 1e-6, "out": None, "timeout": None}
KEYWORDS = {
    "create": CREATION | {"auto_unlink": False, "notify": False},
    "open": {"gpu_device": None, "readonly": False},
    "stream": CREATION,
    "locked_many": {"timeout": None, "poll_interval": 1e-3},
    "purge": {"include_cuda_orphans": False},
    "SharedMemory.write": {"frame_id": None},
    "SharedMemory.write_locked": {"frame_id": None},
    "SharedMemory.write_view": {"timeout": None, "frame_id": None},
    "SharedMemory.write_view_locked": {"frame_id": None},
    "SharedMemory.read": READING,
    "SharedMemory.read_publication": READING,
    "SharedMemory.read_new": WAITING,
    "SharedMemory.read_new_publication": WAITING,
    "SharedMemory.read_after": WAITING,
    "SharedMemory.read_after_publication": WAITING,
    "SharedMemory.read_new_async": WAITING,
    "SharedMemory.wait_for_count": {"after": REQUIRED, "timeout": None, "poll_interval": 1e-5},
    "SharedMemory.acquire": {"timeout": None, "poll_interval": 1e-3},
    "SharedMemory.locked": {"timeout": None, "poll_interval": 1e-3},
    "SharedMemory.close": {"timeout": 5.0},
    "SharedMemory.__dlpack__": {"stream": None},
}
POSITIONAL = {
    "create": ["name"],
    "open": ["name"],
    "stream": ["name"],
    "unlink": ["name"],
    "unlink_quiet": ["name"],
    "stat": ["name"],
    "list_streams": [],
    "purge": [],
    "gpu_available": [],
    "locked_many": ["streams"],
    "SharedMemory.write": ["value"],
    "SharedMemory.write_locked": ["value"],
    "SharedMemory.write_view": [],
    "SharedMemory.read": [],
    "SharedMemory.read_after": ["after"],
    "SharedMemory.read_after_publication": ["after"],
    "SharedMemory.wait_for_count": [],
    "SharedMemory.is_stale": ["max_age"],
    "SharedMemory.create_from_config": ["config"],
    "SharedMemory.release": [],
    "SharedMemory.clear": [],
    "SharedMemory.describe": [],
    "SharedMemory.to_config": [],
    "SharedMemory.producer_alive": [],
    "SharedMemory.pinned_buffer": [],
    "SharedMemory.unlink": [],
    "SharedMemory.delete": [],
}


def parameters_of(path):
    found = thalweg
    for part in path.split("."):
        found = getattr(found, part)
    parameters = inspect.signature(found).parameters.values()
    return [parameter for parameter in parameters if parameter.name != "self"]


@pytest.mark.parametrize("path", KEYWORDS)
def test_keywords_and_defaults(path):
    found = {p.name: p.default for p in parameters_of(path) if p.kind is p.KEYWORD_ONLY}
    assert {name: found[name] for name in KEYWORDS[path]} == KEYWORDS[path]
    # What is new beside them is optional.
    assert all(found[name] is not REQUIRED for name in set(found) - set(KEYWORDS[path]))


@pytest.mark.parametrize("path", POSITIONAL)
def test_positional_arguments(path):
    positional = [p.name for p in parameters_of(path) if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == POSITIONAL[path]


def test_the_module():
    names = """create open unlink stream list_streams purge stat locked_many gpu_available
        GPU_SUPPORTED_DTYPES SharedMemory Publication InconsistentStreamError StaleStreamError
        __version__""".split()
    assert set(names) <= set(thalweg.__all__)
    assert all(hasattr(thalweg, name) for name in thalweg.__all__)
    assert re.match(r"\d+\.\d+", thalweg.__version__)
    for error in (thalweg.InconsistentStreamError, thalweg.StaleStreamError):
        assert issubclass(error, RuntimeError)
        assert error.__module__.partition(".")[0] == "thalweg"
        assert error is getattr(thalweg.errors, error.__name__)


def test_no_gpu_here():
    assert thalweg.gpu_available() is False
    assert type(thalweg.GPU_SUPPORTED_DTYPES) is frozenset
    assert {dtype.name for dtype in thalweg.GPU_SUPPORTED_DTYPES} == {
        *("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8")
    }
    assert all(isinstance(dtype, np.dtype) for dtype in thalweg.GPU_SUPPORTED_DTYPES)


@pytest.mark.parametrize(
    ("device", "dtype", "error"),
    [
        ("cuda", "float32", RuntimeError),
        ("cuda:0", "float32", RuntimeError),
        (0, "float32", RuntimeError),
        ("cpu", "float32", ValueError),
        ("cuda:x", "float32", ValueError),
        (-1, "float32", ValueError),
        (True, "float32", ValueError),
        ("cuda:0", "bool", ValueError),
        ("cuda:0", "uint16", ValueError),
        ("cuda:0", "complex64", ValueError),
    ],
)
def test_gpu_streams_are_refused_before_anything_is_made(device, dtype, error):
    for cpu_mirror in (None, False, True):
        with pytest.raises(error, match="gpu_device|not supported on a GPU"):
            thalweg.create(
                "gpu", shape=(2,), dtype=dtype, gpu_device=device, cpu_mirror=cpu_mirror
            )
    assert thalweg.list_streams() == []


def test_gpu_arguments_do_not_matter_on_the_cpu(run_python):
    with thalweg.stream("cpu", shape=(2,), cpu_mirror=False, gpu_device=None) as shm:
        assert shm.cpu_mirror is True
        for device in (None, False, "cuda:0", 7, "cpu"):
            with thalweg.open("cpu", gpu_device=device) as handle:
                assert (handle.gpu_device, handle.gpu_enabled) == (None, False)
                assert handle.cpu_mirror is True
        output = run_python(
            """
            import sys, numpy as np, thalweg
            shm = thalweg.open("cpu")
            shm.write([1, 2])
            shm.read(), np.from_dlpack(shm), shm.describe(), thalweg.gpu_available()
            thalweg.stat("cpu"), thalweg.GPU_SUPPORTED_DTYPES
            print("torch" in sys.modules)
            """
        )
        assert output == "False\n"


def test_a_handle_is_no_array(shm):
    for name in ("__array__", "__array_interface__", "__cuda_array_interface__", "__len__",
                 "__iter__", "__getitem__", "create", "open"):  # fmt: skip
        assert not hasattr(shm, name), name
    array = np.asarray(shm)
    assert (array.shape, array.dtype) == ((), object)
    with pytest.raises(TypeError, match="bytes-like"):
        memoryview(shm)


# Attributes


def test_types_of_attributes(shm):
    shm.write(np.ones((2, 3)))
    shm.read()
    types = {
        "name": str,
        "shape": tuple,
        "size": int,
        "gpu_device": type(None),
        "gpu_enabled": bool,
        "cpu_mirror": bool,
        "owner": bool,
        "readonly": bool,
        "notify": bool,
        "instance_id": str,
        "count": int,
        "write_sequence": int,
        "write_time": float,
        "frame_id": int,
        "creator_pid": int,
        "age": float,
        "last_read_count": int,
        "missed_writes": int,
        "total_missed_writes": int,
    }
    for name, expected in types.items():
        assert type(getattr(shm, name)) is expected, name
        with pytest.raises(AttributeError):
            setattr(shm, name, None)
    assert isinstance(shm.dtype, np.dtype)
    assert [type(extent) for extent in shm.shape] == [int, int]
    assert shm.size == 12
    assert shm.creator_pid == os.getpid()


LIVE = """count write_sequence write_time frame_id creator_pid age last_read_count missed_writes
    total_missed_writes""".split()
STEADY = """name shape dtype size gpu_device gpu_enabled cpu_mirror owner readonly instance_id
    notify slots""".split()


@pytest.mark.parametrize("how", ["close", "unlink"])
def test_a_closed_handle_still_knows_what_it_was(how):
    shm = thalweg.create("closed", shape=(2,), notify=True)
    before = {name: getattr(shm, name) for name in STEADY}
    text = repr(shm)
    getattr(shm, how)()
    assert {name: getattr(shm, name) for name in STEADY} == before
    assert repr(shm) == text
    for name in LIVE:
        with pytest.raises(RuntimeError, match=r"closed shared memory 'closed'.*open\('closed'\)"):
            getattr(shm, name)
    thalweg.unlink("closed")


def test_every_live_operation_of_a_closed_handle_says_so():
    shm = thalweg.create("closed", shape=(2,))
    shm.unlink()
    uses = {
        "write": lambda: shm.write([1, 2]),
        "write_locked": lambda: shm.write_locked([1, 2]),
        "write, converted": lambda: shm.write(["1", "2"]),
        "write_view": lambda: shm.write_view().__enter__(),
        "write_view_locked": lambda: shm.write_view_locked().__enter__(),
        "loan": lambda: shm.loan().__enter__(),
        "clear": shm.clear,
        "pinned_buffer": shm.pinned_buffer,
        "read": shm.read,
        "read unsafe": lambda: shm.read(safe=False),
        "read_publication": shm.read_publication,
        "read_new": lambda: shm.read_new(timeout=0),
        "read_new unsafe": lambda: shm.read_new(timeout=0, safe=False),
        "read_new_publication": lambda: shm.read_new_publication(timeout=0),
        "read_after": lambda: shm.read_after(0, timeout=0),
        "read_after_publication": lambda: shm.read_after_publication(0, timeout=0),
        "wait_for_count": lambda: shm.wait_for_count(after=0, timeout=0),
        "history": lambda: shm.history(1),
        "borrow": shm.borrow,
        "borrow_after": lambda: shm.borrow_after(0, timeout=0),
        "acquire": shm.acquire,
        "release": shm.release,
        "locked": lambda: shm.locked().__enter__(),
        "locked_many": lambda: thalweg.locked_many([shm]).__enter__(),
        "wait_any": lambda: thalweg.wait_any([(shm, 0)]),
        "describe": shm.describe,
        "is_stale": lambda: shm.is_stale(1),
        "producer_alive": shm.producer_alive,
        "to_config": shm.to_config,
        "dlpack": lambda: shm.__dlpack__(),
        "from_dlpack": lambda: np.from_dlpack(shm),
        "reduce": lambda: shm.__reduce__(),
    }
    for name, use in uses.items():
        with pytest.raises(RuntimeError, match=r"closed shared memory 'closed'"):
            pytest.fail(f"{name} returned {use()!r}")


def test_repr(shm):
    expected = "SharedMemory(name='inspected', shape=(2, 3), dtype='int16', gpu_device=None)"
    assert repr(shm) == str(shm) == expected
    with thalweg.stream('a"b\\c', shape=(1,)) as odd:
        assert repr(odd).startswith(f"SharedMemory(name={odd.name!r}, shape=(1,), ")


# describe


def test_describe_of_a_new_stream(shm):
    lines = [
        "name:         inspected",
        "shape:        (2, 3)",
        "dtype:        int16",
        "size:         12 bytes",
        "gpu_enabled:  False",
        "gpu_device:   None",
        "cpu_mirror:   True",
        "count:        0",
        "write_time:   0.0",
        "write_seq:    0",
        "owner:        True",
        "readonly:     False",
        f"creator_pid:  {os.getpid()}",
        "producer:     alive",
        "age:          never written",
        "notify:       False",
    ]
    assert shm.describe() == "\n".join(lines)


def test_describe_of_a_written_stream(shm):
    shm.write(np.ones((2, 3)))
    with thalweg.open("inspected", readonly=True) as reader:
        lines = dict(line.split(":", 1) for line in reader.describe().splitlines())
        assert all(len(label) + 1 <= 14 for label in lines)
        assert len(lines) == 16
        values = {label: value.strip() for label, value in lines.items()}
        assert values["count"] == "1"
        assert values["write_seq"] == "2"
        assert values["owner"] == "False"
        assert values["readonly"] == "True"
        assert float(values["write_time"]) == reader.write_time
        assert re.fullmatch(r"\d+\.\d+ s", values["age"])


# stat


def test_stat(shm):
    keys = """name shape dtype size gpu_enabled gpu_device cpu_mirror notify instance_id creator_pid
        creator_alive count write_sequence write_time""".split()
    expected = {
        "name": "inspected",
        "shape": [2, 3],
        "dtype": "int16",
        "size": 12,
        "gpu_enabled": False,
        "gpu_device": None,
        "cpu_mirror": True,
        "notify": False,
        "instance_id": shm.instance_id,
        "creator_pid": os.getpid(),
        "creator_alive": True,
        "count": 0,
        "write_sequence": 0,
        "write_time": 0.0,
    }
    facts = thalweg.stat("inspected")
    assert list(facts) == keys
    assert facts == expected
    assert {key: type(value) for key, value in facts.items()} == {
        key: type(value) for key, value in expected.items()
    }
    assert json.loads(json.dumps(facts)) == facts
    shm.write(np.ones((2, 3)))
    facts = thalweg.stat("inspected")
    assert (facts["count"], facts["write_sequence"]) == (1, 2)
    assert facts["write_time"] == shm.write_time
    with shm.write_view():
        assert thalweg.stat("inspected")["write_sequence"] == 3
    with pytest.raises(FileNotFoundError, match="does not exist"):
        thalweg.stat("absent")
    for wrong in ("", None, 5, "x" * 257):
        with pytest.raises(ValueError):
            thalweg.stat(wrong)


def test_notify_is_remembered():
    with thalweg.stream("notifies", shape=(1,), notify=True) as shm:
        with thalweg.open("notifies") as reader:
            assert shm.notify is reader.notify is True
            assert thalweg.stat("notifies")["notify"] is True
            assert "notify:       True" in reader.describe()
            assert reader.to_config()["notify"] is True


# The sequence


def test_the_sequence_tells_rest_work_and_failure(shm):
    with thalweg.open("inspected", readonly=True) as reader:
        assert reader.write_sequence == 0
        for count in range(1, 6):
            with shm.write_view():
                assert reader.write_sequence == 2 * count - 1
            assert reader.write_sequence == 2 * count == 2 * reader.count
        with pytest.raises(ZeroDivisionError), shm.write_view():
            raise ZeroDivisionError
        assert reader.write_sequence == 10, "the last frame is as good as before"
    with thalweg.stream("strict", shape=(1,), on_abort="invalidate") as strict:
        for count in range(3):
            with pytest.raises(ZeroDivisionError), strict.write_view():
                raise ZeroDivisionError
            assert strict.write_sequence < 0
            strict.clear()
            assert strict.write_sequence == 2 * (count + 1)


def test_the_sequence_of_another_processs_frame(shm, start_python):
    process = start_python(
        """
        import thalweg
        shm = thalweg.open("inspected")
        with shm.write_view():
            print("begun")
            input()
        print("done")
        """
    )
    assert process.stdout.readline() == "begun\n"
    assert shm.write_sequence == 1
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "done\n"
    assert shm.write_sequence == 2
    assert process.wait(timeout=30) == 0


# Age, staleness, producers


def test_age(shm):
    assert shm.age == math.inf
    assert shm.is_stale(1e300), "never written is stale"
    began = time.monotonic()
    shm.write(np.ones((2, 3)))
    first = shm.age
    assert 0 <= first <= time.monotonic() - began
    assert shm.age >= first
    assert not shm.is_stale(3600)
    assert shm.is_stale(1e-9)
    for wrong in (0, -1, 0.0, -math.inf, math.nan):
        with pytest.raises(ValueError, match="max_age must be positive"):
            shm.is_stale(wrong)


def test_a_step_of_the_wall_clock_is_no_age(shm, monkeypatch):
    shm.write(np.ones((2, 3)))
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert 0 <= shm.age < 3600


def test_a_dead_creator(run_python):
    pid = int(
        run_python(
            """
            import os, thalweg
            shm = thalweg.create("orphan", shape=(2,))
            shm.write([1, 2])
            assert shm.producer_alive()
            print(os.getpid())
            """
        )
    )
    with thalweg.open("orphan") as shm:
        assert shm.producer_alive() is False
        assert shm.creator_pid == pid
        assert "producer:     dead" in shm.describe()
        assert f"creator_pid:  {pid}" in shm.describe()
        facts = thalweg.stat("orphan")
        assert (facts["creator_pid"], facts["creator_alive"]) == (pid, False)
        assert not shm.owner
        assert shm.read().tolist() == [1, 2]
        shm.write([3, 4])
        shm.unlink()


# Configurations


def test_a_configuration_makes_such_a_stream_again():
    options = {"shape": (2, 3), "dtype": np.complex64, "notify": True, "slots": 7}
    with thalweg.stream("config", **options, on_abort="invalidate") as shm:
        config = shm.to_config()
        old = shm.instance_id
    assert {key: config[key] for key in list(config)[:6]} == {
        "name": "config",
        "shape": [2, 3],
        "dtype": "complex64",
        "gpu_device": None,
        "cpu_mirror": True,
        "notify": True,
    }
    config = json.loads(json.dumps(config))
    with thalweg.SharedMemory.create_from_config(config) as again:
        assert (again.shape, again.dtype, again.slots) == ((2, 3), np.complex64, 7)
        assert again.to_config() == config
        assert again.owner and again.instance_id != old
        with pytest.raises(FileExistsError, match="already exists"):
            thalweg.SharedMemory.create_from_config(config)
        with pytest.raises(ZeroDivisionError), again.write_view():
            raise ZeroDivisionError
        with pytest.raises(thalweg.InconsistentStreamError):
            again.read()
        again.unlink()


def test_the_plain_configuration_has_six_entries(shm):
    assert list(shm.to_config()) == [
        *("name", "shape", "dtype", "gpu_device", "cpu_mirror", "notify")
    ]


def test_name_and_shape_are_enough():
    with thalweg.SharedMemory.create_from_config({"name": "small", "shape": [4]}) as shm:
        assert (shm.shape, shm.dtype, shm.notify) == ((4,), np.float32, False)
        shm.unlink()
    for config in ({}, {"name": "small"}, {"shape": [4]}, {"name": "s", "shape": [4], "odd": 1}):
        with pytest.raises(TypeError):
            thalweg.SharedMemory.create_from_config(config)
    assert thalweg.list_streams() == []


# DLPack


def test_dlpack_hands_out_owned_copies(shm):
    shm.write(np.ones((2, 3)))
    with thalweg.open("inspected", readonly=True) as reader:
        assert reader.__dlpack_device__() == (1, 0)
        first = np.from_dlpack(reader)
        shm.write(np.full((2, 3), 2))
        second = np.from_dlpack(reader, copy=True)
        third = np.from_dlpack(reader, device="cpu")
    assert (first == 1).all() and (second == 2).all() and (third == 2).all()
    assert first.dtype == np.int16 and first.shape == (2, 3)
    for copy in (first, second):
        if copy.flags.writeable:
            copy[...] = 9
    assert (shm.read() == 2).all()
    with pytest.raises((BufferError, ValueError, RuntimeError)):
        shm.__dlpack__(stream=1)
    with pytest.raises((BufferError, ValueError)):
        shm.__dlpack__(dl_device=(2, 0))


# Discovery


def test_names_are_listed_sorted_and_as_given():
    names = ["z", "a", "Ünïcödé ✓", "a/b", "%", ".", "..", "ps_123", "thalweg.q"]
    names += ["é" * 128, "x" * 256]
    handles = [thalweg.create(name, shape=(1,)) for name in names]
    assert thalweg.list_streams() == sorted(names)
    assert {thalweg.stat(name)["name"] for name in names} == set(names)
    assert thalweg.purge() == sorted(names)
    assert thalweg.list_streams() == []
    for handle in handles:
        handle.close()


def test_strangers_files_are_neither_listed_nor_purged(shared_memory_folder):
    strangers = {
        "ps_0123456789abcd": b"PYSHMEM\0" + bytes(504),
        "psm_deadbeef": b"x" * 100,
        "thalweg.garbage": b"garbage",
        "thalweg.empty": b"",
        "thalweg.zeros": bytes(1 << 16),
        "cuda.shm.0.1.2": b"",
    }
    for name, contents in strangers.items():
        (shared_memory_folder / name).write_bytes(contents)
    with thalweg.stream("mine", shape=(1,)):
        assert thalweg.list_streams() == ["mine"]
        for name in ("garbage", "empty", "zeros"):
            with pytest.raises(ValueError, match=name):
                thalweg.open(name)
            with pytest.raises(ValueError, match=name):
                thalweg.stat(name)
            with pytest.raises(FileExistsError, match="already exists"):
                thalweg.create(name, shape=(1,))
        assert thalweg.purge(dry_run=True) == ["mine"]
    assert thalweg.purge() == []
    assert {path.name for path in shared_memory_folder.iterdir()} >= set(strangers)
    for name in ("garbage", "empty", "zeros"):
        thalweg.unlink(name)  # By its name everything can be removed.
    for name in strangers:
        (shared_memory_folder / name).unlink(missing_ok=True)
