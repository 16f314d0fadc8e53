//! What `cpu.tomographic_controller` asks of its streams, and which is which.

use thalweg_shm::DType;
use thalweg_shm::array::element_count;

use super::TOMOGRAPHIC_CONTROLLER;
use crate::check::SpecChecker;
use crate::node::{SpecProblem, StreamSpec};

/// Wave-front sensors of a controller.
pub(super) const SENSORS: usize = 8;

/// A part of an input or auxiliary array: where one sensor's data lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plane {
    /// Position of the array among those of its role.
    pub(super) array: usize,
    /// First element.
    pub(super) first: usize,
}

/// Where the data of one sensor lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct SensorPlanes {
    pub(super) image: Plane,
    pub(super) dark: Plane,
    pub(super) inverse_flat: Plane,
    pub(super) slope_offset: Plane,
}

/// Positions of the auxiliary streams of all sensors together.
#[derive(Clone, Copy, Debug)]
pub(super) struct ControlStreams {
    pub(super) reconstructor: usize,
    pub(super) reconstructor_bias: usize,
    pub(super) command_offset: usize,
    pub(super) command_low: usize,
    pub(super) command_high: usize,
}

/// The streams of a controller, checked.
#[derive(Clone, Debug)]
pub(super) struct Streams<'a> {
    /// Element type of everything but the images.
    pub(super) number: DType,
    /// Rows and columns of one image.
    pub(super) image: [usize; 2],
    /// Rows and columns of tiles in an image.
    pub(super) tiles: [usize; 2],
    pub(super) actuators: usize,
    pub(super) sensors: Vec<SensorPlanes>,
    pub(super) control: ControlStreams,
    /// The matrix.
    pub(super) reconstructor: &'a StreamSpec,
}

impl Streams<'_> {
    /// Slopes of all sensors together.
    pub(super) fn slopes(&self) -> usize {
        SENSORS * 2 * self.tiles[0] * self.tiles[1]
    }
}

/// How the images come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// One input each.
    Separate,
    /// One input for all.
    Cube,
}

/// The streams as far as they can be told; everything wrong with them is recorded.
pub(super) fn check<'a>(check: &mut SpecChecker<'a>, tile_size: usize) -> Option<Streams<'a>> {
    let spec = check.spec();
    if spec.any_trigger {
        check.problem(
            SpecProblem::new(
                "trigger_policy",
                format!(
                    "{} requires trigger_policy 'all_new': commands are made of one new frame of \
                     every sensor",
                    spec.kind
                ),
            )
            .with_hint("write `trigger_policy: all_new`, with a single input as well"),
        );
    }
    let images = check_images(check);
    check_aliases(check, images.map(|(form, _)| form));
    let (form, image) = images?;
    let [rows, columns] = image;
    if !rows.is_multiple_of(tile_size) || !columns.is_multiple_of(tile_size) {
        check.problem(SpecProblem::new(
            "input",
            format!(
                "{} requires images whose sides are multiples of 'tile_size' {tile_size}, got \
                 {image:?}",
                spec.kind
            ),
        ));
        return None;
    }
    let tiles = [rows / tile_size, columns / tile_size];
    let output = check_output(check);
    let number = output.map(|output| output.dtype);
    let actuators = output.map(|output| output.shape[0]);
    let slopes = SENSORS * 2 * tiles[0] * tiles[1];

    let reconstructor = find(check, "reconstructor");
    if let Some((index, matrix)) = reconstructor {
        check_reconstructor(check, index, matrix, actuators, slopes);
    }
    let mut vector = |alias| {
        let (index, stream) = find(check, alias)?;
        let shape = actuators.map(|actuators| vec![actuators]);
        check_stream(check, index, stream, shape.as_deref(), number);
        Some(index)
    };
    let control = [
        vector("reconstructor_bias"),
        vector("command_offset"),
        vector("command_low"),
        vector("command_high"),
    ];
    let sensors = check_sensors(check, form, image, tiles, number);

    let (reconstructor_index, reconstructor) = reconstructor?;
    let [
        reconstructor_bias,
        command_offset,
        command_low,
        command_high,
    ] = control;
    Some(Streams {
        number: number?,
        image,
        tiles,
        actuators: actuators?,
        sensors: sensors?,
        control: ControlStreams {
            reconstructor: reconstructor_index,
            reconstructor_bias: reconstructor_bias?,
            command_offset: command_offset?,
            command_low: command_low?,
            command_high: command_high?,
        },
        reconstructor,
    })
}

