//! Waiting for a stream whose contents do not matter.

use std::time::Duration;

use thalweg_kernels::{NodeError, SourceContext, StreamSpec};
use thalweg_shm::array::element_count;
use thalweg_shm::{ArrayMut, DType, Element};

/// Waits until auxiliary stream `index`, specified by `stream`, has any publication; false on
/// time-out or stop. Complex streams are refused when the node is built.
pub(crate) fn wait_for_publication(
    context: &mut dyn SourceContext,
    index: usize,
    stream: &StreamSpec,
    timeout: Duration,
) -> Result<bool, NodeError> {
    let wait = match stream.dtype {
        DType::Int8 => wait_as::<i8>,
        DType::Int16 => wait_as::<i16>,
        DType::Int32 => wait_as::<i32>,
        DType::Int64 => wait_as::<i64>,
        DType::Uint8 | DType::Bool => wait_as::<u8>,
        DType::Uint16 => wait_as::<u16>,
        DType::Uint32 => wait_as::<u32>,
        DType::Uint64 => wait_as::<u64>,
        DType::Float16 => wait_as::<half::f16>,
        DType::Float32 => wait_as::<f32>,
        DType::Float64 | DType::Complex64 | DType::Complex128 => wait_as::<f64>,
    };
    wait(context, index, &stream.shape, timeout)
}

/// The copy that comes with the wait goes to memory of the stream's own type, and is dropped.
fn wait_as<T: Element>(
    context: &mut dyn SourceContext,
    index: usize,
    shape: &[usize],
    timeout: Duration,
) -> Result<bool, NodeError> {
    let mut elements = vec![T::default(); element_count(shape)];
    let mut copy = ArrayMut::from_slice(&mut elements, shape);
    let found = context.wait_auxiliary(index, 0, timeout, &mut copy)?;
    Ok(found.is_some())
}
