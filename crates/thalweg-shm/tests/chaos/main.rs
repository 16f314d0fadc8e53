//! Chaos: processes that write, read, borrow, lock, wait, open, create and unlink are killed at
//! random moments and started again, over and over.
//!
//! Frames check themselves, the processes check each other, and after every stream's turn a fresh
//! process checks what is left. Whatever was killed, nothing is torn, lost, stuck or left behind.
//! The stepping test kills at every instruction of one operation; this one finds what takes
//! several processes and a busy machine.
//!
//! `cargo xtask chaos` is the long form. `THALWEG_CHAOS_KILLS`, `THALWEG_CHAOS_SEED` and
//! `THALWEG_CHAOS_SECONDS` set how many kills, which random numbers and the longest time.
#![cfg(all(target_os = "linux", not(loom)))]
#![expect(
    unsafe_code,
    reason = "forking, killing and sharing a scoreboard are calls into the C library"
)]

mod act;
mod board;
#[path = "../support/child.rs"]
#[expect(dead_code, reason = "for other tests")]
mod child;
mod frame;
mod inspect;
mod plan;
mod random;
mod report;
mod round;
mod side;

use std::time::{Duration, Instant};

use board::Board;
use plan::{Plan, SETTINGS};
use random::Random;
use report::Report;

#[test]
fn whoever_is_killed_nothing_is_torn_lost_stuck_or_left() {
    let plan = Plan::from_environment();
    println!("chaos: {plan}");
    let began = Instant::now();
    let ends = began + Duration::from_secs(plan.seconds);
    let mut random = Random::new(plan.seed);
    let mut report = Report::new(plan);
    let board = Board::share();
    for (turn, setting) in SETTINGS.into_iter().enumerate() {
        let turns_left = (SETTINGS.len() - turn) as u32;
        let kills = (plan.kills - report.kills()) / u64::from(turns_left);
        let turn_ends =
            Instant::now() + ends.saturating_duration_since(Instant::now()) / turns_left;
        board.clear();
        round::run(board, setting, kills, turn_ends, &mut random);
        report.add(setting, board);
    }
    report.took(began.elapsed());
    println!("{report}");
    assert!(
        report.is_clean(),
        "what must be 0 is not; try again with THALWEG_CHAOS_SEED={}",
        plan.seed
    );
    assert!(report.kills() > 0, "no time to kill anything");
}
