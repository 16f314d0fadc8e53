//! A typed expression: every value's dtype and shape is known without computing anything.
//!
//! Dtypes follow NumPy's promotion with Python numbers being weak (NEP 50), shapes its
//! broadcasting. Equal sub-expressions are one node; operations on numbers alone are numbers.
//! An operation on arrays is never one, whatever its shape: `vector @ vector` is a value of the
//! frame, not of the expression.

use std::collections::HashMap;

use thalweg_shm::DType;
use thalweg_shm::array::element_count;

use super::error::{ExpressionError, Position};
use super::parser::{BinaryOperator, Syntax, SyntaxId, SyntaxKind};
use super::promotion::promote;
use super::scalar::{Constant, Scalar};
use crate::registry::ArraySpec;

/// Of the real dtypes.
const LARGEST_ELEMENT_BYTES: usize = 8;

/// Index of a node in [`Graph::nodes`].
pub(crate) type NodeId = usize;

/// An array the expression can name.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) name: String,
    pub(crate) array: ArraySpec,
}

/// A value that is an array, although perhaps one without axes.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) operation: Operation,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
}

/// What an operation computes with: an earlier node, or one number of the operation's dtype.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operand {
    Node(NodeId),
    Scalar(Scalar),
}

/// Operands have the dtype they are computed in; casts are nodes of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    /// The array with this index among the names.
    Name(usize),
    /// The operand in the node's dtype.
    Cast(NodeId),
    Negative(NodeId),
    Absolute(NodeId),
    Binary(BinaryOperator, Operand, Operand),
    /// Both bounds have one element.
    Clip(NodeId, Operand, Operand),
    MatMul(NodeId, NodeId),
}

impl Operation {
    /// The operands, as far as there are.
    pub(crate) fn operands(&self) -> impl Iterator<Item = Operand> {
        let operands = match *self {
            Self::Name(_) => [None, None, None],
            Self::Cast(a) | Self::Negative(a) | Self::Absolute(a) => {
                [Some(Operand::Node(a)), None, None]
            }
            Self::Binary(_, a, b) => [Some(a), Some(b), None],
            Self::Clip(a, low, high) => [Some(Operand::Node(a)), Some(low), Some(high)],
            Self::MatMul(a, b) => [Some(Operand::Node(a)), Some(Operand::Node(b)), None],
        };
        operands.into_iter().flatten()
    }

    /// The operands that are nodes.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.operands().filter_map(|operand| match operand {
            Operand::Node(node) => Some(node),
            Operand::Scalar(_) => None,
        })
    }
}

/// A typed expression. Every node comes after its operands.
#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) root: NodeId,
}

impl Graph {
    /// Gives every part of `syntax` its dtype and shape.
    pub(crate) fn build(syntax: &Syntax, names: &[Name]) -> Result<Self, ExpressionError> {
        let mut builder = Builder {
            names,
            nodes: Vec::new(),
            known: HashMap::new(),
            position: Position { line: 1, column: 1 },
        };
        let mut values: Vec<Value> = Vec::with_capacity(syntax.nodes.len());
        for node in &syntax.nodes {
            builder.position = node.position;
            let value = builder.value(&node.kind, &values)?;
            values.push(value);
        }
        match values.last() {
            Some(Value::Array(root)) => Ok(Self {
                nodes: builder.nodes,
                root: *root,
            }),
            _ => Err(builder
                .error("the operation is a constant, of shape (), and uses no stream")
                .with_hint("name `input` or an auxiliary alias in it")),
        }
    }

    pub(crate) fn root(&self) -> &Node {
        &self.nodes[self.root]
    }
}

/// What a part of an expression stands for.
#[derive(Clone, Copy)]
enum Value {
    Constant(Constant),
    Array(NodeId),
}

struct Builder<'a> {
    names: &'a [Name],
    nodes: Vec<Node>,
    known: HashMap<(Operation, DType), NodeId>,
    position: Position,
}

