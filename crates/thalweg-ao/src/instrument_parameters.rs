//! What describes a simulated instrument; telescope and calibration read the same mapping.

use thalweg_kernels::{ParameterDoc, SpecProblem};

use crate::parameter_reader::{Allowed, ParameterReader};
use crate::phase_screen::{LARGEST_SIDE_SAMPLES, side_samples};
use crate::pupil::SAMPLES_PER_SUBAPERTURE;

/// Atmosphere, telescope, Shack-Hartmann sensor, deformable mirror and detector of one simulated
/// instrument.
///
/// Two nodes given equal parameters simulate the same specimen: the irregularities of lenslets and
/// pixels follow from `seed`.
#[derive(Clone, Debug, PartialEq)]
pub struct InstrumentParameters {
    /// Subapertures across the pupil, and so across the image; from 2 to 128.
    pub subapertures: usize,
    /// Detector pixels across one subaperture; from 4 to 64.
    pub pixels_per_subaperture: usize,
    /// Diameter of the telescope, in metres; spans all subapertures.
    pub diameter_m: f64,
    /// Diameter of the central obstruction as a fraction of `diameter_m`.
    pub central_obstruction: f64,
    /// Wavelength of sensor and of every phase in radians, in nanometres.
    pub wavelength_nm: f64,
    /// Frames per second of simulated time.
    pub frame_rate_hz: f64,
    /// Fried parameter at `wavelength_nm`, in metres.
    pub r0_m: f64,
    /// Outer scale of the turbulence, in metres.
    pub outer_scale_m: f64,
    /// Speed at which the frozen screen crosses the pupil, in metres per second.
    pub wind_speed_m_per_s: f64,
    /// Where the screen moves to: 0 along increasing columns, 90 along increasing rows.
    pub wind_direction_deg: f64,
    /// Angle on the sky one pixel covers, in seconds of arc.
    pub pixel_scale_arcsec: f64,
    /// Full width at half maximum of a spot, in pixels.
    pub spot_fwhm_px: f64,
    /// Root mean square of the lenslets' misalignment per axis, in pixels.
    pub lenslet_offset_rms_px: f64,
    /// Photons a fully illuminated subaperture receives in one frame.
    pub photons_per_subaperture: f64,
    /// Height of an actuator's influence at its nearest neighbours, where its own is 1.
    pub actuator_coupling: f64,
    /// Mean counts of an unexposed pixel.
    pub bias_counts: f64,
    /// Root mean square of the fixed pattern in the bias, in counts.
    pub bias_pattern_rms_counts: f64,
    /// Root mean square of the pixels' relative response about 1.
    pub pixel_response_rms: f64,
    /// Read noise, in electrons.
    pub read_noise_electrons: f64,
    /// Counts per detected electron.
    pub counts_per_electron: f64,
    /// Seed of the turbulence, of all noise and of the specimen's irregularities.
    pub seed: u64,
}

impl Default for InstrumentParameters {
    /// An 8 m telescope in average seeing (r0 of 14 cm at 500 nm) on a bright star.
    fn default() -> Self {
        Self {
            subapertures: 16,
            pixels_per_subaperture: 8,
            diameter_m: 8.0,
            central_obstruction: 0.14,
            wavelength_nm: 800.0,
            frame_rate_hz: 1000.0,
            r0_m: 0.25,
            outer_scale_m: 25.0,
            wind_speed_m_per_s: 12.0,
            wind_direction_deg: 30.0,
            pixel_scale_arcsec: 0.5,
            spot_fwhm_px: 2.0,
            lenslet_offset_rms_px: 0.1,
            photons_per_subaperture: 1000.0,
            actuator_coupling: 0.25,
            bias_counts: 200.0,
            bias_pattern_rms_counts: 10.0,
            pixel_response_rms: 0.05,
            read_noise_electrons: 1.0,
            counts_per_electron: 2.0,
            seed: 1,
        }
    }
}

