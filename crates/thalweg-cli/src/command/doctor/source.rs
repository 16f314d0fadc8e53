//! The files in which the kernel describes itself.

use std::fs;
use std::path::Path;

/// The text of a file without the white space around it; `None` where there is none to read.
pub(super) fn read(path: impl AsRef<Path>) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

/// Texts of `/sys/devices/system/cpu/cpu<n>/<file>`, for every CPU that has one.
pub(super) fn read_per_cpu(cpus: &[usize], file: &str) -> Vec<String> {
    cpus.iter()
        .filter_map(|cpu| read(format!("/sys/devices/system/cpu/cpu{cpu}/{file}")))
        .collect()
}

/// The numbers in a list such as `0-3,8`, as the kernel writes sets of CPUs.
pub(super) fn parse_cpu_list(text: &str) -> Vec<usize> {
    text.split(',')
        .filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
        })
        .flatten()
        .collect()
}

/// The word in brackets of a line of choices such as `always [madvise] never`.
pub(super) fn chosen(choices: &str) -> Option<&str> {
    let (_, rest) = choices.split_once('[')?;
    Some(rest.split_once(']')?.0)
}

/// The value of the line `key: value` of a file such as `/proc/self/status`.
pub(super) fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then_some(value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_ways_of_writing_are_understood() {
        assert_eq!(parse_cpu_list("0-3,8"), [0, 1, 2, 3, 8]);
        assert_eq!(parse_cpu_list("5"), [5]);
        assert_eq!(parse_cpu_list(""), Vec::<usize>::new());
        assert_eq!(chosen("always [madvise] never"), Some("madvise"));
        assert_eq!(chosen("always"), None);
        let status = "Name:\tthalweg\nCapEff:\t000001ffffffffff\n";
        assert_eq!(value_of(status, "CapEff"), Some("000001ffffffffff"));
        assert_eq!(value_of(status, "Cap"), None);
    }
}
