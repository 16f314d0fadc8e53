//! Where the boxes of a drawing go: in layers, each arrow leading down by at least one.
//!
//! The four steps of Sugiyama, Tagawa and Toda, "Methods for visual understanding of hierarchical
//! system structures" (IEEE Transactions on Systems, Man, and Cybernetics 11(2), 1981): turn around
//! the arrows that close cycles, which are the feedback; give each box a layer; order the layers so
//! that few arrows cross, by the mean place of each box's neighbours; give each box the place
//! nearest to its neighbours that its order allows. Nothing is random: the same drawing always
//! gets the same layout.

use std::collections::BTreeMap;

/// Free space between two boxes of a layer.
const GAP: f64 = 24.0;
/// Sweeps down and up to order the layers, and to place their boxes; more change nothing one sees.
const ORDERING_SWEEPS: usize = 12;
const PLACING_SWEEPS: usize = 12;
/// The last sweeps look at the neighbours above and below at once.
const BALANCING_SWEEPS: usize = 2;

/// An arrow to lay out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) from: usize,
    pub(super) to: usize,
    /// Whether it should rather lead down than others; auxiliary streams are turned around first.
    pub(super) is_primary: bool,
}

/// The way of one arrow, from layer to layer.
#[derive(Clone, Debug, Default)]
pub(super) struct Route {
    /// Horizontal places in each layer it passes between its ends, from the upper end.
    pub(super) bends: Vec<f64>,
    /// Whether it was turned around: it leads up.
    pub(super) leads_up: bool,
}

/// Layer and horizontal centre of each box, and the way of each arrow.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) layers: Vec<usize>,
    pub(super) centres: Vec<f64>,
    pub(super) routes: Vec<Route>,
}

/// Lays out boxes of these widths, of which those in `begins` rather stand above others. What is not
/// connected stands side by side.
pub(super) fn lay_out(widths: &[f64], links: &[Link], begins: &[usize]) -> Layout {
    let mut layout = Layout {
        layers: vec![0; widths.len()],
        centres: vec![0.0; widths.len()],
        routes: links.iter().map(|_| Route::default()).collect(),
    };
    let mut left = 0.0;
    let (lone, connected): (Vec<Part>, Vec<Part>) = parts(widths.len(), links)
        .into_iter()
        .partition(|part| part.links.is_empty());
    for part in connected {
        let index_in_part: BTreeMap<usize, usize> = part
            .vertices
            .iter()
            .enumerate()
            .map(|(index, &vertex)| (vertex, index))
            .collect();
        let part_widths: Vec<f64> = part.vertices.iter().map(|&it| widths[it]).collect();
        let part_links: Vec<Link> = part
            .links
            .iter()
            .map(|&link| Link {
                from: index_in_part[&links[link].from],
                to: index_in_part[&links[link].to],
                ..links[link]
            })
            .collect();
        let part_begins = begins
            .iter()
            .filter_map(|it| index_in_part.get(it).copied());
        let part_begins: Vec<usize> = part_begins.collect();
        let (part_layout, width) = lay_out_part(&part_widths, &part_links, &part_begins);
        for (index, &vertex) in part.vertices.iter().enumerate() {
            layout.layers[vertex] = part_layout.layers[index];
            layout.centres[vertex] = left + part_layout.centres[index];
        }
        for (&link, route) in part.links.iter().zip(part_layout.routes) {
            layout.routes[link] = Route {
                bends: route.bends.iter().map(|bend| left + bend).collect(),
                ..route
            };
        }
        left += width + 2.0 * GAP;
    }
    // Lone boxes fill columns as high as the rest, or a square where there is no rest.
    let lone: Vec<usize> = lone.into_iter().flat_map(|part| part.vertices).collect();
    let square = (lone.len() as f64).sqrt().ceil() as usize;
    let deepest = layout.layers.iter().max().copied().unwrap_or(0);
    let rows = if links.is_empty() {
        square
    } else {
        deepest + 1
    };
    for column in lone.chunks(rows.max(1)) {
        let width = column
            .iter()
            .map(|&vertex| widths[vertex])
            .fold(0.0, f64::max);
        for (layer, &vertex) in column.iter().enumerate() {
            layout.layers[vertex] = layer;
            layout.centres[vertex] = left + width / 2.0;
        }
        left += width + GAP;
    }
    layout
}

