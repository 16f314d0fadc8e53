//! The built-in demonstration: an adaptive-optics loop that calibrates itself and closes.

use std::path::Path;

use serde::Serialize;
use thalweg::pipeline::config::{PipelineConfig, Reading};
use thalweg::pipeline::runtime::Status;

/// Frames of the demonstration unless asked otherwise: some seconds on two slow cores, and long
/// enough for the second half to be past the closing of the loop.
pub(crate) const DEFAULT_FRAMES: u64 = 8000;
/// What the loop must achieve: residual of the second half, closed against open.
const REQUIRED_RATIO: f64 = 0.5;

const TEXT: &str = include_str!("../assets/default.yaml");
const SOURCE: &str = "telescope";

/// The configuration, from the text in this program.
pub(crate) fn read() -> Reading {
    PipelineConfig::read_yaml_str(TEXT, Path::new("built-in/default.yaml"))
}

/// Sums the telescope keeps, at one moment.
#[derive(Clone, Copy, Debug)]
struct Sums {
    frames: f64,
    open_rad2: f64,
    residual_rad2: f64,
}

impl Sums {
    fn of(status: &Status) -> Option<Self> {
        let telescope = status.nodes.iter().find(|node| node.name == SOURCE)?;
        let value = |name: &str| {
            let figure = telescope
                .figures
                .iter()
                .find(|figure| figure.name == name)?;
            Some(figure.value)
        };
        Some(Self {
            frames: value("frames")?,
            open_rad2: value("open_loop_variance_rad2_sum")?,
            residual_rad2: value("residual_variance_rad2_sum")?,
        })
    }
}

/// Watches the wavefront while the loop runs.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    looks: Vec<Sums>,
}

/// How well the loop closed, over the second half of the run.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Verdict {
    /// Frames judged.
    pub(crate) frames: u64,
    /// Root mean square of the uncorrected wavefront in rad.
    pub(crate) open_loop_rms_rad: f64,
    /// Root mean square of what the mirror left of it in rad.
    pub(crate) residual_rms_rad: f64,
    /// Residual over open loop.
    pub(crate) ratio: f64,
    /// Whether that is good enough.
    pub(crate) is_closed: bool,
}

impl Judge {
    /// Remembers what the telescope measured so far.
    pub(crate) fn look(&mut self, status: &Status) {
        self.looks.extend(Sums::of(status));
    }

    /// Judges the second half of what was seen; `None` if too little was.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        let last = self.looks.last()?;
        let middle = self
            .looks
            .iter()
            .find(|look| look.frames >= last.frames / 2.0)?;
        let frames = last.frames - middle.frames;
        if frames < 1.0 {
            return None;
        }
        let rms = |late: f64, early: f64| ((late - early) / frames).sqrt();
        let open_loop_rms_rad = rms(last.open_rad2, middle.open_rad2);
        let residual_rms_rad = rms(last.residual_rad2, middle.residual_rad2);
        let ratio = residual_rms_rad / open_loop_rms_rad;
        Some(Verdict {
            frames: frames as u64,
            open_loop_rms_rad,
            residual_rms_rad,
            ratio,
            // A comparison with NaN is false, which is the right verdict.
            is_closed: ratio <= REQUIRED_RATIO,
        })
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = if self.is_closed {
            "the loop closed"
        } else {
            "the loop did NOT close"
        };
        write!(
            f,
            "wavefront error over the last {} frames: open loop {:.3} rad rms, closed loop {:.3} rad rms ({:.2} of open: {words}, at most {REQUIRED_RATIO} allowed)",
            self.frames, self.open_loop_rms_rad, self.residual_rms_rad, self.ratio
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg::pipeline::config::validate;

    #[test]
    fn the_built_in_pipeline_is_valid() {
        let config = read().into_result().unwrap();
        assert_eq!(validate(&config, &thalweg::registry()), []);
    }

    #[test]
    fn only_the_second_half_is_judged() {
        let look = |frames: f64, open_rad2, residual_rad2| Sums {
            frames,
            open_rad2,
            residual_rad2,
        };
        let judge = Judge {
            looks: vec![
                look(10.0, 40.0, 40.0),
                look(50.0, 200.0, 200.0),
                look(100.0, 400.0, 212.5),
            ],
        };
        let verdict = judge.verdict().unwrap();
        assert_eq!((verdict.frames, verdict.open_loop_rms_rad), (50, 2.0));
        assert_eq!((verdict.residual_rms_rad, verdict.is_closed), (0.5, true));
        assert!(Judge::default().verdict().is_none());
    }
}
