//! A Python kernel as a kernel.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};
use thalweg::kernels::{FrameInputs, Kernel, NodeError};
use thalweg::pipeline::runtime::Assignment;
use thalweg::{ArrayMut, Stream};

use super::own_process::OwnProcess;
use super::raised::{finalized, raised};
use crate::buffer::slots::{LentSlot, ReadSlots, WriteSlots};

pub(super) struct PythonKernel {
    /// `compute_into` or `compute_into_multiple` of the object.
    compute: Py<PyAny>,
    /// Whether it takes all outputs, as a list.
    takes_list: bool,
    /// Whether an output begins as the frame before.
    keeps_output: bool,
    triggers: Vec<ReadSlots>,
    auxiliary: Vec<Auxiliary>,
    /// Auxiliary arrays by alias; the same object for every frame.
    by_alias: Py<PyDict>,
    outputs: Vec<WriteSlots>,
    process: OwnProcess,
}

struct Auxiliary {
    alias: Py<PyString>,
    slots: ReadSlots,
}

impl PythonKernel {
    pub(super) fn new(
        runner: &Bound<'_, PyAny>,
        assignment: &Assignment<'_>,
        process: OwnProcess,
    ) -> PyResult<Self> {
        let py = runner.py();
        let open = |name: &String| -> PyResult<Stream> {
            let opened = assignment.directory.open(name);
            opened.map_err(crate::error::of_open)
        };
        let aliases = assignment.spec.auxiliary.iter();
        let auxiliary = aliases
            .zip(assignment.auxiliary)
            .map(|(bound, name)| {
                Ok(Auxiliary {
                    alias: PyString::new(py, &bound.alias).unbind(),
                    slots: ReadSlots::new(open(name)?),
                })
            })
            .collect::<PyResult<_>>()?;
        let triggers = assignment.inputs.iter();
        let outputs = assignment.outputs.iter();
        Ok(Self {
            compute: runner.getattr("compute")?.unbind(),
            takes_list: runner.getattr("takes_list")?.extract()?,
            keeps_output: runner.getattr("keeps_output")?.extract()?,
            triggers: triggers
                .map(|name| Ok(ReadSlots::new(open(name)?)))
                .collect::<PyResult<_>>()?,
            auxiliary,
            by_alias: PyDict::new(py).unbind(),
            outputs: outputs
                .map(|name| Ok(WriteSlots::new(open(name)?)))
                .collect::<PyResult<_>>()?,
            process,
        })
    }

    fn compute_attached(
        &mut self,
        py: Python<'_>,
        inputs: &FrameInputs<'_>,
        outputs: &mut [ArrayMut<'_>],
    ) -> PyResult<()> {
        let mut lent: Vec<LentSlot> = Vec::with_capacity(outputs.len());
        let outcome = self.call(py, inputs, outputs, &mut lent);
        self.process.stay(py);
        let mut taken_back = Ok(());
        for (slots, slot) in self.outputs.iter_mut().zip(&lent) {
            taken_back = taken_back.and(slots.take_back(py, slot));
        }
        outcome?;
        Ok(taken_back?)
    }

    fn call(
        &mut self,
        py: Python<'_>,
        inputs: &FrameInputs<'_>,
        outputs: &mut [ArrayMut<'_>],
        lent: &mut Vec<LentSlot>,
    ) -> PyResult<()> {
        for (auxiliary, array) in self.auxiliary.iter_mut().zip(inputs.auxiliary) {
            let view = auxiliary.slots.view(py, *array)?;
            self.by_alias
                .bind(py)
                .set_item(auxiliary.alias.bind(py), view)?;
        }
        let trigger = match (self.triggers.as_mut_slice(), inputs.triggers) {
            ([slots], [array]) => slots.view(py, *array)?,
            (all, arrays) => {
                let views: Vec<_> = all
                    .iter_mut()
                    .zip(arrays)
                    .map(|(slots, array)| slots.view(py, *array))
                    .collect::<PyResult<_>>()?;
                PyTuple::new(py, views)?.into_any()
            }
        };
        let mut views = Vec::with_capacity(outputs.len());
        for (slots, array) in self.outputs.iter_mut().zip(outputs) {
            if self.keeps_output {
                copy_last(py, slots.stream(), array)?;
            }
            let (view, slot) = slots.lend(py, array)?;
            lent.push(slot);
            views.push(view);
        }
        let output = if self.takes_list {
            PyList::new(py, views)?.into_any()
        } else {
            views.swap_remove(0)
        };
        let compute = self.compute.bind(py);
        compute.call1((trigger, output, self.by_alias.bind(py)))?;
        Ok(())
    }
}

/// The frame before, or zeros; this node is the only writer.
fn copy_last(py: Python<'_>, stream: &Stream, array: &mut ArrayMut<'_>) -> PyResult<()> {
    py.detach(|| {
        if stream.count() == 0 {
            array.clear();
            return Ok(());
        }
        stream.read_into_array(array, None).map(drop)
    })
    .map_err(crate::error::of_read)
}

impl Kernel for PythonKernel {
    fn compute(
        &mut self,
        inputs: &FrameInputs<'_>,
        outputs: &mut [ArrayMut<'_>],
    ) -> Result<(), NodeError> {
        Python::try_attach(|py| {
            self.compute_attached(py, inputs, outputs)
                .map_err(|exception| raised(py, &exception))
        })
        .unwrap_or_else(|| Err(finalized()))
    }
}
