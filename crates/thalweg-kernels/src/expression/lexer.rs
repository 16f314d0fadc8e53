//! Text of an expression to tokens, with Python's spelling of names and numbers.

use super::error::{ExpressionError, Position};

/// A piece of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Integer(i128),
    Float(f64),
    Name(String),
    Plus,
    Minus,
    Star,
    Slash,
    At,
    Comma,
    Open,
    Close,
    End,
}

/// A token and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Spanned {
    pub(crate) token: Token,
    pub(crate) position: Position,
}

/// Python's words, which cannot be names.
const KEYWORDS: [&str; 35] = [
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue",
    "def", "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import",
    "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while",
    "with", "yield",
];

/// Splits `text` into tokens; the last one is [`Token::End`].
///
/// Blanks and comments separate tokens. Line breaks do so only inside parentheses, as in Python,
/// so that two lines are never read as one expression by accident.
pub(crate) fn tokenize(text: &str) -> Result<Vec<Spanned>, ExpressionError> {
    let mut lexer = Lexer {
        rest: text,
        position: Position { line: 1, column: 1 },
        open: 0,
    };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blanks()?;
        let position = lexer.position;
        let token = lexer.token()?;
        let end = token == Token::End;
        tokens.push(Spanned { token, position });
        if end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    rest: &'a str,
    position: Position,
    open: usize,
}

