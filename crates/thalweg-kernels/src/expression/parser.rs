//! Tokens to a syntax tree.
//!
//! ```text
//! expression := term (("+" | "-") term)*
//! term       := signed (("*" | "/" | "@") signed)*
//! signed     := ("+" | "-")* primary
//! primary    := number | name | function "(" expression ("," expression)* [","] ")"
//!             | "(" expression ")"
//! ```

use super::error::{ExpressionError, Position};
use super::lexer::{Spanned, Token, tokenize};

/// Parentheses and calls inside each other; deeper nesting is an error, not a stack overflow.
const MAXIMUM_DEPTH: usize = 200;

/// Operators, functions, names and numbers of one expression.
const MAXIMUM_NODES: usize = 10_000;

/// Index of a node in [`Syntax::nodes`].
pub(crate) type SyntaxId = usize;

/// A parsed expression. Every node comes after its operands; the last one is the whole.
#[derive(Debug)]
pub(crate) struct Syntax {
    pub(crate) nodes: Vec<SyntaxNode>,
}

#[derive(Debug)]
pub(crate) struct SyntaxNode {
    pub(crate) kind: SyntaxKind,
    /// Of the number, name, operator or function name.
    pub(crate) position: Position,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SyntaxKind {
    Integer(i128),
    Float(f64),
    Name(String),
    Positive(SyntaxId),
    Negative(SyntaxId),
    Binary(BinaryOperator, SyntaxId, SyntaxId),
    MatMul(SyntaxId, SyntaxId),
    Absolute(SyntaxId),
    Clip(SyntaxId, SyntaxId, SyntaxId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BinaryOperator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Minimum,
    Maximum,
}

/// Parses `text`.
pub(crate) fn parse(text: &str) -> Result<Syntax, ExpressionError> {
    let mut parser = Parser {
        tokens: tokenize(text)?.into_iter(),
        nodes: Vec::new(),
        depth: 0,
    };
    parser.expression()?;
    let (token, position) = parser.peek();
    match token {
        Token::End => Ok(Syntax {
            nodes: parser.nodes,
        }),
        other => Err(unexpected(&other, position, "an operator or the end")),
    }
}

struct Parser {
    tokens: std::vec::IntoIter<Spanned>,
    nodes: Vec<SyntaxNode>,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> (Token, Position) {
        match self.tokens.as_slice().first() {
            Some(spanned) => (spanned.token.clone(), spanned.position),
            // The end token is never taken, so there is always a first.
            None => (Token::End, Position { line: 1, column: 1 }),
        }
    }

    fn advance(&mut self) {
        if self.tokens.as_slice().len() > 1 {
            self.tokens.next();
        }
    }

    fn add(&mut self, kind: SyntaxKind, position: Position) -> Result<SyntaxId, ExpressionError> {
        if self.nodes.len() == MAXIMUM_NODES {
            return Err(ExpressionError::new(
                position,
                format!("the expression has more than {MAXIMUM_NODES} operators and operands"),
            ));
        }
        self.nodes.push(SyntaxNode { kind, position });
        Ok(self.nodes.len() - 1)
    }

    fn expression(&mut self) -> Result<SyntaxId, ExpressionError> {
        let mut left = self.term()?;
        loop {
            let (token, position) = self.peek();
            let operator = match token {
                Token::Plus => BinaryOperator::Add,
                Token::Minus => BinaryOperator::Subtract,
                _ => return Ok(left),
            };
            self.advance();
            let right = self.term()?;
            left = self.add(SyntaxKind::Binary(operator, left, right), position)?;
        }
    }

    fn term(&mut self) -> Result<SyntaxId, ExpressionError> {
        let mut left = self.signed()?;
        loop {
            let (token, position) = self.peek();
            let kind: fn(SyntaxId, SyntaxId) -> SyntaxKind = match token {
                Token::Star => |a, b| SyntaxKind::Binary(BinaryOperator::Multiply, a, b),
                Token::Slash => |a, b| SyntaxKind::Binary(BinaryOperator::Divide, a, b),
                Token::At => SyntaxKind::MatMul,
                _ => return Ok(left),
            };
            self.advance();
            let right = self.signed()?;
            left = self.add(kind(left, right), position)?;
        }
    }

    fn signed(&mut self) -> Result<SyntaxId, ExpressionError> {
        let mut signs = Vec::new();
        loop {
            let (token, position) = self.peek();
            match token {
                Token::Plus => signs.push((SyntaxKind::Positive as fn(_) -> _, position)),
                Token::Minus => signs.push((SyntaxKind::Negative as fn(_) -> _, position)),
                _ => break,
            }
            self.advance();
        }
        let mut operand = self.primary()?;
        for (sign, position) in signs.into_iter().rev() {
            operand = self.add(sign(operand), position)?;
        }
        Ok(operand)
    }

    fn primary(&mut self) -> Result<SyntaxId, ExpressionError> {
        let (token, position) = self.peek();
        self.advance();
        match token {
            Token::Integer(value) => self.add(SyntaxKind::Integer(value), position),
            Token::Float(value) => self.add(SyntaxKind::Float(value), position),
            Token::Name(name) if self.peek().0 == Token::Open => self.call(&name, position),
            Token::Name(name) => self.add(SyntaxKind::Name(name), position),
            Token::Open => {
                let inner = self.nested(position, Self::expression)?;
                match self.peek() {
                    (Token::Close, _) => self.advance(),
                    (Token::Comma, position) => {
                        return Err(ExpressionError::new(
                            position,
                            "unsupported syntax: tuples are not supported",
                        ));
                    }
                    (other, position) => return Err(unexpected(&other, position, "')'")),
                }
                Ok(inner)
            }
            other => Err(unexpected(&other, position, "a number, a name or '('")),
        }
    }

    /// The arguments of function `name` and the function itself.
    fn call(&mut self, name: &str, position: Position) -> Result<SyntaxId, ExpressionError> {
        let arity = match name {
            "abs" => 1,
            "min" | "max" | "minimum" | "maximum" => 2,
            "clip" => 3,
            _ => {
                return Err(ExpressionError::new(
                    position,
                    format!(
                        "unsupported function '{name}'; supported are: abs, clip, max, maximum, \
                         min, minimum"
                    ),
                ));
            }
        };
        let arguments = self.nested(position, Self::arguments)?;
        let kind = match (name, arguments.as_slice()) {
            ("abs", &[a]) => SyntaxKind::Absolute(a),
            ("min" | "minimum", &[a, b]) => SyntaxKind::Binary(BinaryOperator::Minimum, a, b),
            ("max" | "maximum", &[a, b]) => SyntaxKind::Binary(BinaryOperator::Maximum, a, b),
            ("clip", &[a, low, high]) => SyntaxKind::Clip(a, low, high),
            _ => {
                return Err(ExpressionError::new(
                    position,
                    format!(
                        "function '{name}' expects {arity} argument{}, got {}",
                        if arity == 1 { "" } else { "s" },
                        arguments.len()
                    ),
                ));
            }
        };
        self.add(kind, position)
    }

    /// `( ... )`, the opening parenthesis being next.
    fn arguments(&mut self) -> Result<Vec<SyntaxId>, ExpressionError> {
        self.advance();
        let mut arguments = Vec::new();
        loop {
            if self.peek().0 == Token::Close {
                self.advance();
                return Ok(arguments);
            }
            arguments.push(self.expression()?);
            match self.peek() {
                (Token::Comma, _) => self.advance(),
                (Token::Close, _) => {}
                (other, position) => return Err(unexpected(&other, position, "',' or ')'")),
            }
        }
    }

    fn nested<T>(
        &mut self,
        position: Position,
        inner: impl FnOnce(&mut Self) -> Result<T, ExpressionError>,
    ) -> Result<T, ExpressionError> {
        if self.depth == MAXIMUM_DEPTH {
            return Err(ExpressionError::new(
                position,
                format!("more than {MAXIMUM_DEPTH} parentheses and calls inside each other"),
            ));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }
}

fn unexpected(token: &Token, position: Position, expected: &str) -> ExpressionError {
    let found = match token {
        Token::Integer(value) => format!("number {value}"),
        Token::Float(value) => format!("number {value}"),
        Token::Name(name) => format!("name '{name}'"),
        Token::Plus => "'+'".to_owned(),
        Token::Minus => "'-'".to_owned(),
        Token::Star => "'*'".to_owned(),
        Token::Slash => "'/'".to_owned(),
        Token::At => "'@'".to_owned(),
        Token::Comma => "','".to_owned(),
        Token::Open => "'('".to_owned(),
        Token::Close => "')'".to_owned(),
        Token::End => "the end".to_owned(),
    };
    ExpressionError::new(position, format!("expected {expected}, found {found}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree with every operation in parentheses.
    fn written(text: &str) -> String {
        let syntax = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        fn write(syntax: &Syntax, id: SyntaxId) -> String {
            let part = |id| write(syntax, id);
            match &syntax.nodes[id].kind {
                SyntaxKind::Integer(value) => value.to_string(),
                SyntaxKind::Float(value) => format!("{value:?}"),
                SyntaxKind::Name(name) => name.clone(),
                SyntaxKind::Positive(a) => format!("(+{})", part(*a)),
                SyntaxKind::Negative(a) => format!("(-{})", part(*a)),
                SyntaxKind::Binary(operator, a, b) => {
                    format!("({operator:?} {} {})", part(*a), part(*b))
                }
                SyntaxKind::MatMul(a, b) => format!("({} @ {})", part(*a), part(*b)),
                SyntaxKind::Absolute(a) => format!("|{}|", part(*a)),
                SyntaxKind::Clip(a, b, c) => {
                    format!("clip({}, {}, {})", part(*a), part(*b), part(*c))
                }
            }
        }
        write(&syntax, syntax.nodes.len() - 1)
    }

    #[test]
    fn precedence_and_associativity_are_python_s() {
        for (text, tree) in [
            ("a - b - c", "(Subtract (Subtract a b) c)"),
            ("a - b * c", "(Subtract a (Multiply b c))"),
            ("a / b * c @ d", "((Multiply (Divide a b) c) @ d)"),
            ("-a * b", "(Multiply (-a) b)"),
            ("a * -+b", "(Multiply a (-(+b)))"),
            ("a - -1", "(Subtract a (-1))"),
            ("(a - b) * 2.", "(Multiply (Subtract a b) 2.0)"),
            ("min(a, max(b, 1),)", "(Minimum a (Maximum b 1))"),
            ("clip(abs(-a), 0, max)", "clip(|(-a)|, 0, max)"),
            (
                "minimum(a,b)+maximum(a,b)",
                "(Add (Minimum a b) (Maximum a b))",
            ),
        ] {
            assert_eq!(written(text), tree, "{text}");
        }
    }

    #[test]
    fn errors_say_where() {
        for (text, column, fragment) in [
            ("", 1, "expected a number"),
            ("a +", 4, "found the end"),
            ("a b", 3, "expected an operator"),
            ("(a", 3, "expected ')'"),
            ("a)", 2, "found ')'"),
            ("(a, b)", 3, "tuples"),
            ("()", 2, "found ')'"),
            ("1 + sqrt(a)", 5, "unsupported function 'sqrt'"),
            ("abs(a, b)", 1, "expects 1 argument, got 2"),
            ("clip(a, 0)", 1, "expects 3 arguments, got 2"),
            ("min()", 1, "expects 2 arguments, got 0"),
            ("abs(a b)", 7, "expected ',' or ')'"),
            ("input(1)", 1, "unsupported function 'input'"),
            ("a * * b", 5, "found '*'"),
            ("a ** b", 3, "unsupported syntax '**'"),
            ("min(*a)", 5, "found '*'"),
            ("2(a)", 2, "expected an operator"),
            ("(a)(b)", 4, "expected an operator"),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.position.column, column, "{text}: {error}");
            assert!(error.message.contains(fragment), "{text}: {error}");
        }
    }

    #[test]
    fn nesting_ends_in_an_error_and_not_in_a_crash() {
        let nested = |depth| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
        assert!(parse(&nested(MAXIMUM_DEPTH)).is_ok());
        let error = parse(&nested(100_000)).unwrap_err();
        assert!(
            error.message.contains("more than 200 parentheses"),
            "{error}"
        );
        let error = parse(&"abs(".repeat(100_000)).unwrap_err();
        assert!(
            error.message.contains("more than 200 parentheses"),
            "{error}"
        );

        assert!(parse(&format!("{}a", "-".repeat(5000))).is_ok());
        let error = parse(&format!("{}a", "-".repeat(100_000))).unwrap_err();
        assert!(error.message.contains("more than 10000"), "{error}");
        let error = parse(&"a+".repeat(100_000)).unwrap_err();
        assert!(error.message.contains("more than 10000"), "{error}");
    }
}
