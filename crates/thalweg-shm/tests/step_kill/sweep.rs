//! Killing a process at one instruction after the other.

use std::collections::HashMap;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::scene::{Scene, write_next};
use super::survivor::{Findings, survive};
use super::tracee::{Refused, Step, Tracee, mark};

/// What a process is killed at.
#[derive(Clone, Copy)]
pub(crate) struct Operation {
    pub(crate) slots: usize,
    pub(crate) is_strict: bool,
    pub(crate) is_progressive: bool,
    /// Frames written before; `None` for no stream at all.
    pub(crate) frames: Option<u64>,
    /// What happens before the process is started.
    pub(crate) stage: fn(&Scene),
    /// What the process does. It marks the beginning and the end of the operation.
    pub(crate) act: fn(&Scene),
    pub(crate) findings: Findings,
    pub(crate) stops: Stops,
}

impl Operation {
    /// On a stream of four slots and three frames; to be completed.
    pub(crate) const USUAL: Self = Self {
        slots: 4,
        is_strict: false,
        is_progressive: false,
        frames: Some(3),
        stage: |_| {},
        act: |_| {},
        findings: Findings::UNCHANGED,
        stops: Stops::EveryInstruction,
    };

    fn set_up(&self) -> Scene {
        let mut scene = Scene::new(self.slots, self.is_strict);
        scene.is_progressive = self.is_progressive;
        if let Some(frames) = self.frames {
            let stream = scene.create();
            (0..frames).for_each(|_| write_next(&stream));
        }
        (self.stage)(&scene);
        scene
    }

    fn start(&self, scene: &Scene) -> Tracee {
        Tracee::start(|| (self.act)(scene)).expect("a process to step")
    }
}

/// Where a process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stops {
    /// Before every instruction, once per run of a copying instruction.
    EveryInstruction,
    /// For operations of many thousand instructions, most of which compute in private memory: before
    /// and after every instruction that changes the segment or calls the system, and at some
    /// others. The environment variable `THALWEG_STEP_KILL=every` makes it every one.
    EveryChange,
}

/// The state before one instruction of the operation.
struct Boundary {
    instruction_pointer: usize,
    /// How many times the process has been at this address, this time included.
    visit: usize,
    /// In the middle of one instruction that repeats itself.
    is_inside_copy: bool,
    /// The instruction before changed the segment, or called the system.
    follows_change: bool,
}

/// Kills a process at the operation's stops, a fresh process and a fresh stream each time, and has
/// survivors check what it left.
#[expect(
    clippy::print_stdout,
    reason = "shown with --nocapture: how much was covered"
)]
pub(crate) fn sweep(name: &str, operation: &Operation) {
    // Forking copies locks as they are: no other test of this process may be inside one.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(Refused) = Tracee::start(mark) {
        // Past the harness, which would hide it.
        let hint = "this machine does not let processes trace their children (ptrace)";
        writeln!(io::stderr(), "SKIPPED step_kill {name}: {hint}").ok();
        return;
    }
    let began = Instant::now();
    let boundaries = scout(operation);
    let stops = choose(&boundaries, operation.stops);
    let landmarks = landmarks(&boundaries);
    let (mut longest_wait, mut elsewhere) = (Duration::ZERO, 0);
    for &stop in &stops {
        let scene = operation.set_up();
        let mut tracee = operation.start(&scene);
        reach(&mut tracee, &boundaries, &landmarks, stop);
        let instruction_pointer = tracee.instruction_pointer();
        // Its way may differ from the first one's, by the digits of a pid for one thing.
        let expected = boundaries.get(stop).map(|place| place.instruction_pointer);
        elsewhere += usize::from(expected.is_some_and(|expected| expected != instruction_pointer));
        tracee.kill();
        let outcome = catch_unwind(AssertUnwindSafe(|| survive(&scene, operation.findings)));
        match outcome {
            Ok(waited) => longest_wait = longest_wait.max(waited),
            Err(panic) => {
                let message = format!(
                    "{name}: killed at instruction {stop} of {}, address {instruction_pointer:#x} \
                     ({})",
                    boundaries.len(),
                    describe(instruction_pointer),
                );
                writeln!(io::stderr(), "{message}").ok();
                resume_unwind(panic);
            }
        }
    }
    println!(
        "{name}: {} instructions, killed at {} ({elsewhere} of them elsewhere than at first); lock \
         back within {longest_wait:.1?}; took {:.1?}",
        boundaries.len(),
        stops.len(),
        began.elapsed()
    );
}

