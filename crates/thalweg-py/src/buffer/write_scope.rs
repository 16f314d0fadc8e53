//! Writing a frame in place: the `with` blocks of `loan`, `write_view` and `write_view_locked`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use thalweg::shm::stream::error::{LockError, WriteError};
use thalweg::{Loan, Patience, PublishOptions, Stream};

use super::lent::Lent;
use crate::error;
use crate::interrupt::interruptible;
use crate::numpy;
use crate::time::deadline_ns;

/// What a lent slot holds to begin with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contents {
    /// Whatever was in it.
    Undefined,
    /// A copy of the newest frame; zeros before the first.
    LastFrame,
    /// Whatever was in it; readers get its rows as they are announced.
    Rows,
}

/// A `with` block that lends the slot of the next frame as a writable array. It is published when
/// the block ends, given up when the block raises. May be entered again after it ended.
///
/// Native, because Python runs signal handlers between the instructions of Python code: one that
/// raises inside an `__exit__` written in Python would leave the frame open and the lock taken.
#[pyclass(frozen, module = "thalweg", name = "Loan")]
pub(crate) struct WriteScope {
    name: String,
    stream: Arc<Stream>,
    contents: Contents,
    timeout: Option<f64>,
    frame_id: Option<u64>,
    /// The Python call that needs the lock taken before; `None` takes it.
    requires_lock: Option<String>,
    open: Mutex<Option<Open>>,
}

/// A block that was entered.
struct Open {
    /// Before the loan: the memory is taken back before the slot is given up.
    lease: Lease,
    loan: Loan,
    /// The array over the memory. NumPy hangs every array made of `view` on this one, so that its
    /// references tell how many of them are alive.
    root: Py<PyAny>,
    /// What the block gets: a view of all of `root`.
    view: Py<PyAny>,
    root_references: isize,
    lent_references: isize,
}

impl WriteScope {
    pub(crate) fn new(
        name: &str,
        stream: &Arc<Stream>,
        contents: Contents,
        timeout: Option<f64>,
        frame_id: Option<u64>,
        requires_lock: Option<&str>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            stream: Arc::clone(stream),
            contents,
            timeout,
            frame_id,
            requires_lock: requires_lock.map(str::to_owned),
            open: Mutex::new(None),
        }
    }

    /// Nothing under this lock calls into Python.
    fn open(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_loan(&self, py: Python<'_>) -> PyResult<Loan> {
        if let Some(operation) = &self.requires_lock
            && self.stream.lock_depth() == 0
        {
            return Err(error::lock_required(&self.name, operation));
        }
        let deadline_ns = deadline_ns(self.timeout)?;
        let at_once = Patience {
            deadline_ns: Some(0),
            interrupt: None,
        };
        match self.stream.loan(at_once) {
            Err(WriteError::Lock(LockError::TimedOut { .. }) | WriteError::Lagging { .. }) => {
                interruptible(
                    py,
                    |interrupt| {
                        self.stream.loan(Patience {
                            deadline_ns,
                            interrupt: Some(interrupt),
                        })
                    },
                    error::of_write,
                )
            }
            outcome => outcome.map_err(error::of_write),
        }
    }
}

impl WriteScope {
    fn enter<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if self.open().is_some() {
            return Err(PyRuntimeError::new_err(format!(
                "this block of stream {} was entered already",
                error::quoted(&self.name)
            )));
        }
        let mut loan = self.take_loan(py)?;
        if self.contents == Contents::LastFrame {
            py.detach(|| loan.copy_last()).map_err(error::of_write)?;
        }
        let memory = loan.lend().map_err(error::of_write)?;
        let lent = Bound::new(py, Lent::new(&self.stream, memory))?;
        let (shape, dtype) = (self.stream.shape(), self.stream.dtype().name());
        let root = numpy::array_over(lent.as_any(), shape, dtype)?;
        let view = root.get_item(py.Ellipsis())?;
        let lent_references = references(lent.as_any());
        let opened = Open {
            lease: Lease {
                lent: lent.unbind(),
                is_settled: false,
            },
            loan,
            lent_references,
            root_references: references(&root),
            root: root.unbind(),
            view: view.clone().unbind(),
        };
        *self.open() = Some(opened);
        Ok(view)
    }

    fn not_entered(&self) -> PyErr {
        PyRuntimeError::new_err(format!(
            "this block of stream {} was not entered, or has ended",
            error::quoted(&self.name)
        ))
    }
}