impl<'a> Lexer<'a> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// The character after the next one.
    fn peek_second(&self) -> Option<char> {
        self.rest.chars().nth(1)
    }

    fn bump(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let character = chars.next()?;
        self.rest = chars.as_str();
        if character == '\n' {
            self.position.line += 1;
            self.position.column = 1;
        } else {
            self.position.column += 1;
        }
        Some(character)
    }

    /// Takes characters while `accept` holds.
    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let start = self.rest;
        while self.peek().is_some_and(&accept) {
            self.bump();
        }
        &start[..start.len() - self.rest.len()]
    }

    fn error(&self, message: impl Into<String>) -> ExpressionError {
        ExpressionError::new(self.position, message)
    }

    fn skip_blanks(&mut self) -> Result<(), ExpressionError> {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\r' | '\u{c}') => {
                    self.bump();
                }
                Some('#') => {
                    self.take_while(|character| character != '\n');
                }
                Some('\\') if self.rest.starts_with("\\\n") || self.rest.starts_with("\\\r\n") => {
                    self.take_while(|character| character != '\n');
                    self.bump();
                }
                Some('\n') => {
                    if self.open == 0 && !self.only_blanks_before() && !self.only_blanks_after() {
                        return Err(self
                            .error("the expression ends here, but another line follows")
                            .with_hint("put an expression of several lines in parentheses"));
                    }
                    self.bump();
                }
                _ => return Ok(()),
            }
        }
    }

    fn only_blanks_before(&self) -> bool {
        self.position.line == 1 && self.position.column == 1
    }

    /// True when no further token follows.
    fn only_blanks_after(&self) -> bool {
        self.rest.lines().all(|line| {
            let line = line.trim();
            line.is_empty() || line.starts_with('#')
        })
    }

    fn token(&mut self) -> Result<Token, ExpressionError> {
        let Some(character) = self.peek() else {
            return Ok(Token::End);
        };
        if character.is_ascii_digit()
            || character == '.' && self.peek_second().is_some_and(|next| next.is_ascii_digit())
        {
            return self.number();
        }
        if is_name_start(character) {
            return self.name();
        }
        for unsupported in ["**", "//", "==", "!=", "<=", ">=", "<<", ">>", "->", ":="] {
            if self.rest.starts_with(unsupported) {
                return Err(self.unsupported(unsupported));
            }
        }
        let token = match character {
            '+' => Token::Plus,
            '-' => Token::Minus,
            '*' => Token::Star,
            '/' => Token::Slash,
            '@' => Token::At,
            ',' => Token::Comma,
            '(' => {
                self.open += 1;
                Token::Open
            }
            ')' => {
                self.open = self.open.saturating_sub(1);
                Token::Close
            }
            '=' => {
                return Err(self
                    .error("unsupported syntax '=': keyword arguments are not supported")
                    .with_hint("give the arguments in order"));
            }
            '\'' | '"' => {
                return Err(self.error("unsupported syntax: only numeric constants are supported"));
            }
            other => return Err(self.unsupported(&other.to_string())),
        };
        self.bump();
        Ok(token)
    }

    fn unsupported(&self, what: &str) -> ExpressionError {
        self.error(format!("unsupported syntax '{what}'"))
            .with_hint(
                "operators are + - * / @, functions abs, min, max, minimum, maximum and clip",
            )
    }

    fn name(&mut self) -> Result<Token, ExpressionError> {
        let position = self.position;
        let name = self.take_while(is_name_part);
        if KEYWORDS.contains(&name) {
            return Err(ExpressionError::new(
                position,
                format!("unsupported syntax: '{name}' is a word of Python, not a name"),
            ));
        }
        Ok(Token::Name(name.to_owned()))
    }

    fn number(&mut self) -> Result<Token, ExpressionError> {
        let start = self.position;
        let text = self.rest;
        let prefix = text.get(..2).unwrap_or("").to_ascii_lowercase();
        let token = match prefix.as_str() {
            "0x" => self.prefixed(16, start)?,
            "0o" => self.prefixed(8, start)?,
            "0b" => self.prefixed(2, start)?,
            _ => self.decimal(start)?,
        };
        if let Some('j' | 'J') = self.peek()
            && prefix != "0x"
        {
            return Err(ExpressionError::new(
                start,
                "unsupported syntax: only real numeric constants are supported",
            ));
        }
        if self.peek().is_some_and(is_name_part) {
            return Err(ExpressionError::new(
                start,
                format!(
                    "invalid number: {:?} is followed directly by {:?}",
                    &text[..text.len() - self.rest.len()],
                    self.peek().unwrap_or(' ')
                ),
            ));
        }
        Ok(token)
    }

    /// An integer behind `0x`, `0o` or `0b`.
    fn prefixed(&mut self, radix: u32, start: Position) -> Result<Token, ExpressionError> {
        self.bump();
        self.bump();
        let digits =
            self.take_while(|character| character.is_ascii_alphanumeric() || character == '_');
        let valid = separated(digits.strip_prefix('_').unwrap_or(digits));
        if !valid
            || !digits
                .chars()
                .all(|digit| digit == '_' || digit.is_digit(radix))
        {
            return Err(ExpressionError::new(
                start,
                format!("invalid number: {digits:?} are no digits to base {radix}"),
            ));
        }
        integer(digits, radix, start)
    }

    fn decimal(&mut self, start: Position) -> Result<Token, ExpressionError> {
        let text = self.rest;
        let is_digit = |character: char| character.is_ascii_digit() || character == '_';
        let mut parts = vec![self.take_while(is_digit)];
        let mut float = false;
        if self.peek() == Some('.') {
            float = true;
            self.bump();
            parts.push(self.take_while(is_digit));
        }
        if let Some('e' | 'E') = self.peek() {
            float = true;
            self.bump();
            if let Some('+' | '-') = self.peek() {
                self.bump();
            }
            let exponent = self.take_while(is_digit);
            if exponent.is_empty() {
                return Err(ExpressionError::new(
                    start,
                    "invalid number: the exponent has no digits",
                ));
            }
            parts.push(exponent);
        }
        if !parts.iter().all(|part| part.is_empty() || separated(part)) {
            return Err(ExpressionError::new(
                start,
                "invalid number: '_' may stand only between two digits",
            ));
        }
        let spelling = &text[..text.len() - self.rest.len()];
        if !float {
            if spelling.starts_with('0')
                && spelling.bytes().any(|byte| (b'1'..=b'9').contains(&byte))
            {
                return Err(ExpressionError::new(
                    start,
                    "invalid number: leading zeros are not permitted in an integer",
                )
                .with_hint("octal numbers begin with 0o"));
            }
            return integer(spelling, 10, start);
        }
        spelling
            .replace('_', "")
            .parse()
            .map(Token::Float)
            .map_err(|error| ExpressionError::new(start, format!("invalid number: {error}")))
    }
}

