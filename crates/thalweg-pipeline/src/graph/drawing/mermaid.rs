//! Mermaid's flowcharts.

use std::fmt::Write as _;

use super::{Drawing, Shape};

pub(super) fn write(drawing: &Drawing) -> String {
    let mut lines = vec!["flowchart TD".to_owned()];
    for (index, vertex) in drawing.vertices.iter().enumerate() {
        let (open, close) = match vertex.shape {
            Shape::Stream => ("([", "])"),
            Shape::Source => ("[/", "\\]"),
            Shape::Kernel => ("[", "]"),
            Shape::Sink => ("[\\", "/]"),
        };
        lines.push(format!(
            "  v{index}{open}\"{}<br/>{}\"{close}:::{}",
            escaped(&vertex.name),
            escaped(&vertex.detail),
            vertex.shape.name()
        ));
    }
    for arrow in &drawing.arrows {
        let (from, to) = (arrow.from, arrow.to);
        lines.push(match &arrow.alias {
            Some(alias) => format!("  v{from} -. \"{}\" .-> v{to}", escaped(alias)),
            None if arrow.is_auxiliary => format!("  v{from} -.-> v{to}"),
            None => format!("  v{from} --> v{to}"),
        });
    }
    for (shape, colour) in [
        (Shape::Stream, "#f2f2f2"),
        (Shape::Source, "#d7efdc"),
        (Shape::Kernel, "#d8e6f7"),
        (Shape::Sink, "#f9e3cd"),
    ] {
        let name = shape.name();
        lines.push(format!(
            "  classDef {name} fill:{colour},stroke:#666,color:#111"
        ));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// `text` between quotes: what could mean something to Mermaid or to the page around it as a numeric
/// code.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        if letter.is_alphanumeric() || matches!(letter, ' ' | '_' | '-' | '.' | ',') {
            escaped.push(letter);
        } else {
            // A string takes everything.
            let _written = write!(escaped, "#{};", u32::from(letter));
        }
    }
    escaped
}
