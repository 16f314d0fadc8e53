//! What a check found.

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// Costs latency, or may.
    Note,
    /// Something will not work, or only badly.
    Problem,
}

impl Verdict {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Problem => "problem",
        }
    }
}

/// One finding about this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was looked at.
    pub(super) topic: &'static str,
    /// How bad it is.
    pub(super) verdict: Verdict,
    /// What was found.
    pub(super) found: String,
    /// Why it matters.
    pub(super) why: &'static str,
    /// A command, or a few words, that mends it; nothing where all is well.
    pub(super) mend: Option<String>,
}

impl Finding {
    /// All is well.
    pub(super) fn ok(topic: &'static str, found: impl Into<String>, why: &'static str) -> Self {
        Self {
            topic,
            verdict: Verdict::Ok,
            found: found.into(),
            why,
            mend: None,
        }
    }

    /// The same as a note, with how to mend it.
    pub(super) fn noted(mut self, mend: impl Into<String>) -> Self {
        self.verdict = Verdict::Note;
        self.mend = Some(mend.into());
        self
    }

    /// The same as a problem, with how to mend it.
    pub(super) fn problem(mut self, mend: impl Into<String>) -> Self {
        self.verdict = Verdict::Problem;
        self.mend = Some(mend.into());
        self
    }

    /// For people: one line if all is well, else why it matters and how to mend it, too.
    pub(super) fn to_text(&self, topic_width: usize) -> String {
        let mut text = format!(
            "{:<7}  {:<topic_width$}  {}",
            self.verdict.word(),
            self.topic,
            self.found
        );
        if self.verdict != Verdict::Ok {
            text.push_str(&format!("\n         why:  {}", self.why));
        }
        if let Some(mend) = &self.mend {
            text.push_str(&format!("\n         mend: {mend}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_well_takes_one_line_and_the_rest_is_explained() {
        let finding = Finding::ok(
            "swap",
            "none",
            "pages that were swapped out take milliseconds",
        );
        assert_eq!(finding.to_text(6), "ok       swap    none");
        assert_eq!(
            finding.noted("swapoff -a").to_text(4),
            "note     swap  none\n         why:  pages that were swapped out take milliseconds\n         mend: swapoff -a"
        );
    }
}
