//! What an unquoted YAML scalar means.
//!
//! YAML 1.2's core schema, plus what the YAML 1.1 readers of today's configurations add to it:
//! `yes`, `no`, `on` and `off`, underscores between digits, and `0b` integers. Where the two
//! versions read different *numbers* (`010`, `1:30`) nothing is guessed: such a scalar is a problem.

use super::node::Value;

/// An unquoted scalar that has no clear value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unclear {
    pub(super) message: String,
    pub(super) hint: String,
}

/// The value of the unquoted scalar `text`.
pub(super) fn resolve_plain(text: &str) -> Result<Value, Unclear> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Value::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            Value::Bool(false)
        }
        ".nan" | ".NaN" | ".NAN" => Value::Float(f64::NAN),
        _ => match resolve_number(text)? {
            Some(number) => number,
            None => Value::String(text.to_owned()),
        },
    })
}

fn resolve_number(text: &str) -> Result<Option<Value>, Unclear> {
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or_default()),
        Some(b'+') => (false, text.get(1..).unwrap_or_default()),
        _ => (false, text),
    };
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        let infinity = if negative {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        };
        return Ok(Some(Value::Float(infinity)));
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Ok(None);
    }
    if is_sexagesimal(unsigned) {
        return Err(Unclear {
            message: format!("`{text}` is a number to base 60 in YAML 1.1 and text in YAML 1.2"),
            hint: format!("write \"{text}\" if it is text, the decimal number if it is one"),
        });
    }
    let Some(bare) = without_underscores(unsigned) else {
        return Ok(None);
    };
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = bare.strip_prefix(prefix) {
            return resolve_integer(text, negative, digits, radix);
        }
    }
    if bare.bytes().all(|byte| byte.is_ascii_digit()) {
        if bare.starts_with('0') && bare.bytes().any(|byte| byte != b'0') {
            return Err(Unclear {
                message: format!(
                    "`{text}` is octal in YAML 1.1 and decimal in YAML 1.2 because of its leading zero"
                ),
                hint: format!(
                    "write the number without the leading zero, or \"{text}\" if it is text"
                ),
            });
        }
        return resolve_integer(text, negative, &bare, 10);
    }
    if !is_float(&bare) {
        return Ok(None);
    }
    match bare.parse::<f64>() {
        Ok(magnitude) if magnitude.is_finite() => Ok(Some(Value::Float(if negative {
            -magnitude
        } else {
            magnitude
        }))),
        _ => Err(too_large(text, "a 64-bit floating-point number")),
    }
}

fn resolve_integer(
    text: &str,
    negative: bool,
    digits: &str,
    radix: u32,
) -> Result<Option<Value>, Unclear> {
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Ok(None);
    }
    match i128::from_str_radix(digits, radix) {
        Ok(magnitude) => Ok(Some(Value::Int(if negative {
            -magnitude
        } else {
            magnitude
        }))),
        Err(_) => Err(too_large(text, "an integer")),
    }
}

fn too_large(text: &str, what: &str) -> Unclear {
    let shown: String = text.chars().take(40).collect();
    Unclear {
        message: format!("`{shown}` is too large for {what}"),
        hint: "quote it if it is text".to_owned(),
    }
}

/// `digits(.digits?)?(e±digits)?` or `.digits(e±digits)?`.
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_holds = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    exponent_holds
        && digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
}

/// `1:30`, `12:30:05.5`: digits, then groups of at most two digits below 60. Without a fraction
/// YAML 1.1 wants a first digit other than 0.
fn is_sexagesimal(text: &str) -> bool {
    let (whole, has_fraction) = match text.split_once('.') {
        Some((whole, _)) => (whole, true),
        None => (text, false),
    };
    if whole.starts_with('0') && !has_fraction {
        return false;
    }
    let mut groups = whole.split(':');
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let first = groups.next().unwrap_or_default();
    let mut rest = groups.peekable();
    rest.peek().is_some()
        && digits(first)
        && rest.all(|group| {
            digits(group) && group.len() <= 2 && group.parse::<u8>().is_ok_and(|value| value < 60)
        })
}

/// `text` without underscores, if all of them stand between digits.
fn without_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let between_digits = |index: usize| {
        let is_digit = |neighbour: Option<&u8>| neighbour.is_some_and(u8::is_ascii_hexdigit);
        is_digit(index.checked_sub(1).and_then(|before| bytes.get(before)))
            && is_digit(bytes.get(index + 1))
    };
    (0..bytes.len())
        .all(|index| bytes.get(index) != Some(&b'_') || between_digits(index))
        .then(|| text.replace('_', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_mean_what_today_s_documents_mean_by_them() {
        let text = |text: &str| Value::String(text.to_owned());
        for (plain, expected) in [
            ("", Value::Null),
            ("~", Value::Null),
            ("null", Value::Null),
            ("nULL", text("nULL")),
            ("yes", Value::Bool(true)),
            ("Off", Value::Bool(false)),
            ("y", text("y")),
            ("0", Value::Int(0)),
            ("000", Value::Int(0)),
            ("-17", Value::Int(-17)),
            ("+17", Value::Int(17)),
            ("1_000_000", Value::Int(1_000_000)),
            ("1__0", text("1__0")),
            ("_1", text("_1")),
            ("0x1F", Value::Int(31)),
            ("0o17", Value::Int(15)),
            ("0b101", Value::Int(5)),
            ("0x", text("0x")),
            ("0b12", text("0b12")),
            ("1.", Value::Float(1.0)),
            (".5", Value::Float(0.5)),
            ("-.5e1", Value::Float(-5.0)),
            ("1e-5", Value::Float(1e-5)),
            ("1.5E+3", Value::Float(1500.0)),
            ("1_0.2_5", Value::Float(10.25)),
            (".inf", Value::Float(f64::INFINITY)),
            ("-.INF", Value::Float(f64::NEG_INFINITY)),
            ("inf", text("inf")),
            ("nan", text("nan")),
            (".", text(".")),
            ("-", text("-")),
            ("1e", text("1e")),
            ("e5", text("e5")),
            ("1.2.3", text("1.2.3")),
            ("cuda:0", text("cuda:0")),
            ("1:75", text("1:75")),
            ("0:30", text("0:30")),
            ("2024-05-06", text("2024-05-06")),
            ("(input - dark) / flat", text("(input - dark) / flat")),
        ] {
            assert_eq!(resolve_plain(plain), Ok(expected), "{plain}");
        }
        assert!(matches!(resolve_plain(".nan"), Ok(Value::Float(value)) if value.is_nan()));
    }

    #[test]
    fn what_the_yaml_versions_read_differently_is_not_guessed() {
        let huge = "9".repeat(60);
        for (plain, expected) in [
            ("010", "octal in YAML 1.1"),
            ("-08", "octal in YAML 1.1"),
            ("1:30", "base 60 in YAML 1.1"),
            ("12:30:05.25", "base 60 in YAML 1.1"),
            ("1e999", "too large for a 64-bit"),
            (huge.as_str(), "too large for an integer"),
        ] {
            let unclear = resolve_plain(plain).expect_err(plain);
            assert!(unclear.message.contains(expected), "{}", unclear.message);
        }
    }
}