/// How the images come, and the shape of one.
fn check_images(check: &mut SpecChecker<'_>) -> Option<(Form, [usize; 2])> {
    let spec = check.spec();
    let wanted = format!(
        "{} requires eight equal 2-D images, or one input of shape (8, rows, columns)",
        spec.kind
    );
    let first = spec.inputs.first();
    let found = match (
        spec.inputs.as_slice(),
        first.map(|first| first.shape.as_slice()),
    ) {
        ([_], Some(&[SENSORS, rows, columns])) => Some((Form::Cube, [rows, columns])),
        (inputs, Some(&[rows, columns])) if inputs.len() == SENSORS => {
            Some((Form::Separate, [rows, columns]))
        }
        _ => None,
    };
    let Some((form, image)) = found else {
        let shapes: Vec<_> = spec.inputs.iter().map(|input| &input.shape).collect();
        let path = if spec.inputs.len() == 1 {
            "input"
        } else {
            "inputs"
        };
        check.problem(SpecProblem::new(path, format!("{wanted}; got {shapes:?}")));
        return None;
    };
    let first = first?;
    check.real("input", first);
    for (index, input) in spec.inputs.iter().enumerate().skip(1) {
        let path = format!("inputs[{index}]");
        check.same_shape(&path, first, input);
        check.same_dtype(&path, first, input);
    }
    Some((form, image))
}

const OF_ALL: [&str; 5] = [
    "reconstructor",
    "reconstructor_bias",
    "command_offset",
    "command_low",
    "command_high",
];

const OF_SENSOR: [&str; 3] = ["dark", "inverse_flat", "slope_offset"];

/// The aliases a controller has to have.
fn aliases(form: Form) -> impl Iterator<Item = String> {
    let of_sensors = (0..SENSORS).flat_map(move |sensor| {
        OF_SENSOR.iter().filter_map(move |what| match form {
            Form::Separate => Some(format!("wfs{sensor}_{what}")),
            Form::Cube => (sensor == 0).then(|| format!("wfs_{what}")),
        })
    });
    OF_ALL.into_iter().map(str::to_owned).chain(of_sensors)
}

/// Records aliases that are missing or mean nothing. Without images both forms may be meant.
fn check_aliases(check: &mut SpecChecker<'_>, form: Option<Form>) {
    let Some(form) = form else {
        return;
    };
    let spec = check.spec();
    let wanted: Vec<String> = aliases(form).collect();
    let missing: Vec<&str> = wanted
        .iter()
        .map(String::as_str)
        .filter(|wanted| !spec.auxiliary.iter().any(|one| one.alias == *wanted))
        .collect();
    if !missing.is_empty() {
        check.problem(
            SpecProblem::new(
                "auxiliary",
                format!(
                    "{} requires auxiliary aliases that are missing: {}",
                    spec.kind,
                    missing.join(", ")
                ),
            )
            .with_hint("map each to a stream: `auxiliary: {reconstructor: <stream>, ...}`"),
        );
    }
    for auxiliary in &spec.auxiliary {
        if !wanted.contains(&auxiliary.alias) {
            check.problem(SpecProblem::new(
                format!("auxiliary.{}", auxiliary.alias),
                format!(
                    "{} knows no auxiliary alias {:?}; with these inputs the aliases are {}",
                    spec.kind,
                    auxiliary.alias,
                    wanted.join(", ")
                ),
            ));
        }
    }
}

/// The auxiliary stream of an alias and its position.
fn find<'a>(check: &SpecChecker<'a>, alias: &str) -> Option<(usize, &'a StreamSpec)> {
    let mut all = check.spec().auxiliary.iter().enumerate();
    all.find(|(_, one)| one.alias == alias)
        .map(|(index, one)| (index, &one.stream))
}

/// The output, if it is a vector of floating-point numbers.
fn check_output<'a>(check: &mut SpecChecker<'a>) -> Option<&'a StreamSpec> {
    let output = check.output()?;
    let kind = TOMOGRAPHIC_CONTROLLER.kind;
    let mut fits = true;
    if output.shape.len() != 1 {
        fits = false;
        check.problem(SpecProblem::new(
            "output",
            format!(
                "{kind} requires an output stream of one axis, one element per actuator; {:?} has \
                 shape {:?}",
                output.name, output.shape
            ),
        ));
    }
    if !output.dtype.is_float() {
        fits = false;
        check.problem(
            SpecProblem::new(
                "output",
                format!(
                    "{kind} computes with floating-point numbers, but output stream {:?} is {}",
                    output.name, output.dtype
                ),
            )
            .with_hint("make it and the auxiliary streams float32; images may be of integers"),
        );
    }
    fits.then_some(output)
}