/// Boxes and arrows that hang together.
#[derive(Default)]
struct Part {
    vertices: Vec<usize>,
    links: Vec<usize>,
}

fn parts(count: usize, links: &[Link]) -> Vec<Part> {
    let mut near: Vec<Vec<usize>> = vec![Vec::new(); count];
    for link in links {
        near[link.from].push(link.to);
        near[link.to].push(link.from);
    }
    let mut part_of: Vec<Option<usize>> = vec![None; count];
    let mut parts: Vec<Part> = Vec::new();
    for start in 0..count {
        if part_of[start].is_some() {
            continue;
        }
        let part = parts.len();
        parts.push(Part::default());
        part_of[start] = Some(part);
        let mut waiting = vec![start];
        while let Some(vertex) = waiting.pop() {
            for &other in &near[vertex] {
                if part_of[other].is_none() {
                    part_of[other] = Some(part);
                    waiting.push(other);
                }
            }
        }
    }
    for (vertex, part) in part_of.iter().enumerate() {
        if let Some(part) = part.and_then(|part| parts.get_mut(part)) {
            part.vertices.push(vertex);
        }
    }
    for (index, link) in links.iter().enumerate() {
        if let Some(part) = part_of[link.from].and_then(|part| parts.get_mut(part)) {
            part.links.push(index);
        }
    }
    parts
}

/// Lays out boxes that hang together, the leftmost at 0; returns the width of all, too.
fn lay_out_part(widths: &[f64], links: &[Link], begins: &[usize]) -> (Layout, f64) {
    let leads_up = arrows_to_turn(widths.len(), links, begins);
    let downward: Vec<(usize, usize)> = links
        .iter()
        .zip(&leads_up)
        .map(|(link, turned)| {
            if *turned {
                (link.to, link.from)
            } else {
                (link.from, link.to)
            }
        })
        .collect();
    let layers = layers_of(widths.len(), &downward);
    let mut grid = Grid::new(widths, &layers, &downward);
    grid.order();
    grid.place();
    let right = |vertex: usize| grid.places[vertex] + grid.widths[vertex] / 2.0;
    let width = (0..grid.widths.len()).map(right).fold(0.0, f64::max);
    let routes = grid
        .bends
        .iter()
        .zip(leads_up)
        .map(|(bends, leads_up)| Route {
            bends: bends.iter().map(|&bend| grid.places[bend]).collect(),
            leads_up,
        })
        .collect();
    let layout = Layout {
        layers,
        centres: grid.places[..widths.len()].to_vec(),
        routes,
    };
    (layout, width)
}

/// The arrows that close a cycle when the graph is walked from `first`, and then from wherever else
/// data comes in.
fn arrows_to_turn(count: usize, links: &[Link], first: &[usize]) -> Vec<bool> {
    let mut leaving: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut entered = vec![false; count];
    let by_importance = |wanted: bool| {
        links
            .iter()
            .enumerate()
            .filter(move |(_, link)| link.is_primary == wanted)
    };
    for (index, link) in by_importance(true).chain(by_importance(false)) {
        leaving[link.from].push(index);
        entered[link.to] |= link.is_primary;
    }
    // Where data comes in, before calibrations, which nothing comes into either.
    let moves_data = |vertex: usize| leaving[vertex].iter().any(|&link| links[link].is_primary);
    let mut begins: Vec<usize> = (0..count).filter(|&vertex| !entered[vertex]).collect();
    begins.sort_by_key(|&vertex| !moves_data(vertex));
    let mut turned = vec![false; links.len()];
    let mut state = vec![Visit::Not; count];
    for start in first.iter().copied().chain(begins).chain(0..count) {
        if state[start] != Visit::Not {
            continue;
        }
        state[start] = Visit::Open;
        let mut stack = vec![(start, 0)];
        while let Some((vertex, next)) = stack.pop() {
            let Some(&link) = leaving[vertex].get(next) else {
                state[vertex] = Visit::Done;
                continue;
            };
            stack.push((vertex, next + 1));
            let target = links[link].to;
            match state[target] {
                Visit::Not => {
                    state[target] = Visit::Open;
                    stack.push((target, 0));
                }
                Visit::Open => turned[link] = true,
                Visit::Done => {}
            }
        }
    }
    turned
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    Not,
    Open,
    Done,
}

