//! The grammar as JSON-Schema, for editors and other programs.

use serde_json::{Map, Value as Json, json};
use thalweg_kernels::{Definition, NodeRole, Registry};
use thalweg_shm::DType;
use thalweg_shm::segment::geometry::MAX_AXES;

use super::grammar::{
    Absent, Accepts, CPUS, INITIAL, KERNEL, Key, ROOT, SINK, SOURCE, STREAM, TABLES, Table,
};

/// Which documents a schema lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Every document that can be used.
    Usable,
    /// Those that give no warnings, either.
    Strict,
}

/// Text of which something is left when it is trimmed.
const TEXT: &str = r"\S";
/// Text that spells a positive number.
const NUMBER_TEXT: &str = r"^\s*\+?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$";
/// Text that spells an integer.
const INTEGER_TEXT: &str = r"^\s*[+-]?[0-9]+\s*$";

/// The JSON-Schema (draft 2020-12) of whole documents, with the kinds of `registry` and their
/// parameters.
///
/// What a schema cannot say it lets through: whether a stream is declared, names are unique, values
/// fit a shape, and everything that is the business of kinds. [`super::check`] says it.
pub fn json_schema(registry: &Registry, strictness: Strictness) -> Json {
    let writer = Writer {
        registry,
        strictness,
    };
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "thalweg pipeline",
        "description": "A pipeline of processes over shared-memory streams.",
    });
    let mut definitions = Map::new();
    for table in TABLES.iter().skip(1) {
        definitions.insert(definition_name(table), writer.table(table));
    }
    definitions.insert("initial".to_owned(), writer.initial());
    merge(&mut schema, writer.table(&ROOT));
    merge(&mut schema, json!({ "$defs": definitions }));
    schema
}

struct Writer<'a> {
    registry: &'a Registry,
    strictness: Strictness,
}

