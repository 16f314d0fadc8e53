//! A matrix kept in half precision beside the one that is published.

use std::any::Any;
use std::sync::{Arc, Mutex};

use thalweg_shm::ArrayRef;

use super::half_matrix::{HalfFormat, HalfMatrix};
use crate::node::{Figure, FigureKind, NodeError, Preparer};

/// A matrix in half precision and what is needed to replace it.
#[derive(Debug)]
pub(crate) struct HalfStorage {
    rows: usize,
    columns: usize,
    format: HalfFormat,
    /// None until the first one is installed: the kernel then computes with the source.
    matrix: Option<Box<HalfMatrix>>,
    /// Takes the matrix that was replaced back to the preparer, so that the frame path never
    /// returns memory to the system.
    retired: Arc<Mutex<Option<Box<HalfMatrix>>>>,
}

impl HalfStorage {
    /// Room for a matrix of `rows` rows.
    pub(crate) fn new(rows: usize, columns: usize, format: HalfFormat) -> Self {
        Self {
            rows,
            columns,
            format,
            matrix: None,
            retired: Arc::default(),
        }
    }

    /// The matrix installed last.
    pub(crate) fn matrix(&self) -> Option<&HalfMatrix> {
        self.matrix.as_deref()
    }

    /// What makes a half-precision matrix of a published one.
    pub(crate) fn preparer(&self) -> Box<dyn Preparer> {
        Box::new(MatrixPreparer {
            rows: self.rows,
            columns: self.columns,
            format: self.format,
            retired: Arc::clone(&self.retired),
        })
    }

    /// Takes over what the preparer made.
    pub(crate) fn install(&mut self, prepared: Box<dyn Any + Send>) {
        if let Ok(matrix) = prepared.downcast::<HalfMatrix>() {
            let replaced = self.matrix.replace(matrix);
            // Held elsewhere only for the moment a preparer takes what is in there.
            if let Ok(mut retired) = self.retired.try_lock() {
                *retired = replaced;
            }
        }
    }

    /// The measurement [`HalfStorage::relative_error`] is the value of.
    pub(crate) fn figure() -> Figure {
        Figure {
            name: "matrix_storage_relative_error".to_owned(),
            kind: FigureKind::Gauge,
        }
    }

    /// Largest absolute rounding error of an entry over the largest absolute entry.
    pub(crate) fn relative_error(&self) -> f64 {
        self.matrix().map_or(0.0, HalfMatrix::relative_error)
    }
}

/// Rounds a published matrix to half precision.
#[derive(Debug)]
struct MatrixPreparer {
    rows: usize,
    columns: usize,
    format: HalfFormat,
    retired: Arc<Mutex<Option<Box<HalfMatrix>>>>,
}

impl Preparer for MatrixPreparer {
    fn prepare(&mut self, array: ArrayRef<'_>) -> Result<Box<dyn Any + Send>, NodeError> {
        if array.shape() != [self.rows, self.columns] {
            return Err(NodeError::Failed(format!(
                "matrix has shape {:?}, expected {:?}",
                array.shape(),
                [self.rows, self.columns]
            )));
        }
        let retired = match self.retired.lock() {
            Ok(mut retired) => retired.take(),
            Err(_poisoned) => None,
        };
        let mut matrix = retired
            .unwrap_or_else(|| Box::new(HalfMatrix::zeros(self.rows, self.columns, self.format)));
        matrix.fill(|row, numbers| array.copy_range_to(row * self.columns, numbers))?;
        Ok(matrix)
    }
}
