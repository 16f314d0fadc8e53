//! The `with` block that holds the locks of several streams.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use thalweg_os::clock::monotonic_ns;

use crate::error;
use crate::time::{deadline_ns_of_duration, seconds_of};

/// Locks of several handles, taken in the order of their names, so that two such blocks never wait
/// for each other, and given back in reverse. Native for the reason [`super::LockScope`] is.
#[pyclass(frozen)]
pub(crate) struct LockedMany {
    streams: Vec<Py<PyAny>>,
    timeout: Option<f64>,
    poll_interval: f64,
    /// The `locked()` blocks that were entered, in that order.
    scopes: Mutex<Vec<Py<PyAny>>>,
}

impl LockedMany {
    fn scopes(&self) -> MutexGuard<'_, Vec<Py<PyAny>>> {
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Positions of the streams in the order of their names.
    fn order(&self, py: Python<'_>) -> PyResult<Vec<usize>> {
        if !(self.poll_interval > 0.0 && self.poll_interval.is_finite()) {
            return Err(PyValueError::new_err(format!(
                "poll_interval must be a positive number of seconds, got {}",
                self.poll_interval
            )));
        }
        let mut named = Vec::with_capacity(self.streams.len());
        for (position, stream) in self.streams.iter().enumerate() {
            let name: String = stream.bind(py).getattr(intern!(py, "name"))?.extract()?;
            named.push((name, position));
        }
        named.sort();
        if let Some(pair) = named.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(PyValueError::new_err(format!(
                "the streams of locked_many must be unique, {} is given twice",
                error::quoted(&pair[0].0)
            )));
        }
        Ok(named.into_iter().map(|(_, position)| position).collect())
    }

    /// Leaves all entered blocks, last first; whether one of them swallowed the exception.
    fn leave<'py>(&self, py: Python<'py>, mut exception: [Bound<'py, PyAny>; 3]) -> PyResult<bool> {
        let mut is_swallowed = false;
        let mut failure = None;
        let entered: Vec<Py<PyAny>> = self.scopes().drain(..).collect();
        for scope in entered.into_iter().rev() {
            let arguments = (&exception[0], &exception[1], &exception[2]);
            let left = scope
                .bind(py)
                .call_method1(intern!(py, "__exit__"), arguments)
                .and_then(|answer| answer.is_truthy());
            match left {
                Ok(swallows) => {
                    if swallows && !exception[0].is_none() {
                        is_swallowed = true;
                        exception = std::array::from_fn(|_| py.None().into_bound(py));
                    }
                }
                // All locks are given back, whatever one of them says.
                Err(raised) => failure = Some(raised),
            }
        }
        failure.map_or(Ok(is_swallowed), Err)
    }
}

#[pymethods]
impl LockedMany {
    #[new]
    fn new(streams: Vec<Py<PyAny>>, timeout: Option<f64>, poll_interval: f64) -> Self {
        Self {
            streams,
            timeout,
            poll_interval,
            scopes: Mutex::new(Vec::new()),
        }
    }

    fn __enter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        if !self.scopes().is_empty() {
            return Err(PyRuntimeError::new_err(
                "this locked_many block was entered already",
            ));
        }
        let deadline_ns = deadline_ns_of_duration(self.timeout)?;
        for position in self.order(py)? {
            let remaining =
                deadline_ns.map(|deadline| seconds_of(deadline.saturating_sub(monotonic_ns())));
            let arguments = PyDict::new(py);
            arguments.set_item("timeout", remaining)?;
            arguments.set_item("poll_interval", self.poll_interval)?;
            let entered = self.streams[position]
                .bind(py)
                .call_method("locked", (), Some(&arguments))
                .and_then(|scope| {
                    scope.call_method0(intern!(py, "__enter__"))?;
                    Ok(scope)
                });
            match entered {
                Ok(scope) => self.scopes().push(scope.unbind()),
                Err(refused) => {
                    let exception = [
                        refused.get_type(py).into_any(),
                        refused.value(py).clone().into_any(),
                        py.None().into_bound(py),
                    ];
                    if let Err(raised) = self.leave(py, exception) {
                        raised.set_cause(py, Some(refused));
                        return Err(raised);
                    }
                    return Err(refused);
                }
            }
        }
        PyTuple::new(py, self.streams.iter().map(|stream| stream.bind(py)))
    }

    fn __exit__<'py>(
        &self,
        py: Python<'py>,
        kind: Bound<'py, PyAny>,
        exception: Bound<'py, PyAny>,
        traceback: Bound<'py, PyAny>,
    ) -> PyResult<bool> {
        self.leave(py, [kind, exception, traceback])
    }
}
