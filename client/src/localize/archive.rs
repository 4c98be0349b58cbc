//! Unpacking archives, without a way out of the directory they are unpacked into.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

/// Bytes of the archive read at once.
const READ_BYTES: usize = 256 << 10;

/// The kinds of archive, by the ends of their names, as Hadoop tells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tar,
    TarGz,
    Zip,
}

fn kind(name: &str) -> Option<Kind> {
    let name = name.to_ascii_lowercase();
    let ends = |end: &str| name.ends_with(end);
    match () {
        () if ends(".tar.gz") || ends(".tgz") => Some(Kind::TarGz),
        () if ends(".tar") => Some(Kind::Tar),
        () if ends(".zip") || ends(".jar") => Some(Kind::Zip),
        () => None,
    }
}

/// Whether a file of this name can be unpacked: `.tar`, `.tar.gz`, `.tgz`, `.zip` and `.jar`.
#[must_use]
pub fn is_archive(name: &str) -> bool {
    kind(name).is_some()
}

/// Unpacks the archive `file` into the directory `into`, which is made. `name` says of which kind it is.
/// An entry that would lie elsewhere, through `..`, an absolute path or a symbolic link, is an error.
///
/// # Errors
/// When the archive is damaged or of no known kind, has such an entry, or can't be unpacked for want of
/// room.
pub fn unpack(file: &Path, name: &str, into: &Path) -> io::Result<()> {
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("the archive {name} can't be unpacked: {error}"))
    };
    let Some(kind) = kind(name) else {
        let why = "its name ends with none of .tar, .tar.gz, .tgz, .zip and .jar";
        return Err(named(io::Error::new(io::ErrorKind::InvalidInput, why)));
    };
    fs::create_dir(into).map_err(named)?;
    let open = || File::open(file).map(|file| BufReader::with_capacity(READ_BYTES, file));
    let unpacked = match kind {
        Kind::Tar => open().and_then(|file| untar(file, into)),
        Kind::TarGz => open().and_then(|file| untar(MultiGzDecoder::new(file), into)),
        Kind::Zip => open().and_then(|file| {
            let mut archive = zip::ZipArchive::new(file)?;
            archive.file_names().try_for_each(|name| refuse_odd(&name?))?;
            Ok(archive.extract(into)?)
        }),
    };
    unpacked.map_err(named)
}

fn untar(bytes: impl Read, into: &Path) -> io::Result<()> {
    let mut archive = tar::Archive::new(bytes);
    archive.set_overwrite(true);
    for entry in archive.entries()? {
        let mut entry = entry?;
        if !entry.unpack_in(into)? {
            let path = entry.path_bytes();
            return Err(outside(&String::from_utf8_lossy(&path)));
        }
    }
    Ok(())
}

/// Names that the zip library would quietly bend into the directory.
fn refuse_odd(name: &str) -> io::Result<()> {
    let out = name.starts_with('/') || name.split(['/', '\\']).any(|part| part == "..");
    if out { Err(outside(name)) } else { Ok(()) }
}

fn outside(name: &str) -> io::Error {
    let why = format!(
        "its entry '{name}' would lie outside of the directory; make it without that entry"
    );
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// A tar file in which names are what they are, checked by nobody.
    fn tar_of(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = tar::Header::new_ustar();
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            let data = if *kind == tar::EntryType::Symlink {
                header.set_link_name(content).unwrap();
                ""
            } else {
                content
            };
            header.set_size(data.len() as u64);
            header.set_cksum();
            builder.append(&header, data.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn unpacked(name: &str, bytes: &[u8]) -> (tempfile::TempDir, io::Result<()>) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("brought");
        fs::write(&file, bytes).unwrap();
        let result = unpack(&file, name, &dir.path().join("into"));
        (dir, result)
    }

    #[test]
    fn every_kind_is_unpacked() {
        use tar::EntryType::{Directory, Regular};
        let tar = tar_of(&[("d/", Directory, ""), ("d/f", Regular, "tar")]);
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(&tar).unwrap();
        let gz = gz.finish().unwrap();
        let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Deflated);
        zip.start_file("d/f", options).unwrap();
        zip.write_all(b"zip").unwrap();
        let zip = zip.finish().unwrap().into_inner();
        for (name, bytes, content) in [
            ("a.tar", &tar, "tar"),
            ("a.TAR.GZ", &gz, "tar"),
            ("a.tgz", &gz, "tar"),
            ("a.zip", &zip, "zip"),
            ("a.jar", &zip, "zip"),
        ] {
            let (dir, result) = unpacked(name, bytes);
            result.unwrap();
            assert_eq!(fs::read_to_string(dir.path().join("into/d/f")).unwrap(), content, "{name}");
        }
    }

    #[test]
    fn nothing_gets_out_of_the_directory() {
        use tar::EntryType::{Regular, Symlink};
        for entries in [
            vec![("../evil", Regular, "x")],
            vec![("a/../../evil", Regular, "x")],
            vec![("out", Symlink, ".."), ("out/evil", Regular, "x")],
        ] {
            let (dir, result) = unpacked("a.tar", &tar_of(&entries));
            assert!(result.is_err(), "{entries:?}");
            assert!(!dir.path().join("evil").exists(), "{entries:?}");
        }
        let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        zip.start_file("../evil", zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(b"x").unwrap();
        let (dir, result) = unpacked("a.zip", &zip.finish().unwrap().into_inner());
        let error = result.unwrap_err().to_string();
        assert!(error.contains("'../evil' would lie outside"), "{error}");
        assert!(!dir.path().join("evil").exists());
    }

    #[test]
    fn what_is_no_archive_is_told() {
        let (_dir, result) = unpacked("a.rar", b"x");
        assert!(result.unwrap_err().to_string().contains("a.rar can't be unpacked: its name ends"));
        for name in ["a.tar", "a.tgz", "a.zip"] {
            let (_dir, result) = unpacked(name, &[7; 2000]);
            assert!(result.unwrap_err().to_string().contains(name));
        }
        assert!(is_archive("x.y.tgz") && !is_archive("tar") && !is_archive("x.gz"));
    }
}