impl Writer<'_> {
    fn is_strict(&self) -> bool {
        self.strictness == Strictness::Strict
    }

    /// The schema of a mapping.
    fn table(&self, table: &Table) -> Json {
        let properties = table.keys.iter();
        let properties: Map<String, Json> = properties
            .map(|key| (key.name.to_owned(), self.key(table, key)))
            .collect();
        let required = table.keys.iter().filter(|key| self.is_required(table, key));
        let required: Vec<&str> = required.map(|key| key.name).collect();
        let mut rules: Vec<Json> = Vec::new();
        for (one, other) in table.either {
            rules.push(json!({"oneOf": [{"required": [one]}, {"required": [other]}]}));
        }
        if std::ptr::eq(table, &ROOT) {
            rules.push(
                json!({"anyOf": (["kernels", "sources", "sinks"].map(|list| {
                    json!({"required": [list], "properties": {list: {"minItems": 1}}})
                }))}),
            );
        }
        if std::ptr::eq(table, &STREAM) {
            let on_device = json!({"anyOf": [{"const": "gpu"}, {"pattern": spelling("gpu")}]});
            rules.push(json!({
                "if": {"required": ["storage"], "properties": {"storage": on_device}},
                "then": {"required": ["gpu_device"], "properties": {"gpu_device": {"type": "string"}}},
                "else": {"properties": {"gpu_device": {"type": "null"}}},
            }));
        }
        if let Some(role) = role_of(table) {
            rules.extend(self.registry.kinds(role).map(|kind| self.kind_rule(kind)));
        }
        let mut schema = json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        });
        if !rules.is_empty() {
            merge(&mut schema, json!({ "allOf": rules }));
        }
        schema
    }

    fn is_required(&self, table: &Table, key: &Key) -> bool {
        let is_odd_without = std::ptr::eq(table, &STREAM) && key.name == "dtype";
        matches!(key.absent, Absent::Required) || self.is_strict() && is_odd_without
    }

    fn key(&self, table: &Table, key: &Key) -> Json {
        let mut schema = self.value(table, key.accepts);
        if key.null_is_absent() && !self.is_required(table, key) {
            schema = json!({"anyOf": [schema, {"type": "null"}]});
        }
        let mut about = json!({ "description": key.doc });
        if let Absent::Default(value) | Absent::DefaultNotNull(value) = key.absent {
            merge(&mut about, json!({ "default": value() }));
        }
        merge(&mut about, schema);
        about
    }

    fn value(&self, table: &Table, accepts: Accepts) -> Json {
        let text = || json!({"type": "string", "pattern": TEXT});
        let texts = |least: usize| json!({"type": "array", "items": text(), "minItems": least});
        match accepts {
            Accepts::Text | Accepts::Stream => text(),
            Accepts::Namespace => {
                json!({"allOf": [text(), {"pattern": r"^[^/\\\u0000]*$"}], "type": "string"})
            }
            Accepts::Kind => self.kind(table),
            Accepts::Streams => texts(1),
            Accepts::StreamsOrNone => texts(0),
            Accepts::Auxiliary => json!({"anyOf": [
                texts(0),
                {"type": "object", "additionalProperties": text(), "propertyNames": {"pattern": TEXT}},
            ]}),
            Accepts::Parameters => json!({"type": "object"}),
            Accepts::Shape => json!({
                "type": "array",
                "items": self.integer(1, 1 << 47),
                "minItems": 1,
                "maxItems": MAX_AXES,
            }),
            Accepts::DType => dtype(),
            Accepts::Initial => json!({"$ref": "#/$defs/initial"}),
            Accepts::Element => element(),
            Accepts::Elements => json!({"type": "array"}),
            // Numbers that are not finite are spelled, and refused or not by dtype.
            Accepts::Number => json!({"type": "number"}),
            Accepts::Boolean => json!({"type": "boolean"}),
            Accepts::Seconds => self.or_text(
                json!({"type": "number", "exclusiveMinimum": 0}),
                NUMBER_TEXT,
            ),
            Accepts::Integer(range) => self.integer(range.least, range.most),
            Accepts::Cpus => {
                let cpu = self.integer(CPUS.least, CPUS.most);
                let list = json!({"type": "array", "items": cpu, "minItems": 1});
                json!({"anyOf": [cpu, list]})
            }
            Accepts::Choice(names) => choice(&names()),
            Accepts::Mapping(table) => reference(table),
            Accepts::ChoiceOrMapping(names, table) => {
                json!({"anyOf": [choice(&names()), reference(table)]})
            }
            Accepts::Entries(table) => json!({"type": "array", "items": reference(table)}),
            Accepts::SomeEntries(table) => {
                json!({"type": "array", "items": reference(table), "minItems": 1})
            }
        }
    }

    fn integer(&self, least: i128, most: i128) -> Json {
        let mut schema = json!({"type": "integer", "minimum": bound(least)});
        if most <= i128::from(i64::MAX) {
            merge(&mut schema, json!({"maximum": bound(most)}));
        }
        self.or_text(schema, INTEGER_TEXT)
    }

    /// `schema`, or text that spells such a number, which is allowed with a warning.
    fn or_text(&self, schema: Json, pattern: &str) -> Json {
        if self.is_strict() {
            schema
        } else {
            json!({"anyOf": [schema, {"type": "string", "pattern": pattern}]})
        }
    }

    fn kind(&self, table: &Table) -> Json {
        let known: Vec<&str> = role_of(table)
            .into_iter()
            .flat_map(|role| self.registry.kinds(role))
            .map(|definition| definition.kind)
            .collect();
        // Plug-ins bring kinds of their own.
        json!({"type": "string", "anyOf": [{"enum": known}, {"pattern": TEXT}]})
    }

    /// What a kind makes of `parameters`.
    fn kind_rule(&self, definition: &Definition) -> Json {
        let mut schema = json!({"description": definition.summary, "properties": {}});
        if self.is_strict() {
            merge(&mut schema, json!({"additionalProperties": false}));
        }
        for known in definition.parameters {
            // A parameter that is a mapping is documented key by key, as `instrument.seed`.
            let mut at = &mut schema;
            for key in known.name.split('.') {
                at = &mut at["properties"][key];
            }
            merge(at, json!({"description": known.doc}));
        }
        json!({
            "if": {"required": ["kind"], "properties": {"kind": {"const": definition.kind}}},
            "then": {"properties": {"parameters": schema}},
        })
    }

    fn initial(&self) -> Json {
        let patterns = INITIAL.iter().map(|(pattern, table)| {
            let mut schema = self.table(table);
            if let Some(name) = schema.pointer_mut("/properties/pattern") {
                merge(name, choice(&[pattern]));
            }
            merge(&mut schema, json!({"title": table.title}));
            schema
        });
        json!({"oneOf": patterns.collect::<Vec<_>>()})
    }
}

