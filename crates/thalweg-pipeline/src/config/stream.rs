//! `shared_memory[]`: the streams of a pipeline.

use serde_json::Value as Json;
use thalweg_kernels::{Parameters, StreamSpec};
use thalweg_shm::DType;
use thalweg_shm::segment::geometry::MAX_AXES;

use super::document::Value;
use super::entry_writer::{EntryWriter, Extent};
use super::fields::{Fields, Item, Problems};
use super::grammar::{Choice, Range, STREAM};
use super::initial::read_initial;

/// Slots of a stream that does not say: one being written, one published, two to borrow.
pub const DEFAULT_SLOTS: usize = 4;

/// No process can map more on any supported machine, so nothing larger is worth trying.
pub(super) const MAX_STREAM_BYTES: u64 = 1 << 47;

/// The extent of the one axis of the largest stream.
const MAX_EXTENT: usize = 1 << 47;

/// Larger ones are told what is too large about them.
const EXTENTS: Range = Range {
    least: 1,
    most: i128::MAX,
};

/// Where a stream's payload lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// Shared memory of the host.
    #[default]
    Cpu,
    /// Memory of the device named by `gpu_device`.
    Gpu,
}

impl Choice for Storage {
    const NAMES: &'static [(&'static str, Self)] = &[("cpu", Self::Cpu), ("gpu", Self::Gpu)];
}

impl Storage {
    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
        }
    }
}

/// What building a pipeline does about a stream of that name that exists already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamMode {
    /// Create it; it must not exist.
    Create,
    /// Use the existing one; it must exist and be compatible.
    Attach,
    /// Use a compatible one and keep its data, else create.
    #[default]
    CreateOrAttach,
    /// Remove what exists and create.
    Replace,
}

impl Choice for StreamMode {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("create", Self::Create),
        ("attach", Self::Attach),
        ("create_or_attach", Self::CreateOrAttach),
        ("replace", Self::Replace),
    ];
}

impl StreamMode {
    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Attach => "attach",
            Self::CreateOrAttach => "create_or_attach",
            Self::Replace => "replace",
        }
    }
}

/// One entry of `shared_memory`.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamConfig {
    /// Name within the pipeline; see [`super::PipelineConfig::resource_name`] for the system's.
    pub name: String,
    /// Extent of every axis, slowest first; at least one axis, none of them zero.
    pub shape: Vec<usize>,
    /// Element type; `float64` unless given.
    pub dtype: DType,
    /// Where the payload lives.
    pub storage: Storage,
    /// The device of a GPU stream, such as `cuda:0`; none for host streams.
    pub gpu_device: Option<String>,
    /// Whether a GPU stream keeps a copy for host readers; `None` leaves it to the system.
    pub cpu_mirror: Option<bool>,
    /// Whether writing wakes sleeping readers; `None`: exactly if somebody in the pipeline waits.
    pub notify: Option<bool>,
    /// What to do about an existing stream.
    pub mode: StreamMode,
    /// Number of slots, 2 to 127; `None` leaves it to the plan.
    pub slots: Option<usize>,
    /// What the stream holds before anybody writes it, as [`thalweg_kernels::initial`] describes.
    /// Checked against dtype and shape, but for files: those are [`super::validate`]'s.
    pub initial: Option<Parameters>,
}

impl StreamConfig {
    /// A host stream with every other field at its default.
    pub fn new(name: impl Into<String>, shape: impl Into<Vec<usize>>, dtype: DType) -> Self {
        Self {
            name: name.into(),
            shape: shape.into(),
            dtype,
            storage: Storage::default(),
            gpu_device: None,
            cpu_mirror: None,
            notify: None,
            mode: StreamMode::default(),
            slots: None,
            initial: None,
        }
    }

    /// Name, dtype and shape, as nodes see the stream.
    pub fn spec(&self) -> StreamSpec {
        StreamSpec {
            name: self.name.clone(),
            dtype: self.dtype,
            shape: self.shape.clone(),
        }
    }

    /// Bytes of one payload; `None` when that exceeds 64 bits.
    pub fn payload_bytes(&self) -> Option<u64> {
        payload_bytes(&self.shape, self.dtype)
    }

    /// Bytes of all slots' payloads, with the default number of slots where none is given; `None`
    /// when that exceeds 64 bits.
    pub fn total_bytes(&self) -> Option<u64> {
        let slots = u64::try_from(self.slots.unwrap_or(DEFAULT_SLOTS)).ok()?;
        self.payload_bytes()?.checked_mul(slots)
    }