/// Where in which file that is.
fn describe(address: usize) -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let place = maps.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        let offset = usize::from_str_radix(fields.nth(1)?, 16).ok()?;
        let path = fields.nth(2).unwrap_or("memory");
        let is_inside = (start..end).contains(&address);
        is_inside.then(|| format!("offset {:#x} of {path}", address - start + offset))
    });
    place.unwrap_or_else(|| "nowhere".to_owned())
}

/// Steps through the whole operation once.
fn scout(operation: &Operation) -> Vec<Boundary> {
    let scene = operation.set_up();
    let mut tracee = operation.start(&scene);
    let read = || std::fs::read(scene.file()).unwrap_or_default();
    let (mut boundaries, mut visits): (Vec<Boundary>, _) = (Vec::new(), HashMap::new());
    let (mut shared, mut called_system) = (read(), false);
    loop {
        let instruction_pointer = tracee.instruction_pointer();
        let now = read();
        let visit = visits.entry(instruction_pointer).or_insert(0);
        *visit += 1;
        boundaries.push(Boundary {
            instruction_pointer,
            visit: *visit,
            is_inside_copy: boundaries
                .last()
                .is_some_and(|before| before.instruction_pointer == instruction_pointer),
            follows_change: called_system || now != shared,
        });
        shared = now;
        called_system = tracee.is_at_system_call();
        if tracee.step() == Step::Done {
            return boundaries;
        }
    }
}

/// Indices of the boundaries to kill at, and one past the end: when the operation is over.
fn choose(boundaries: &[Boundary], stops: Stops) -> Vec<usize> {
    let every = std::env::var_os("THALWEG_STEP_KILL").is_some_and(|value| value == "every");
    let is_worth_it = |index: usize| {
        let next_follows_change = boundaries.get(index + 1).is_none_or(|b| b.follows_change);
        every
            || stops == Stops::EveryInstruction
            || boundaries[index].follows_change
            || next_follows_change
            || index.is_multiple_of(500)
    };
    let mut chosen = Vec::new();
    let mut copy_start = 0;
    for (index, boundary) in boundaries.iter().enumerate() {
        if !boundary.is_inside_copy {
            copy_start = index;
            if is_worth_it(index) {
                chosen.push(index);
            }
        } else if index == copy_start + 50 {
            chosen.push(index);
        }
    }
    chosen.push(boundaries.len());
    chosen
}

/// For each boundary, the one before it from which the rest is fewest steps: run to at full speed,
/// once for each visit to its address.
fn landmarks(boundaries: &[Boundary]) -> Vec<usize> {
    /// What such a run costs, in steps.
    const RUN: usize = 4;
    let (mut landmark, mut cost) = (0, 0);
    let indexed = boundaries.iter().enumerate();
    indexed
        .map(|(index, boundary)| {
            let own_cost = RUN * boundary.visit;
            cost += 1;
            if index == 0 || own_cost < cost {
                (landmark, cost) = (index, if index == 0 { 0 } else { own_cost });
            }
            landmark
        })
        .collect()
}

/// Brings a fresh process to a boundary: at full speed to its landmark, the rest in steps.
fn reach(tracee: &mut Tracee, boundaries: &[Boundary], landmarks: &[usize], stop: usize) {
    let landmark = landmarks[stop.min(boundaries.len() - 1)];
    let place = &boundaries[landmark];
    if landmark > 0 && tracee.run_to(place.instruction_pointer, place.visit) == Step::Done {
        return;
    }
    for _ in landmark..stop {
        if tracee.step() == Step::Done {
            return;
        }
    }
}
