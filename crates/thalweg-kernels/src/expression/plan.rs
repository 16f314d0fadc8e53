//! The order in which an expression is computed, and where its values live.
//!
//! Element-wise operations of one shape form a stage: it runs over its arrays block by block, all
//! operations on one block before the next, so that intermediate values stay in the first-level
//! cache. A value is written out whole only where it has to be: as operand of a matrix product,
//! where it is broadcast into a larger shape (it is then computed once per frame in its own
//! shape), and where two stages use it.

use std::collections::HashMap;

use thalweg_shm::DType;
use thalweg_shm::array::element_count;

use super::functions::{self, BlockFunction, Fusion, MatMulFunction};
use super::graph::{Graph, Name, NodeId, Operand, Operation};
use super::layout::Layout;
use super::scalar::Scalar;
use crate::registry::ArraySpec;
use crate::simd::matmul::Extents;

/// Bytes of one operand of a block: several of them share the first-level cache.
const BLOCK_BYTES: usize = 4096;
/// Bytes of one operand where arrays come from memory: short blocks let the processor compute one
/// while it waits for the next.
const STREAMED_BLOCK_BYTES: usize = 1024;
/// Arrays of a stage beyond this come from memory.
const STREAMED_FROM_BYTES: usize = 2 << 20;
/// A shorter innermost loop does not pay for the calls it takes; its broadcast arrays are written
/// out first, which makes all of them one loop.
const SHORTEST_INNER_LOOP: usize = 64;
/// Places in the workspace begin on cache lines.
const ALIGNMENT_BYTES: usize = 64;

/// Where an array is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The array with this index among the names.
    Name(usize),
    /// At this byte of the workspace.
    Workspace(usize),
    /// The result.
    Output,
}

/// What a step computes with: from byte `start_bytes` of a memory, moved on with the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StepOperand {
    /// 0 is the workspace, 1 the stage's first source, and so on.
    pub(crate) memory: usize,
    pub(crate) start_bytes: usize,
    /// Bytes per element of the innermost loop; 0 in registers and where one element is meant.
    pub(crate) stride_bytes: usize,
    /// Bytes of one element.
    pub(crate) element_bytes: usize,
    /// True where one element stands for all of the block.
    pub(crate) same: bool,
}

impl StepOperand {
    /// A block of intermediate values at this byte of the workspace.
    fn register(start_bytes: usize, element_bytes: usize) -> Self {
        Self {
            memory: 0,
            start_bytes,
            stride_bytes: 0,
            element_bytes,
            same: false,
        }
    }

    /// A number at this byte of the workspace.
    fn constant(start_bytes: usize, element_bytes: usize) -> Self {
        Self {
            same: true,
            ..Self::register(start_bytes, element_bytes)
        }
    }

    /// Source `index` of the stage.
    fn source(index: usize, source: &Source) -> Self {
        Self {
            memory: index + 1,
            start_bytes: 0,
            stride_bytes: if source.constant_inside {
                0
            } else {
                source.element_bytes
            },
            element_bytes: source.element_bytes,
            same: source.constant_inside,
        }
    }
}

/// One operation on one block, or two fused ones.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) function: BlockFunction,
    pub(crate) operands: [StepOperand; 3],
    /// How many of the operands the function takes; the others repeat the last one.
    pub(crate) arity: usize,
    /// The register to write, or `None` for the stage's target.
    pub(crate) register: Option<usize>,
}

/// An array a stage reads.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) place: Place,
    pub(crate) size_bytes: usize,
    pub(crate) element_bytes: usize,
    /// True when the innermost loop reads one element of it.
    pub(crate) constant_inside: bool,
}

/// Element-wise operations, block by block.
#[derive(Clone, Debug)]
pub(crate) struct BlockStage {
    pub(crate) sources: Vec<Source>,
    /// Over the sources in order.
    pub(crate) layout: Layout,
    /// Elements of a block.
    pub(crate) block: usize,
    pub(crate) steps: Vec<Step>,
    pub(crate) target: Place,
    pub(crate) target_bytes: usize,
    pub(crate) target_element_bytes: usize,
}

