//! The two processes, and the frames that go from one to the other and back.

use std::collections::BTreeMap;
use std::hint::{black_box, spin_loop};
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use iceoryx2::node::Node;
use iceoryx2::prelude::ipc;
use thalweg_os::{affinity, process};

use crate::ping_pong::{self, Extent, Side};
use crate::{Outcome, node, println};

/// What carries the frames, and what is done with them.
#[derive(Clone, Copy, Debug)]
struct Request {
    is_event_alone: bool,
    is_spinning: bool,
    is_read: bool,
    bytes: usize,
    extent: Extent,
}

impl Request {
    fn parse(line: &str) -> Outcome<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [carrier, wait, use_of_frames, bytes, round_trips] = words[..] else {
            return Err(format!("expected five words, found `{line}`").into());
        };
        let is_spinning = wait == "spin";
        let bytes = bytes.parse()?;
        Ok(Self {
            is_event_alone: carrier == "events",
            is_spinning,
            is_read: use_of_frames == "copy",
            bytes,
            extent: Extent {
                round_trips: round_trips.parse()?,
                // As `hand_off` does it.
                batch: if is_spinning && bytes <= 4096 { 32 } else { 1 },
            },
        })
    }
}

/// What one process needs to exchange frames of one size.
#[derive(Debug)]
struct Connection {
    sent: node::Samples,
    received: node::Taken,
    ring: node::Ring,
    ears: node::Ears,
}

impl Connection {
    /// `own` and `other` are the indexes of the two sides.
    fn open(node: &Node<ipc::Service>, bytes: usize, own: usize) -> Outcome<Self> {
        let other = 1 - own;
        Ok(Self {
            sent: node::publisher(node, &format!("samples-{bytes}-{own}"), bytes)?,
            received: node::subscriber(node, &format!("samples-{bytes}-{other}"))?,
            ring: node::notifier(node, &format!("events-{bytes}-{own}"))?,
            ears: node::listener(node, &format!("events-{bytes}-{other}"))?,
        })
    }
}

/// One end, ready for frames.
#[derive(Debug)]
struct End<'a> {
    connection: &'a Connection,
    request: Request,
    frame: Vec<u8>,
    received: Vec<u8>,
}

impl<'a> End<'a> {
    fn new(connection: &'a Connection, request: Request) -> Self {
        Self {
            connection,
            request,
            frame: vec![1; request.bytes],
            received: vec![0; request.bytes],
        }
    }
}

impl Side for End<'_> {
    fn send(&mut self, _number: u64) -> Outcome<()> {
        let Connection { sent, ring, .. } = self.connection;
        if !self.request.is_event_alone {
            let sample = sent.loan_slice_uninit(self.frame.len())?;
            sample.write_from_slice(&self.frame).send()?;
        }
        if !self.request.is_spinning {
            ring.notify()?;
        }
        Ok(())
    }

    fn receive(&mut self, _number: u64) -> Outcome<()> {
        let Connection { received, ears, .. } = self.connection;
        if !self.request.is_spinning {
            while ears.blocking_wait(|_event| ())? == 0 {}
        }
        if self.request.is_event_alone {
            return Ok(());
        }
        loop {
            if let Some(sample) = received.receive()? {
                if self.request.is_read {
                    self.received.copy_from_slice(sample.payload());
                    black_box(&self.received);
                }
                return Ok(());
            }
            spin_loop();
        }
    }
}

/// One of the two, with all it has opened so far.
#[derive(Debug)]
struct Participant {
    index: usize,
    node: Node<ipc::Service>,
    connections: BTreeMap<usize, Connection>,
}

impl Participant {
    fn new(prefix: &str, index: usize) -> Outcome<Self> {
        Ok(Self {
            index,
            node: node::node(prefix)?,
            connections: BTreeMap::new(),
        })
    }

    fn end(&mut self, request: Request) -> Outcome<End<'_>> {
        let bytes = request.bytes;
        if !self.connections.contains_key(&bytes) {
            let connection = Connection::open(&self.node, bytes, self.index)?;
            self.connections.insert(bytes, connection);
        }
        let connection = self.connections.get(&bytes).ok_or("not prepared")?;
        Ok(End::new(connection, request))
    }
}

/// The process that is asked, with its partner.
#[derive(Debug)]
pub(crate) struct Leader {
    participant: Option<Participant>,
    prefix: String,
    has_two_cpus: bool,
    partner: Child,
    to_partner: Option<ChildStdin>,
    from_partner: BufReader<ChildStdout>,
}

impl Leader {
    pub(crate) fn start() -> Outcome<Self> {
        let allowed = affinity::allowed_cpus()?;
        let first = *allowed.first().ok_or("no CPU is allowed")?;
        let second = allowed.get(1).copied().unwrap_or(first);
        let prefix = format!("thalweg_bench_iox2_{}_", std::process::id());
        let participant = Participant::new(&prefix, 0)?;
        let mut partner = Command::new(std::env::current_exe()?)
            .args(["partner", &second.to_string(), &prefix])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        affinity::set_allowed_cpus(&[first])?;
        let to_partner = partner.stdin.take();
        let from_partner = partner.stdout.take().ok_or("no pipe")?;
        let mut leader = Self {
            participant: Some(participant),
            prefix,
            has_two_cpus: first != second,
            partner,
            to_partner,
            from_partner: BufReader::new(from_partner),
        };
        leader.await_partner()?;
        Ok(leader)
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn ping_pong(&mut self, line: &str) -> Outcome<String> {
        let request = Request::parse(line)?;
        if request.is_spinning && !self.has_two_cpus {
            return Err("two processes that spin need two CPUs, and there is one".into());
        }
        let mut participant = self.participant.take().ok_or("ended")?;
        let outcome = self.exchange(&mut participant, request, line);
        self.participant = Some(participant);
        outcome
    }

    fn exchange(
        &mut self,
        participant: &mut Participant,
        request: Request,
        line: &str,
    ) -> Outcome<String> {
        let mut end = participant.end(request)?;
        if let Some(partner) = &mut self.to_partner {
            writeln!(partner, "{line}")?;
        }
        self.await_partner()?;
        let samples = ping_pong::lead(&mut end, request.extent)?;
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
        drop(self.participant.take());
        node::remove_rest(&self.prefix);
    }
}

/// The life of the partner.
pub(crate) fn follow(cpu: &str, prefix: &str) -> Outcome<()> {
    process::die_with_parent(std::os::unix::process::parent_id())
        .map_err(|_orphaned| "the leader has ended")?;
    affinity::set_allowed_cpus(&[cpu.parse()?])?;
    let mut participant = Participant::new(prefix, 1)?;
    println("ready")?;
    for line in io::stdin().lock().lines() {
        let request = Request::parse(&line?)?;
        let mut end = participant.end(request)?;
        println("ready")?;
        ping_pong::follow(&mut end, request.extent)?;
    }
    Ok(())
}
