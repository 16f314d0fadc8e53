//! SVG, drawn in layers.

use super::layout::{Link, Route, heights, lay_out};
use super::{Arrow, Drawing, Shape, Vertex};

const MARGIN: f64 = 24.0;
const LAYER_GAP: f64 = 34.0;
const LEGEND_HEIGHT: f64 = 34.0;
/// No fonts are measured here: room for a wide letter of a sans-serif font of 13 pixels.
const NAME_LETTER_WIDTH: f64 = 8.0;
/// The same for 11 pixels.
const DETAIL_LETTER_WIDTH: f64 = 6.8;
/// Longer lines are cut; the tool tip has all of them.
const LONGEST_LINE: usize = 36;

const STYLE: &str = "\
text{font-family:system-ui,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;fill:#1b1b1b;text-anchor:middle}\
.name{font-size:13px;font-weight:600}\
.detail{font-size:11px;fill:#555}\
.alias{font-size:10px;fill:#666}\
.halo{font-size:10px;fill:#fff;stroke:#fff;stroke-width:3px}\
rect{stroke:#777;stroke-width:1}\
.stream rect{fill:#f4f4f4;stroke:#aaa}\
.stream .name{font-weight:400}\
.source rect{fill:#d7efdc}\
.kernel rect{fill:#d8e6f7}\
.sink rect{fill:#f9e3cd}\
path{fill:none;stroke:#555;stroke-width:1.3}\
.auxiliary{stroke-dasharray:5 3;stroke:#888}\
.feedback{stroke:#c2591b}\
.head{fill:#555;stroke:none}\
.feedback-head{fill:#c2591b;stroke:none}";

pub(super) fn write(drawing: &Drawing) -> String {
    let sizes: Vec<(f64, f64)> = drawing.vertices.iter().map(size).collect();
    let widths: Vec<f64> = sizes.iter().map(|size| size.0).collect();
    let box_heights: Vec<f64> = sizes.iter().map(|size| size.1).collect();
    let links: Vec<Link> = drawing.arrows.iter().map(link).collect();
    let vertices = drawing.vertices.iter().enumerate();
    let sources: Vec<usize> = vertices
        .filter(|(_, vertex)| vertex.shape == Shape::Source)
        .map(|(index, _)| index)
        .collect();
    let layout = lay_out(&widths, &links, &sources);
    let (tops, height) = heights(&layout.layers, &box_heights, LAYER_GAP);
    let layer_heights: Vec<f64> = tops
        .iter()
        .zip(tops.iter().skip(1).chain([&(height + LAYER_GAP)]))
        .map(|(top, next)| next - top - LAYER_GAP)
        .collect();
    let boxes: Vec<Placed> = sizes
        .iter()
        .zip(&layout.centres)
        .zip(&layout.layers)
        .map(|((&(width, height), &centre), &layer)| {
            let top = tops[layer] + (layer_heights[layer] - height) / 2.0;
            Placed {
                centre: centre + MARGIN,
                top: top + MARGIN,
                width,
                height,
            }
        })
        .collect();
    let routes = &layout.routes;
    let right = |one: &Placed| one.centre + one.width / 2.0;
    let bends = routes.iter().flat_map(|route| route.bends.iter());
    let drawn_width = boxes.iter().map(right).chain(bends.map(|x| x + MARGIN));
    let width = drawn_width.fold(400.0_f64, f64::max) + MARGIN;
    let height = height + 2.0 * MARGIN + LEGEND_HEIGHT;
    let mut parts = vec![
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" width=\"{}\" height=\"{}\" \
             role=\"img\" aria-label=\"pipeline graph\">",
            rounded(width),
            rounded(height),
            rounded(width),
            rounded(height)
        ),
        format!("<style>{STYLE}</style>"),
        heads(),
        format!(
            "<rect width=\"{}\" height=\"{}\" style=\"fill:#fff;stroke:none\"/>",
            rounded(width),
            rounded(height)
        ),
    ];
    let ports = Ports::new(drawing, &boxes, routes);
    let mut aliases = Vec::new();
    for (index, (arrow, route)) in drawing.arrows.iter().zip(routes).enumerate() {
        let span = layout.layers[arrow.from].min(layout.layers[arrow.to]) + 1;
        let bends: Vec<Bend> = route
            .bends
            .iter()
            .zip(span..)
            .map(|(&x, layer)| Bend {
                x: x + MARGIN,
                top: tops[layer] + MARGIN,
                bottom: tops[layer] + MARGIN + layer_heights[layer],
            })
            .collect();
        let (line, alias) = line(arrow, route, &bends, &ports, &boxes, index);
        parts.push(line);
        aliases.extend(alias);
    }
    for (vertex, at) in drawing.vertices.iter().zip(&boxes) {
        parts.push(vertex_group(vertex, at));
    }
    parts.extend(aliases);
    parts.push(legend(height - LEGEND_HEIGHT));
    parts.push("</svg>\n".to_owned());
    parts.join("\n")
}