/// Documentation of every key of the `instrument` mapping.
pub(crate) const INSTRUMENT_DOCS: [ParameterDoc; 21] = [
    doc(
        "instrument.subapertures",
        "subapertures across the pupil, 2 to 128 (16); the image is subapertures * pixels_per_subaperture square",
    ),
    doc(
        "instrument.pixels_per_subaperture",
        "pixels across one subaperture, 4 to 64 (8)",
    ),
    doc(
        "instrument.diameter_m",
        "telescope diameter in metres (8.0)",
    ),
    doc(
        "instrument.central_obstruction",
        "diameter of the central obstruction, fraction of the pupil's, 0 to 0.9 (0.14)",
    ),
    doc(
        "instrument.wavelength_nm",
        "wavelength of the sensor in nanometres (800); phases in radians are at it",
    ),
    doc(
        "instrument.frame_rate_hz",
        "frames per second of simulated time (1000)",
    ),
    doc(
        "instrument.r0_m",
        "Fried parameter at that wavelength in metres (0.25); smaller is worse seeing",
    ),
    doc(
        "instrument.outer_scale_m",
        "outer scale of the turbulence in metres (25)",
    ),
    doc(
        "instrument.wind_speed_m_per_s",
        "speed of the frozen screen in metres per second (12)",
    ),
    doc(
        "instrument.wind_direction_deg",
        "direction it moves to in degrees, 0 = along rows of the image (30)",
    ),
    doc(
        "instrument.pixel_scale_arcsec",
        "sky angle of one pixel in seconds of arc (0.5)",
    ),
    doc(
        "instrument.spot_fwhm_px",
        "full width at half maximum of a spot in pixels, 1 to 16 (2.0)",
    ),
    doc(
        "instrument.lenslet_offset_rms_px",
        "misalignment of the lenslets, pixels rms, 0 to 1 (0.1)",
    ),
    doc(
        "instrument.photons_per_subaperture",
        "photons per frame in a fully lit subaperture (1000)",
    ),
    doc(
        "instrument.actuator_coupling",
        "influence at the neighbouring actuator, 0.01 to 0.9 (0.25)",
    ),
    doc(
        "instrument.bias_counts",
        "mean counts of an unexposed pixel, 0 to 60000 (200)",
    ),
    doc(
        "instrument.bias_pattern_rms_counts",
        "fixed pattern of the bias, counts rms (10)",
    ),
    doc(
        "instrument.pixel_response_rms",
        "fixed pattern of the pixel response, rms about 1, 0 to 0.3 (0.05)",
    ),
    doc(
        "instrument.read_noise_electrons",
        "read noise, electrons rms (1.0)",
    ),
    doc(
        "instrument.counts_per_electron",
        "detector gain, counts per electron (2.0)",
    ),
    doc(
        "instrument.seed",
        "whole number (1): turbulence, noise and irregularities follow from it",
    ),
];

/// One documented parameter.
pub(crate) const fn doc(name: &'static str, doc: &'static str) -> ParameterDoc {
    ParameterDoc { name, doc }
}

/// `first` followed by the instrument's keys; `N` is the sum of both lengths.
pub(crate) const fn with_instrument_docs<const FIRST: usize, const N: usize>(
    first: [ParameterDoc; FIRST],
) -> [ParameterDoc; N] {
    let mut all = [INSTRUMENT_DOCS[0]; N];
    let mut index = 0;
    while index < N {
        all[index] = if index < FIRST {
            first[index]
        } else {
            INSTRUMENT_DOCS[index - FIRST]
        };
        index += 1;
    }
    all
}

impl InstrumentParameters {
    /// Reads the key `instrument` of a node's parameters; an absent key takes its default.
    pub(crate) fn read(parent: &mut ParameterReader<'_>) -> (Self, Vec<SpecProblem>) {
        let mut reader = parent.section("instrument");
        let default = Self::default();
        let instrument = Self {
            subapertures: small(reader.count("subapertures", default.subapertures as u64, 2, 128)),
            pixels_per_subaperture: small(reader.count(
                "pixels_per_subaperture",
                default.pixels_per_subaperture as u64,
                4,
                64,
            )),
            diameter_m: reader.number("diameter_m", default.diameter_m, Allowed::Positive),
            central_obstruction: reader.number(
                "central_obstruction",
                default.central_obstruction,
                Allowed::Between(0.0, 0.9),
            ),
            wavelength_nm: reader.number("wavelength_nm", default.wavelength_nm, Allowed::Positive),
            frame_rate_hz: reader.number("frame_rate_hz", default.frame_rate_hz, Allowed::Positive),
            r0_m: reader.number("r0_m", default.r0_m, Allowed::Positive),
            outer_scale_m: reader.number("outer_scale_m", default.outer_scale_m, Allowed::Positive),
            wind_speed_m_per_s: reader.number(
                "wind_speed_m_per_s",
                default.wind_speed_m_per_s,
                Allowed::NonNegative,
            ),
            wind_direction_deg: reader.number(
                "wind_direction_deg",
                default.wind_direction_deg,
                Allowed::Finite,
            ),
            pixel_scale_arcsec: reader.number(
                "pixel_scale_arcsec",
                default.pixel_scale_arcsec,
                Allowed::Positive,
            ),
            spot_fwhm_px: reader.number(
                "spot_fwhm_px",
                default.spot_fwhm_px,
                Allowed::Between(1.0, 16.0),
            ),
            lenslet_offset_rms_px: reader.number(
                "lenslet_offset_rms_px",
                default.lenslet_offset_rms_px,
                Allowed::Between(0.0, 1.0),
            ),
            photons_per_subaperture: reader.number(
                "photons_per_subaperture",
                default.photons_per_subaperture,
                Allowed::Positive,
            ),
            actuator_coupling: reader.number(
                "actuator_coupling",
                default.actuator_coupling,
                Allowed::Between(0.01, 0.9),
            ),
            bias_counts: reader.number(
                "bias_counts",
                default.bias_counts,
                Allowed::Between(0.0, 60_000.0),
            ),
            bias_pattern_rms_counts: reader.number(
                "bias_pattern_rms_counts",
                default.bias_pattern_rms_counts,
                Allowed::NonNegative,
            ),
            pixel_response_rms: reader.number(
                "pixel_response_rms",
                default.pixel_response_rms,
                Allowed::Between(0.0, 0.3),
            ),
            read_noise_electrons: reader.number(
                "read_noise_electrons",
                default.read_noise_electrons,
                Allowed::NonNegative,
            ),
            counts_per_electron: reader.number(
                "counts_per_electron",
                default.counts_per_electron,
                Allowed::Positive,
            ),
            seed: reader.count("seed", default.seed, 0, u64::MAX),
        };
        if reader.is_clean() {
            let side = instrument.screen_side_samples();
            if side > LARGEST_SIDE_SAMPLES {
                let message = format!(
                    "the phase screen would need {side} samples a side, at most \
                     {LARGEST_SIDE_SAMPLES} are allowed: an outer scale of {} m at one sample per \
                     {} m",
                    instrument.outer_scale_m,
                    instrument.sample_spacing_m()
                );
                let hint = "lower outer_scale_m, or use fewer subapertures on the same diameter";
                reader.problem("outer_scale_m", message, hint);
            }
        }
        let problems = reader.finish();
        (instrument, problems)
    }

