//! `thalweg kinds`, `sources` and `sinks`: what can stand behind `kind:`.

use thalweg::kernels::{Definition, NodeRole};

use super::{Failed, tell};
use crate::cli::KindsArguments;
use crate::table::Table;

const ROLES: [NodeRole; 3] = [NodeRole::Kernel, NodeRole::Source, NodeRole::Sink];

/// Lists the kinds of `role`, or shows one kind, whatever its role.
pub(crate) fn kinds(role: NodeRole, arguments: &KindsArguments) -> Result<(), Failed> {
    let registry = thalweg::registry();
    if let Some(kind) = &arguments.kind {
        let found = ROLES
            .iter()
            .find_map(|&role| Some((registry.get(role, kind)?, role)));
        let Some((definition, role)) = found else {
            return Err(Failed::because(format!(
                "unknown kind `{kind}`; `thalweg kinds`, `sources` and `sinks` list all"
            )));
        };
        return tell(description(definition, noun(role)));
    }
    if arguments.long {
        let mut table = Table::new(&["kind", "what it does", "parameters"]);
        for definition in registry.kinds(role) {
            let parameters: Vec<&str> = definition.parameters.iter().map(|it| it.name).collect();
            table.row(vec![
                definition.kind.to_owned(),
                definition.summary.to_owned(),
                parameters.join(", "),
            ]);
        }
        return tell(table.render());
    }
    let kinds: Vec<&str> = registry.kinds(role).map(|it| it.kind).collect();
    tell(kinds.join("\n"))
}

fn description(definition: &Definition, noun: &str) -> String {
    let mut text = format!("{} ({noun}): {}", definition.kind, definition.summary);
    for parameter in definition.parameters {
        text += &format!("\n  {}: {}", parameter.name, parameter.doc);
    }
    text
}

fn noun(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Kernel => "kernel",
        NodeRole::Source => "source",
        NodeRole::Sink => "sink",
    }
}