#[pymethods]
impl WriteScope {
    fn __enter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let view = slf.get().enter(slf.py())?;
        if slf.get().contents == Contents::Rows {
            return Ok(slf.clone().into_any());
        }
        Ok(view)
    }

    /// The array of the frame, inside the block.
    #[getter]
    fn array(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.open()
            .as_ref()
            .map(|open| open.view.clone_ref(py))
            .ok_or_else(|| self.not_entered())
    }

    /// Tell readers that the first `rows` rows are as they will be published.
    fn announce(&self, rows: usize) -> PyResult<()> {
        match self.open().as_mut() {
            Some(open) => open.loan.announce_rows(rows).map_err(error::of_write),
            None => Err(self.not_entered()),
        }
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        _exception: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let Some(mut open) = self.open().take() else {
            return Err(self.not_entered());
        };
        open.take_back(py, self.contents).map_err(|source| {
            error::of_write(WriteError::System {
                name: self.name.clone(),
                source,
            })
        })?;
        if !kind.is_none() {
            open.loan.abort();
            return Ok(());
        }
        let options = PublishOptions {
            frame_id: self.frame_id,
            origin_ns: None,
        };
        open.loan
            .publish(options)
            .map(drop)
            .map_err(error::of_write)
    }
}

impl Open {
    /// Ends the lending: the array of the block becomes read-only, and other views that are still
    /// alive become private copies of what they show.
    fn take_back(&mut self, py: Python<'_>, contents: Contents) -> std::io::Result<()> {
        let root = self.root.bind(py);
        let view = self.view.bind(py);
        let lent = self.lease.lent.get();
        lent.end();
        // First the root: an array over a read-only one cannot be made writable again. Both are
        // plain arrays, for which this cannot fail.
        for array in [root, view] {
            if let Err(refused) = numpy::make_read_only(array) {
                refused.write_unraisable(py, Some(array));
            }
        }
        // Counted last, because what came before may have run Python code. Arrays hang on `root`,
        // whatever else NumPy and others make of it holds `lent`, a buffer of it, or `view`.
        let is_held_elsewhere = match references(view) {
            1 => false,
            2 => contents == Contents::Rows || !is_local_variable(view),
            _ => true,
        };
        let has_survivors = is_held_elsewhere
            || references(root) > self.root_references
            || references(self.lease.lent.bind(py).as_any()) > self.lent_references
            || lent.buffers() > 0;
        if has_survivors {
            py.detach(|| lent.memory().revoke())?;
        } else {
            lent.memory().reuse();
        }
        self.lease.is_settled = true;
        Ok(())
    }
}

/// Whether a variable of the block's function is `object` itself. An array has no list of its
/// holders, and one further reference may be that variable or a view some other library made.
fn is_local_variable(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: the interpreter is attached; a borrowed reference, or null where no Python runs.
    let locals = unsafe { ffi::PyEval_GetLocals() };
    // SAFETY: null, or an object that its frame keeps alive.
    let locals = unsafe { Bound::from_borrowed_ptr_or_opt(object.py(), locals) };
    let Some(Ok(locals)) = locals.as_ref().map(|locals| locals.cast::<PyDict>()) else {
        return false;
    };
    let is_found = locals.iter().any(|(_, value)| value.is(object));
    if is_cache(locals) {
        locals.clear();
    }
    is_found
}

/// Whether `locals`, of the running function, is a dictionary that the interpreter has filled for
/// us and keeps until the function returns, with everything that its variables had when we asked.
fn is_cache(locals: &Bound<'_, PyDict>) -> bool {
    // Held by the frame and by us. What somebody else has, such as a function that called
    // `locals()`, is theirs, and so is the namespace of a module or a class.
    references(locals) == FRAME_AND_OURS && runs_function(locals.py())
}

const FRAME_AND_OURS: isize = 2;

/// `CO_OPTIMIZED` in the flags of code: its variables are no dictionary.
const OPTIMIZED: u32 = 1;

/// Whether the code that runs is that of a function, whose variables lie elsewhere than in the
/// dictionary one gets of them.
fn runs_function(py: Python<'_>) -> bool {
    // SAFETY: the interpreter is attached; a borrowed reference, or null where no Python runs.
    let frame = unsafe { ffi::PyEval_GetFrame() };
    // SAFETY: null, or an object that its thread keeps alive while the function runs.
    let frame = unsafe { Bound::from_borrowed_ptr_or_opt(py, frame.cast()) };
    let flags = frame.map(|frame| {
        let code = frame.getattr(intern!(py, "f_code"))?;
        code.getattr(intern!(py, "co_flags"))?.extract::<u32>()
    });
    matches!(flags, Some(Ok(flags)) if flags & OPTIMIZED != 0)
}

/// How many references to `object` there are.
fn references(object: &Bound<'_, PyAny>) -> isize {
    // SAFETY: `object` is alive and the interpreter is attached.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }
}

/// Memory that is out in Python programs. Where nobody could look for survivors, there may be some.
struct Lease {
    lent: Py<Lent>,
    is_settled: bool,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.is_settled {
            let lent = self.lent.get();
            lent.end();
            // Out of memory: then the survivors stay what they are, views of a slot.
            lent.memory().revoke().ok();
        }
    }
}
