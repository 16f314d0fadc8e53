"""What two do at once to one stream, over and over. In processes of their own, under a watchdog."""

import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.cpu

WATCHDOG_S = 60


def run_racing(script):
    """Runs `script` in a process of its own; a hang is a failure."""
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=WATCHDOG_S,
    )
    assert process.returncode == 0, process.stdout + process.stderr


def test_a_handle_that_is_closed_while_it_takes_the_lock_does_not_keep_it():
    run_racing(
        """
        import sys
        import threading

        import thalweg

        sys.setswitchinterval(1e-5)
        stream = thalweg.create("racing", shape=(1,))
        refused = 0
        for _ in range(500):
            handle = thalweg.open("racing")
            stream.acquire()
            begin = threading.Barrier(3)
            told = []

            def take():
                begin.wait()
                try:
                    handle.acquire(timeout=30)
                    handle.release()
                except RuntimeError as error:
                    told.append(str(error))

            def close():
                begin.wait()
                while True:
                    try:
                        return handle.close()
                    except RuntimeError as error:
                        assert "another thread owns its lock" in str(error), error

            threads = [threading.Thread(target=work) for work in (take, close)]
            for thread in threads:
                thread.start()
            begin.wait()
            stream.release()
            for thread in threads:
                thread.join()
            assert all("closed shared memory" in message for message in told), told
            refused += len(told)
            # The closed handle is still there, and must not be the holder.
            stream.acquire(timeout=5)
            stream.release()
        assert refused > 0, "no handle was closed in time"
        stream.unlink()
        """
    )


def test_a_handle_that_is_closed_while_it_waits_for_the_lock_does_not_get_it():
    run_racing(
        f"""
        import sys

        sys.path.insert(0, {str(__file__).rsplit("/", 1)[0]!r})

        from waiting_thread import WaitingThread

        import thalweg

        stream = thalweg.create("racing", shape=(1,))
        for _ in range(50):
            handle = thalweg.open("racing")
            stream.acquire()
            waiting = WaitingThread(lambda: handle.acquire(timeout=30)).until_asleep()
            handle.close()
            stream.release()
            error = waiting.error()
            assert type(error) is RuntimeError and "closed shared memory" in str(error), error
            stream.acquire(timeout=5)
            stream.release()
        stream.unlink()
        """
    )


def test_rows_of_a_borrowed_frame_stay_there_while_writers_come_by():
    """A writer marks the slot of a borrowed frame for a moment, before it sees that it is."""
    run_racing(
        """
        import subprocess
        import sys
        import textwrap

        import numpy as np

        import thalweg

        WRITING = '''
        import numpy as np

        import thalweg

        stream = thalweg.open("racing")
        frame = np.zeros((4, 2), np.float32)
        for _ in range(1_000_000):
            stream.write(frame)
        '''
        stream = thalweg.create("racing", shape=(4, 2), slots=3, progressive=True)
        stream.write(np.ones((4, 2)))
        part = stream.read_rows(2)
        reads = 0
        with stream.borrow() as frame:
            assert frame.count == part.count == 1
            writer = subprocess.Popen([sys.executable, "-c", textwrap.dedent(WRITING)])
            while writer.poll() is None:
                more = stream.read_rows(4, start=2, more_of=part, timeout=10)
                assert more.payload.tolist() == [[1, 1], [1, 1]], more
                assert more.is_complete and more.count == 1
                reads += 1
            assert writer.returncode == 0
            assert reads > 0 and stream.count == 1_000_001
        stream.unlink()
        """
    )
