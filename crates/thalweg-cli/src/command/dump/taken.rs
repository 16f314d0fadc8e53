//! Frames taken from a stream, with what was published beside them.

use thalweg::{DType, Publication};

/// One frame, or the last few, in native byte order.
#[derive(Debug)]
pub(super) struct Taken {
    /// The stream.
    pub(super) name: String,
    /// Identity of this life of the name, in hexadecimal.
    pub(super) instance: String,
    pub(super) dtype: DType,
    /// Shape of one frame.
    pub(super) frame_shape: Vec<usize>,
    /// True if frames are to lie along an axis of their own, be it a single one.
    pub(super) is_history: bool,
    /// The frames, one behind the other, oldest first.
    pub(super) bytes: Vec<u8>,
    /// One for each frame.
    pub(super) publications: Vec<Publication>,
}

impl Taken {
    /// Shape of everything, slowest axis first.
    pub(super) fn shape(&self) -> Vec<usize> {
        let frames = self.is_history.then_some(self.publications.len());
        frames
            .into_iter()
            .chain(self.frame_shape.iter().copied())
            .collect()
    }

    /// What was published with the newest frame.
    pub(super) fn newest(&self) -> Publication {
        self.publications.last().copied().unwrap_or_default()
    }

    /// Name of a file for these frames: the stream's name and the counts of the first and the last.
    pub(super) fn file_name(&self, extension: &str) -> String {
        // Other characters than these mean something to a file system or a shell.
        let name: String = self
            .name
            .chars()
            .map(|character| match character {
                '/' | '\\' => '_',
                _ if character.is_control() || character.is_whitespace() => '_',
                _ => character,
            })
            // Names have up to 256 bytes, file names 255.
            .scan(0, |length, character| {
                *length += character.len_utf8();
                (*length <= 180).then_some(character)
            })
            .collect();
        let name = name.trim_start_matches(['-', '.']);
        let newest = self.newest().count;
        match self.publications.first() {
            Some(oldest) if self.is_history => {
                format!("{name}-{}-{newest}.{extension}", oldest.count)
            }
            _ => format!("{name}-{newest}.{extension}"),
        }
    }

    /// Counts missing among the last `wanted`, as ranges in words; `None` if all are there.
    pub(super) fn holes(&self, wanted: usize) -> Option<String> {
        let newest = self.newest().count;
        let mut next = newest.saturating_sub(wanted as u64).saturating_add(1);
        let mut ranges = Vec::new();
        for publication in &self.publications {
            match publication.count.checked_sub(next) {
                None | Some(0) => {}
                Some(1) => ranges.push(next.to_string()),
                Some(_) => ranges.push(format!("{next} to {}", publication.count - 1)),
            }
            next = publication.count + 1;
        }
        (!ranges.is_empty()).then(|| ranges.join(", "))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Frames of two elements each.
    pub(in super::super) fn taken(dtype: DType, bytes: &[u8], counts: &[u64]) -> Taken {
        Taken {
            name: "camera/1".to_owned(),
            instance: "00ff".to_owned(),
            dtype,
            frame_shape: vec![1, 2],
            is_history: counts.len() > 1,
            bytes: bytes.to_vec(),
            publications: counts
                .iter()
                .map(|&count| Publication {
                    count,
                    frame_id: 10 * count,
                    wall_ns: 1_709_210_096_000_000_789,
                    publish_ns: 3_500_000,
                    origin_ns: 1_000_000,
                })
                .collect(),
        }
    }

    #[test]
    fn holes_are_told_as_ranges() {
        let holes = |counts: &[u64], wanted| taken(DType::Uint8, &[], counts).holes(wanted);
        assert_eq!(holes(&[5, 6, 7], 3), None);
        assert_eq!(holes(&[5, 6, 7], 5).as_deref(), Some("3 to 4"));
        assert_eq!(holes(&[3, 5, 9], 9).as_deref(), Some("1 to 2, 4, 6 to 8"));
        assert_eq!(holes(&[1, 2], usize::MAX), None, "there is no frame 0");
        assert_eq!(holes(&[1_000_000_000_000], 1), None);
    }

    #[test]
    fn file_names_are_harmless() {
        let mut one = taken(DType::Uint8, &[], &[7]);
        assert_eq!(one.file_name("npy"), "camera_1-7.npy");
        one.name = "../-x y\n".to_owned();
        assert_eq!(one.file_name("npy"), "_-x_y_-7.npy");
        one.name = "é".repeat(128);
        assert!(one.file_name("fits").len() < 255);
        let several = taken(DType::Uint8, &[], &[7, 9]);
        assert_eq!(several.file_name("npy"), "camera_1-7-9.npy");
        assert_eq!(several.shape(), [2, 1, 2]);
    }
}