fn check_reconstructor(
    check: &mut SpecChecker<'_>,
    index: usize,
    matrix: &StreamSpec,
    actuators: Option<usize>,
    slopes: usize,
) {
    let path = format!("auxiliary[{index}]");
    let kind = TOMOGRAPHIC_CONTROLLER.kind;
    if let Some(output) = check.spec().outputs.first() {
        check.same_dtype(&path, matrix, output);
    }
    let &[rows, columns] = matrix.shape.as_slice() else {
        check.problem(SpecProblem::new(
            path,
            format!(
                "{kind} requires a 2-D reconstructor (actuators, {slopes}), got {:?} of shape {:?}",
                matrix.name, matrix.shape
            ),
        ));
        return;
    };
    if columns != slopes {
        check.problem(SpecProblem::new(
            &path,
            format!(
                "{kind} requires reconstructor columns to match the {slopes} slopes of {SENSORS} \
                 sensors: {:?} of shape {:?} has {columns} columns",
                matrix.name, matrix.shape
            ),
        ));
    }
    if actuators.is_some_and(|actuators| actuators != rows) {
        check.problem(SpecProblem::new(
            path,
            format!(
                "{kind} requires one reconstructor row per element of the output stream: {:?} has \
                 shape {:?}, the output {:?}",
                matrix.name, matrix.shape, actuators
            ),
        ));
    }
}

/// Records what is wrong with an auxiliary stream.
fn check_stream(
    check: &mut SpecChecker<'_>,
    index: usize,
    stream: &StreamSpec,
    shape: Option<&[usize]>,
    number: Option<DType>,
) {
    let auxiliary = &check.spec().auxiliary[index];
    let kind = TOMOGRAPHIC_CONTROLLER.kind;
    let alias = &auxiliary.alias;
    if let Some(shape) = shape
        && stream.shape != shape
    {
        check.problem(SpecProblem::new(
            format!("auxiliary.{alias}"),
            format!(
                "{kind} requires '{alias}' of shape {shape:?}, got {:?} of shape {:?}",
                stream.name, stream.shape
            ),
        ));
    }
    if let Some(number) = number
        && stream.dtype != number
    {
        check.problem(SpecProblem::new(
            format!("auxiliary.{alias}"),
            format!(
                "{kind} requires '{alias}' of the output's dtype {number}, {:?} is {}",
                stream.name, stream.dtype
            ),
        ));
    }
}

fn check_sensors(
    check: &mut SpecChecker<'_>,
    form: Form,
    image: [usize; 2],
    tiles: [usize; 2],
    number: Option<DType>,
) -> Option<Vec<SensorPlanes>> {
    let offsets = [tiles[0], tiles[1], 2];
    let mut planes = |what: &str, shape: &[usize]| -> Option<Vec<Plane>> {
        match form {
            Form::Separate => (0..SENSORS)
                .map(|sensor| {
                    let (array, stream) = find(check, &format!("wfs{sensor}_{what}"))?;
                    check_stream(check, array, stream, Some(shape), number);
                    Some(Plane { array, first: 0 })
                })
                .collect::<Vec<Option<Plane>>>()
                .into_iter()
                .collect(),
            Form::Cube => {
                let (array, stream) = find(check, &format!("wfs_{what}"))?;
                let all: Vec<usize> = [SENSORS].iter().chain(shape).copied().collect();
                check_stream(check, array, stream, Some(&all), number);
                let size = element_count(shape);
                Some(
                    (0..SENSORS)
                        .map(|sensor| Plane {
                            array,
                            first: sensor * size,
                        })
                        .collect(),
                )
            }
        }
    };
    let dark = planes("dark", &image);
    let inverse_flat = planes("inverse_flat", &image);
    let slope_offset = planes("slope_offset", &offsets);
    let (dark, inverse_flat, slope_offset) = (dark?, inverse_flat?, slope_offset?);
    let sensors = (0..SENSORS).map(|sensor| SensorPlanes {
        image: match form {
            Form::Separate => Plane {
                array: sensor,
                first: 0,
            },
            Form::Cube => Plane {
                array: 0,
                first: sensor * element_count(&image),
            },
        },
        dark: dark[sensor],
        inverse_flat: inverse_flat[sensor],
        slope_offset: slope_offset[sensor],
    });
    Some(sensors.collect())
}
