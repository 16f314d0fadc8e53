//! `thalweg dump`: the newest frame, or the last few, into a file.

mod fits;
mod npy;
mod taken;

use std::fs::Permissions;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thalweg::shm::stream::directory::describe_layout;
use thalweg::shm::stream::error::WaitError;
use thalweg::{Patience, Stream, StreamDirectory, WaitPolicy};
use thalweg_os::clock::{deadline_after, monotonic_ns, wall_ns};
use thalweg_os::signal::StopSignals;

use super::Failed;
use super::facts::{explain, hexadecimal, utc};
use crate::cli::{DumpArguments, DumpFormat};
use crate::table::duration;
use taken::Taken;

/// How long copying may be overtaken by the writer: only a stream of two slots can be.
const COPY_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn dump(arguments: &DumpArguments) -> Result<(), Failed> {
    let signals = StopSignals::block().map_err(Failed::because)?;
    let format = format_of(arguments);
    let stream = Stream::open(&arguments.name)
        .map_err(|error| Failed::because(explain(&error, &StreamDirectory::default())))?;
    // Before waiting for what could not be written.
    if format == DumpFormat::Fits {
        fits::encoding(stream.dtype()).map_err(Failed::because)?;
    }
    if let Some(path) = file_of(arguments) {
        refuse_existing(path, arguments.force)?;
    }
    if arguments.new {
        wait_for_new(&stream, arguments, &signals)?;
    }
    let taken = take(&stream, arguments)?;
    match &arguments.output {
        Some(path) if path == Path::new("-") => write_to_stdout(&taken, format)?,
        output => {
            let path = output
                .clone()
                .unwrap_or_else(|| PathBuf::from(taken.file_name(format.extension())));
            write_to_file(&path, &taken, format, arguments.force)?;
            eprintln!("wrote {}: {}", path.display(), describe(&taken));
        }
    }
    if let Some(holes) = arguments.history.and_then(|wanted| taken.holes(wanted)) {
        eprintln!("note: of the frames asked for these are gone from the slots: {holes}");
    }
    Ok(())
}

/// The format asked for, or the one the file's name says.
fn format_of(arguments: &DumpArguments) -> DumpFormat {
    arguments.format.unwrap_or_else(|| {
        let extension = file_of(arguments).and_then(Path::extension);
        let is_fits = extension.is_some_and(|extension| {
            ["fits", "fit", "fts"]
                .iter()
                .any(|one| extension.eq_ignore_ascii_case(one))
        });
        if is_fits {
            DumpFormat::Fits
        } else {
            DumpFormat::Npy
        }
    })
}

/// The file that was named, unless that is standard output.
fn file_of(arguments: &DumpArguments) -> Option<&Path> {
    arguments
        .output
        .as_deref()
        .filter(|&path| path != Path::new("-"))
}

fn refuse_existing(path: &Path, force: bool) -> Result<(), Failed> {
    if path.exists() && !force {
        return Err(exists(path));
    }
    Ok(())
}

fn exists(path: &Path) -> Failed {
    Failed::because(format!(
        "{} exists already: name another file with `--output`, or overwrite it with `--force`",
        path.display()
    ))
}

fn wait_for_new(
    stream: &Stream,
    arguments: &DumpArguments,
    signals: &StopSignals,
) -> Result<(), Failed> {
    let is_interrupted = || signals.take().is_some();
    let patience = Patience {
        deadline_ns: arguments
            .timeout
            .map(|timeout| deadline_after(Duration::from_secs_f64(timeout))),
        interrupt: Some(&is_interrupted),
    };
    // As many as are to be written; those that the slots cannot hold are told of later.
    let more = arguments.history.unwrap_or(1).saturating_sub(1) as u64;
    let after = stream.count().saturating_add(more);
    match stream.wait_for_frame(after, WaitPolicy::Park, patience) {
        Ok(_) => Ok(()),
        Err(WaitError::Interrupted { .. }) => Err(Failed::silently(Failed::INTERRUPTED)),
        Err(error) => Err(Failed::because(error)),
    }
}

fn take(stream: &Stream, arguments: &DumpArguments) -> Result<Taken, Failed> {
    let deadline_ns = Some(deadline_after(COPY_TIMEOUT));
    let slots = stream.header().geometry.slots;
    let wanted = arguments.history.unwrap_or(1);
    let mut bytes = vec![0; wanted.min(slots) * stream.payload_bytes()];
    let publications = stream
        .history_into(wanted, &mut bytes, deadline_ns)
        .map_err(Failed::because)?;
    if publications.is_empty() {
        return Err(Failed::because(format!(
            "stream {:?} has no frame yet; `--new` waits for one",
            arguments.name
        )));
    }
    bytes.truncate(publications.len() * stream.payload_bytes());
    Ok(Taken {
        name: arguments.name.clone(),
        instance: hexadecimal(&stream.header().instance),
        dtype: stream.dtype(),
        frame_shape: stream.shape().to_vec(),
        is_history: arguments.history.is_some(),
        bytes,
        publications,
    })
}

fn write(output: &mut impl Write, taken: &Taken, format: DumpFormat) -> io::Result<()> {
    match format {
        DumpFormat::Npy => npy::write(output, taken),
        DumpFormat::Fits => fits::write(output, taken, wall_ns()),
    }
}

fn write_to_stdout(taken: &Taken, format: DumpFormat) -> Result<(), Failed> {
    let output = io::stdout();
    if output.is_terminal() {
        return Err(Failed::because(
            "standard output is a terminal, which a frame would only garble: redirect it, or name a file",
        ));
    }
    let mut output = BufWriter::new(output.lock());
    match write(&mut output, taken, format).and_then(|()| output.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failed::silently(0)),
        written => written
            .map_err(|error| Failed::because(format!("cannot write standard output: {error}"))),
    }
}

/// Writes a file of another name first: whoever sees the wanted name sees all of the file.
fn write_to_file(
    path: &Path,
    taken: &Taken,
    format: DumpFormat,
    force: bool,
) -> Result<(), Failed> {
    refuse_existing(path, force)?;
    let cannot =
        |error: io::Error| Failed::because(format!("cannot write {}: {error}", path.display()));
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let file = tempfile::Builder::new()
        .prefix(".thalweg-dump-")
        // What the user's mask leaves of it, as for any other file.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(cannot)?;
    let mut output = BufWriter::new(file);
    write(&mut output, taken, format).map_err(cannot)?;
    let file = output
        .into_inner()
        .map_err(|error| cannot(error.into_error()))?;
    if force {
        file.persist(path).map_err(|error| cannot(error.error))?;
    } else {
        file.persist_noclobber(path)
            .map_err(|error| match error.error.kind() {
                io::ErrorKind::AlreadyExists => exists(path),
                _ => cannot(error.error),
            })?;
    }
    Ok(())
}

fn describe(taken: &Taken) -> String {
    let newest = taken.newest();
    let layout = describe_layout(taken.dtype, &taken.shape());
    let frames = match taken.publications.first() {
        Some(oldest) if oldest.count != newest.count => {
            format!(
                "{} frames, {} to {}",
                taken.publications.len(),
                oldest.count,
                newest.count
            )
        }
        _ => format!("frame {} (id {})", newest.count, newest.frame_id),
    };
    format!(
        "{layout}, {frames}, published {} UTC ({} ago), {} after the origin of its data",
        utc(newest.wall_ns),
        duration(Some(monotonic_ns().saturating_sub(newest.publish_ns))),
        duration(Some(newest.publish_ns.saturating_sub(newest.origin_ns))),
    )
}
