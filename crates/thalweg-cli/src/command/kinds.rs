//! `thalweg kinds`, `sources` and `sinks`: what can stand behind `kind:`.

use thalweg::kernels::{Definition, NodeRole};

use super::{Failed, tell};
use crate::cli::KindsArguments;
use crate::plugins;
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
            for noun in ROLES.map(noun) {
                let mut of_plugins = plugins::installed(noun).into_iter();
                if let Some(plugin) = of_plugins.find(|plugin| plugin.kind == *kind) {
                    return tell(format_args!("{kind} ({noun}): {}", plugin.about()));
                }
            }
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
        for plugin in plugins::installed(noun(role)) {
            let about = plugin.about();
            table.row(vec![plugin.kind, about, String::new()]);
        }
        return tell(table.render());
    }
    let built_in = registry.kinds(role).map(|it| it.kind.to_owned());
    let of_plugins = plugins::installed(noun(role)).into_iter().map(|it| it.kind);
    let kinds: Vec<String> = built_in.chain(of_plugins).collect();
    tell(kinds.join(
        "
",
    ))
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
