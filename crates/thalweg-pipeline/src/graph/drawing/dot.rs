//! The language of Graphviz.

use super::{Drawing, Shape};

pub(super) fn write(drawing: &Drawing) -> String {
    let mut lines = vec![
        "digraph pipeline {".to_owned(),
        "  node [fontname=\"sans-serif\", fontsize=11, style=filled];".to_owned(),
        "  edge [fontname=\"sans-serif\", fontsize=9];".to_owned(),
    ];
    for (index, vertex) in drawing.vertices.iter().enumerate() {
        let (shape, colour) = match vertex.shape {
            Shape::Stream => ("oval", "#f2f2f2"),
            Shape::Source => ("box", "#d7efdc"),
            Shape::Kernel => ("box", "#d8e6f7"),
            Shape::Sink => ("box", "#f9e3cd"),
        };
        lines.push(format!(
            "  v{index} [label=\"{}\\n{}\", shape={shape}, fillcolor=\"{colour}\"];",
            escaped(&vertex.name),
            escaped(&vertex.detail)
        ));
    }
    for arrow in &drawing.arrows {
        let (from, to) = (arrow.from, arrow.to);
        lines.push(match &arrow.alias {
            Some(alias) => format!(
                "  v{from} -> v{to} [style=dashed, label=\"{}\"];",
                escaped(alias)
            ),
            None if arrow.is_auxiliary => format!("  v{from} -> v{to} [style=dashed];"),
            None => format!("  v{from} -> v{to};"),
        });
    }
    lines.push("}\n".to_owned());
    lines.join("\n")
}

/// `text` between quotes, where Graphviz reads HTML's entities.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('&', "&amp;")
}
