//! A frame on loan to its writer: writable memory that nobody reads yet.

use std::ffi::c_int;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use thalweg::shm::stream::error::WriteError;
use thalweg::{PublishOptions, Stream};

use super::export::Layout;
use crate::error;

/// The slot of the next frame. Collecting it gives the slot back unpublished.
#[pyclass(frozen)]
pub(crate) struct Loan {
    name: String,
    layout: Layout,
    state: Mutex<State>,
    /// Keeps the memory mapped as long as this object lives, see `Frame`.
    _mapped: Stream,
}

struct State {
    /// Gone once published or aborted; then no buffer is given out any more.
    loan: Option<thalweg::Loan>,
    buffers: usize,
}

impl Loan {
    pub(crate) fn new(
        name: &str,
        stream: &Stream,
        mut loan: thalweg::Loan,
    ) -> Result<Self, WriteError> {
        let mut array = loan.array()?;
        let address = NonNull::new(array.as_bytes_mut_ptr()).unwrap_or(NonNull::dangling());
        let layout = Layout::new(address, array.dtype(), array.shape());
        Ok(Self {
            name: name.to_owned(),
            layout,
            state: Mutex::new(State {
                loan: Some(loan),
                buffers: 0,
            }),
            _mapped: stream.duplicate(),
        })
    }

    /// Nothing under this lock calls into Python.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn survived(&self, survivors: usize) -> PyErr {
        PyBufferError::new_err(format!(
            "the frame was not published: {survivors} view(s) of the array lent by stream {} outlive \
             the `with` block and could still change the frame; `del` them (slices, reshapes, loop \
             variables) before the block ends, or assign through the lent array itself",
            error::quoted(&self.name)
        ))
    }
}

#[pymethods]
impl Loan {
    /// Publish the slot as the newest frame. `survivors` counts arrays known to outlive the loan:
    /// with any, or with buffers that are still held, the loan is aborted instead.
    fn publish(&self, frame_id: Option<u64>, survivors: usize) -> PyResult<u64> {
        // Flag first: once the loan is taken, nobody gets a buffer any more.
        let (loan, survivors) = {
            let mut state = self.state();
            (state.loan.take(), survivors + state.buffers)
        };
        let Some(loan) = loan else {
            return Err(error::closed_loan(&self.name));
        };
        if survivors > 0 {
            loan.abort();
            return Err(self.survived(survivors));
        }
        let options = PublishOptions {
            frame_id,
            origin_ns: None,
        };
        let publication = loan.publish(options).map_err(error::of_write)?;
        Ok(publication.count)
    }

    /// Give the slot back unpublished; nothing to do if that, or the publication, happened already.
    fn abort(&self) {
        let loan = self.state().loan.take();
        drop(loan);
    }

    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let loan = slf.get();
        {
            let mut state = loan.state();
            if state.loan.is_none() {
                return Err(error::closed_loan(&loan.name));
            }
            state.buffers += 1;
        }
        // SAFETY: CPython passed `view` and `flags`. The layout is part of `slf`, which keeps the
        // memory mapped for writing.
        let filled = unsafe { loan.layout.fill(view, flags, slf.clone().into_any(), true) };
        if filled.is_err() {
            loan.state().buffers -= 1;
        }
        filled
    }

    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.state().buffers -= 1;
    }
}
