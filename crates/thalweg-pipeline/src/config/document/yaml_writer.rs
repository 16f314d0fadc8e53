//! JSON value to YAML text.

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::Value as Json;
use serde_saphyr::FlowSeq;

/// YAML text that reads as `json`, with lists of plain values on one line. Strings are quoted where
/// either version of YAML would read something else.
pub(crate) fn write_yaml(json: &Json) -> Result<String, serde_saphyr::SerializeError> {
    serde_saphyr::to_string(&Yaml(json))
}

struct Yaml<'a>(&'a Json);

impl Serialize for Yaml<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Json::Array(elements) if elements.iter().any(|e| e.is_array() || e.is_object()) => {
                let mut sequence = serializer.serialize_seq(Some(elements.len()))?;
                for element in elements {
                    sequence.serialize_element(&Yaml(element))?;
                }
                sequence.end()
            }
            Json::Array(elements) => FlowSeq(elements).serialize(serializer),
            Json::Object(entries) => {
                let mut mapping = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    mapping.serialize_entry(key, &Yaml(value))?;
                }
                mapping.end()
            }
            plain => plain.serialize(serializer),
        }
    }
}
