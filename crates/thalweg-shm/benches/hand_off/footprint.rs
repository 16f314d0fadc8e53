//! What processes that share frames occupy: files in shared memory, and their pages in each of them.
//!
//! The same for every library: it is compiled into the programs of the peers, too.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::Outcome;
use crate::readers::Reader;

/// Reading one byte of each makes a page part of a process.
pub(crate) const PAGE_BYTES: usize = 4096;
pub(crate) const SHARED_MEMORY: &str = "/dev/shm";

/// Has every reader read the newest frame.
pub(crate) fn let_read(readers: &mut [Reader]) -> Outcome<()> {
    for reader in readers {
        reader.tell("read")?;
        let answer = reader.answer()?;
        if answer != "done" {
            return Err(format!("a reader says: `{answer}`").into());
        }
    }
    Ok(())
}

/// Sizes of the files whose names begin with `prefix`, what of them is in memory, and the
/// proportional set sizes of this process and its readers: a page that many of them have in memory
/// counts as a share for each.
pub(crate) fn report(readers: &[Reader], prefix: &str) -> Outcome<String> {
    const MIB: f64 = 1_048_576.0;
    let (mut reserved, mut occupied) = (0, 0);
    for entry in fs::read_dir(SHARED_MEMORY)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            let metadata = entry.metadata()?;
            reserved += metadata.len();
            occupied += 512 * metadata.blocks();
        }
    }
    let own = proportional_bytes(std::process::id())?;
    let theirs = readers
        .iter()
        .map(|reader| proportional_bytes(reader.pid()))
        .collect::<Outcome<Vec<u64>>>()?;
    Ok(format!(
        "reserved_mib={:.1} occupied_mib={:.1} pss_mib={:.1} writer_pss_mib={:.1}",
        reserved as f64 / MIB,
        occupied as f64 / MIB,
        (own + theirs.iter().sum::<u64>()) as f64 / MIB,
        own as f64 / MIB,
    ))
}

fn proportional_bytes(pid: u32) -> Outcome<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let kib: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))
        .and_then(|rest| rest.split_whitespace().next())
        .ok_or("no line `Pss:` in smaps_rollup")?
        .parse()?;
    Ok(1024 * kib)
}