impl Builder<'_> {
    fn error(&self, message: impl Into<String>) -> ExpressionError {
        ExpressionError::new(self.position, message)
    }

    fn value(&mut self, kind: &SyntaxKind, values: &[Value]) -> Result<Value, ExpressionError> {
        let at = |id: &SyntaxId| values[*id];
        match kind {
            SyntaxKind::Integer(value) => Ok(Value::Constant(Constant::Integer(*value))),
            SyntaxKind::Float(value) => Ok(Value::Constant(Constant::Float(*value))),
            SyntaxKind::Name(name) => self.name(name),
            SyntaxKind::Positive(a) => Ok(at(a)),
            SyntaxKind::Negative(a) => self.negative(at(a)),
            SyntaxKind::Absolute(a) => self.absolute(at(a)),
            SyntaxKind::Binary(operator, a, b) => self.binary(*operator, at(a), at(b)),
            SyntaxKind::MatMul(a, b) => self.matmul(at(a), at(b)),
            SyntaxKind::Clip(a, low, high) => self.clip(at(a), at(low), at(high)),
        }
    }

    /// The node of `operation`, an earlier one where it is the same.
    fn node(
        &mut self,
        operation: Operation,
        dtype: DType,
        shape: Vec<usize>,
    ) -> Result<NodeId, ExpressionError> {
        if let Some(known) = self.known.get(&(operation, dtype)) {
            return Ok(*known);
        }
        let size_bytes = shape
            .iter()
            .try_fold(LARGEST_ELEMENT_BYTES, |size, &extent| {
                size.checked_mul(extent)
            });
        if size_bytes.is_none_or(|size| isize::try_from(size).is_err()) {
            return Err(self.error(format!("a value of shape {shape:?} fits into no memory")));
        }
        self.nodes.push(Node {
            operation,
            dtype,
            shape,
        });
        let id = self.nodes.len() - 1;
        self.known.insert((operation, dtype), id);
        Ok(id)
    }

    /// As [`Self::node`].
    fn array(
        &mut self,
        operation: Operation,
        dtype: DType,
        shape: Vec<usize>,
    ) -> Result<Value, ExpressionError> {
        self.node(operation, dtype, shape).map(Value::Array)
    }

    fn name(&mut self, name: &str) -> Result<Value, ExpressionError> {
        let Some(index) = self.names.iter().position(|known| known.name == name) else {
            let mut known: Vec<_> = self.names.iter().map(|known| known.name.as_str()).collect();
            known.sort_unstable();
            return Err(self
                .error(format!(
                    "unknown name '{name}'; known are: {}",
                    known.join(", ")
                ))
                .with_hint("bind the stream under this alias: `auxiliary: {alias: stream}`"));
        };
        let array = &self.names[index].array;
        if array.dtype.is_complex() {
            return Err(self.error(format!(
                "'{name}' is {}; expressions compute with real numbers",
                array.dtype
            )));
        }
        let (dtype, shape) = (array.dtype, array.shape.clone());
        self.array(Operation::Name(index), dtype, shape)
    }

    fn negative(&mut self, a: Value) -> Result<Value, ExpressionError> {
        match a {
            Value::Constant(constant) => constant
                .negative()
                .map(Value::Constant)
                .ok_or_else(|| self.constant_overflow()),
            Value::Array(a) => {
                let (dtype, shape) = self.spec(a);
                if dtype == DType::Bool {
                    return Err(self.bool_minus());
                }
                self.array(Operation::Negative(a), dtype, shape)
            }
        }
    }

    fn absolute(&mut self, a: Value) -> Result<Value, ExpressionError> {
        match a {
            Value::Constant(constant) => constant
                .absolute()
                .map(Value::Constant)
                .ok_or_else(|| self.constant_overflow()),
            Value::Array(a) => {
                let (dtype, shape) = self.spec(a);
                self.array(Operation::Absolute(a), dtype, shape)
            }
        }
    }

    fn binary(
        &mut self,
        operator: BinaryOperator,
        a: Value,
        b: Value,
    ) -> Result<Value, ExpressionError> {
        if let (Value::Constant(a), Value::Constant(b)) = (a, b) {
            return Constant::combine(operator, a, b)
                .map(Value::Constant)
                .ok_or_else(|| self.constant_overflow());
        }
        let mut dtype = self.common_dtype(&[a, b]);
        if operator == BinaryOperator::Divide && !dtype.is_float() {
            dtype = DType::Float64;
        }
        if operator == BinaryOperator::Subtract && dtype == DType::Bool {
            return Err(self.bool_minus());
        }
        let shape = self.broadcast(&[a, b])?;
        let a = self.operand(a, dtype)?;
        let b = self.operand(b, dtype)?;
        self.array(Operation::Binary(operator, a, b), dtype, shape)
    }

    /// `minimum(maximum(a, low), high)`: where `low > high`, the result is `high`.
    fn clip(&mut self, a: Value, low: Value, high: Value) -> Result<Value, ExpressionError> {
        let all = [a, low, high];
        let dtype = self.common_dtype(&all);
        // A number that bounds nothing need not fit the dtype: `clip(uint8, -1, 300)`.
        let range = Scalar::integer_range(dtype);
        let no_low = matches!(
            (low, range),
            (Value::Constant(Constant::Integer(bound)), Some((least, _))) if bound <= least
        );
        let no_high = matches!(
            (high, range),
            (Value::Constant(Constant::Integer(bound)), Some((_, most))) if bound >= most
        );
        let one_element = |value: Value| match value {
            Value::Constant(_) => true,
            Value::Array(node) => element_count(&self.nodes[node].shape) == 1,
        };
        if let Value::Array(node) = a
            && !no_low
            && !no_high
            && one_element(low)
            && one_element(high)
            && element_count(&self.nodes[node].shape) > 1
        {
            let shape = self.broadcast(&all)?;
            if shape == self.nodes[node].shape {
                let a = self.cast(node, dtype)?;
                let low = self.operand(low, dtype)?;
                let high = self.operand(high, dtype)?;
                return self.array(Operation::Clip(a, low, high), dtype, shape);
            }
        }
        let mut value = self.in_dtype(a, dtype)?;
        let low = self.in_dtype(low, dtype)?;
        let high = self.in_dtype(high, dtype)?;
        if !no_low {
            value = self.binary(BinaryOperator::Maximum, value, low)?;
        }
        if !no_high {
            value = self.binary(BinaryOperator::Minimum, value, high)?;
        }
        Ok(value)
    }

    fn matmul(&mut self, a: Value, b: Value) -> Result<Value, ExpressionError> {
        let (Value::Array(a), Value::Array(b)) = (a, b) else {
            return Err(self
                .error("an operand of '@' is a scalar, which matrix products do not take")
                .with_hint("multiply by a number with '*'"));
        };
        let shape = self.matmul_shape(a, b)?;
        let dtype = promote(self.nodes[a].dtype, self.nodes[b].dtype);
        let a = self.cast(a, dtype)?;
        let b = self.cast(b, dtype)?;
        self.array(Operation::MatMul(a, b), dtype, shape)
    }

    /// A vector on the left is a row, one on the right a column; axes before the last two
    /// broadcast.
    fn matmul_shape(&self, a: NodeId, b: NodeId) -> Result<Vec<usize>, ExpressionError> {
        let (left, right) = (&self.nodes[a].shape, &self.nodes[b].shape);
        let mismatch = |why: &str| {
            self.error(format!(
                "shapes {left:?} and {right:?} do not fit for '@': {why}"
            ))
        };
        let (Some((&columns, left_rest)), Some(_)) = (left.split_last(), right.last()) else {
            return Err(mismatch("a scalar is no matrix"));
        };
        let (rows, left_batch) = match left_rest.split_last() {
            Some((&rows, batch)) => (Some(rows), batch),
            None => (None, left_rest),
        };
        let (inner, results, right_batch) = match *right.as_slice() {
            [ref batch @ .., inner, results] => (inner, Some(results), batch),
            [inner] => (inner, None, &[][..]),
            [] => return Err(mismatch("a scalar is no matrix")),
        };
        if columns != inner {
            return Err(mismatch(&format!(
                "the left one has {columns} columns, the right one {inner} rows"
            )));
        }
        let mut shape = broadcast_shapes(left_batch, right_batch)
            .ok_or_else(|| mismatch("the leading axes do not broadcast"))?;
        shape.extend(rows);
        shape.extend(results);
        Ok(shape)
    }

    fn spec(&self, node: NodeId) -> (DType, Vec<usize>) {
        (self.nodes[node].dtype, self.nodes[node].shape.clone())
    }

    /// The dtype `values`, at least one an array or all constants, are computed in.
    fn common_dtype(&self, values: &[Value]) -> DType {
        let arrays = values.iter().filter_map(|value| match value {
            Value::Array(node) => Some(self.nodes[*node].dtype),
            Value::Constant(_) => None,
        });
        let strong = arrays.reduce(promote);
        let float = values
            .iter()
            .any(|value| matches!(value, Value::Constant(Constant::Float(_))));
        let integer = values
            .iter()
            .any(|value| matches!(value, Value::Constant(Constant::Integer(_))));
        match strong {
            Some(dtype) if dtype.is_float() => dtype,
            _ if float => DType::Float64,
            Some(DType::Bool) | None if integer => DType::Int64,
            Some(dtype) => dtype,
            None => DType::Float64,
        }
    }

    fn broadcast(&self, values: &[Value]) -> Result<Vec<usize>, ExpressionError> {
        let shapes = values.iter().filter_map(|value| match value {
            Value::Array(node) => Some(&self.nodes[*node].shape),
            Value::Constant(_) => None,
        });
        let mut result: Vec<usize> = Vec::new();
        for shape in shapes {
            result = broadcast_shapes(&result, shape).ok_or_else(|| {
                self.error(format!("shapes {result:?} and {shape:?} do not broadcast"))
            })?;
        }
        Ok(result)
    }

    /// `value` as an operand computed in `dtype`.
    fn operand(&mut self, value: Value, dtype: DType) -> Result<Operand, ExpressionError> {
        match value {
            Value::Array(node) => self.cast(node, dtype).map(Operand::Node),
            Value::Constant(constant) => Scalar::new(constant, dtype)
                .map(Operand::Scalar)
                .ok_or_else(|| {
                    self.error(format!(
                        "the constant {constant} is out of bounds for {dtype}"
                    ))
                    .with_hint("use a float constant, or a wider dtype")
                }),
        }
    }

    /// `value`, an array of it in `dtype`.
    fn in_dtype(&mut self, value: Value, dtype: DType) -> Result<Value, ExpressionError> {
        match value {
            Value::Array(node) => self.cast(node, dtype).map(Value::Array),
            Value::Constant(_) => Ok(value),
        }
    }

    fn cast(&mut self, node: NodeId, dtype: DType) -> Result<NodeId, ExpressionError> {
        let (found, shape) = self.spec(node);
        if found == dtype {
            return Ok(node);
        }
        self.node(Operation::Cast(node), dtype, shape)
    }

    fn bool_minus(&self) -> ExpressionError {
        self.error("'-' is not defined for bool arrays")
            .with_hint("add a number first, such as `0 + mask`, to compute with integers")
    }

    fn constant_overflow(&self) -> ExpressionError {
        self.error("the constant's value is beyond 127 bits")
            .with_hint("write one of the numbers as a float")
    }
}

