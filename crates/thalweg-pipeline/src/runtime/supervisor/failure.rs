//! What a worker that could not go on leaves behind.

use serde::Serialize;

use super::super::message::Role;

/// A worker that could not go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Name of the kernel, source or sink.
    pub node: String,
    /// Its role.
    pub role: Role,
    /// Its kind.
    pub kind: String,
    /// Pid of the process.
    pub pid: Option<u32>,
    /// What happened.
    pub error: String,
    /// Where an exception was raised, as the language of the node prints it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceback: Option<String>,
    /// The last lines the process wrote to its standard error.
    pub stderr: Vec<String>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let noun = match self.role {
            Role::Kernel => "worker",
            role => role.noun(),
        };
        write!(f, "{noun} '{}' failed: {}", self.node, self.error)?;
        for line in &self.stderr {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}
