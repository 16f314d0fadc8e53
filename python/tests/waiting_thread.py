"""A thread that is certain to sleep in a stream before the test goes on."""

import os
import threading
import time

WATCHDOG_S = 30
_FUTEX_WAITV = "449"


class WaitingThread:
    """Calls `wait` in a thread of its own and keeps what it returns or raises."""

    def __init__(self, wait):
        self._value = None
        self._error = None
        self._thread = threading.Thread(target=self._run, args=(wait,), daemon=True)
        self._thread.start()

    def _run(self, wait):
        try:
            self._value = wait()
        except BaseException as error:
            self._error = error

    def until_asleep(self):
        """Returns once the kernel says that the thread sleeps on a word of some stream."""
        deadline = time.monotonic() + WATCHDOG_S
        while not _sleeps_on_a_stream(self._thread.native_id):
            assert self._thread.is_alive(), f"it did not wait: {self._value!r}, {self._error!r}"
            assert time.monotonic() < deadline, "the thread never began to wait"
        return self

    def _join(self):
        self._thread.join(timeout=WATCHDOG_S)
        assert not self._thread.is_alive(), "the wait goes on"

    def value(self):
        """What the call returned."""
        self._join()
        if self._error is not None:
            raise self._error
        return self._value

    def error(self):
        """What the call raised."""
        self._join()
        assert self._error is not None, f"it returned {self._value!r}"
        return self._error


def _sleeps_on_a_stream(thread_id):
    # Of a thread in a system call: its number, its arguments, stack pointer, program counter.
    try:
        with open(f"/proc/self/task/{thread_id}/syscall") as file:
            number, *arguments = file.read().split()
    except OSError:
        return False
    if not arguments:
        return False
    if number == _FUTEX_WAITV:
        return True
    word = int(arguments[0], 16)
    with open("/proc/self/maps") as maps:
        for line in maps:
            if os.environ["THALWEG_SHM_DIR"] in line:
                begin, end = (int(bound, 16) for bound in line.split()[0].split("-"))
                if begin <= word < end:
                    return True
    return False
