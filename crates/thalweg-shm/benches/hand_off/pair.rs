//! The two processes: who they are, where they run, and how one has the other take part.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use thalweg_os::{affinity, process};
use thalweg_shm::WaitPolicy;

use crate::arena::{Arena, BUFFER_BYTES};
use crate::ping_pong::{self, Extent, Side};
use crate::raw::{Copying, Sleeping, Spinning};
use crate::rows::{RowConnection, RowEnd};
use crate::samples::Samples;
use crate::stream::{Connection, End};
use crate::{Outcome, println};

/// One of the two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Sends first and takes the time.
    Leader,
    /// Answers.
    Partner,
}

impl Role {
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Leader => 0,
            Self::Partner => 1,
        }
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::Leader => Self::Partner,
            Self::Partner => Self::Leader,
        }
    }
}

/// What carries the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    /// Memory without a protocol.
    Raw,
    /// A stream, frame by frame.
    Stream,
    /// A progressive stream, row by row.
    Rows,
}

/// What carries the frames, and what is done with them.
#[derive(Clone, Copy, Debug)]
struct Request {
    carrier: Carrier,
    is_spinning: bool,
    is_copied: bool,
    bytes: usize,
    extent: Extent,
    is_locked: bool,
}

impl Request {
    fn parse(line: &str) -> Outcome<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [
            carrier,
            wait,
            use_of_frames,
            bytes,
            round_trips,
            ref rest @ ..,
        ] = words[..]
        else {
            return Err(format!("incomplete request `{line}`").into());
        };
        let is_spinning = wait == "spin";
        let bytes = bytes.parse()?;
        if !(4..=BUFFER_BYTES).contains(&bytes) {
            return Err(format!("{bytes} bytes: expected 4 to {BUFFER_BYTES}").into());
        }
        // Reading the clock for every round trip would be a fifth of a short one.
        let batch = if is_spinning && bytes <= 4096 { 32 } else { 1 };
        Ok(Self {
            carrier: match carrier {
                "raw" => Carrier::Raw,
                "stream" => Carrier::Stream,
                _ => Carrier::Rows,
            },
            is_spinning,
            is_copied: use_of_frames == "copy",
            bytes,
            extent: Extent {
                round_trips: round_trips.parse()?,
                batch,
            },
            is_locked: rest == ["locked"],
        })
    }
}

/// Everything one process needs to take part.
#[derive(Debug)]
struct Participant {
    role: Role,
    arena: Arena,
    stream_prefix: String,
    connections: BTreeMap<usize, Connection>,
    row_connections: BTreeMap<usize, RowConnection>,
}

/// What a participant does with its side.
trait Part {
    type Result;
    fn take(self, side: &mut impl Side, extent: Extent) -> Outcome<Self::Result>;
}

struct Lead;

impl Part for Lead {
    type Result = Samples;

    fn take(self, side: &mut impl Side, extent: Extent) -> Outcome<Samples> {
        ping_pong::lead(side, extent)
    }
}

struct Follow;

impl Part for Follow {
    type Result = ();

    fn take(self, side: &mut impl Side, extent: Extent) -> Outcome<()> {
        println("ready")?;
        ping_pong::follow(side, extent)
    }
}

impl Participant {
    /// Makes what the request needs and the other side will look for.
    fn prepare(&mut self, request: Request) -> Outcome<()> {
        // The numbers of an earlier request must not be taken for those of this one.
        let own = self.arena.channel(self.role);
        own.flag.0.store(0, std::sync::atomic::Ordering::Relaxed);
        own.futex.0.store(0, std::sync::atomic::Ordering::Relaxed);
        let (prefix, bytes) = (&self.stream_prefix, request.bytes);
        match request.carrier {
            Carrier::Stream if !self.connections.contains_key(&bytes) => {
                let make = match self.role {
                    Role::Leader => Connection::create,
                    Role::Partner => Connection::open,
                };
                self.connections.insert(bytes, make(prefix, bytes)?);
            }
            Carrier::Rows if !self.row_connections.contains_key(&bytes) => {
                let make = match self.role {
                    Role::Leader => RowConnection::create,
                    Role::Partner => RowConnection::open,
                };
                self.row_connections.insert(bytes, make(prefix, bytes)?);
            }
            Carrier::Raw | Carrier::Stream | Carrier::Rows => {}
        }
        Ok(())
    }