/// Writes out a broadcast array.
#[derive(Clone, Debug)]
pub(crate) struct ExpandStage {
    pub(crate) source: Place,
    /// Of the source alone.
    pub(crate) layout: Layout,
    pub(crate) element_bytes: usize,
    pub(crate) target: Place,
}

/// Matrix products of all pairs of broadcast matrices.
#[derive(Clone, Debug)]
pub(crate) struct MatMulStage {
    pub(crate) function: MatMulFunction,
    pub(crate) extents: Extents,
    /// Over the leading axes, in matrices: left, right.
    pub(crate) batch: Layout,
    pub(crate) element_bytes: usize,
    pub(crate) left: Place,
    pub(crate) right: Place,
    pub(crate) target: Place,
}

#[derive(Clone, Debug)]
pub(crate) enum Stage {
    Blocks(BlockStage),
    Expand(ExpandStage),
    MatMul(MatMulStage),
}

/// How to compute an expression.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// In order.
    pub(crate) stages: Vec<Stage>,
    /// The names that are read.
    pub(crate) used_names: Vec<usize>,
    pub(crate) output: ArraySpec,
    pub(crate) workspace_bytes: usize,
    /// Numbers to put at bytes of the workspace.
    pub(crate) constants: Vec<(usize, Scalar)>,
    /// Bytes of one register.
    pub(crate) register_bytes: usize,
}

/// An operation has no loop for its dtype: the graph and the table of loops disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MissingLoop(pub(crate) DType);

impl Plan {
    /// Plans the stages of `graph`.
    pub(crate) fn new(graph: &Graph, names: &[Name]) -> Result<Self, MissingLoop> {
        let mut planner = Planner {
            graph,
            groups: groups(graph),
            places: vec![None; graph.nodes.len()],
            stages: Vec::new(),
            constants: HashMap::new(),
            workspace_bytes: 0,
            registers: Vec::new(),
        };
        for id in 0..graph.nodes.len() {
            planner.node(id)?;
        }
        let mut used_names: Vec<usize> = graph
            .nodes
            .iter()
            .filter_map(|node| match node.operation {
                Operation::Name(index) => Some(index),
                _ => None,
            })
            .collect();
        used_names.sort_unstable();
        debug_assert!(used_names.iter().all(|&index| index < names.len()));
        Ok(Self {
            stages: planner.stages,
            used_names,
            output: ArraySpec {
                dtype: graph.root().dtype,
                shape: graph.root().shape.clone(),
            },
            workspace_bytes: planner.workspace_bytes,
            constants: planner
                .constants
                .into_iter()
                .map(|(scalar, byte)| (byte, scalar))
                .collect(),
            register_bytes: BLOCK_BYTES,
        })
    }
}

/// For each node the node whose stage computes it: itself where the value is written out whole.
/// Names have none.
fn groups(graph: &Graph) -> Vec<Option<NodeId>> {
    let mut groups: Vec<Option<NodeId>> = vec![None; graph.nodes.len()];
    let mut consumers: Vec<Vec<NodeId>> = vec![Vec::new(); graph.nodes.len()];
    for (id, node) in graph.nodes.iter().enumerate() {
        for operand in node.operation.nodes() {
            consumers[operand].push(id);
        }
    }
    let is_matmul = |id: NodeId| matches!(graph.nodes[id].operation, Operation::MatMul(..));
    for id in (0..graph.nodes.len()).rev() {
        let node = &graph.nodes[id];
        if matches!(node.operation, Operation::Name(_)) && id != graph.root {
            continue;
        }
        // Consumers come later, so their groups are known.
        let mut homes = consumers[id].iter().map(|&consumer| groups[consumer]);
        let home = homes.next().flatten().filter(|&home| {
            homes.all(|other| other == Some(home))
                && !is_matmul(home)
                && same_loop(&node.shape, &graph.nodes[home].shape)
        });
        groups[id] = match home {
            Some(home) if !is_matmul(id) => Some(home),
            _ => Some(id),
        };
    }
    groups
}

/// True when arrays of these shapes have the same elements in the same order.
fn same_loop(a: &[usize], b: &[usize]) -> bool {
    let extents = |shape: &[usize]| -> Vec<usize> {
        shape
            .iter()
            .copied()
            .filter(|&extent| extent != 1)
            .collect()
    };
    extents(a) == extents(b)
}