/// Digits with single underscores between them.
fn separated(digits: &str) -> bool {
    !digits.is_empty() && digits.split('_').all(|group| !group.is_empty())
}

fn integer(digits: &str, radix: u32, start: Position) -> Result<Token, ExpressionError> {
    i128::from_str_radix(&digits.replace('_', ""), radix)
        .map(Token::Integer)
        .map_err(|_too_large| {
            ExpressionError::new(start, "integers beyond 127 bits are not supported")
                .with_hint("write it as a float, such as 1e40")
        })
}

fn is_name_start(character: char) -> bool {
    character == '_' || character.is_alphabetic()
}

fn is_name_part(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Result<Vec<Token>, ExpressionError> {
        Ok(tokenize(text)?
            .into_iter()
            .map(|spanned| spanned.token)
            .collect())
    }

    fn number(text: &str) -> Token {
        let tokens = tokens(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(tokens.len(), 2, "{text}: {tokens:?}");
        tokens[0].clone()
    }

    #[test]
    fn numbers_are_spelled_as_in_python() {
        for (text, value) in [
            ("0", 0),
            ("00", 0),
            ("0_0", 0),
            ("1_000", 1000),
            ("0x_fF", 255),
            ("0XA_b", 171),
            ("0o17", 15),
            ("0b1_01", 5),
            ("170141183460469231731687303715884105727", i128::MAX),
        ] {
            assert_eq!(number(text), Token::Integer(value), "{text}");
        }
        for (text, value) in [
            ("1.", 1.0),
            (".5", 0.5),
            ("1e3", 1000.0),
            ("1_0.0_1e1_0", 10.01e10),
            ("010.5", 10.5),
            ("09e1", 90.0),
            ("1E-2", 0.01),
            ("1e400", f64::INFINITY),
        ] {
            assert_eq!(number(text), Token::Float(value), "{text}");
        }
    }

    #[test]
    fn misspelled_numbers_are_refused() {
        for text in [
            "1__0", "1_", "0x", "0xg", "0b2", "0o8", "012", "1e", "1e+", "1_.5", "1._5", "1j",
            "2.5J", "1abc", "0x1_", "1.abs", "1e5_",
        ] {
            assert!(tokens(text).is_err(), "{text}: {:?}", tokens(text));
        }
    }

    #[test]
    fn blanks_comments_and_lines() {
        let sum = [
            Token::Name("a".to_owned()),
            Token::Plus,
            Token::Name("b".to_owned()),
            Token::End,
        ];
        for text in [
            " a+b",
            "a + b\n",
            "a\t+ b # what\n# more\n\n",
            "\n a + \\\n b",
        ] {
            assert_eq!(tokens(text).unwrap(), sum, "{text:?}");
        }
        assert_eq!(tokens("(a\n+\nb)").unwrap().len(), 6);
        let error = tokens("a\n+ b").unwrap_err();
        assert_eq!(error.position, Position { line: 1, column: 2 });
        assert!(error.hint.is_some());
    }

    #[test]
    fn positions_count_characters() {
        let spanned = tokenize("größe *\\\n  b").unwrap();
        assert_eq!(spanned[1].position, Position { line: 1, column: 7 });
        assert_eq!(spanned[2].position, Position { line: 2, column: 3 });
    }

    #[test]
    fn what_python_has_and_expressions_have_not() {
        for text in [
            "a ** 2",
            "a // 2",
            "a % 2",
            "a < b",
            "a == b",
            "a[0]",
            "a.real",
            "'text'",
            "a if b else c",
            "True",
            "lambda: 1",
            "f(x=1)",
            "a & b",
            "~a",
            "{}",
            "a; b",
        ] {
            assert!(tokens(text).is_err(), "{text}");
        }
    }
}
