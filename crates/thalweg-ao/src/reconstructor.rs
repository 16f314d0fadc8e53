//! From an interaction matrix to a reconstructor.
//!
//! The interaction matrix D says how slopes answer to commands: `s = D c`. The reconstructor G is
//! the regularised least-squares inverse (A. Tikhonov, 1963)
//!
//! ```text
//! G = (D^T D + alpha I)^-1 D^T,    alpha = regularisation * mean diagonal of D^T D
//! ```
//!
//! Of a mode with singular value w one correction takes the part w^2 / (w^2 + alpha) away, and an
//! integrator the rest over the next frames. What the sensor hardly sees (piston, and the
//! checkerboard of Fried geometry called waffle) is left alone instead of being filled with
//! amplified noise. Actuators that no lit subaperture answers to are taken out beforehand and get
//! rows of zeros.

use nalgebra::DMatrix;

/// No reconstructor could be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReconstructorError {
    /// Every column of the interaction matrix is zero.
    NoResponse,
    /// The normal equations are not positive definite: some element is not finite, or the
    /// regularisation is too small for a mode the sensor does not see.
    Singular,
}

/// The reconstructor of `interaction` (slopes x actuators), of shape actuators x slopes.
///
/// Actuators whose column is shorter than `minimum_response` times the longest one are left out.
///
/// # Errors
///
/// See [`ReconstructorError`].
pub fn reconstructor(
    interaction: &DMatrix<f64>,
    minimum_response: f64,
    regularisation: f64,
) -> Result<DMatrix<f64>, ReconstructorError> {
    let active = responding_actuators(interaction, minimum_response);
    if active.is_empty() {
        return Err(ReconstructorError::NoResponse);
    }
    let seen = interaction.select_columns(&active);
    let seen_transposed = seen.transpose();
    let mut normal = &seen_transposed * &seen;
    let alpha = regularisation * normal.trace() / active.len() as f64;
    for index in 0..active.len() {
        normal[(index, index)] += alpha;
    }
    let inverse = normal
        .cholesky()
        .ok_or(ReconstructorError::Singular)?
        .solve(&seen_transposed);
    let mut all = DMatrix::zeros(interaction.ncols(), interaction.nrows());
    for (row, &actuator) in active.iter().enumerate() {
        all.set_row(actuator, &inverse.row(row));
    }
    Ok(all)
}

/// Indices of the columns at least `minimum_response` times as long as the longest.
pub fn responding_actuators(interaction: &DMatrix<f64>, minimum_response: f64) -> Vec<usize> {
    let lengths: Vec<f64> = interaction.column_iter().map(|c| c.norm()).collect();
    let longest = lengths.iter().copied().fold(0.0, f64::max);
    (0..lengths.len())
        .filter(|&actuator| longest > 0.0 && lengths[actuator] >= minimum_response * longest)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interaction() -> DMatrix<f64> {
        // Actuator 2 is seen by nothing, actuator 3 hardly.
        DMatrix::from_row_slice(
            5,
            4,
            &[
                1.0, 0.2, 0.0, 0.00, //
                -0.5, 1.0, 0.0, 0.01, //
                0.0, -0.5, 0.0, 0.00, //
                0.3, 0.3, 0.0, -0.01, //
                0.0, 0.0, 0.0, 0.00, // a dark subaperture
            ],
        )
    }

    #[test]
    fn what_is_seen_is_inverted_and_the_rest_is_zero() {
        let interaction = interaction();
        let inverse = reconstructor(&interaction, 0.1, 1e-9).unwrap();
        assert_eq!(inverse.shape(), (4, 5));
        let product = &inverse * &interaction;
        for row in 0..2 {
            for column in 0..2 {
                let expected = f64::from(u8::from(row == column));
                assert!((product[(row, column)] - expected).abs() < 1e-6);
            }
        }
        assert_eq!(inverse.row(2).norm(), 0.0);
        assert_eq!(inverse.row(3).norm(), 0.0);
        assert_eq!(inverse.column(4).norm(), 0.0);
    }

    #[test]
    fn regularisation_damps_what_is_hardly_seen() {
        let inverse = reconstructor(&interaction(), 0.0, 0.01).unwrap();
        let product = inverse * interaction();
        assert!(product[(0, 0)] > 0.97, "{product}");
        assert!(product[(3, 3)] < 0.05, "{product}");
    }

    #[test]
    fn nothing_seen_is_an_error() {
        let nothing = DMatrix::zeros(4, 3);
        assert_eq!(
            reconstructor(&nothing, 0.1, 0.01),
            Err(ReconstructorError::NoResponse)
        );
        let not_finite = DMatrix::from_element(4, 3, f64::NAN);
        assert!(reconstructor(&not_finite, 0.0, 0.01).is_err());
    }
}
