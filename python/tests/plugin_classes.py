"""Kernels, sources and sinks for tests, as a user's module would define them."""

import collections
import ctypes
import itertools
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np

import thalweg


def note(node, text):
    """Append a line to the file that the node's parameter `notes` names."""
    with Path(node.context.config.parameters["notes"]).open("a") as file:
        file.write(f"{text}\n")


class Double(thalweg.Kernel):
    kind = "test.double"

    def compute_into(self, trigger_input, output, auxiliary_inputs):
        np.multiply(trigger_input, 2, out=output)


class Failing(Double):
    """Base of kernels that go wrong when the first element of a frame is negative."""

    def compute_into(self, trigger_input, output, auxiliary_inputs):
        if trigger_input[0] < 0:
            self.go_wrong()
        super().compute_into(trigger_input, output, auxiliary_inputs)

    def go_wrong(self):
        raise NotImplementedError


class Raising(Failing):
    kind = "test.raising"

    def go_wrong(self):
        print("printed before the end")
        raise ValueError("no such thing")


class Leaving(Failing):
    kind = "test.leaving"

    def go_wrong(self):
        sys.exit(3)


class Interrupting(Failing):
    kind = "test.interrupting"

    def go_wrong(self):
        raise KeyboardInterrupt


class Exiting(Failing):
    kind = "test.exiting"

    def go_wrong(self):
        os._exit(3)


class Crashing(Failing):
    kind = "test.crashing"

    def go_wrong(self):
        ctypes.string_at(0)


class Stuck(Failing):
    """Stays in native code, with the interpreter."""

    kind = "test.stuck"

    def go_wrong(self):
        collections.deque(itertools.repeat(None), maxlen=0)


class LeavingThreads(Failing):
    """Fails with threads that never end."""

    kind = "test.leaving_threads"

    def go_wrong(self):
        threading.Thread(target=time.sleep, args=(1000,)).start()
        raise ValueError("with threads")


class ClosingOutput(Failing):
    """Does to the standard streams what a daemon does."""

    kind = "test.closing_output"

    def go_wrong(self):
        os.close(0)
        os.close(1)
        sys.stdout = None
        raise ValueError("without output")


class Forking(Failing):
    """Forks, and lets the child come back like the parent."""

    kind = "test.forking"

    def go_wrong(self):
        self.child = os.fork()
        if self.child:
            _, status = os.waitpid(self.child, 0)
            note(self, f"child ended with {os.waitstatus_to_exitcode(status)}")


def fork_at(node, place):
    """Fork at the place the parameters name, and let the child come back like the parent."""
    if node.context.config.parameters["place"] == place:
        child = os.fork()
        if child:
            _, status = os.waitpid(child, 0)
            note(node, f"child ended with {os.waitstatus_to_exitcode(status)}")


class ForkingKernel(Double):
    kind = "test.forking_kernel"

    def __init__(self, context):
        super().__init__(context)
        fork_at(self, "init")

    def close(self):
        fork_at(self, "close")


class ForkingSource(thalweg.Source):
    kind = "test.forking_source"

    def __init__(self, context):
        super().__init__(context)
        fork_at(self, "init")

    def open(self):
        self.number = 0
        fork_at(self, "open")

    def read(self):
        self.number += 1
        if self.number > 3:
            return None
        if self.number == 2:
            fork_at(self, "call")
        return np.full(4, self.number)

    def close(self):
        note(self, "closed")
        fork_at(self, "close")


class ForkingSink(thalweg.Sink):
    kind = "test.forking_sink"

    def __init__(self, context):
        super().__init__(context)
        fork_at(self, "init")

    def open(self):
        fork_at(self, "open")

    def consume(self, value):
        if value[0] == 2:
            fork_at(self, "call")

    def close(self):
        note(self, "closed")
        fork_at(self, "close")


class Chatting(Double):
    """Prints what looks like a report, and unfinished lines, all the time."""

    kind = "test.chatting"

    def compute_into(self, trigger_input, output, auxiliary_inputs):
        print('{"report": "finished"}')
        print("half a line", end="", flush=True)
        sys.stdin.read()
        super().compute_into(trigger_input, output, auxiliary_inputs)


class Unbuildable(Double):
    kind = "test.unbuildable"

    def __init__(self, context):
        raise RuntimeError("no device")


class Closing(Double):
    kind = "test.closing"

    def close(self):
        raise RuntimeError("cannot let go")


