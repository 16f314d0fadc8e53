//! Computing a planned expression, frame by frame, without allocating.

use thalweg_shm::array::element_count;
use thalweg_shm::{ArrayError, ArrayMut, ArrayRef};

use super::graph::Name;
use super::plan::{BlockStage, ExpandStage, MatMulStage, Place, Plan, Stage, StepOperand};
use crate::node::{FrameInputs, NodeError};
use crate::owned_array::ArrayTooLarge;
use crate::registry::ArraySpec;
use crate::simd::aligned::AlignedBytes;
use crate::simd::expand::expand;
use crate::simd::isa::Isa;
use crate::simd::map::Operand;
use crate::simd::run::{ReadRun, WriteRun};

/// A planned expression and the memory its intermediate values need.
#[derive(Debug)]
pub(crate) struct Evaluator {
    isa: Isa,
    plan: Plan,
    names: Vec<ArraySpec>,
    workspace: AlignedBytes,
}

impl Evaluator {
    pub(crate) fn new(plan: Plan, names: &[Name]) -> Result<Self, ArrayTooLarge> {
        let mut workspace =
            AlignedBytes::zeroed(plan.workspace_bytes).ok_or_else(|| ArrayTooLarge {
                dtype: thalweg_shm::DType::Uint8,
                shape: vec![plan.workspace_bytes],
            })?;
        for (byte, scalar) in &plan.constants {
            workspace.bytes_mut()[*byte..*byte + scalar.bytes.len()].copy_from_slice(&scalar.bytes);
        }
        Ok(Self {
            isa: Isa::detect(),
            plan,
            names: names.iter().map(|name| name.array.clone()).collect(),
            workspace,
        })
    }

    #[cfg(test)]
    pub(crate) fn with_isa(mut self, isa: Isa) -> Self {
        self.isa = isa;
        self
    }

    /// Computes `output` from the trigger, which is the first name, and the auxiliary arrays,
    /// which are the others.
    pub(crate) fn evaluate(
        &mut self,
        inputs: &FrameInputs<'_>,
        output: &mut ArrayMut<'_>,
    ) -> Result<(), NodeError> {
        for &index in &self.plan.used_names {
            let array = named(inputs, index)?;
            check(array.dtype(), array.len(), &self.names[index])?;
        }
        check(output.dtype(), output.len(), &self.plan.output)?;
        let (workspace, workspace_mut) = self.workspace.runs();
        let frame = Frame {
            isa: self.isa,
            inputs,
            workspace,
            workspace_mut,
            output: WriteRun::of_array(output),
            register_bytes: self.plan.register_bytes,
        };
        for stage in &self.plan.stages {
            match stage {
                Stage::Blocks(stage) => frame.blocks(stage)?,
                Stage::Expand(stage) => frame.expand(stage)?,
                Stage::MatMul(stage) => frame.matmul(stage)?,
            }
        }
        Ok(())
    }
}

fn named<'a>(inputs: &FrameInputs<'a>, index: usize) -> Result<ArrayRef<'a>, NodeError> {
    let array = match index.checked_sub(1) {
        None => inputs.triggers.first(),
        Some(auxiliary) => inputs.auxiliary.get(auxiliary),
    };
    array
        .copied()
        .ok_or_else(|| NodeError::Failed(format!("array {index} of the expression is missing")))
}

fn check(dtype: thalweg_shm::DType, len: usize, expected: &ArraySpec) -> Result<(), ArrayError> {
    if dtype != expected.dtype {
        return Err(ArrayError::DType {
            expected: expected.dtype,
            found: dtype,
        });
    }
    let expected_len = element_count(&expected.shape);
    if len != expected_len {
        return Err(ArrayError::Range {
            start: 0,
            end: expected_len,
            len,
        });
    }
    Ok(())
}

/// The memory of one frame.
struct Frame<'a> {
    isa: Isa,
    inputs: &'a FrameInputs<'a>,
    workspace: ReadRun<'a>,
    workspace_mut: WriteRun<'a>,
    output: WriteRun<'a>,
    register_bytes: usize,
}

