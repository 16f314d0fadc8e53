//! "Did you mean": known names that somebody may have wanted to write.

/// Longer names are not compared: the cost grows with the product of the lengths, and documents
/// come from anybody.
const COMPARED_CHARS: usize = 64;

/// After so many problems nobody reads suggestions any more, and comparing every unknown name with
/// every known one takes its time in a document of many thousands of both.
pub(super) const SUGGESTED_PROBLEMS: usize = 100;

/// The known names nearest to `written`, best first; none that differ in more than a third.
pub(super) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let length = written.chars().count();
    if length > COMPARED_CHARS {
        return Vec::new();
    }
    let written = written.to_lowercase();
    let mut candidates: Vec<(usize, &str)> = known
        .into_iter()
        .filter(|name| name.chars().count() <= COMPARED_CHARS)
        .map(|name| (strsim::osa_distance(&written, &name.to_lowercase()), name))
        .filter(|(distance, name)| {
            let longer = length.max(name.chars().count());
            *distance <= (longer / 3).max(1)
        })
        .collect();
    candidates.sort();
    candidates.truncate(3);
    candidates.into_iter().map(|(_, name)| name).collect()
}

/// "did you mean `a` or `b`?", if anything is near enough.
pub(super) fn did_you_mean<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let names: Vec<String> = nearest(written, known)
        .into_iter()
        .map(|name| format!("`{name}`"))
        .collect();
    (!names.is_empty()).then(|| format!("did you mean {}?", names.join(" or ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_names_are_suggested() {
        let known = ["trigger_policy", "read_timeout", "input", "inputs"];
        for (written, expected) in [
            ("trigger_polici", Some("did you mean `trigger_policy`?")),
            ("Read_Timeout", Some("did you mean `read_timeout`?")),
            ("inpts", Some("did you mean `inputs`?")),
            ("inptu", Some("did you mean `input` or `inputs`?")),
            ("placement", None),
            ("x", None),
        ] {
            assert_eq!(
                did_you_mean(written, known).as_deref(),
                expected,
                "{written}"
            );
        }
        assert_eq!(did_you_mean(&"x".repeat(1_000_000), known), None);
    }
}