/// A box on the page.
#[derive(Clone, Copy, Debug)]
struct Placed {
    centre: f64,
    top: f64,
    width: f64,
    height: f64,
}

impl Placed {
    fn bottom(&self) -> f64 {
        self.top + self.height
    }
}

/// Where an arrow passes a layer: straight down from `top` to `bottom`.
struct Bend {
    x: f64,
    top: f64,
    bottom: f64,
}

fn link(arrow: &Arrow) -> Link {
    Link {
        from: arrow.from,
        to: arrow.to,
        is_primary: !arrow.is_auxiliary,
    }
}

fn size(vertex: &Vertex) -> (f64, f64) {
    let letters = |text: &str| cut(text).chars().count() as f64;
    let name = letters(&vertex.name) * NAME_LETTER_WIDTH;
    let detail = letters(&vertex.detail) * DETAIL_LETTER_WIDTH;
    // The ends of streams are round.
    let padding = if vertex.shape == Shape::Stream {
        30.0
    } else {
        20.0
    };
    (name.max(detail).max(56.0) + padding, 40.0)
}

fn cut(text: &str) -> String {
    if text.chars().count() <= LONGEST_LINE {
        return text.to_owned();
    }
    let shown: String = text.chars().take(LONGEST_LINE - 1).collect();
    shown + "\u{2026}"
}

/// Where along the edge of its boxes each arrow leaves and enters: side by side, in the order of
/// where they come from.
struct Ports {
    upper: Vec<f64>,
    lower: Vec<f64>,
}

impl Ports {
    fn new(drawing: &Drawing, boxes: &[Placed], routes: &[Route]) -> Self {
        let count = drawing.arrows.len();
        let mut at_bottom: Vec<Vec<usize>> = vec![Vec::new(); boxes.len()];
        let mut at_top: Vec<Vec<usize>> = vec![Vec::new(); boxes.len()];
        for (index, (arrow, route)) in drawing.arrows.iter().zip(routes).enumerate() {
            let (upper, lower) = ends(arrow, route);
            at_bottom[upper].push(index);
            at_top[lower].push(index);
        }
        let mut ports = Self {
            upper: vec![0.0; count],
            lower: vec![0.0; count],
        };
        for (vertex, at) in boxes.iter().enumerate() {
            let near_upper = |&index: &usize| {
                let (_, lower) = ends(&drawing.arrows[index], &routes[index]);
                let bend = routes[index].bends.first();
                bend.map_or(boxes[lower].centre, |x| x + MARGIN)
            };
            spread(&mut at_bottom[vertex], at, near_upper, &mut ports.upper);
            let near_lower = |&index: &usize| {
                let (upper, _) = ends(&drawing.arrows[index], &routes[index]);
                let bend = routes[index].bends.last();
                bend.map_or(boxes[upper].centre, |x| x + MARGIN)
            };
            spread(&mut at_top[vertex], at, near_lower, &mut ports.lower);
        }
        ports
    }
}

/// Gives the arrows at one edge of `at` their places along it.
fn spread(
    arrows: &mut [usize],
    at: &Placed,
    other_end: impl Fn(&usize) -> f64,
    places: &mut [f64],
) {
    arrows.sort_by(|one, other| other_end(one).total_cmp(&other_end(other)));
    let between = at.width / (arrows.len() + 1) as f64;
    let left = at.centre - at.width / 2.0;
    for (index, &arrow) in arrows.iter().enumerate() {
        places[arrow] = left + between * (index + 1) as f64;
    }
}

/// The upper and the lower end of an arrow.
fn ends(arrow: &Arrow, route: &Route) -> (usize, usize) {
    if route.leads_up {
        (arrow.to, arrow.from)
    } else {
        (arrow.from, arrow.to)
    }
}