    pub(super) fn read(item: Item<'_>, problems: &mut Problems) -> Option<Self> {
        let (fields, name) = Fields::open_named("shared memory", item, &STREAM, problems)?;
        let shape = fields
            .required("shape", problems)
            .and_then(|shape| read_shape(&shape, problems));
        let dtype = match fields.get("dtype") {
            Some(dtype) => read_dtype(&dtype, problems),
            None => {
                let message = format!("{} has no 'dtype': float64", fields.item().who());
                problems.push(
                    fields
                        .item()
                        .problem(message)
                        .with_hint("add `dtype: float64`, or the one that is meant")
                        .as_warning(),
                );
                Some(DType::Float64)
            }
        };
        let storage = fields.choice_or("storage", Storage::default(), problems);
        let gpu_device = fields.get("gpu_device");
        check_gpu_device(fields.item(), storage, gpu_device.as_ref(), problems);
        let gpu_device = gpu_device
            .and_then(|device| device.text(problems))
            .map(str::to_owned);
        let cpu_mirror = fields.get("cpu_mirror");
        if let (Some(mirror), Some(Storage::Cpu)) = (&cpu_mirror, storage) {
            let message = format!(
                "{}: 'cpu_mirror' is for GPU streams and has no effect here",
                mirror.who()
            );
            problems.push(mirror.problem(message).with_hint("remove it").as_warning());
        }
        let cpu_mirror = cpu_mirror.and_then(|mirror| mirror.boolean(problems));
        let notify = fields
            .get("notify")
            .and_then(|notify| notify.boolean(problems));
        let mode = fields.choice_or("mode", StreamMode::default(), problems);
        let slots = fields.integer("slots", problems).flatten();
        let initial = fields.get("initial").and_then(|initial| {
            let target = dtype.zip(shape.as_deref());
            read_initial(&initial, fields.item(), target, problems)
        });
        let whole = fields.item().clone();
        fields.finish(problems);
        let stream = Self {
            name: name?,
            shape: shape?,
            dtype: dtype?,
            storage: storage?,
            gpu_device,
            cpu_mirror,
            notify,
            mode: mode?,
            slots,
            initial,
        };
        if stream
            .total_bytes()
            .is_none_or(|bytes| bytes > MAX_STREAM_BYTES)
        {
            problems.push(whole.problem(format!(
                "shared memory '{}' is too large: shape {:?} of {} in {} slots takes more than 2^47 bytes",
                stream.name,
                stream.shape,
                stream.dtype,
                stream.slots.unwrap_or(DEFAULT_SLOTS),
            )));
        }
        Some(stream)
    }

    pub(super) fn to_json(&self, extent: Extent) -> Json {
        let mut entry = EntryWriter::new(extent);
        entry.put("name", self.name.as_str());
        entry.put("shape", self.shape.as_slice());
        entry.put("dtype", self.dtype.name());
        let storage = self.storage;
        entry.put_unless(storage == Storage::default(), "storage", storage.name());
        entry.put_option("gpu_device", self.gpu_device.as_deref());
        entry.put_option("cpu_mirror", self.cpu_mirror);
        entry.put_option("notify", self.notify);
        let mode = self.mode;
        entry.put_unless(mode == StreamMode::default(), "mode", mode.name());
        entry.put_option("slots", self.slots);
        entry.put_option("initial", self.initial.clone().map(Json::Object));
        entry.finish()
    }
}

fn payload_bytes(shape: &[usize], dtype: DType) -> Option<u64> {
    shape
        .iter()
        .try_fold(u64::try_from(dtype.size_bytes()).ok()?, |bytes, extent| {
            bytes.checked_mul(u64::try_from(*extent).ok()?)
        })
}

fn read_shape(item: &Item<'_>, problems: &mut Problems) -> Option<Vec<usize>> {
    if let Value::Int(extent) = item.node.value {
        let problem = item.expected("a list of positive integers, one per axis");
        problems.push(problem.with_hint(format!("write [{extent}] for one axis")));
        return None;
    }
    let axes = item.elements(
        "a non-empty list of positive integers, one per axis",
        problems,
    )?;
    if axes.len() > MAX_AXES {
        problems.push(item.expected(&format!("a list of at most {MAX_AXES} axes")));
        return None;
    }
    let shape: Vec<usize> = axes
        .iter()
        .filter_map(|axis| {
            let extent = axis.integer(EXTENTS, "a positive integer", problems)?;
            let fits = usize::try_from(extent)
                .ok()
                .filter(|extent| *extent <= MAX_EXTENT);
            if fits.is_none() {
                problems.push(axis.expected("at most 2^47"));
            }
            fits
        })
        .collect();
    (shape.len() == axes.len()).then_some(shape)
}

fn read_dtype(item: &Item<'_>, problems: &mut Problems) -> Option<DType> {
    let name = item.text(problems)?;
    match name.parse() {
        Ok(dtype) => Some(dtype),
        Err(unsupported) => {
            let problem = item.problem(format!("{}: {unsupported}", item.who()));
            let known = DType::ALL.iter().map(|dtype| dtype.name());
            let hint = super::suggestion::did_you_mean(name, known);
            problems.push(match hint {
                Some(hint) => problem.with_hint(hint),
                None => problem,
            });
            None
        }
    }
}

fn check_gpu_device(
    entry: &Item<'_>,
    storage: Option<Storage>,
    device: Option<&Item<'_>>,
    problems: &mut Problems,
) {
    match (storage, device) {
        (Some(Storage::Cpu), Some(device)) => problems.push(
            device
                .problem(format!("{}: 'gpu_device' is for GPU streams", entry.who()))
                .with_hint("remove it, or set `storage: gpu`"),
        ),
        (Some(Storage::Gpu), None) => problems.push(
            entry
                .problem(format!(
                    "{}: a GPU stream must define 'gpu_device'",
                    entry.who()
                ))
                .with_hint("add for example `gpu_device: cuda:0`"),
        ),
        _ => {}
    }
}
