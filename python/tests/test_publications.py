"""Publications: what comes with a frame, all of it from one write, and what was missed."""

import dataclasses
import time

import numpy as np
import pytest

import thalweg

pytestmark = pytest.mark.cpu


@pytest.fixture
def pair():
    """A writer and a reader of a stream of four floats."""
    with thalweg.stream("publications", shape=(4,)) as writer:
        with thalweg.open("publications") as reader:
            yield writer, reader


def write_numbered(writer, frames):
    """Writes `frames` more frames, each filled with its own count, which is its frame id, too."""
    for _ in range(frames):
        number = writer.count + 1
        writer.write(np.full(writer.shape, number), frame_id=number)


# One writes frames for ever, each filled with its count, and stops when the stream is unlinked.
FREE_RUNNING = """
    import sys, numpy as np, thalweg
    shm = thalweg.open(sys.argv[1])
    print("started")
    frame = np.empty(shm.shape, shm.dtype)
    while thalweg.list_streams():
        for _ in range(200):
            with shm.locked():
                number = shm.count + 1
                frame[...] = number
                shm.write_locked(frame, frame_id=number)
"""


# The record


def test_a_publication_is_a_frozen_dataclass(pair):
    writer, reader = pair
    writer.write([1, 2, 3, 4], frame_id=9)
    publication = reader.read_publication()
    assert dataclasses.is_dataclass(thalweg.Publication)
    names = [field.name for field in dataclasses.fields(thalweg.Publication)]
    expected = ["payload", "count", "frame_id", "write_time", "missed_publications"]
    assert names[:5] == expected
    for name in names:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(publication, name, None)
    with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):
        publication.another = 1


def test_the_parts_are_plain_python_values(pair):
    writer, reader = pair
    writer.write([1, 2, 3, 4], frame_id=np.uint64(9))
    publication = reader.read_publication()
    assert type(publication.payload) is np.ndarray
    assert (type(publication.count), publication.count) == (int, 1)
    assert (type(publication.frame_id), publication.frame_id) == (int, 9)
    assert (type(publication.write_time), publication.write_time) == (float, writer.write_time)
    assert (type(publication.missed_publications), publication.missed_publications) == (int, 0)
    assert type(publication.publish_ns) is type(publication.origin_ns) is int


def test_before_the_first_frame_everything_is_zero(pair):
    publication = pair[1].read_publication()
    assert publication.payload.tolist() == [0, 0, 0, 0]
    facts = dataclasses.astuple(publication)[1:]
    assert facts == (0, 0, 0.0, 0, 0, 0)


def every_way(reader, writer):
    """The publication of the next frame, as each call that returns one gives it."""
    write_numbered(writer, 1)
    yield "read_publication", reader.read_publication()
    write_numbered(writer, 1)
    yield "read_after_publication", reader.read_after_publication(writer.count - 1, timeout=30)
    out = np.empty(4, np.float32)
    write_numbered(writer, 1)
    publication = reader.read_publication(out=out)
    assert publication.payload is out
    yield "read_publication(out=)", publication
    with reader.locked():
        yield "read_publication(safe=False)", reader.read_publication(safe=False)
    yield "history", reader.history(1)[-1]


def test_all_ways_tell_the_same(pair):
    writer, reader = pair
    for way, publication in every_way(reader, writer):
        assert publication.count == publication.frame_id == writer.count, way
        assert (publication.payload == writer.count).all(), way
        assert publication.write_time == writer.write_time, way
        assert publication.publish_ns == publication.origin_ns > 0, way
        assert publication.missed_publications == 0, way


def test_times(pair):
    writer, reader = pair
    before, before_ns = time.time(), time.monotonic_ns()
    write_numbered(writer, 1)
    first = reader.read_publication()
    write_numbered(writer, 1)
    second = reader.read_publication()
    after_ns = time.monotonic_ns()
    assert before_ns <= first.publish_ns <= second.publish_ns <= after_ns
    assert before - 1 <= first.write_time <= second.write_time <= time.time() + 1


def test_payloads_are_owned_and_independent(pair):
    writer, reader = pair
    publications = []
    for _ in range(10):
        write_numbered(writer, 1)
        publications.append(reader.read_publication())
    for number, publication in enumerate(publications, 1):
        payload = publication.payload
        assert payload.flags.owndata and payload.flags.writeable and payload.flags.c_contiguous
        assert payload.tolist() == [number] * 4
        payload[...] = -1
    assert (reader.read() == 10).all()