/// The longest way to each vertex from where nothing comes in; what nothing comes into itself goes
/// right above what it feeds.
fn layers_of(count: usize, downward: &[(usize, usize)]) -> Vec<usize> {
    let mut entering = vec![0_usize; count];
    let mut leaving: Vec<Vec<usize>> = vec![Vec::new(); count];
    for &(from, to) in downward {
        entering[to] += 1;
        leaving[from].push(to);
    }
    let begins: Vec<usize> = (0..count).filter(|&vertex| entering[vertex] == 0).collect();
    let mut layers = vec![0_usize; count];
    let mut ready = begins.clone();
    while let Some(vertex) = ready.pop() {
        for &target in &leaving[vertex] {
            layers[target] = layers[target].max(layers[vertex] + 1);
            entering[target] -= 1;
            if entering[target] == 0 {
                ready.push(target);
            }
        }
    }
    for vertex in begins {
        let nearest = leaving[vertex].iter().map(|&target| layers[target]).min();
        layers[vertex] = nearest.map_or(0, |nearest| nearest - 1);
    }
    layers
}

/// Boxes, and a bend wherever an arrow passes a layer, in rows.
struct Grid {
    rows: Vec<Vec<usize>>,
    widths: Vec<f64>,
    places: Vec<f64>,
    above: Vec<Vec<usize>>,
    below: Vec<Vec<usize>>,
    /// The bends of each arrow, from the upper end.
    bends: Vec<Vec<usize>>,
}

impl Grid {
    fn new(widths: &[f64], layers: &[usize], downward: &[(usize, usize)]) -> Self {
        let count = layers.iter().max().map_or(0, |deepest| deepest + 1);
        let mut grid = Self {
            rows: vec![Vec::new(); count],
            widths: widths.to_vec(),
            places: vec![0.0; widths.len()],
            above: vec![Vec::new(); widths.len()],
            below: vec![Vec::new(); widths.len()],
            bends: Vec::with_capacity(downward.len()),
        };
        for (vertex, layer) in layers.iter().enumerate() {
            grid.rows[*layer].push(vertex);
        }
        for &(from, to) in downward {
            let mut upper = from;
            let mut bends = Vec::new();
            for layer in layers[from] + 1..layers[to] {
                let bend = grid.widths.len();
                grid.widths.push(0.0);
                grid.places.push(0.0);
                grid.above.push(Vec::new());
                grid.below.push(Vec::new());
                grid.rows[layer].push(bend);
                grid.connect(upper, bend);
                bends.push(bend);
                upper = bend;
            }
            grid.connect(upper, to);
            grid.bends.push(bends);
        }
        grid
    }

    fn connect(&mut self, upper: usize, lower: usize) {
        self.below[upper].push(lower);
        self.above[lower].push(upper);
    }