struct Planner<'a> {
    graph: &'a Graph,
    groups: Vec<Option<NodeId>>,
    /// Of names and of values that are written out.
    places: Vec<Option<Place>>,
    stages: Vec<Stage>,
    constants: HashMap<Scalar, usize>,
    workspace_bytes: usize,
    /// Places of the registers, which all stages share.
    registers: Vec<usize>,
}

impl Planner<'_> {
    fn node(&mut self, id: NodeId) -> Result<(), MissingLoop> {
        let node = &self.graph.nodes[id];
        if let Operation::Name(index) = node.operation {
            self.places[id] = Some(Place::Name(index));
            if id == self.graph.root {
                return self.block_stage(id, Place::Output);
            }
            return Ok(());
        }
        if self.groups[id] != Some(id) {
            return Ok(());
        }
        let target = if id == self.graph.root {
            Place::Output
        } else {
            self.allocate(node.dtype, element_count(&node.shape))
        };
        self.places[id] = Some(target);
        match node.operation {
            Operation::MatMul(left, right) => self.matmul_stage(id, left, right, target),
            _ => self.block_stage(id, target),
        }
    }

    fn allocate(&mut self, dtype: DType, count: usize) -> Place {
        Place::Workspace(self.allocate_bytes(dtype.size_bytes().saturating_mul(count)))
    }

    fn allocate_bytes(&mut self, size_bytes: usize) -> usize {
        let start = self.workspace_bytes;
        self.workspace_bytes = start
            .saturating_add(size_bytes)
            .checked_next_multiple_of(ALIGNMENT_BYTES)
            .unwrap_or(usize::MAX);
        start
    }

    fn register(&mut self, number: usize) -> usize {
        while self.registers.len() <= number {
            let place = self.allocate_bytes(BLOCK_BYTES);
            self.registers.push(place);
        }
        self.registers[number]
    }

    fn constant(&mut self, scalar: Scalar) -> usize {
        if let Some(place) = self.constants.get(&scalar) {
            return *place;
        }
        let place = self.allocate_bytes(scalar.bytes.len());
        self.constants.insert(scalar, place);
        place
    }

    /// The place of a name or of a value written out before.
    fn place(&self, id: NodeId) -> Place {
        // Operands come before their stage, so they have a place.
        self.places[id].unwrap_or(Place::Output)
    }

    fn matmul_stage(
        &mut self,
        id: NodeId,
        left: NodeId,
        right: NodeId,
        target: Place,
    ) -> Result<(), MissingLoop> {
        let node = &self.graph.nodes[id];
        let (a, b) = (
            &self.graph.nodes[left].shape,
            &self.graph.nodes[right].shape,
        );
        let (left_batch, rows, inner) = match a.as_slice() {
            [batch @ .., rows, inner] => (batch, *rows, *inner),
            other => (&[][..], 1, element_count(other)),
        };
        let (right_batch, columns) = match b.as_slice() {
            [batch @ .., _, columns] => (batch, *columns),
            _ => (&[][..], 1),
        };
        let matrix_axes = usize::from(a.len() > 1) + usize::from(b.len() > 1);
        let batch = &node.shape[..node.shape.len() - matrix_axes];
        self.stages.push(Stage::MatMul(MatMulStage {
            function: functions::matrix_product(node.dtype).ok_or(MissingLoop(node.dtype))?,
            extents: Extents {
                rows,
                inner,
                columns,
            },
            batch: Layout::new(batch, &[left_batch, right_batch]),
            element_bytes: node.dtype.size_bytes(),
            left: self.place(left),
            right: self.place(right),
            target,
        }));
        Ok(())
    }

    /// The stage of everything in the group of `id`.
    fn block_stage(&mut self, id: NodeId, target: Place) -> Result<(), MissingLoop> {
        let graph = self.graph;
        let members: Vec<NodeId> = (0..=id)
            .filter(|&member| self.groups[member] == Some(id))
            .collect();
        let is_member = |node: NodeId| members.binary_search(&node).is_ok();

        let mut sources: Vec<NodeId> = Vec::new();
        for &member in &members {
            let outside = graph.nodes[member]
                .operation
                .nodes()
                .filter(|&node| !is_member(node));
            for node in outside {
                if !sources.contains(&node) {
                    sources.push(node);
                }
            }
        }
        if matches!(graph.nodes[id].operation, Operation::Name(_)) {
            sources.push(id);
        }
        let mut stage = self.sources(id, &sources, target);

        let operations = self.operations(&members)?;
        let mut last_use = vec![0; graph.nodes.len()];
        for (index, operation) in operations.iter().enumerate() {
            for node in operation.nodes() {
                last_use[node] = index;
            }
        }
        let mut register_of: HashMap<NodeId, usize> = HashMap::new();
        let mut free: Vec<usize> = Vec::new();
        let mut count = 0;
        for (index, operation) in operations.iter().enumerate() {
            let mut operands: Vec<StepOperand> = Vec::with_capacity(3);
            for operand in &operation.operands {
                operands.push(match *operand {
                    Operand::Scalar(scalar) => {
                        StepOperand::constant(self.constant(scalar), scalar.dtype.size_bytes())
                    }
                    Operand::Node(node) => match register_of.get(&node) {
                        Some(&number) => StepOperand::register(
                            self.register(number),
                            graph.nodes[node].dtype.size_bytes(),
                        ),
                        None => {
                            let source = position(&sources, node);
                            StepOperand::source(source, &stage.sources[source])
                        }
                    },
                });
            }
            let operand = |index: usize| operands[index.min(operands.len() - 1)];
            let three = [operand(0), operand(1), operand(2)];
            // The target is chosen before the operands' registers are free again: loops do not
            // run in place.
            let register = if operation.result == id {
                None
            } else {
                let number = free.pop().unwrap_or_else(|| {
                    count += 1;
                    count - 1
                });
                register_of.insert(operation.result, number);
                Some(self.register(number))
            };
            stage.steps.push(Step {
                function: operation.function,
                operands: three,
                arity: operands.len(),
                register,
            });
            for node in operation.nodes() {
                if last_use[node] == index
                    && let Some(number) = register_of.remove(&node)
                {
                    free.push(number);
                }
            }
        }
        let widest_bytes = members
            .iter()
            .chain(&sources)
            .map(|&node| graph.nodes[node].dtype.size_bytes())
            .max()
            .unwrap_or(1);
        let moved_bytes: usize = sources
            .iter()
            .chain([&id])
            .map(|&node| {
                element_count(&graph.nodes[node].shape) * graph.nodes[node].dtype.size_bytes()
            })
            .sum();
        let block_bytes = if moved_bytes > STREAMED_FROM_BYTES {
            STREAMED_BLOCK_BYTES
        } else {
            BLOCK_BYTES
        };
        stage.block = block_bytes / widest_bytes;
        self.stages.push(Stage::Blocks(stage));
        Ok(())
    }

    /// A stage without steps. Where its innermost loop would be short, broadcast sources are
    /// written out before it.
    fn sources(&mut self, id: NodeId, sources: &[NodeId], target: Place) -> BlockStage {
        let graph = self.graph;
        let node = &graph.nodes[id];
        let mut places: Vec<Place> = sources.iter().map(|&source| self.place(source)).collect();
        let mut shapes: Vec<&[usize]> = sources
            .iter()
            .map(|&source| graph.nodes[source].shape.as_slice())
            .collect();
        let mut layout = Layout::new(&node.shape, &shapes);
        if layout.inner() < SHORTEST_INNER_LOOP && layout.rows() > 1 {
            for (index, &source) in sources.iter().enumerate() {
                if !layout.repeats(index) || element_count(shapes[index]) == 1 {
                    continue;
                }
                let dtype = graph.nodes[source].dtype;
                let expanded = self.allocate(dtype, element_count(&node.shape));
                self.stages.push(Stage::Expand(ExpandStage {
                    source: places[index],
                    layout: Layout::new(&node.shape, &[shapes[index]]),
                    element_bytes: dtype.size_bytes(),
                    target: expanded,
                }));
                places[index] = expanded;
                shapes[index] = &node.shape;
            }
            layout = Layout::new(&node.shape, &shapes);
        }
        BlockStage {
            sources: sources
                .iter()
                .enumerate()
                .map(|(index, &source)| {
                    let element_bytes = graph.nodes[source].dtype.size_bytes();
                    Source {
                        place: places[index],
                        size_bytes: element_count(shapes[index]) * element_bytes,
                        element_bytes,
                        constant_inside: layout.constant_inside(index),
                    }
                })
                .collect(),
            layout,
            block: 0,
            steps: Vec::new(),
            target,
            target_bytes: element_count(&node.shape) * node.dtype.size_bytes(),
            target_element_bytes: node.dtype.size_bytes(),
        }
    }

    /// The loops that compute `members`, in order.
    fn operations(&self, members: &[NodeId]) -> Result<Vec<PlannedOperation>, MissingLoop> {
        let graph = self.graph;
        let mut uses = vec![0; graph.nodes.len()];
        for &member in members {
            for node in graph.nodes[member].operation.nodes() {
                uses[node] += 1;
            }
        }
        let mut fused = vec![false; graph.nodes.len()];
        let mut operations = Vec::with_capacity(members.len());
        // Backwards, so that a value is known to be fused before its own turn comes.
        for &member in members.iter().rev() {
            if fused[member] {
                continue;
            }
            let inside = |node: NodeId| uses[node] == 1 && members.binary_search(&node).is_ok();
            operations.push(match self.fusion(member, inside) {
                Some((inner, operation)) => {
                    fused[inner] = true;
                    operation
                }
                None => self.operation(member)?,
            });
        }
        operations.reverse();
        Ok(operations)
    }

    /// Node `id` fused with one of its operands that nothing else uses, and which one.
    fn fusion(
        &self,
        id: NodeId,
        inside: impl Fn(NodeId) -> bool,
    ) -> Option<(NodeId, PlannedOperation)> {
        let node = &self.graph.nodes[id];
        let Operation::Binary(outer, left, right) = node.operation else {
            return None;
        };
        let product = |operand: Operand| match operand {
            Operand::Node(inner) if inside(inner) => match self.graph.nodes[inner].operation {
                Operation::Binary(operator, a, b) => Some((inner, operator, a, b)),
                _ => None,
            },
            _ => None,
        };
        let fuse = |inner: Operand, rest: Operand, fusion: fn(_, _) -> Option<Fusion>| {
            let (inner, operator, a, b) = product(inner)?;
            let function = fusion(operator, outer)?.function(node.dtype)?;
            let operation = PlannedOperation {
                function,
                operands: vec![a, b, rest],
                result: id,
            };
            Some((inner, operation))
        };
        fuse(left, right, Fusion::of_left).or_else(|| fuse(right, left, Fusion::of_right))
    }

    fn operation(&self, id: NodeId) -> Result<PlannedOperation, MissingLoop> {
        let node = &self.graph.nodes[id];
        let dtype = node.dtype;
        let function = match node.operation {
            Operation::Name(_) => functions::copy(dtype),
            Operation::Cast(from) => functions::cast(self.graph.nodes[from].dtype, dtype),
            Operation::Negative(_) => functions::negative(dtype),
            Operation::Absolute(_) => functions::absolute(dtype),
            Operation::Binary(operator, ..) => functions::binary(operator, dtype),
            Operation::Clip(..) => functions::clip(dtype),
            Operation::MatMul(..) => None,
        };
        let mut operands: Vec<Operand> = node.operation.operands().collect();
        if operands.is_empty() {
            operands.push(Operand::Node(id));
        }
        Ok(PlannedOperation {
            function: function.ok_or(MissingLoop(dtype))?,
            operands,
            result: id,
        })
    }
}

/// One loop over a block.
struct PlannedOperation {
    function: BlockFunction,
    operands: Vec<Operand>,
    result: NodeId,
}

impl PlannedOperation {
    fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.operands.iter().filter_map(|operand| match operand {
            Operand::Node(node) => Some(*node),
            Operand::Scalar(_) => None,
        })
    }
}

fn position(sources: &[NodeId], node: NodeId) -> usize {
    // Every operand outside the group was made a source.
    sources
        .iter()
        .position(|&source| source == node)
        .unwrap_or(0)
}