# The frame id


@pytest.mark.parametrize(
    ("given", "stamped"),
    [
        (0, 0),
        (2**63, 2**63),
        (2**64 - 1, 2**64 - 1),
        (2**64 + 5, 5),
        (-(2**64), 0),
        (-2, 2**64 - 2),
        ("12", 12),
        (1.9, 1),
        (True, 1),
        (np.int8(-1), 2**64 - 1),
    ],
)
def test_every_call_that_writes_stamps_the_id_modulo_2_64(pair, given, stamped):
    writer, reader = pair

    def in_view(scope):
        with scope:
            pass

    calls = [
        lambda: writer.write([1, 2, 3, 4], frame_id=given),
        lambda: writer.write_locked([1, 2, 3, 4], frame_id=given),
        lambda: in_view(writer.write_view(frame_id=given)),
        lambda: in_view(writer.write_view_locked(frame_id=given)),
        lambda: in_view(writer.loan(frame_id=given)),
    ]
    for call in calls:
        with writer.locked():
            writer.write_locked([0, 0, 0, 0], frame_id=77)
            call()
        assert reader.read_publication().frame_id == reader.frame_id == stamped


def test_the_id_stays_when_none_is_given(pair):
    writer, reader = pair
    writer.write([1, 2, 3, 4], frame_id=2**64 - 1)
    for step in (
        lambda: writer.write([2, 2, 3, 4]),
        writer.clear,
        lambda: writer.write_view().__enter__(),  # dropped at once: given up
        lambda: thalweg.open("publications").write([3, 2, 3, 4]),
    ):
        step()
        assert reader.read_publication().frame_id == 2**64 - 1


@pytest.mark.parametrize("wrong", ["seven", object(), [1], float("nan"), float("inf"), b"\xff"])
def test_an_impossible_id_changes_nothing(pair, wrong):
    writer, reader = pair
    write_numbered(writer, 3)

    def in_view(scope):
        with scope:
            pass

    with writer.locked():
        for call in (
            lambda: writer.write([9, 9, 9, 9], frame_id=wrong),
            lambda: writer.write_locked([9, 9, 9, 9], frame_id=wrong),
            lambda: in_view(writer.write_view(frame_id=wrong)),
            lambda: in_view(writer.write_view_locked(frame_id=wrong)),
            lambda: in_view(writer.loan(frame_id=wrong)),
        ):
            with pytest.raises((TypeError, ValueError, OverflowError)):
                call()
            assert (reader.count, reader.frame_id, reader.write_sequence) == (3, 3, 6)
    assert reader.read().tolist() == [3, 3, 3, 3]


def test_the_id_of_a_failed_write_is_not_stamped_later(pair):
    writer, reader = pair
    with writer.locked():
        with pytest.raises(ValueError, match="expected shape"):
            writer.write_locked([1, 2], frame_id=77)
        writer.clear()
    assert reader.read_publication().frame_id == 0
    with pytest.raises(ZeroDivisionError), writer.write_view(frame_id=77):
        raise ZeroDivisionError
    writer.clear()
    assert reader.read_publication().frame_id == 0


# What was missed


def test_missed_frames_are_counted_from_the_count_at_attach(pair):
    writer, _ = pair
    write_numbered(writer, 5)
    with thalweg.open("publications") as reader:
        assert (reader.last_read_count, reader.missed_writes) == (5, 0)
        assert reader.total_missed_writes == 0
        assert reader.read_publication().missed_publications == 0
        table = [(1, 0, 0), (4, 3, 3), (0, 0, 3), (2, 1, 4), (1, 0, 4), (7, 6, 10)]
        for frames, missed, total in table:
            write_numbered(writer, frames)
            publication = reader.read_publication()
            assert publication.missed_publications == missed
            assert reader.missed_writes == missed
            assert reader.total_missed_writes == total
            assert reader.last_read_count == publication.count == writer.count


def test_a_handle_that_skips_its_first_frames_missed_them(pair):
    writer, reader = pair
    write_numbered(writer, 3)
    assert reader.read_publication().missed_publications == 2


def every_read(reader):
    """Each call that counts as a read, ready when a frame newer than the last read is there."""
    yield "read", lambda: reader.read()
    yield "read(out=)", lambda: reader.read(out=np.empty(4, np.float32))
    yield "read(out=) converted", lambda: reader.read(out=np.empty(4, np.float64))
    yield "read_publication", lambda: reader.read_publication()
    yield "read_after", lambda: reader.read_after(0)
    yield "read_after_publication", lambda: reader.read_after_publication(0)
    yield "borrow", lambda: reader.borrow().release()
    yield "borrow_after", lambda: reader.borrow_after(0).release()
    yield "dlpack", lambda: np.from_dlpack(reader)