    /// Orders the rows so that few arrows cross.
    fn order(&mut self) {
        let mut best = (self.crossings(), self.rows.clone());
        for sweep in 0..ORDERING_SWEEPS {
            let down = sweep % 2 == 0;
            let mut indices: Vec<usize> = (0..self.rows.len()).collect();
            if !down {
                indices.reverse();
            }
            let mut position = self.positions();
            for row in indices {
                let neighbours = if down { &self.above } else { &self.below };
                let mean = |vertex: usize| {
                    let near = &neighbours[vertex];
                    // Who has no neighbour there stays where it is.
                    if near.is_empty() {
                        return position[vertex];
                    }
                    near.iter().map(|&it| position[it]).sum::<f64>() / near.len() as f64
                };
                let mut keyed: Vec<(f64, usize)> = self.rows[row]
                    .iter()
                    .map(|&vertex| (mean(vertex), vertex))
                    .collect();
                keyed.sort_by(|one, other| one.0.total_cmp(&other.0));
                self.rows[row] = keyed.into_iter().map(|(_, vertex)| vertex).collect();
                for (index, &vertex) in self.rows[row].iter().enumerate() {
                    position[vertex] = index as f64;
                }
            }
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.rows.clone());
            }
        }
        self.rows = best.1;
    }

    /// The place of every vertex in its row.
    fn positions(&self) -> Vec<f64> {
        let mut positions = vec![0.0; self.widths.len()];
        for row in &self.rows {
            for (index, &vertex) in row.iter().enumerate() {
                positions[vertex] = index as f64;
            }
        }
        positions
    }

    /// How many pairs of arrows cross between neighbouring rows.
    fn crossings(&self) -> usize {
        let positions = self.positions();
        let mut crossings = 0;
        for (upper, lower) in self.rows.iter().zip(self.rows.iter().skip(1)) {
            // The arrows from left to right at their upper end; each crosses the earlier ones that
            // end to its right, which a tree of counts tells.
            let mut ends = Vec::new();
            for &vertex in upper {
                let mut targets: Vec<usize> = self.below[vertex]
                    .iter()
                    .map(|&target| positions[target] as usize)
                    .collect();
                targets.sort_unstable();
                ends.extend(targets);
            }
            let mut counts = vec![0_usize; lower.len() + 1];
            for (seen, end) in ends.into_iter().enumerate() {
                let mut not_right = 0;
                let mut index = end + 1;
                while index > 0 {
                    not_right += counts[index];
                    index &= index - 1;
                }
                crossings += seen - not_right;
                let mut index = end + 1;
                while index < counts.len() {
                    counts[index] += 1;
                    index += index & index.wrapping_neg();
                }
            }
        }
        crossings
    }

    /// Gives every vertex its horizontal place: as near to its neighbours as its row allows.
    fn place(&mut self) {
        for row in 0..self.rows.len() {
            let wanted = vec![0.0; self.rows[row].len()];
            self.settle(row, &wanted);
        }
        for sweep in 0..PLACING_SWEEPS {
            let mut indices: Vec<usize> = (0..self.rows.len()).collect();
            if sweep % 2 == 1 {
                indices.reverse();
            }
            let balances = sweep + BALANCING_SWEEPS >= PLACING_SWEEPS;
            let (looks_up, looks_down) = (sweep % 2 == 0 || balances, sweep % 2 == 1 || balances);
            for row in indices {
                let mean = |vertex: &usize| {
                    let above = self.above[*vertex].iter().filter(|_| looks_up);
                    let below = self.below[*vertex].iter().filter(|_| looks_down);
                    let near = || above.clone().chain(below.clone());
                    match near().count() {
                        0 => self.places[*vertex],
                        count => near().map(|&it| self.places[it]).sum::<f64>() / count as f64,
                    }
                };
                let wanted: Vec<f64> = self.rows[row].iter().map(mean).collect();
                self.settle(row, &wanted);
            }
        }
        let left = |vertex: usize| self.places[vertex] - self.widths[vertex] / 2.0;
        let leftmost = (0..self.widths.len())
            .map(left)
            .fold(f64::INFINITY, f64::min);
        for place in &mut self.places {
            *place -= leftmost;
        }
    }

    /// Places the vertices of `row` as near to `wanted` as order and widths allow, by least squares:
    /// without the distances they have to keep it is a regression whose values must not decrease,
    /// which merging neighbours that do solves (Barlow, Bartholomew, Bremner and Brunk, "Statistical
    /// Inference under Order Restrictions", Wiley 1972).
    fn settle(&mut self, row: usize, wanted: &[f64]) {
        let row = &self.rows[row];
        let mut offsets = Vec::with_capacity(row.len());
        let mut offset = 0.0;
        for (index, &vertex) in row.iter().enumerate() {
            if let Some(&left) = index.checked_sub(1).and_then(|left| row.get(left)) {
                offset += (self.widths[left] + self.widths[vertex]) / 2.0 + GAP;
            }
            offsets.push(offset);
        }
        // Sums and sizes of the groups merged so far.
        let mut groups: Vec<(f64, usize)> = Vec::new();
        for (wanted, offset) in wanted.iter().zip(&offsets) {
            let mut last = (wanted - offset, 1);
            while let Some(&(sum, size)) = groups.last()
                && sum / size as f64 >= last.0 / last.1 as f64
            {
                groups.pop();
                last = (last.0 + sum, last.1 + size);
            }
            groups.push(last);
        }
        let bases = groups
            .iter()
            .flat_map(|&(sum, size)| std::iter::repeat_n(sum / size as f64, size));
        for ((&vertex, base), offset) in row.iter().zip(bases).zip(&offsets) {
            self.places[vertex] = base + offset;
        }
    }
}