/// NumPy's broadcasting: shapes are aligned at the last axis, extents are equal or one.
fn broadcast_shapes(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let extent = |shape: &[usize], axis: usize| {
        (axis + shape.len())
            .checked_sub(rank)
            .map_or(1, |own| shape[own])
    };
    (0..rank)
        .map(|axis| match (extent(a, axis), extent(b, axis)) {
            (a, b) if a == b => Some(a),
            (1, other) | (other, 1) => Some(other),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::parser::parse;
    use super::*;

    fn graph(text: &str, names: &[(&str, DType, &[usize])]) -> Result<Graph, ExpressionError> {
        let names: Vec<_> = names
            .iter()
            .map(|(name, dtype, shape)| Name {
                name: (*name).to_owned(),
                array: ArraySpec {
                    dtype: *dtype,
                    shape: shape.to_vec(),
                },
            })
            .collect();
        Graph::build(&parse(text).unwrap(), &names)
    }

    fn dtype(text: &str, a: DType, b: DType) -> DType {
        graph(text, &[("a", a, &[2]), ("b", b, &[2])])
            .unwrap()
            .root()
            .dtype
    }

    #[test]
    fn dtypes_are_numpy_s() {
        use DType::*;
        for (text, a, b, expected) in [
            ("a + b", Float32, Float64, Float64),
            ("a * 2", Float32, Bool, Float32),
            ("a * 2.5", Float32, Bool, Float32),
            ("a * 2.5", Float16, Bool, Float16),
            ("a * 2", Uint8, Bool, Uint8),
            ("a * 2.5", Uint8, Bool, Float64),
            ("a / 2", Uint8, Bool, Float64),
            ("a / 300", Uint8, Bool, Float64),
            ("a / b", Int8, Uint8, Float64),
            ("a / b", Int8, Float16, Float16),
            ("a / b", Bool, Bool, Float64),
            ("a + 1", Bool, Bool, Int64),
            ("1 - a", Bool, Bool, Int64),
            ("a + b", Bool, Bool, Bool),
            ("abs(a)", Bool, Bool, Bool),
            ("+a", Bool, Bool, Bool),
            ("min(a, 1)", Bool, Bool, Int64),
            ("clip(a, 0.5, 10)", Uint8, Bool, Float64),
            ("clip(a, b, 3)", Int8, Uint64, Float64),
            ("clip(a, 0, 1)", Bool, Bool, Int64),
            ("clip(a, 0, 300)", Uint8, Bool, Uint8),
            ("a * (1 / 3)", Float32, Bool, Float32),
            ("a @ b", Int8, Uint8, Int16),
            ("a @ b", Uint64, Int64, Float64),
            ("a @ b", Bool, Bool, Bool),
        ] {
            assert_eq!(dtype(text, a, b), expected, "{text} with {a}, {b}");
        }
    }

    #[test]
    fn shapes_are_numpy_s() {
        let shape = |text: &str, a: &[usize], b: &[usize]| {
            graph(text, &[("a", DType::Float32, a), ("b", DType::Float32, b)])
                .map(|graph| graph.root().shape.clone())
        };
        assert_eq!(shape("a + b", &[2, 1, 4], &[3, 1]).unwrap(), [2, 3, 4]);
        assert_eq!(shape("clip(a, b, 1)", &[4], &[2, 1]).unwrap(), [2, 4]);
        assert_eq!(shape("a @ b", &[3], &[3]).unwrap(), [0usize; 0]);
        assert_eq!(shape("a @ b", &[2, 3], &[3]).unwrap(), [2]);
        assert_eq!(shape("a @ b", &[3], &[3, 5]).unwrap(), [5]);
        assert_eq!(shape("a @ b", &[2, 3], &[3, 5]).unwrap(), [2, 5]);
        assert_eq!(
            shape("a @ b", &[7, 1, 2, 3], &[6, 3, 5]).unwrap(),
            [7, 6, 2, 5]
        );
        assert_eq!(shape("a @ b", &[3], &[6, 3, 5]).unwrap(), [6, 5]);
        assert_eq!(shape("a @ b", &[6, 2, 3], &[3]).unwrap(), [6, 2]);
        assert!(shape("a + b", &[2], &[3]).is_err());
        assert!(shape("a @ b", &[2, 3], &[2, 3]).is_err());
        assert!(shape("a @ b", &[2, 2, 3], &[3, 3, 2]).is_err());
        assert!(shape("(a @ a) @ b", &[3], &[3]).is_err());
    }

    #[test]
    fn errors_say_what_and_where() {
        let names: &[(&str, DType, &[usize])] = &[
            ("input", DType::Uint8, &[2, 3]),
            ("mask", DType::Bool, &[2, 3]),
            ("row", DType::Float32, &[4]),
            ("wave", DType::Complex64, &[2, 3]),
        ];
        for (text, column, fragment) in [
            ("input + 300", 7, "300 is out of bounds for uint8"),
            ("input + -1", 7, "-1 is out of bounds for uint8"),
            ("input - 2 * 200", 7, "400 is out of bounds"),
            ("mask - mask", 6, "not defined for bool"),
            ("2 * -mask", 5, "not defined for bool"),
            ("input + row", 7, "[2, 3] and [4] do not broadcast"),
            ("input @ 2", 7, "scalar"),
            ("input @ row", 7, "3 columns"),
            ("input * wave", 9, "complex64"),
            (
                "input - dark",
                9,
                "unknown name 'dark'; known are: input, mask, row, wave",
            ),
            ("1 + 2", 3, "constant"),
            (
                "170141183460469231731687303715884105727 + 1 + input",
                41,
                "127 bits",
            ),
        ] {
            let error = graph(text, names).expect_err(text);
            assert_eq!(error.position.column, column, "{text}: {error}");
            assert!(error.message.contains(fragment), "{text}: {error}");
        }
    }

    /// Neither loops nor memory are needed to know that there is none.
    #[test]
    fn values_beyond_memory_are_refused() {
        let names: &[(&str, DType, &[usize])] = &[
            ("row", DType::Float32, &[1, 1 << 40]),
            ("column", DType::Float32, &[1 << 40, 1]),
        ];
        let error = graph("column @ row + 1", names).unwrap_err();
        assert!(error.message.contains("fits into no memory"), "{error}");
        assert!(graph("row @ column", names).is_ok());
    }

    #[test]
    fn equal_parts_are_computed_once() {
        let names: &[(&str, DType, &[usize])] =
            &[("a", DType::Float32, &[2]), ("b", DType::Float32, &[2])];
        // Two names, one difference, its square.
        assert_eq!(graph("(a - b) * (a - b)", names).unwrap().nodes.len(), 4);
        // Numbers that are the same after folding.
        assert_eq!(
            graph("(a * 6) + (a * (2 * 3))", names).unwrap().nodes.len(),
            3
        );
        // -0.0 and 0.0 are different numbers.
        assert_eq!(
            graph("(a * 0.0) + (a * -0.0)", names).unwrap().nodes.len(),
            4
        );
    }
}