    /// Pixels across the image.
    pub fn image_side_px(&self) -> usize {
        self.subapertures * self.pixels_per_subaperture
    }

    /// Actuators across the mirror: one at every corner of a subaperture (Fried geometry).
    pub fn actuators_across(&self) -> usize {
        self.subapertures + 1
    }

    /// Number of actuators; the commands are indexed row by row.
    pub fn actuator_count(&self) -> usize {
        self.actuators_across().pow(2)
    }

    /// Number of slopes: row and column component of every subaperture, lit or not.
    pub fn slope_count(&self) -> usize {
        2 * self.subapertures.pow(2)
    }

    /// Side of a subaperture, and pitch of the actuators, in metres.
    pub fn subaperture_m(&self) -> f64 {
        self.diameter_m / self.subapertures as f64
    }

    /// Distance of two samples of the phase, in metres.
    pub fn sample_spacing_m(&self) -> f64 {
        self.subaperture_m() / SAMPLES_PER_SUBAPERTURE as f64
    }

    /// Samples across the periodic phase screen.
    pub(crate) fn screen_side_samples(&self) -> usize {
        side_samples(self.outer_scale_m, self.diameter_m, self.sample_spacing_m())
    }

    /// Wavelength of sensor and phases, in metres.
    pub(crate) fn wavelength_m(&self) -> f64 {
        self.wavelength_nm * 1e-9
    }

    /// Displacement of a spot, in pixels, per radian per metre of mean phase gradient: the ray
    /// turns by wavelength / (2 pi) times the gradient.
    pub fn px_per_gradient(&self) -> f64 {
        let pixel_rad = self.pixel_scale_arcsec * std::f64::consts::PI / (180.0 * 3600.0);
        self.wavelength_m() / std::f64::consts::TAU / pixel_rad
    }
}

/// Counts read with an upper limit far below `u32::MAX`.
fn small(count: u64) -> usize {
    count as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use thalweg_kernels::Parameters;

    fn read(value: Value) -> (InstrumentParameters, Vec<SpecProblem>) {
        let values: Parameters = value.as_object().cloned().unwrap();
        let mut reader = ParameterReader::new("parameters", &values);
        InstrumentParameters::read(&mut reader)
    }

    #[test]
    fn nothing_given_means_the_defaults() {
        let (instrument, problems) = read(json!({}));
        assert_eq!(problems, []);
        assert_eq!(instrument, InstrumentParameters::default());
    }

    #[test]
    fn the_documentation_names_exactly_the_keys_that_are_read() {
        let mut all = serde_json::Map::new();
        for parameter in INSTRUMENT_DOCS {
            let key = parameter.name.strip_prefix("instrument.").unwrap();
            // Wrong on purpose: a key that is not read would be reported as unknown instead.
            all.insert(key.to_owned(), json!("not a number"));
        }
        let documented = all.len();
        let (_, problems) = read(json!({"instrument": all}));
        assert_eq!(documented, INSTRUMENT_DOCS.len());
        assert_eq!(problems.len(), documented);
        for problem in problems {
            assert!(problem.message.contains("expected"), "{problem:?}");
        }
        let (_, problems) = read(json!({"instrument": {"no_such_key": 1}}));
        let hint = problems[0].hint.clone().unwrap();
        assert_eq!(hint.split(", ").count(), documented);
    }

    #[test]
    fn an_outer_scale_beyond_the_largest_screen_is_refused() {
        let (_, problems) = read(json!({"instrument": {"outer_scale_m": 5000.0}}));
        assert_eq!(problems[0].path, "parameters.instrument.outer_scale_m");
        assert!(problems[0].message.contains("samples a side"));
    }
}