/// The path of an arrow, and the alias that stands beside it.
fn line(
    arrow: &Arrow,
    route: &Route,
    bends: &[Bend],
    ports: &Ports,
    boxes: &[Placed],
    index: usize,
) -> (String, Option<String>) {
    /// Room for the head, which ends at the box.
    const HEAD: f64 = 6.0;
    let (upper, lower) = ends(arrow, route);
    let (head_above, head_below) = if route.leads_up {
        (HEAD, 0.0)
    } else {
        (0.0, HEAD)
    };
    let start = (ports.upper[index], boxes[upper].bottom() + head_above);
    let end = (ports.lower[index], boxes[lower].top - head_below);
    // Pairs of points: curves lead from the second of one to the first of the next, straight lines
    // from the first to the second.
    let mut stops = vec![(start, start)];
    stops.extend(bends.iter().map(|it| ((it.x, it.top), (it.x, it.bottom))));
    stops.push((end, end));
    if route.leads_up {
        stops.reverse();
        for stop in &mut stops {
            *stop = (stop.1, stop.0);
        }
    }
    let mut path = String::new();
    for (index, (enter, leave)) in stops.iter().enumerate() {
        if let Some((_, (x, y))) = index.checked_sub(1).and_then(|before| stops.get(before)) {
            let middle = f64::midpoint(*y, enter.1);
            let control = |x: f64| format!("{} {}", rounded(x), rounded(middle));
            path += &format!(
                " C{} {} {} {}",
                control(*x),
                control(enter.0),
                rounded(enter.0),
                rounded(enter.1)
            );
        } else {
            path += &format!("M{} {}", rounded(enter.0), rounded(enter.1));
        }
        if enter != leave {
            path += &format!(" L{} {}", rounded(leave.0), rounded(leave.1));
        }
    }
    let mut class = Vec::new();
    if arrow.is_auxiliary {
        class.push("auxiliary");
    }
    if route.leads_up {
        class.push("feedback");
    }
    let head = if route.leads_up {
        "feedback-head"
    } else {
        "head"
    };
    let class = match class.as_slice() {
        [] => String::new(),
        names => format!(" class=\"{}\"", names.join(" ")),
    };
    let path = format!("<path{class} d=\"{path}\" marker-end=\"url(#{head})\"/>");
    let alias = arrow.alias.as_ref().map(|alias| {
        // Beside the end at the node, where it says what the stream is to it.
        let (x, y) = if route.leads_up {
            (start.0, start.1 + 12.0)
        } else {
            (end.0, end.1 - 6.0)
        };
        let text = |class: &str| {
            format!(
                "<text class=\"{class}\" x=\"{}\" y=\"{}\">{}</text>",
                rounded(x),
                rounded(y),
                escaped(&cut(alias))
            )
        };
        text("halo") + &text("alias")
    });
    (path, alias)
}

fn vertex_group(vertex: &Vertex, at: &Placed) -> String {
    let shape = vertex.shape.name();
    let radius = if vertex.shape == Shape::Stream {
        at.height / 2.0
    } else {
        4.0
    };
    format!(
        "<g class=\"{shape}\"><title>{shape} {}: {}</title>\
         <rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"{}\"/>\
         <text class=\"name\" x=\"{}\" y=\"{}\">{}</text>\
         <text class=\"detail\" x=\"{}\" y=\"{}\">{}</text></g>",
        escaped(&vertex.name),
        escaped(&vertex.detail),
        rounded(at.centre - at.width / 2.0),
        rounded(at.top),
        rounded(at.width),
        rounded(at.height),
        rounded(radius),
        rounded(at.centre),
        rounded(at.top + 17.0),
        escaped(&cut(&vertex.name)),
        rounded(at.centre),
        rounded(at.top + 32.0),
        escaped(&cut(&vertex.detail)),
    )
}

fn heads() -> String {
    let head = |class: &str| {
        format!(
            "<marker id=\"{class}\" markerWidth=\"8\" markerHeight=\"8\" refX=\"1\" refY=\"4\" \
             orient=\"auto\" markerUnits=\"userSpaceOnUse\">\
             <path class=\"{class}\" d=\"M0 0.5 L7 4 L0 7.5 Z\"/></marker>"
        )
    };
    format!("<defs>{}{}</defs>", head("head"), head("feedback-head"))
}

/// What the colours and lines mean.
fn legend(top: f64) -> String {
    let mut x = MARGIN;
    let mut parts = Vec::new();
    for shape in Shape::ALL {
        parts.push(format!(
            "<g class=\"{0}\"><rect x=\"{1}\" y=\"{2}\" width=\"14\" height=\"12\" rx=\"{3}\"/></g>\
             <text class=\"detail\" style=\"text-anchor:start\" x=\"{4}\" y=\"{5}\">{0}</text>",
            shape.name(),
            rounded(x),
            rounded(top),
            if shape == Shape::Stream { 6 } else { 2 },
            rounded(x + 19.0),
            rounded(top + 10.0),
        ));
        x += 70.0;
    }
    for (class, name) in [("auxiliary", "auxiliary"), ("feedback", "feedback")] {
        parts.push(format!(
            "<path class=\"{class}\" d=\"M{0} {1} h22\"/>\
             <text class=\"detail\" style=\"text-anchor:start\" x=\"{2}\" y=\"{3}\">{name}</text>",
            rounded(x),
            rounded(top + 6.0),
            rounded(x + 27.0),
            rounded(top + 10.0),
        ));
        x += 90.0;
    }
    parts.join("")
}

/// A length with one digit after the point, if it is none.
fn rounded(length: f64) -> String {
    let text = format!("{length:.1}");
    match text.strip_suffix(".0") {
        Some("-0") => "0".to_owned(),
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

/// `text` between tags.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