/// How far down each layer begins, and the whole height: layers as high as their highest box.
pub(super) fn heights(layers: &[usize], box_heights: &[f64], gap: f64) -> (Vec<f64>, f64) {
    let mut highest: BTreeMap<usize, f64> = BTreeMap::new();
    for (layer, height) in layers.iter().zip(box_heights) {
        let entry = highest.entry(*layer).or_default();
        *entry = entry.max(*height);
    }
    let mut tops = Vec::new();
    let mut top = 0.0;
    for height in highest.values() {
        tops.push(top);
        top += height + gap;
    }
    (tops, (top - gap).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(from: usize, to: usize) -> Link {
        Link {
            from,
            to,
            is_primary: true,
        }
    }

    #[test]
    fn arrows_lead_down_but_for_feedback() {
        let auxiliary = Link {
            is_primary: false,
            ..link(3, 0)
        };
        let links = [link(0, 1), link(1, 2), link(2, 3), auxiliary, link(0, 3)];
        let layout = lay_out(&[10.0; 4], &links, &[]);
        assert_eq!(layout.layers, [0, 1, 2, 3]);
        let up: Vec<bool> = layout.routes.iter().map(|route| route.leads_up).collect();
        assert_eq!(up, [false, false, false, true, false]);
        let bends: Vec<usize> = layout.routes.iter().map(|it| it.bends.len()).collect();
        assert_eq!(bends, [0, 0, 0, 2, 2]);
    }

    #[test]
    fn calibrations_stand_right_above_who_uses_them() {
        let links = [link(0, 1), link(1, 2), link(2, 3), link(4, 3)];
        let layout = lay_out(&[10.0; 5], &links, &[]);
        assert_eq!(layout.layers, [0, 1, 2, 3, 2]);
    }

    #[test]
    fn boxes_of_a_layer_keep_their_distance() {
        // A fan of seven, given in an order that would cross.
        let links: Vec<Link> = (1..8)
            .flat_map(|index| [link(0, index), link(index, 16 - index)])
            .collect();
        let widths: Vec<f64> = (0..16).map(|index| 20.0 + f64::from(index) * 3.0).collect();
        let layout = lay_out(&widths, &links, &[]);
        for one in 0..16 {
            for other in 0..one {
                if layout.layers[one] == layout.layers[other] {
                    let distance = (layout.centres[one] - layout.centres[other]).abs();
                    let needed = (widths[one] + widths[other]) / 2.0 + GAP;
                    assert!(distance >= needed - 1e-6, "{one} and {other}: {distance}");
                }
            }
        }
        // Nothing crosses: who feeds whom stands in the same order.
        for one in 1..8 {
            for other in 1..one {
                let upper = layout.centres[one] - layout.centres[other];
                let lower = layout.centres[16 - one] - layout.centres[16 - other];
                assert!(upper * lower > 0.0, "{one} and {other} cross");
            }
        }
    }

    #[test]
    fn a_cycle_without_a_begin_and_a_lone_box_are_laid_out() {
        let links = [link(0, 1), link(1, 0)];
        let layout = lay_out(&[10.0; 3], &links, &[]);
        assert_eq!(layout.layers, [0, 1, 0]);
        assert!(layout.routes[1].leads_up);
        let layout = lay_out(&[10.0; 3], &links, &[1]);
        assert_eq!(layout.layers, [1, 0, 0]);
        assert_eq!(lay_out(&[10.0; 4], &[], &[]).layers, [0, 1, 0, 1]);
        assert_eq!(lay_out(&[], &[], &[]).layers, [0; 0]);
    }
}
