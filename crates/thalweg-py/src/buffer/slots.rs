//! Arrays over the slots of the streams of a node, made once per slot and looked at again with every
//! frame that comes to lie there.

use std::io;

use pyo3::exceptions::{PyMemoryError, PyRuntimeError};
use pyo3::ffi;
use pyo3::prelude::*;
use thalweg::kernels::OwnedArray;
use thalweg::{ArrayMut, ArrayRef, LentMemory, Stream};

use super::array::Array;
use super::lent::Lent;
use super::peek::Peek;
use crate::numpy;

/// Slots of one input stream, for reading.
///
/// What a node keeps of them stays mapped and cannot be written; its contents change when the writer
/// comes round to the slot.
pub(crate) struct ReadSlots {
    stream: Stream,
    known: Vec<(usize, Py<PyAny>)>,
}

impl ReadSlots {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream,
            known: Vec::new(),
        }
    }

    /// A read-only array of what `array` shows: of its memory, if that is a slot.
    pub(crate) fn view<'py>(
        &mut self,
        py: Python<'py>,
        array: ArrayRef<'_>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let address = array.as_bytes_ptr().addr();
        let known = self.known.iter().find(|(known, _)| *known == address);
        let root = match known {
            Some((_, root)) => root.bind(py).clone(),
            None => match self.stream.peek_at(array) {
                Some(slot) => {
                    let memory = Bound::new(py, Peek::of_slot(slot))?;
                    let root = array_over(&self.stream, memory.as_any())?;
                    self.known.push((address, root.clone().unbind()));
                    root
                }
                // Private memory of the loop, which does not live as long as Python objects may.
                None => return copy_of(py, array),
            },
        };
        view_of(&root)
    }
}

/// A read-only array with a copy of what `array` shows.
fn copy_of<'py>(py: Python<'py>, array: ArrayRef<'_>) -> PyResult<Bound<'py, PyAny>> {
    let copied = own_copy(py, array)?;
    numpy::make_read_only(&copied)?;
    Ok(copied)
}

/// A writable array with a copy of what `array` shows.
pub(crate) fn own_copy<'py>(py: Python<'py>, array: ArrayRef<'_>) -> PyResult<Bound<'py, PyAny>> {
    let copy =
        OwnedArray::copy_of(array).map_err(|error| PyMemoryError::new_err(error.to_string()))?;
    let memory = Bound::new(py, Array::new(copy))?;
    numpy::asarray(memory.as_any())
}

/// Slots of one output stream, for writing.
pub(crate) struct WriteSlots {
    stream: Stream,
    known: Vec<KnownSlot>,
}

/// An array over one slot in a window of its own.
struct KnownSlot {
    address: usize,
    /// What the array is over; holds the window.
    lent: Py<Lent>,
    /// NumPy hangs every array made of its views on this one, so that its references tell how many
    /// are alive.
    root: Py<PyAny>,
    lent_references: isize,
    root_references: isize,
}

/// One slot while a node writes it.
pub(crate) struct LentSlot {
    known: usize,
    memory: LentMemory,
}

impl WriteSlots {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream,
            known: Vec::new(),
        }
    }

    /// The stream.
    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// A writable array of the slot that `array` shows, to be taken back before it is published.
    pub(crate) fn lend<'py>(
        &mut self,
        py: Python<'py>,
        array: &ArrayMut<'_>,
    ) -> PyResult<(Bound<'py, PyAny>, LentSlot)> {
        let Some(memory) = self.stream.lend_at(array)? else {
            return Err(PyRuntimeError::new_err(format!(
                "the memory to write is no slot of stream {}",
                crate::error::quoted(&self.stream.header().name)
            )));
        };
        let address = memory.address().addr().get();
        let known = self.known.iter().position(|slot| slot.address == address);
        let known = match known {
            Some(known) => known,
            None => {
                let kept = memory.clone();
                let lent = Bound::new(py, Lent::new(&self.stream, kept))?;
                let root = array_over(&self.stream, lent.as_any())?;
                self.known.push(KnownSlot {
                    address,
                    lent_references: references(lent.as_any()),
                    root_references: references(&root),
                    lent: lent.unbind(),
                    root: root.unbind(),
                });
                self.known.len() - 1
            }
        };
        let view = view_of(self.known[known].root.bind(py))?;
        Ok((view, LentSlot { known, memory }))
    }

    /// Ends the lending. What is still alive of the arrays becomes private memory, which keeps what
    /// it shows and is no part of the stream any more.
    pub(crate) fn take_back(&mut self, py: Python<'_>, slot: &LentSlot) -> io::Result<()> {
        let known = &self.known[slot.known];
        let lent = known.lent.bind(py);
        let has_survivors = references(known.root.bind(py)) > known.root_references
            || references(lent.as_any()) > known.lent_references
            || lent.get().buffers() > 0;
        if has_survivors {
            // The window is not used again, nor is any other that was made before it.
            self.known.clear();
            py.detach(|| slot.memory.revoke())
        } else {
            slot.memory.reuse();
            Ok(())
        }
    }
}

fn array_over<'py>(stream: &Stream, memory: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    numpy::array_over(memory, stream.shape(), stream.dtype().name())
}

/// An array of its own over the memory of `root`: what a node does to it, such as another shape, is
/// gone with the frame.
fn view_of<'py>(root: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    root.get_item(root.py().Ellipsis())
}

/// How many references to `object` there are.
fn references(object: &Bound<'_, PyAny>) -> isize {
    // SAFETY: `object` is alive and the interpreter is attached.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }
}