impl<'a> Frame<'a> {
    /// `count_bytes` bytes of `place`, from byte `start_bytes` of it.
    fn read(
        &self,
        place: Place,
        start_bytes: usize,
        count_bytes: usize,
    ) -> Result<ReadRun<'a>, NodeError> {
        match place {
            Place::Name(index) => {
                Ok(ReadRun::of_array(named(self.inputs, index)?).part(start_bytes, count_bytes))
            }
            Place::Workspace(byte) => Ok(self.workspace.part(byte + start_bytes, count_bytes)),
            Place::Output => Err(NodeError::Failed(
                "the expression reads its own output".to_owned(),
            )),
        }
    }

    /// As [`Self::read`].
    fn write(
        &self,
        place: Place,
        start_bytes: usize,
        count_bytes: usize,
    ) -> Result<WriteRun<'a>, NodeError> {
        match place {
            Place::Name(_) => Err(NodeError::Failed(
                "the expression writes its own input".to_owned(),
            )),
            Place::Workspace(byte) => Ok(self.workspace_mut.part(byte + start_bytes, count_bytes)),
            Place::Output => Ok(self.output.part(start_bytes, count_bytes)),
        }
    }

    fn blocks(&self, stage: &BlockStage) -> Result<(), NodeError> {
        let mut memories = [ReadRun::EMPTY; RESOLVED_MEMORIES];
        memories[0] = self.workspace;
        for (memory, source) in memories[1..].iter_mut().zip(&stage.sources) {
            *memory = self.read(source.place, 0, source.size_bytes)?;
        }
        let blocks = Blocks {
            frame: self,
            stage,
            memories,
            target: self.write(stage.target, 0, stage.target_bytes)?,
        };
        let inner = stage.layout.inner();
        for row in 0..stage.layout.rows() {
            let mut start = 0;
            while start < inner {
                let count = stage.block.min(inner - start);
                blocks.block(row, start, count);
                start += count;
            }
        }
        Ok(())
    }

    fn expand(&self, stage: &ExpandStage) -> Result<(), NodeError> {
        let layout = &stage.layout;
        let count: usize = layout.extents.iter().product();
        let strides = match layout.strides.first() {
            Some(strides) if count > 0 => strides,
            _ => return Ok(()),
        };
        let last = layout
            .extents
            .iter()
            .zip(strides)
            .map(|(extent, stride)| (extent - 1) * stride)
            .sum::<usize>();
        let source = self.read(stage.source, 0, (last + 1) * stage.element_bytes)?;
        let target = self.write(stage.target, 0, count * stage.element_bytes)?;
        let expand = match stage.element_bytes {
            1 => expand::<u8>,
            2 => expand::<u16>,
            4 => expand::<u32>,
            _ => expand::<u64>,
        };
        expand(self.isa, source, strides, target, &layout.extents);
        Ok(())
    }

    fn matmul(&self, stage: &MatMulStage) -> Result<(), NodeError> {
        let extents = stage.extents;
        let left_bytes = extents.rows * extents.inner * stage.element_bytes;
        let right_bytes = extents.inner * extents.columns * stage.element_bytes;
        let target_bytes = extents.rows * extents.columns * stage.element_bytes;
        let batch = &stage.batch;
        for row in 0..batch.rows() {
            for index in 0..batch.inner() {
                let matrix = |operand: usize| {
                    let step = if batch.constant_inside(operand) {
                        0
                    } else {
                        index
                    };
                    batch.row_start(operand, row) + step
                };
                let left = self.read(stage.left, matrix(0) * left_bytes, left_bytes)?;
                let right = self.read(stage.right, matrix(1) * right_bytes, right_bytes)?;
                let target = row * batch.inner() + index;
                let target = self.write(stage.target, target * target_bytes, target_bytes)?;
                (stage.function)(self.isa, left, right, target, extents);
            }
        }
        Ok(())
    }
}

/// The workspace and the sources whose memory is looked up once per frame and not once per block.
/// Stages with more sources are rare, and no less correct.
const RESOLVED_MEMORIES: usize = 9;

/// One stage of one frame.
struct Blocks<'f, 'a> {
    frame: &'f Frame<'a>,
    stage: &'f BlockStage,
    memories: [ReadRun<'a>; RESOLVED_MEMORIES],
    target: WriteRun<'a>,
}

impl<'a> Blocks<'_, 'a> {
    /// `count` elements from element `start` of innermost loop `row`.
    #[inline(always)]
    fn block(&self, row: usize, start: usize, count: usize) {
        for step in &self.stage.steps {
            let a = self.operand(&step.operands[0], row, start, count);
            let mut operands = [a; 3];
            for (operand, planned) in operands
                .iter_mut()
                .zip(&step.operands[..step.arity])
                .skip(1)
            {
                *operand = self.operand(planned, row, start, count);
            }
            let target = match step.register {
                Some(byte) => self
                    .frame
                    .workspace_mut
                    .part(byte, self.frame.register_bytes),
                None => {
                    let bytes = self.stage.target_element_bytes;
                    let first = row * self.stage.layout.inner() + start;
                    self.target.part(first * bytes, count * bytes)
                }
            };
            (step.function)(self.frame.isa, &operands, target, count);
        }
    }

    #[inline(always)]
    fn operand(
        &self,
        operand: &StepOperand,
        row: usize,
        start: usize,
        count: usize,
    ) -> Operand<'a> {
        let memory = match self.memories.get(operand.memory) {
            Some(memory) => *memory,
            None => self.unresolved(operand.memory),
        };
        let mut first = operand.start_bytes + start * operand.stride_bytes;
        if row > 0 && operand.memory > 0 {
            let layout = &self.stage.layout;
            first += layout.row_start(operand.memory - 1, row) * operand.element_bytes;
        }
        if operand.same {
            Operand::Same(memory.part(first, operand.element_bytes))
        } else {
            Operand::Each(memory.part(first, count * operand.element_bytes))
        }
    }

    #[cold]
    fn unresolved(&self, memory: usize) -> ReadRun<'a> {
        let source = &self.stage.sources[memory - 1];
        // Names were checked when the frame began.
        self.frame
            .read(source.place, 0, source.size_bytes)
            .unwrap_or(ReadRun::EMPTY)
    }
}
