//! What a goal asks for, and whether it was reached.

/// Whether the findings of a row reach its goal; none where there is no goal, or no finding.
///
/// A goal is a list such as `<= 1.3, <= 60 ns`: a bare number is about the ratio, or about our own
/// value where there is nothing beside it; a number with a unit is about our own value, in the unit
/// of the row.
pub(super) fn is_reached(goal: &str, ours: Option<f64>, ratio: Option<f64>) -> Option<bool> {
    let mut verdict = None;
    for condition in goal.split(", ").filter(|condition| !condition.is_empty()) {
        let mut words = condition.split(' ');
        let (relation, number) = (words.next()?, words.next()?);
        let bound: f64 = number.parse().ok()?;
        let value = match words.next() {
            Some(_unit) => ours?,
            None => ratio.or(ours)?,
        };
        let holds = match relation {
            "<=" => value <= bound,
            ">=" => value >= bound,
            _ => return None,
        };
        verdict = Some(verdict.unwrap_or(true) && holds);
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_about_ratios_and_about_values() {
        assert_eq!(is_reached("<= 1.3", Some(99.0), Some(1.2)), Some(true));
        assert_eq!(is_reached("<= 1.3", Some(0.1), Some(1.4)), Some(false));
        assert_eq!(is_reached(">= 10", Some(0.1), Some(11.0)), Some(true));
        assert_eq!(is_reached("<= 60 ns", Some(61.0), Some(0.1)), Some(false));
        assert_eq!(is_reached("<= 0", Some(0.0), None), Some(true));
        assert_eq!(
            is_reached("<= 0.3, <= 20 us", Some(19.0), Some(0.2)),
            Some(true)
        );
        assert_eq!(
            is_reached("<= 0.3, <= 20 us", Some(21.0), Some(0.2)),
            Some(false)
        );
    }

    #[test]
    fn without_a_finding_there_is_no_verdict() {
        assert_eq!(is_reached("", Some(1.0), Some(1.0)), None);
        assert_eq!(is_reached("<= 1", None, None), None);
    }
}