fn role_of(table: &Table) -> Option<NodeRole> {
    [
        (&KERNEL, NodeRole::Kernel),
        (&SOURCE, NodeRole::Source),
        (&SINK, NodeRole::Sink),
    ]
    .into_iter()
    .find_map(|(known, role)| std::ptr::eq(known, table).then_some(role))
}

fn definition_name(table: &Table) -> String {
    table.title.replace(' ', "_")
}

fn reference(table: &Table) -> Json {
    json!({"$ref": format!("#/$defs/{}", definition_name(table))})
}

/// One of `names` as it is usually written, or in another case or with space around it.
fn choice(names: &[&str]) -> Json {
    let spellings: Vec<String> = names.iter().map(|name| spelling(name)).collect();
    json!({"type": "string", "anyOf": [{"enum": names}, {"pattern": spellings.join("|")}]})
}

/// A pattern for `name` in any case; JSON-Schema's regular expressions have no flag for it.
fn spelling(name: &str) -> String {
    let letters = name.chars().map(|letter| {
        if letter.is_ascii_alphabetic() {
            let (upper, lower) = (letter.to_ascii_uppercase(), letter.to_ascii_lowercase());
            format!("[{upper}{lower}]")
        } else {
            letter.to_string()
        }
    });
    format!(r"^\s*{}\s*$", letters.collect::<String>())
}

/// Other names that NumPy has for the dtypes.
const DTYPE_ALIASES: &[&str] = &[
    "i1",
    "byte",
    "i2",
    "short",
    "i4",
    "intc",
    "i8",
    "int",
    "int_",
    "intp",
    "long",
    "longlong",
    "u1",
    "ubyte",
    "u2",
    "ushort",
    "u4",
    "uintc",
    "u8",
    "uint",
    "uintp",
    "ulong",
    "ulonglong",
    "f2",
    "half",
    "f4",
    "single",
    "f8",
    "float",
    "double",
    "b1",
    r"\?",
    "bool_",
    "c8",
    "csingle",
    "c16",
    "complex",
    "cdouble",
];

fn dtype() -> Json {
    let names: Vec<&str> = DType::ALL.iter().map(|dtype| dtype.name()).collect();
    let all: Vec<&str> = names.iter().chain(DTYPE_ALIASES).copied().collect();
    let pattern = format!(r"^\s*[=|<]*({})\s*$", all.join("|"));
    json!({"type": "string", "anyOf": [{"enum": names}, {"pattern": pattern}]})
}

/// Numbers that are not finite are text in JSON, spelled as YAML does.
fn element() -> Json {
    let number = json!({"anyOf": [
        {"type": ["number", "boolean"]},
        {"enum": [".nan", ".inf", "-.inf"]},
    ]});
    json!({"anyOf": [number, {
        "type": "object",
        "properties": {"real": number, "imag": number},
        "required": ["real", "imag"],
        "additionalProperties": false,
    }]})
}

fn bound(value: i128) -> Json {
    i64::try_from(value).map_or(Json::Null, Json::from)
}

/// Adds the keys of `more` to `schema`.
fn merge(schema: &mut Json, more: Json) {
    if schema.is_null() {
        *schema = json!({});
    }
    if let (Json::Object(schema), Json::Object(more)) = (schema, more) {
        schema.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alias_of_a_dtype_is_one() {
        for alias in DTYPE_ALIASES {
            let alias = alias.trim_start_matches('\\');
            assert!(alias.parse::<DType>().is_ok(), "{alias}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references(schema: &Json, found: &mut Vec<String>) {
            match schema {
                Json::Object(entries) => {
                    if let Some(Json::String(target)) = entries.get("$ref") {
                        found.push(target.trim_start_matches('#').to_owned());
                    }
                    entries.values().for_each(|value| references(value, found));
                }
                Json::Array(elements) => elements.iter().for_each(|it| references(it, found)),
                _ => {}
            }
        }
        let schema = json_schema(&Registry::builtin(), Strictness::Usable);
        let mut found = Vec::new();
        references(&schema, &mut found);
        assert!(found.len() > 9, "{found:?}");
        for target in found {
            assert!(schema.pointer(&target).is_some(), "{target}");
        }
    }
}
