//! `ao.telescope`: a source of Shack-Hartmann images that answers to mirror commands.
//!
//! Frame k, counted from 1, shows the atmosphere at the simulated time k / `frame_rate_hz` through
//! a mirror at the commands computed from frame k - 1; frame 1 sees a flat mirror. The source waits
//! for those commands, so what it simulates depends on its parameters and on the commands alone,
//! not on how fast the machine is. With `rate_hz` it keeps to the wall clock instead and takes the
//! newest commands there are, as a real telescope does.

mod parameters;
mod wait_for_publication;

use thalweg_kernels::node::Auxiliary;
use thalweg_kernels::{
    AuxiliaryFrame, Definition, Figure, FigureKind, NodeBuilder, NodeError, NodeSpec, Produced,
    Source, SourceContext, SpecProblem,
};
use thalweg_shm::{ArrayMut, DType};

use crate::instrument::Instrument;
use crate::instrument_parameters::InstrumentParameters;
use crate::phase_screen::PhaseScreen;
use crate::random::{Purpose, generator};
use parameters::{PARAMETERS, Parameters, check_streams};
use wait_for_publication::wait_for_publication;

/// Alias of the auxiliary stream that drives the mirror.
const COMMANDS: &str = "commands";

/// The kind `ao.telescope`.
pub(crate) const DEFINITION: Definition = Definition {
    kind: "ao.telescope",
    summary: "simulated telescope: von Karman turbulence, deformable mirror driven by the \
              auxiliary stream `commands`, Shack-Hartmann images out",
    parameters: &PARAMETERS,
    builder: NodeBuilder::Source(build),
    infer: None,
    warn: None,
};

/// The source; see the module's page.
#[derive(Debug)]
struct Telescope {
    name: String,
    image_stream: String,
    auxiliary: Vec<Auxiliary>,
    parameters: Parameters,
    /// Made with the first frame: building a node has to be cheap.
    view: Option<View>,
    /// Auxiliary streams found published so far, in order.
    awaited: usize,
    /// Publications and frame id the command stream had before frame 1.
    before: AuxiliaryFrame,
    next_frame_ns: Option<u64>,
    frames: u64,
    open_loop_variance_rad2_sum: f64,
    residual_variance_rad2_sum: f64,
}

/// What the telescope looks at and with, and the buffers of one frame.
#[derive(Debug)]
struct View {
    screen: PhaseScreen,
    instrument: Instrument,
    commands_um: Vec<f32>,
    image: Vec<u16>,
}

fn build(spec: &NodeSpec) -> Result<Box<dyn Source>, Vec<SpecProblem>> {
    let (parameters, mut problems) = Parameters::read(&spec.parameters);
    if problems.is_empty() {
        // Without sound parameters the expected shapes would mislead.
        check_streams(spec, &parameters.instrument, &mut problems);
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Box::new(Telescope {
        name: spec.name.clone(),
        image_stream: spec.outputs[0].name.clone(),
        auxiliary: spec.auxiliary.clone(),
        parameters,
        view: None,
        awaited: 0,
        before: AuxiliaryFrame {
            count: 0,
            frame_id: 0,
        },
        next_frame_ns: None,
        frames: 0,
        open_loop_variance_rad2_sum: 0.0,
        residual_variance_rad2_sum: 0.0,
    }))
}

impl Telescope {
    fn commands_index(&self) -> Option<usize> {
        self.auxiliary
            .iter()
            .position(|auxiliary| auxiliary.alias == COMMANDS)
    }

    /// Waits until every auxiliary stream but the commands has been published; false on stop.
    fn wait_for_calibration(&mut self, context: &mut dyn SourceContext) -> Result<bool, NodeError> {
        while let Some(auxiliary) = self.auxiliary.get(self.awaited) {
            if auxiliary.alias != COMMANDS {
                let timeout = self.parameters.calibration_timeout;
                let found =
                    wait_for_publication(context, self.awaited, &auxiliary.stream, timeout)?;
                if !found && context.stop_requested() {
                    return Ok(false);
                }
                if !found {
                    return Err(NodeError::Failed(format!(
                        "source {:?} waited {} s for the first publication of its auxiliary stream \
                         {:?}: check that the node writing it runs and has not failed, or raise \
                         parameters.calibration_timeout_s",
                        self.name,
                        timeout.as_secs_f64(),
                        auxiliary.stream.name,
                    )));
                }
            }
            self.awaited += 1;
        }
        Ok(true)
    }

    /// Brings `commands_um` to what the next frame sees; false on stop.
    fn fetch_commands(&mut self, context: &mut dyn SourceContext) -> Result<bool, NodeError> {
        let Some(index) = self.commands_index() else {
            return Ok(true);
        };
        let stream = &self.auxiliary[index].stream;
        let Some(view) = self.view.as_mut() else {
            return Ok(false);
        };
        let mut commands = ArrayMut::from_slice(&mut view.commands_um, &stream.shape);
        let newest = if self.frames == 0 || self.parameters.period_ns.is_some() {
            context.read_auxiliary(index, &mut commands)?
        } else {
            let wanted = self.before.frame_id + self.frames;
            let timeout = self.parameters.command_timeout;
            let found = context.wait_auxiliary(index, wanted, timeout, &mut commands)?;
            if found.is_none() && context.stop_requested() {
                return Ok(false);
            }
            if found.is_none() {
                let newest = context.read_auxiliary(index, &mut commands)?;
                return Err(NodeError::Failed(self.late_commands(wanted, newest)));
            }
            found
        };
        if self.frames == 0 {
            // A stream that was used before has ids of its own; ours go on from there.
            self.before = newest.unwrap_or(self.before);
        }
        if newest.is_none_or(|newest| newest.count <= self.before.count) {
            view.commands_um.fill(0.0);
        }
        if let Some(actuator) = view.commands_um.iter().position(|um| !um.is_finite()) {
            return Err(NodeError::Failed(format!(
                "source {:?}: the command of actuator {actuator} in stream {:?} is {} before frame \
                 {}: look for a stage that divides by zero or a calibration that is not finite",
                self.name,
                stream.name,
                view.commands_um[actuator],
                self.frames + 1,
            )));
        }
        Ok(true)
    }