class Keeping(thalweg.Kernel):
    """Keeps what it is lent, and writes to all of it with every later frame."""

    kind = "test.keeping"

    def __init__(self, context):
        super().__init__(context)
        self.kept = []

    def compute_into(self, trigger_input, output, auxiliary_inputs):
        for kept in self.kept:
            np.asarray(kept)[...] = -1
        output[...] = trigger_input
        how = int(trigger_input[0]) % 4
        self.kept.append(
            (output, output[1:], memoryview(output), output.base)[how]
        )


class Peeping(thalweg.Kernel):
    """Tries to write to its inputs; answers how many attempts were refused."""

    kind = "test.peeping"
    auxiliary_arity = None

    def compute_into(self, trigger_input, output, auxiliary_inputs):
        refused = 0
        try:
            trigger_input.flags.writeable = True
        except ValueError:
            refused += 1
        for array in (trigger_input, *auxiliary_inputs.values()):
            try:
                array[0] = 7
            except ValueError:
                refused += 1
            # Changes this view of the frame only.
            array.shape = (2, -1)
        output[...] = refused


class Adding(thalweg.Kernel):
    """Two triggers, auxiliary streams under aliases, two outputs."""

    kind = "test.adding"
    input_arity = 2
    auxiliary_arity = 2
    output_arity = 2

    def compute_into_multiple(self, trigger_input, outputs, auxiliary_inputs):
        left, right = trigger_input
        self.seen = getattr(self, "seen", auxiliary_inputs)
        assert self.seen is auxiliary_inputs
        outputs[0][...] = left + right + auxiliary_inputs["offset"]
        outputs[1][...] = left - right + auxiliary_inputs["never_written"]


class Counting(thalweg.Kernel):
    """Counts frames in its output."""

    kind = "test.counting"
    keeps_output = True

    def compute_into(self, trigger_input, output, auxiliary_inputs):
        output += 1


class Prepared(thalweg.Kernel):
    """Notes the order of what happens to it."""

    kind = "test.prepared"
    trial_call = True

    def warm_up(self):
        note(self, "warm up")

    def compute_into(self, trigger_input, output, auxiliary_inputs):
        note(self, f"compute {trigger_input[0]:g}")
        output[...] = trigger_input

    def close(self):
        note(self, "close")


class Numbers(thalweg.Source):
    kind = "test.numbers"

    def open(self):
        note(self, "open")
        self.number = 0

    def read(self):
        self.number += 1
        if self.number > 5:
            raise StopIteration
        # Another dtype and another layout than the stream's.
        return np.full((4, 2), self.number, np.int16)[:, 0]

    def close(self):
        note(self, "close")

    def plugin_metrics(self):
        return {"number": self.number, "device": "none", "nested": {"ratio": np.float32(0.5)}}


class Pairs(thalweg.Source):
    """Writes two streams by itself, with ids."""

    kind = "test.pairs"

    def open(self):
        self.number = 0

    def produce(self, writers):
        gain = self.read_auxiliary("gain")
        if gain is None or self.number == 3:
            return 0
        self.number += 1
        for name in ("left", "right"):
            writers[name].write(np.full(4, self.number * gain[0]), frame_id=100 + self.number)
        return 1


class Sleeper(thalweg.Source):
    """Waits for the stop in its own way."""

    kind = "test.sleeper"

    def read(self):
        note(self, f"stopped: {self.wait(1000)}, requested: {self.stop_requested()}")
        return None


class SlowSource(thalweg.Source):
    kind = "test.slow_source"

    def read(self):
        time.sleep(1000)


class WrongShape(thalweg.Source):
    kind = "test.wrong_shape"

    def read(self):
        return np.zeros(5)


class Recorder(thalweg.Sink):
    """Changes its copy, to see whether that changes the frame of others."""

    kind = "test.recorder"

    def consume(self, value):
        note(self, f"{value.tolist()}")
        value[...] = -1


class Mirror(thalweg.Sink):
    """Hands on what it gets."""

    kind = "test.mirror"

    def consume_publication(self, publication, writers):
        note(self, f"{publication.count} {publication.frame_id} {publication.missed_publications}")
        for writer in writers.values():
            writer.write(publication.payload, frame_id=publication.frame_id)


class SlowSink(thalweg.Sink):
    kind = "test.slow_sink"

    def consume(self, value):
        time.sleep(1000)


class ClosingSink(thalweg.Sink):
    kind = "test.closing_sink"

    def consume(self, value):
        pass

    def close(self):
        raise OSError("disk full")


class DuckKernel:
    """Derives from nothing."""

    kind = "test.duck"

    def __init__(self, context):
        self.factor = context.config.parameters["factor"]

    def compute_into(self, trigger_input, output, auxiliary_inputs):
        output[...] = self.factor * trigger_input
