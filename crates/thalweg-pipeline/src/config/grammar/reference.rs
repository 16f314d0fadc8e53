//! The tables as Markdown, for the guide.

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::{Absent, Accepts, CPUS, INITIAL, TABLES, Table};

/// Title and Markdown table of every mapping a document can have.
pub fn reference_tables() -> Vec<(&'static str, String)> {
    let patterns = INITIAL.iter().map(|(_, table)| table);
    let tables = TABLES.iter().copied().chain(patterns);
    tables.map(|table| (table.title, markdown(table))).collect()
}

fn markdown(table: &Table) -> String {
    let mut text = "| key | value | default | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for key in table.keys {
        let default = match key.absent {
            Absent::Required => "required".to_owned(),
            Absent::RequiredEither => "one of the two".to_owned(),
            Absent::Default(value) | Absent::DefaultNotNull(value) => match value() {
                Json::String(name) => format!("`{name}`"),
                other => format!("`{other}`"),
            },
            Absent::Unset(words) | Absent::UnsetNotNull(words) => words.to_owned(),
        };
        let value = in_words(key.accepts);
        let (name, doc) = (key.name, key.doc);
        // A string takes everything.
        let _written = writeln!(text, "| `{name}` | {value} | {default} | {doc} |");
    }
    text
}

fn in_words(accepts: Accepts) -> String {
    let quoted = |names: Vec<&str>| {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        names.join(", ")
    };
    match accepts {
        Accepts::Text | Accepts::Namespace => "text".to_owned(),
        Accepts::Kind => "a kind".to_owned(),
        Accepts::Stream => "a stream".to_owned(),
        Accepts::Streams | Accepts::StreamsOrNone => "list of streams".to_owned(),
        Accepts::Auxiliary => "list of streams, or mapping of alias to stream".to_owned(),
        Accepts::Parameters => "mapping".to_owned(),
        Accepts::Shape => "list of integers".to_owned(),
        Accepts::DType => "a dtype".to_owned(),
        Accepts::Initial => "mapping, see below".to_owned(),
        Accepts::Element => "number, boolean, or mapping of `real` and `imag`".to_owned(),
        Accepts::Elements => "nested lists of such".to_owned(),
        Accepts::Number => "number".to_owned(),
        Accepts::Boolean => "`true`, `false`".to_owned(),
        Accepts::Seconds => "seconds, positive".to_owned(),
        Accepts::Integer(range) => range.expected(),
        Accepts::Cpus => format!("CPU number up to {}, or list of such", CPUS.most),
        Accepts::Choice(names) => quoted(names()),
        Accepts::Mapping(_) => "mapping, see below".to_owned(),
        Accepts::ChoiceOrMapping(names, _) => format!("{}, or mapping, see below", quoted(names())),
        Accepts::Entries(_) => "list, see below".to_owned(),
        Accepts::SomeEntries(_) => "list, not empty, see below".to_owned(),
    }
}
