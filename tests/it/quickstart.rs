//! The first thing a newcomer does, on a text whose words were counted by hand.

use std::fs;

use anyhow::Result;

use crate::support::{hfs_command, stderr, stdout};

#[test]
fn the_quickstart_counts_and_cleans_up() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (text, temp) = (dir.path().join("text"), dir.path().join("tmp"));
    fs::create_dir_all(text.join("below"))?;
    fs::create_dir(&temp)?;
    // No line end at the end: the next file's first word is a word of its own nevertheless.
    fs::write(text.join("a.txt"), "the sea the sky\r\nthe käse")?;
    fs::write(text.join("below/b.txt"), "the sea\n\n  the   end\n")?;
    fs::write(text.join("below/binary"), b"the\0the")?;
    let output =
        hfs_command(&["quickstart", text.to_str().unwrap()]).env("TMPDIR", &temp).output()?;
    assert!(output.status.success(), "{}", stderr(&output));
    let said = stdout(&output);
    for line in ["10 words, 5 different", "5  the", "2  sea"] {
        assert!(said.contains(line), "{line:?} is not in\n{said}");
    }
    assert_eq!(fs::read_dir(&temp)?.count(), 0, "nothing is left behind");
    Ok(())
}

#[test]
fn nothing_to_count_is_said_before_anything_is_started() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let missing = dir.path().join("missing");
    let output = hfs_command(&["quickstart", missing.to_str().unwrap()]).output()?;
    assert!(!output.status.success());
    let said = stderr(&output);
    assert!(said.contains("missing") && said.lines().count() == 1, "{said}");
    Ok(())
}
