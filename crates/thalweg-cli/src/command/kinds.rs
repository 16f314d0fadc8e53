//! `thalweg kinds`: what can stand behind `kind:`.

use thalweg::kernels::{Definition, NodeRole};

use super::Failed;
use crate::cli::KindsArguments;
use crate::table::Table;

const ROLES: [(NodeRole, &str); 3] = [
    (NodeRole::Kernel, "kernel"),
    (NodeRole::Source, "source"),
    (NodeRole::Sink, "sink"),
];

pub(crate) fn kinds(arguments: &KindsArguments) -> Result<(), Failed> {
    let registry = thalweg::registry();
    if let Some(kind) = &arguments.kind {
        let found = ROLES
            .iter()
            .find_map(|&(role, noun)| Some((registry.get(role, kind)?, noun)));
        let Some((definition, noun)) = found else {
            return Err(Failed::because(format!(
                "unknown kind `{kind}`; `thalweg kinds` lists all"
            )));
        };
        describe(definition, noun);
        return Ok(());
    }
    let mut table = Table::new(&["kind", "role", "what it does"]);
    for (role, noun) in ROLES {
        for definition in registry.kinds(role) {
            table.row(vec![
                definition.kind.to_owned(),
                noun.to_owned(),
                definition.summary.to_owned(),
            ]);
        }
    }
    println!("{}", table.render());
    Ok(())
}

fn describe(definition: &Definition, noun: &str) {
    println!("{} ({noun}): {}", definition.kind, definition.summary);
    for parameter in definition.parameters {
        println!("  {}: {}", parameter.name, parameter.doc);
    }
}