def test_every_read_counts_and_only_reads_do(pair):
    writer, reader = pair
    for name, read in every_read(reader):
        write_numbered(writer, 3)
        read()
        assert (reader.missed_writes, reader.last_read_count) == (2, writer.count), name
        read()
        assert (reader.missed_writes, reader.last_read_count) == (0, writer.count), name
    with reader.locked():
        write_numbered(writer, 3)
        reader.read(safe=False)
        assert (reader.missed_writes, reader.last_read_count) == (2, writer.count)
    known = (reader.missed_writes, reader.last_read_count, reader.total_missed_writes)
    write_numbered(writer, 3)
    others = [
        lambda: reader.wait_for_count(after=0),
        lambda: reader.history(4),
        lambda: (reader.count, reader.frame_id, reader.write_time, reader.age),
        reader.describe,
        lambda: thalweg.stat("publications"),
        lambda: writer.read(),
    ]
    for other in others:
        other()
        assert (reader.missed_writes, reader.last_read_count, reader.total_missed_writes) == known


def test_reads_that_fail_do_not_count(pair):
    writer, reader = pair
    write_numbered(writer, 3)
    failures = [
        lambda: reader.read_new(timeout=0),
        lambda: reader.read_after(3, timeout=0),
        lambda: reader.read(out=np.empty(3, np.float32)),
        lambda: reader.read(out=np.empty(4, np.int32)),
        lambda: reader.read(out=[1, 2, 3, 4]),
        lambda: reader.read(safe=False),
        lambda: reader.read_publication(safe=False),
    ]
    for fail in failures:
        with pytest.raises((TimeoutError, ValueError, TypeError, RuntimeError)):
            fail()
    with reader.locked(), pytest.raises(ValueError, match="safe CPU reads"):
        reader.read(safe=False, out=np.empty(4, np.float32))
    assert (reader.last_read_count, reader.missed_writes, reader.total_missed_writes) == (0, 0, 0)
    assert reader.read_publication().missed_publications == 2


# Of one write, always


@pytest.mark.parametrize(("elements", "writers"), [(4, 1), (4, 4), (100_000, 1), (100_000, 2)])
def test_payload_count_and_id_belong_together(start_python, elements, writers):
    with thalweg.stream("together", shape=(elements,), dtype="float64") as reader:
        processes = [start_python(FREE_RUNNING, "together") for _ in range(writers)]
        for process in processes:
            assert process.stdout.readline() == "started\n"
        first = reader.wait_for_count(after=0, timeout=60)
        out = np.empty(elements)
        rounds = 2000 if elements < 1000 else 100
        last, missed = reader.read_publication(), 0
        for number in range(rounds):
            publication = reader.read_after_publication(
                last.count, out=out if number % 2 else None, timeout=60
            )
            assert publication.payload[0] == publication.count
            assert (publication.payload == publication.count).all()
            assert publication.frame_id == publication.count
            assert publication.count == last.count + 1 + publication.missed_publications
            assert publication.publish_ns >= last.publish_ns
            assert publication.write_time >= last.write_time
            missed += publication.missed_publications
            last = publication
            for other in reader.history(3):
                assert (other.payload == other.count).all()
                assert other.frame_id == other.count
        assert last.count >= first + rounds - 1
        assert reader.total_missed_writes >= missed
        reader.unlink()
        for process in processes:
            assert process.wait(timeout=60) == 0


def test_a_loop_over_read_after_accounts_for_every_frame(start_python):
    with thalweg.stream("accounts", shape=(4,)) as writer:
        process = start_python(
            """
            import thalweg
            reader = thalweg.open("accounts", readonly=True)
            print("ready")
            received = 0
            while True:
                frame = reader.read_after(reader.last_read_count, timeout=60)
                received += 1
                if frame[0] < 0:
                    break
            print(received, reader.total_missed_writes)
            """
        )
        assert process.stdout.readline() == "ready\n"
        for number in range(5000):
            writer.write(np.full(4, number % 100))
        writer.write([-1, 0, 0, 0])
        received, missed = (int(word) for word in process.stdout.readline().split())
        assert received + missed == writer.count == 5001
        assert process.wait(timeout=60) == 0
