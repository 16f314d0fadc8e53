//! `ao.calibration`: a source that calibrates a simulated instrument and publishes the result once.
//!
//! It does what an observer does with the star shut out: averages darks and flats, looks at a
//! bright point source through a flat mirror for the reference slopes, pushes and pulls every
//! actuator, and inverts what it saw. Slopes come from the centroid kernel the pipeline uses. Its
//! four outputs, bound by order:
//!
//! | stream | dtype, shape | content |
//! | --- | --- | --- |
//! | dark | float32 (H, W) | mean counts without light |
//! | inverse flat | float32 (H, W) | 1 / relative response; 0 in subapertures that are too dark |
//! | reconstructor | float32 (actuators, slopes) | -G, micrometres of stroke per pixel |
//! | bias | float32 (actuators) | G times the reference slopes |
//!
//! so that `reconstructor @ slopes + bias` is the correction to add to the commands:
//! `-G (slopes - reference)`. Zeros in the inverse flat make the centroids of dark subapertures
//! exactly zero; nothing downstream has to know which ones those are. Actuators outside the pupil
//! answer weakly, through the flanks of their influence; left in, they wander off to strokes that
//! throw spots out of their subapertures. `minimum_response` takes them out.

mod centroids;
mod parameters;
mod procedure;

use thalweg_kernels::{
    Definition, NodeBuilder, NodeError, NodeSpec, Produced, Source, SourceContext, SpecProblem,
    StreamSpec,
};
use thalweg_shm::{ArrayMut, DType};

use crate::instrument_parameters::InstrumentParameters;
use parameters::{PARAMETERS, Parameters};
use procedure::{Interruption, Procedure};

/// The kind `ao.calibration`.
pub(crate) const DEFINITION: Definition = Definition {
    kind: "ao.calibration",
    summary: "calibrates the simulated instrument (darks, flats, pokes) and publishes dark, \
              inverse flat, reconstructor and bias once",
    parameters: &PARAMETERS,
    builder: NodeBuilder::Source(build),
    infer: None,
    warn: None,
};

/// The source; see the module's page.
#[derive(Debug)]
struct Calibration {
    name: String,
    parameters: Parameters,
    published: bool,
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
    Ok(Box::new(Calibration {
        name: spec.name.clone(),
        parameters,
        published: false,
    }))
}

fn check_streams(
    spec: &NodeSpec,
    instrument: &InstrumentParameters,
    problems: &mut Vec<SpecProblem>,
) {
    let side = instrument.image_side_px();
    let (actuators, slopes) = (instrument.actuator_count(), instrument.slope_count());
    let expected: [(&str, Vec<usize>); 4] = [
        ("dark", vec![side, side]),
        ("inverse flat", vec![side, side]),
        ("reconstructor", vec![actuators, slopes]),
        ("bias", vec![actuators]),
    ];
    if spec.outputs.len() != expected.len() {
        let message = format!(
            "expected four streams in this order: dark, inverse flat, reconstructor, bias; found {}",
            spec.outputs.len()
        );
        problems.push(SpecProblem::new("streams", message));
        return;
    }
    for (index, ((role, shape), stream)) in expected.iter().zip(&spec.outputs).enumerate() {
        let StreamSpec { name, dtype, .. } = stream;
        if *dtype != DType::Float32 || stream.shape != *shape {
            let message = format!(
                "expected the {role} as float32 of shape {shape:?}, stream {name:?} is {dtype} of \
                 shape {:?}",
                stream.shape
            );
            let hint = "streams are bound by order: dark, inverse flat, reconstructor, bias";
            problems.push(SpecProblem::new(format!("streams[{index}]"), message).with_hint(hint));
        }
    }
}

impl Source for Calibration {
    fn produce(
        &mut self,
        context: &mut dyn SourceContext,
        outputs: &mut [ArrayMut<'_>],
    ) -> Result<Produced, NodeError> {
        if self.published {
            return Ok(Produced::Finished);
        }
        let calibrated =
            Procedure::new(&self.parameters, context).and_then(|procedure| procedure.run());
        let data = match calibrated {
            Ok(data) => data,
            Err(Interruption::Stopped) => return Ok(Produced::Nothing),
            Err(Interruption::Failed(error)) => {
                return Err(NodeError::Failed(format!(
                    "source {:?}: {error}",
                    self.name
                )));
            }
        };
        let arrays = [
            &data.dark,
            &data.inverse_flat,
            &data.reconstructor,
            &data.bias,
        ];
        for (output, array) in outputs.iter_mut().zip(arrays) {
            output.copy_from(array)?;
        }
        self.published = true;
        Ok(Produced::Frame { frame_id: Some(1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use thalweg_kernels::AuxiliaryFrame;

    /// A runtime without streams.
    pub(super) struct Alone {
        pub(super) stop: bool,
    }

    impl SourceContext for Alone {
        fn stop_requested(&self) -> bool {
            self.stop
        }

        fn now_ns(&self) -> u64 {
            0
        }

        fn sleep_until(&mut self, _deadline_ns: u64) -> bool {
            self.stop
        }

        fn read_auxiliary(
            &mut self,
            _index: usize,
            _out: &mut ArrayMut<'_>,
        ) -> Result<Option<AuxiliaryFrame>, NodeError> {
            Ok(None)
        }

        fn wait_auxiliary(
            &mut self,
            _index: usize,
            _frame_id: u64,
            _timeout: Duration,
            _out: &mut ArrayMut<'_>,
        ) -> Result<Option<AuxiliaryFrame>, NodeError> {
            Ok(None)
        }
    }

    #[test]
    fn a_stop_interrupts() {
        let (parameters, _) = Parameters::read(&Default::default());
        let mut source = Calibration {
            name: "calibration".to_owned(),
            parameters,
            published: false,
        };
        let produced = source.produce(&mut Alone { stop: true }, &mut []).unwrap();
        assert_eq!(produced, Produced::Nothing);
    }

    #[test]
    fn wrong_streams_are_named_by_their_role() {
        let stream = |name: &str, shape: &[usize]| StreamSpec {
            name: name.to_owned(),
            dtype: DType::Float32,
            shape: shape.to_vec(),
        };
        let spec = NodeSpec {
            name: "calibration".to_owned(),
            kind: "ao.calibration".to_owned(),
            inputs: Vec::new(),
            any_trigger: false,
            auxiliary: Vec::new(),
            outputs: vec![
                stream("dark", &[128, 128]),
                stream("flat", &[128, 128]),
                stream("matrix", &[512, 289]),
                stream("bias", &[289]),
            ],
            operation: None,
            parameters: Default::default(),
            base_dir: Default::default(),
        };
        let problems = build(&spec).err().unwrap();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].path, "streams[2]");
        assert!(problems[0].message.contains("[289, 512]"), "{problems:?}");
    }
}
