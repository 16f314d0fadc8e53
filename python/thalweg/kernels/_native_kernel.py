"""Native kinds as classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from thalweg import _native
from thalweg._node_spec import check_native, node_spec
from thalweg.config import KernelConfig, SharedMemoryConfig
from thalweg.kernel import Kernel, KernelContext


class NativeKernel(Kernel):
    """A built-in kind. In a pipeline it needs no interpreter; as an object it computes on arrays.

    ```python
    kernel = ScaleCpuKernel(context)
    kernel.compute_into(image, output, {})
    ```

    Kernels with a state keep it from call to call. Arrays that are not in C order or in another
    byte order are copied on the way in and out.
    """

    input_arity: ClassVar[int | None] = None
    auxiliary_arity: ClassVar[int | None] = None
    output_arity: ClassVar[int | None] = None

    def __init__(self, context: KernelContext) -> None:
        super().__init__(context)
        base_dir = context.config_base_dir
        self._node = _native.KernelNode(node_spec(context.config, context.shared_memory, base_dir))

    @classmethod
    def validate_config(
        cls, config: KernelConfig, shared_memory: Mapping[str, SharedMemoryConfig]
    ) -> None:
        super().validate_config(config, shared_memory)
        check_native(config, shared_memory)

    def compute_into(
        self, trigger_input: Any, output: Any, auxiliary_inputs: Mapping[str, Any]
    ) -> None:
        self.compute_into_multiple(trigger_input, (output,), auxiliary_inputs)

    def compute_into_multiple(
        self, trigger_input: Any, outputs: Sequence[Any], auxiliary_inputs: Mapping[str, Any]
    ) -> None:
        config = self.context.config
        several = len(config.trigger_inputs) > 1
        triggers = list(trigger_input) if several else [trigger_input]
        auxiliary = [auxiliary_inputs[alias] for alias in config.auxiliary_aliases]
        plain = [_plain_output(output) for output in outputs]
        self._node.compute(
            [_plain(array) for array in triggers], [_plain(array) for array in auxiliary], plain, 0
        )
        for output, computed in zip(outputs, plain, strict=True):
            if computed is not output:
                np.copyto(output, computed)


def _plain(value: Any) -> Any:
    """`value` in C order, aligned, in native byte order."""
    array = np.asarray(value)
    return np.require(array, dtype=array.dtype.newbyteorder("="), requirements=("C", "A"))


def _plain_output(output: Any) -> Any:
    """`output` itself if native code can write it, else an array like it."""
    if not isinstance(output, np.ndarray):
        raise TypeError(f"an output has to be a numpy array, got {type(output).__name__}")
    if output.flags.c_contiguous and output.flags.aligned and output.dtype.isnative:
        return output
    return np.empty(output.shape, output.dtype.newbyteorder("="))
