//! Hadoop's `*-site.xml`: `<configuration><property><name>…</name><value>…</value></property>…`.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use quick_xml::Reader;
use quick_xml::events::Event;

use super::ConfigError;

/// The largest file that is read. Real ones have a few hundred lines.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// One of Hadoop's keys that a role understands.
#[derive(Debug, Clone, Copy)]
pub struct XmlKey {
    /// The key in the XML file, `dfs.replication`.
    pub hadoop: &'static str,
    /// The key of the role's `Config`, `replication`.
    pub key: &'static str,
    /// Turns Hadoop's value into ours, or says in a sentence why it can't. Units differ (`3` means seconds
    /// for one key and milliseconds for another), so each key brings its own.
    pub convert: fn(&str) -> Result<String, String>,
}

impl XmlKey {
    /// A key whose value is written alike in both.
    #[must_use]
    pub const fn same(hadoop: &'static str, key: &'static str) -> Self {
        Self { hadoop, key, convert: |value| Ok(value.to_owned()) }
    }
}

/// All properties of an XML file; `None` when the file is not there.
///
/// # Errors
/// When it can't be read or is not XML of that form.
pub fn read_xml(path: &Path) -> Result<Option<BTreeMap<String, String>>, ConfigError> {
    let read_error = |source| ConfigError::Read { path: path.to_owned(), source };
    let text = match std::fs::metadata(path) {
        Ok(meta) if meta.len() > MAX_FILE_BYTES => {
            let sentence = format!("it is larger than {MAX_FILE_BYTES} bytes");
            return Err(read_error(io::Error::new(io::ErrorKind::InvalidData, sentence)));
        }
        Ok(_) => std::fs::read_to_string(path).map_err(read_error)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(read_error(e)),
    };
    parse(&text).map(Some).map_err(|message| ConfigError::Syntax { path: path.to_owned(), message })
}

/// Which text is being read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Name,
    Value,
    Other,
}

fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut reader = Reader::from_str(text);
    let mut properties = BTreeMap::new();
    let (mut name, mut value) = (String::new(), String::new());
    let mut inside = Inside::Other;
    loop {
        let at = reader.buffer_position();
        let event = reader.read_event().map_err(|e| format!("byte {at}: {e}"))?;
        let piece = match event {
            Event::Eof => return Ok(properties),
            Event::Start(tag) => {
                inside = match tag.name().as_ref() {
                    "name" => Inside::Name,
                    "value" => Inside::Value,
                    "property" => {
                        name.clear();
                        value.clear();
                        Inside::Other
                    }
                    _ => Inside::Other,
                };
                continue;
            }
            Event::End(tag) => {
                inside = Inside::Other;
                if tag.name().as_ref() == "property" && !name.trim().is_empty() {
                    properties.insert(name.trim().to_owned(), value.trim().to_owned());
                }
                continue;
            }
            Event::Text(text) => text.into_inner().into_owned(),
            Event::CData(text) => text.into_inner().into_owned(),
            Event::GeneralRef(reference) => {
                let entity = format!("&{};", &*reference);
                quick_xml::escape::unescape(&entity)
                    .map_err(|e| format!("byte {at}: {e}"))?
                    .into_owned()
            }
            _ => continue,
        };
        match inside {
            Inside::Name => name.push_str(&piece),
            Inside::Value => value.push_str(&piece),
            Inside::Other => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn properties_are_read_with_entities_and_comments() {
        let properties = parse(
            "<?xml version=\"1.0\"?><!-- x --><configuration>\
             <property><name> fs.defaultFS </name><value>hdfs://nn:8020</value><final>true</final></property>\
             <property><name>a</name><value>x &amp; <![CDATA[<y>]]></value><description>d</description></property>\
             <property><name>empty</name><value/></property></configuration>",
        )
        .unwrap();
        assert_eq!(properties["fs.defaultFS"], "hdfs://nn:8020");
        assert_eq!(properties["a"], "x & <y>");
        assert_eq!(properties["empty"], "");
    }

    #[test]
    fn broken_xml_names_file_and_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("core-site.xml");
        assert!(read_xml(&path).unwrap().is_none());
        std::fs::write(&path, "<configuration><property></name>").unwrap();
        let sentence = read_xml(&path).unwrap_err().to_string();
        assert!(sentence.contains("core-site.xml") && sentence.contains("byte"), "{sentence}");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[<>/&;!a-z\\[\\] ]{0,60}") {
            let _ = parse(&text);
        }
    }
}
