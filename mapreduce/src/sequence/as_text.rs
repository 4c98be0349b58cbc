//! The records of a sequence file as people read them, by the classes that its header names: what
//! `toString` of Hadoop's writables gives.

use anyhow::{Result, bail};

use super::header::Header;
use super::input::{Held, Piece};
use crate::compress::Source;
use crate::files::InputFile;
use crate::record::Record;
use crate::writable::{Writable, vlong};

/// Gives the records of a file to `sink` as lines of key, tab and value, many at once.
pub(crate) fn records_as_text(
    path: &str,
    file: InputFile,
    sink: &mut dyn FnMut(Vec<u8>) -> Result<()>,
) -> Result<()> {
    let end = file.len();
    let mut source = Source::new(path, file, 0);
    let header = Header::read(&mut source)?;
    let (key, value) = (form(path, &header.key_class)?, form(path, &header.value_class)?);
    let mut piece = Piece { mark: header.mark(), header, source, end };
    let mut held = Held::default();
    while piece.read(&mut held)? {
        let mut lines = Vec::new();
        for (key_bytes, value_bytes) in held.records() {
            key(key_bytes, &mut lines)?;
            lines.push(b'\t');
            value(value_bytes, &mut lines)?;
            lines.push(b'\n');
        }
        sink(lines)?;
    }
    Ok(())
}

/// Appends the text of one value.
type Form = fn(&[u8], &mut Vec<u8>) -> Result<()>;

fn form(path: &str, class: &str) -> Result<Form> {
    fn of<T: Writable>(bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        T::print(<T as Writable>::read(bytes)?, out);
        Ok(())
    }
    let Some(name) = class.strip_prefix("org.apache.hadoop.io.") else {
        return unknown(path, class);
    };
    Ok(match name {
        "Text" => of::<crate::record::Text>,
        "ByteWritable" => of::<i8>,
        "ShortWritable" => of::<i16>,
        "IntWritable" => of::<i32>,
        "LongWritable" => of::<i64>,
        "FloatWritable" => of::<f32>,
        "DoubleWritable" => of::<f64>,
        "BooleanWritable" => of::<bool>,
        "VIntWritable" | "VLongWritable" => short_number,
        "BytesWritable" => hexadecimal,
        "NullWritable" => null,
        _ => return unknown(path, class),
    })
}

fn unknown(path: &str, class: &str) -> Result<Form> {
    bail!(
        "{path} has records of the class {class}, whose text only a program with that class knows"
    )
}

fn short_number(bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    match vlong(bytes) {
        Some((number, taken)) if taken == bytes.len() => {
            i64::print(number, out);
            Ok(())
        }
        _ => bail!("{} bytes are not a VLongWritable", bytes.len()),
    }
}

fn hexadecimal(bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (at, byte) in <Vec<u8> as Writable>::read(bytes)?.iter().enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        out.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    Ok(())
}

fn null(bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    <() as Writable>::read(bytes)?;
    out.extend_from_slice(b"(null)");
    Ok(())
}
