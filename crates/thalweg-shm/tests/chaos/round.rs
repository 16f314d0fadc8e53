//! One stream's turn: its processes are started, killed and started again.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use thalweg_shm::{ArrayRef, PublishOptions, StreamDirectory};

use super::act::{self, NAME, WATCHDOG, soon};
use super::board::{Board, Tally};
use super::child::{Child, End};
use super::frame::fill;
use super::inspect;
use super::plan::{CAST, Role, Setting, role};
use super::random::Random;

/// Mean time between two kills.
const MEAN_PAUSE_US: u64 = 1500;
/// Kills after which everybody has to show that they go on.
const KILLS_PER_CHECK: u64 = 25;

/// Kills `kills` processes around a stream of this kind, unless time is up before.
pub(crate) fn run(
    board: &'static Board,
    setting: Setting,
    kills: u64,
    ends: Instant,
    random: &mut Random,
) {
    let folder = tempfile::Builder::new()
        .prefix("thalweg-chaos-")
        .tempdir_in("/dev/shm")
        .expect("a folder");
    let directory = StreamDirectory::new(folder.path());
    // No process of ours may have the stream open when it forks: the children would share it.
    let created = Child::start(|| create(board, setting, &directory));
    assert_eq!(created.finish(), End::Exited(0), "the stream was not made");
    let mut round = Round {
        board,
        setting,
        directory,
        killed_publishers: 0,
        cast: Vec::new(),
    };
    for line in 0..CAST.len() {
        let child = round.start(line, random);
        round.cast.push(Some(child));
    }
    let mut next_check = KILLS_PER_CHECK;
    while board.tally(Tally::Kills) < kills && Instant::now() < ends {
        let pause = Duration::from_micros(random.below(2 * MEAN_PAUSE_US));
        std::thread::park_timeout(pause);
        for line in victims(random) {
            round.replace(line, random);
        }
        if board.tally(Tally::Kills) >= next_check {
            next_check += KILLS_PER_CHECK;
            if !round.goes_on() {
                // It would only be found again and again.
                break;
            }
        }
    }
    round.goes_on();
    round.end();
}

/// The stream, with one frame.
fn create(board: &Board, setting: Setting, directory: &StreamDirectory) {
    let stream = directory.create(NAME, &setting.options()).expect("created");
    let mut words = vec![0; setting.words];
    fill(&mut words, 1);
    let options = PublishOptions {
        frame_id: Some(1),
        origin_ns: None,
    };
    let frame = ArrayRef::from_slice(&words, stream.shape());
    stream.write(frame, options, soon()).expect("written");
    board.count(Tally::Frames);
}

/// Usually one process, every second time one that may hold the lock; sometimes many at once.
fn victims(random: &mut Random) -> Vec<usize> {
    let any = |random: &mut Random| random.below(CAST.len() as u64) as usize;
    if random.once_in(100) {
        return (0..CAST.len()).collect();
    }
    if random.once_in(20) {
        let mut several: Vec<usize> = (0..3).map(|_| any(random)).collect();
        several.sort_unstable();
        several.dedup();
        return several;
    }
    let publishers = CAST.iter().filter(|role| role.publishes()).count() as u64;
    if random.once_in(2) {
        vec![random.below(publishers) as usize]
    } else {
        vec![any(random)]
    }
}

struct Round {
    board: &'static Board,
    setting: Setting,
    directory: StreamDirectory,
    killed_publishers: u64,
    /// By line of the board.
    cast: Vec<Option<Child>>,
}

impl Round {
    fn start(&self, line: usize, random: &mut Random) -> Child {
        let (board, setting) = (self.board, self.setting);
        let role = role(setting, line);
        let directory = self.directory.clone();
        let own_random = Random::new(random.next());
        Child::start(move || act::work(board, line, role, setting, directory, own_random))
    }

    /// Kills the process on `line` and starts another in its place at once.
    fn replace(&mut self, line: usize, random: &mut Random) {
        self.kill(line);
        self.board.count(Tally::Kills);
        let child = self.start(line, random);
        self.cast[line] = Some(child);
    }

    fn kill(&mut self, line: usize) {
        let Some(child) = self.cast[line].take() else {
            return;
        };
        self.board.condemn(line);
        let end = child.kill();
        if end != End::Killed {
            let what = format!("a {:?} ended by itself: {end:?}", role(self.setting, line));
            self.board.report(Tally::Unexpected, &what);
        }
        if CAST[line].publishes() {
            self.killed_publishers += 1;
        }
    }

    /// Waits until every process has been through its loop once more.
    fn goes_on(&self) -> bool {
        let beats = || {
            let lines = self.board.lines.iter();
            lines.map(|line| line.beats.load(Ordering::Relaxed))
        };
        let before: Vec<u64> = beats().collect();
        let began = Instant::now();
        loop {
            // The turn under way may have begun before; the one after it has not.
            let waits_for = beats().zip(&before).position(|(now, then)| now < then + 2);
            let waited = began.elapsed();
            let Some(line) = waits_for else {
                let waited_ns = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
                let worst = &self.board.worst_pause_ns;
                worst.fetch_max(waited_ns, Ordering::Relaxed);
                return true;
            };
            if waited > 2 * WATCHDOG {
                let what = format!("a {:?} makes no progress", role(self.setting, line));
                self.board.report(Tally::Hangs, &what);
                return false;
            }
            std::thread::park_timeout(Duration::from_micros(50));
        }
    }

    /// Kills everybody and has a fresh process look at what is left.
    fn end(mut self) {
        for line in 0..self.cast.len() {
            self.kill(line);
        }
        let (board, setting) = (self.board, self.setting);
        let (directory, killed) = (&self.directory, self.killed_publishers);
        let inspector = Child::start(|| inspect::inspect(board, setting, directory, killed));
        let end = inspector.finish();
        if end != End::Exited(0) {
            let what = format!("the last process, which has the stream to itself: {end:?}");
            board.report(Tally::Unexpected, &what);
        }
    }
}

/// Those who publish come first, so that victims among them are easy to choose.
#[test]
fn publishers_come_first() {
    let publishers = CAST.iter().take_while(|role| role.publishes()).count();
    let all = CAST.iter().filter(|role| role.publishes()).count();
    assert_eq!(publishers, all);
    assert!(!Role::Reader.publishes());
}