    fn take_part<P: Part>(&self, request: Request, part: P) -> Outcome<P::Result> {
        let extent = request.extent;
        let (arena, role) = (&self.arena, self.role);
        if request.carrier == Carrier::Raw {
            let flags = Spinning { arena, role };
            return match (request.is_spinning, request.is_copied) {
                (true, false) => part.take(&mut { flags }, extent),
                (true, true) => part.take(&mut Copying::new(flags, request.bytes), extent),
                (false, false) => part.take(&mut Sleeping { arena, role }, extent),
                (false, true) => Err("raw frames are copied only by those who spin".into()),
            };
        }
        let policy = match request.is_spinning {
            true => WaitPolicy::Spin,
            false => WaitPolicy::Park,
        };
        if request.carrier == Carrier::Rows {
            let connections = &self.row_connections;
            let connection = connections.get(&request.bytes).ok_or("not prepared")?;
            return part.take(&mut RowEnd::new(connection, policy), extent);
        }
        let connection = self.connections.get(&request.bytes).ok_or("not prepared")?;
        let mut end = End::new(connection, policy, request.is_copied, request.is_locked)?;
        part.take(&mut end, extent)
    }
}

/// The process that is asked, with its partner.
#[derive(Debug)]
pub(crate) struct Leader {
    participant: Participant,
    cpus: [usize; 2],
    partner: Child,
    to_partner: Option<ChildStdin>,
    from_partner: BufReader<ChildStdout>,
}

impl Leader {
    /// Pins this process and starts its partner; on one CPU where there is no second.
    pub(crate) fn start() -> Outcome<Self> {
        let allowed = affinity::allowed_cpus()?;
        let first = *allowed.first().ok_or("no CPU is allowed")?;
        let second = allowed.get(1).copied().unwrap_or(first);
        let arena = Arena::create()?;
        let stream_prefix = format!("thalweg-bench.{}", std::process::id());
        let mut partner = Command::new(std::env::current_exe()?)
            .args(["partner", &second.to_string()])
            .arg(arena.path())
            .arg(&stream_prefix)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        affinity::set_allowed_cpus(&[first])?;
        let to_partner = partner.stdin.take();
        let from_partner = partner.stdout.take().ok_or("no pipe")?;
        let mut leader = Self {
            participant: Participant {
                role: Role::Leader,
                arena,
                stream_prefix,
                connections: BTreeMap::new(),
                row_connections: BTreeMap::new(),
            },
            cpus: [first, second],
            partner,
            to_partner,
            from_partner: BufReader::new(from_partner),
        };
        leader.await_partner()?;
        Ok(leader)
    }

    /// The CPUs of this process and of its partner.
    pub(crate) fn cpus(&self) -> [usize; 2] {
        self.cpus
    }

    pub(crate) fn ping_pong(&mut self, line: &str) -> Outcome<String> {
        let request = Request::parse(line)?;
        if request.is_spinning && self.cpus[0] == self.cpus[1] {
            return Err("two processes that spin need two CPUs, and there is one".into());
        }
        self.participant.prepare(request)?;
        if let Some(partner) = &mut self.to_partner {
            writeln!(partner, "{line}")?;
        }
        self.await_partner()?;
        let samples = self.participant.take_part(request, Lead)?;
        Ok(format!(
            "one_way_ns={:.1} round_trip_ns={:.1} round_trip_p99_ns={:.1}",
            samples.median() / 2.0,
            samples.median(),
            samples.quantile(0.99)
        ))
    }

    fn await_partner(&mut self) -> Outcome<()> {
        let mut line = String::new();
        self.from_partner.read_line(&mut line)?;
        match line.trim() {
            "ready" => Ok(()),
            "" => Err("the partner has ended".into()),
            problem => Err(format!("the partner says: {problem}").into()),
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        // The end of its input is the partner's end.
        drop(self.to_partner.take());
        self.partner.wait().ok();
    }
}

/// The life of the partner.
pub(crate) fn follow(cpu: &str, arena: &str, stream_prefix: &str) -> Outcome<()> {
    process::die_with_parent(std::os::unix::process::parent_id())
        .map_err(|_orphaned| "the leader has ended")?;
    affinity::set_allowed_cpus(&[cpu.parse()?])?;
    let mut participant = Participant {
        role: Role::Partner,
        arena: Arena::adopt(Path::new(arena))?,
        stream_prefix: stream_prefix.to_owned(),
        connections: BTreeMap::new(),
        row_connections: BTreeMap::new(),
    };
    println("ready")?;
    for line in io::stdin().lock().lines() {
        let request = Request::parse(&line?)?;
        participant.prepare(request)?;
        participant.take_part(request, Follow)?;
    }
    Ok(())
}