    fn late_commands(&self, wanted: u64, newest: Option<AuxiliaryFrame>) -> String {
        let stream = self
            .commands_index()
            .map_or("", |index| self.auxiliary[index].stream.name.as_str());
        let found = match newest {
            None => "nothing was published there yet".to_owned(),
            Some(AuxiliaryFrame { frame_id: 0, count }) => {
                format!("its {count} publications carry no frame id")
            }
            Some(AuxiliaryFrame { frame_id, .. }) => format!("its newest frame id is {frame_id}"),
        };
        format!(
            "source {:?} waited {} s for frame id {wanted} on stream {stream:?} (alias \
             {COMMANDS:?}); {found}. Check that every kernel between {:?} and {stream:?} runs and \
             has `propagate_frame_id: true`; raise parameters.command_timeout_s if one is that \
             slow, or set parameters.rate_hz to run without waiting",
            self.name,
            self.parameters.command_timeout.as_secs_f64(),
            self.image_stream,
        )
    }

    /// Keeps to `rate_hz`; true when a stop was requested meanwhile.
    fn pace(&mut self, context: &mut dyn SourceContext) -> bool {
        let Some(period_ns) = self.parameters.period_ns else {
            return context.stop_requested();
        };
        let deadline_ns = self.next_frame_ns.unwrap_or_else(|| context.now_ns());
        if context.sleep_until(deadline_ns) {
            return true;
        }
        // A frame that comes late stays late: catching up would be a burst no camera produces.
        let late = context.now_ns().saturating_sub(deadline_ns) > period_ns;
        let start_ns = if late { context.now_ns() } else { deadline_ns };
        self.next_frame_ns = Some(start_ns + period_ns);
        false
    }
}

impl View {
    fn new(parameters: &InstrumentParameters) -> Self {
        let instrument = Instrument::new(parameters);
        Self {
            screen: PhaseScreen::new(
                parameters.r0_m,
                parameters.outer_scale_m,
                parameters.sample_spacing_m(),
                parameters.screen_side_samples(),
                instrument.pupil().samples_across(),
                parameters.seed,
            ),
            instrument,
            commands_um: vec![0.0; parameters.actuator_count()],
            image: vec![0; parameters.image_side_px().pow(2)],
        }
    }

    /// Brings the atmosphere of frame `frame` into the instrument.
    fn look(&mut self, parameters: &InstrumentParameters, frame: u64) {
        let distance_m = parameters.wind_speed_m_per_s * frame as f64 / parameters.frame_rate_hz;
        let samples = distance_m / parameters.sample_spacing_m();
        let (down, right) = parameters.wind_direction_deg.to_radians().sin_cos();
        // The screen moves with the wind, so the pupil moves against it.
        self.screen.window_into(
            -samples * down,
            -samples * right,
            self.instrument.phase_mut(),
        );
    }
}

impl Source for Telescope {
    fn produce(
        &mut self,
        context: &mut dyn SourceContext,
        outputs: &mut [ArrayMut<'_>],
    ) -> Result<Produced, NodeError> {
        if self.parameters.frames == Some(self.frames) {
            return Ok(Produced::Finished);
        }
        if self.view.is_none() {
            self.view = Some(View::new(&self.parameters.instrument));
        }
        let ready = self.wait_for_calibration(context)?
            && !self.pace(context)
            && self.fetch_commands(context)?;
        let (Some(view), true) = (self.view.as_mut(), ready) else {
            return Ok(Produced::Nothing);
        };
        let frame = self.frames + 1;
        let parameters = &self.parameters.instrument;
        view.look(parameters, frame);
        self.open_loop_variance_rad2_sum += view.instrument.variance_rad2();
        view.instrument.correct(&view.commands_um);
        self.residual_variance_rad2_sum += view.instrument.variance_rad2();
        let mut noise = generator(parameters.seed, Purpose::ObservingNoise, frame);
        let photons = parameters.photons_per_subaperture as f32;
        let counts = view.instrument.observe(photons, &mut noise);
        let image = &mut outputs[0];
        if image.dtype() == DType::Uint16 {
            for (pixel, &level) in view.image.iter_mut().zip(counts) {
                *pixel = level as u16;
            }
            image.copy_from(&view.image)?;
        } else {
            image.copy_from(counts)?;
        }
        self.frames = frame;
        Ok(Produced::Frame {
            frame_id: Some(self.before.frame_id + frame),
        })
    }

    /// Sums over all frames, so that the mean square over any interval is a quotient of
    /// differences. Variances are those of the phase over the pupil without piston: in front of
    /// the mirror (`open_loop`) and behind it (`residual`).
    fn figure_definitions(&self) -> Vec<Figure> {
        [
            "frames",
            "open_loop_variance_rad2_sum",
            "residual_variance_rad2_sum",
        ]
        .map(|name| Figure {
            name: name.to_owned(),
            kind: FigureKind::Counter,
        })
        .to_vec()
    }

    fn figures(&self, values: &mut [f64]) {
        let figures = [
            self.frames as f64,
            self.open_loop_variance_rad2_sum,
            self.residual_variance_rad2_sum,
        ];
        for (value, figure) in values.iter_mut().zip(figures) {
            *value = figure;
        }
    }
}
