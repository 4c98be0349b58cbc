//! Hadoop's configuration files: `<configuration><property><name/><value/></property>…`.

use std::fmt;

use quick_xml::Reader;
use quick_xml::events::Event;

/// What is wrong with a configuration file.
#[derive(Debug)]
pub(super) struct XmlError(String);

impl fmt::Display for XmlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this is not a Hadoop configuration file: {}", self.0)
    }
}

/// Which element of a property text belongs to.
#[derive(Clone, Copy, PartialEq)]
enum Field {
    Name,
    Value,
    Other,
}

/// The properties of a file, in their order. Later ones of the same name win.
pub(super) fn parse(text: &str) -> Result<Vec<(String, String)>, XmlError> {
    let mut reader = Reader::from_str(text);
    let mut properties = Vec::new();
    let mut in_configuration = false;
    let mut current: Option<(Option<String>, Option<String>)> = None;
    let mut field = Field::Other;
    let mut content = String::new();
    loop {
        let at = reader.buffer_position();
        let event =
            reader.read_event().map_err(|error| XmlError(format!("{error} (at byte {at})")))?;
        match event {
            Event::Start(element) => {
                content.clear();
                field = Field::Other;
                match element.name().as_ref() {
                    "configuration" => in_configuration = true,
                    "property" => current = Some((None, None)),
                    "name" => field = Field::Name,
                    "value" => field = Field::Value,
                    _ => {}
                }
            }
            Event::Empty(element) => {
                if let ("value", Some((_, value))) = (element.name().as_ref(), &mut current) {
                    *value = Some(String::new());
                }
            }
            Event::Text(part) if field != Field::Other => content.push_str(&part.xml10_content()),
            Event::CData(part) if field != Field::Other => content.push_str(&part.xml10_content()),
            Event::GeneralRef(reference) if field != Field::Other => {
                let name: &str = &reference;
                let plain = match reference.resolve_char_ref() {
                    Ok(Some(character)) => Some(character),
                    Ok(None) => match name {
                        "lt" => Some('<'),
                        "gt" => Some('>'),
                        "amp" => Some('&'),
                        "quot" => Some('"'),
                        "apos" => Some('\''),
                        _ => None,
                    },
                    Err(_) => None,
                };
                let Some(plain) = plain else {
                    return Err(XmlError(format!("'&{name};' is no character (at byte {at})")));
                };
                content.push(plain);
            }
            Event::End(element) => {
                match (element.name().as_ref(), &mut current) {
                    ("name", Some((name, _))) => *name = Some(content.trim().to_owned()),
                    ("value", Some((_, value))) => *value = Some(content.trim().to_owned()),
                    ("property", _) => {
                        if let Some((Some(name), Some(value))) = current.take() {
                            properties.push((name, value));
                        }
                    }
                    _ => {}
                }
                field = Field::Other;
            }
            Event::Eof if current.is_some() => {
                return Err(XmlError("it ends inside a property".to_owned()));
            }
            Event::Eof if in_configuration => return Ok(properties),
            Event::Eof => return Err(XmlError("it has no <configuration>".to_owned())),
            _ => {}
        }
    }
}
