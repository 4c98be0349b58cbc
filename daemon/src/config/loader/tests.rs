#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as _, Command};
use serde::Deserialize;

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    #[arg(long)]
    rpc_port: u16,
    #[arg(long)]
    name_dir: Vec<PathBuf>,
    #[arg(long)]
    port_file: Option<PathBuf>,
    #[serde(with = "crate::config::duration")]
    #[arg(long, value_parser = crate::config::parse_duration)]
    dead_after: Duration,
    #[serde(with = "crate::config::size")]
    #[arg(long, value_parser = crate::config::parse_size)]
    block_size: u64,
    #[arg(long)]
    verbose: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            rpc_port: 8020,
            name_dir: vec!["name".into()],
            port_file: None,
            dead_after: Duration::from_secs(10),
            block_size: 128 << 20,
            verbose: false,
        }
    }
}

fn matches(words: &[&str]) -> ArgMatches {
    Config::augment_args_for_update(Command::new("x").no_binary_name(true)).get_matches_from(words)
}

const NO_VARIABLES: [(&str, &str); 0] = [];

#[test]
fn later_layers_win_and_say_so() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("hdfs-site.xml"),
        "<configuration><property><name>dfs.rpc</name><value>1</value></property>\
         <property><name>dfs.other</name><value>ignored</value></property>\
         <property><name>dfs.blocksize</name><value>64m</value></property></configuration>",
    )
    .unwrap();
    let file = dir.path().join("hfs.toml");
    std::fs::write(
        &file,
        "[namenode]\nrpc-port = 2\nhost = 'toml'\nname-dir = ['a', 'b']\n[worker]\nslots = 3\n",
    )
    .unwrap();
    let keys = [XmlKey::same("dfs.rpc", "rpc-port"), XmlKey::same("dfs.blocksize", "block-size")];
    let flags = matches(&["--rpc-port", "4", "--verbose", "--dead-after", "2s"]);
    let loaded = Loader::new("namenode")
        .toml_file(Some(&file))
        .hadoop_dir(Some(dir.path()), &keys)
        .environment([
            ("HFS_NAMENODE_RPC_PORT", "3"),
            ("HFS_NAMENODE_PORT_FILE", "/p"),
            ("HFS_WORKER_X", "?"),
        ])
        .flags(&flags)
        .load::<Config>()
        .unwrap();
    let expected = Config {
        host: "toml".to_owned(),
        rpc_port: 4,
        name_dir: vec!["a".into(), "b".into()],
        port_file: Some("/p".into()),
        dead_after: Duration::from_secs(2),
        block_size: 64 << 20,
        verbose: true,
    };
    assert_eq!(loaded.config, expected);
    assert_eq!(loaded.origins["rpc-port"], Origin::Flag("--rpc-port".to_owned()));
    assert_eq!(
        loaded.origins["port-file"].to_string(),
        "environment variable HFS_NAMENODE_PORT_FILE"
    );
    assert!(loaded.origins["block-size"].to_string().ends_with("hdfs-site.xml"));
}

#[test]
fn a_default_that_clap_fills_in_does_not_hide_the_file() {
    let flags = matches(&[]);
    let loaded = Loader::new("namenode")
        .environment([("HFS_NAMENODE_HOST", "0.0.0.0"), ("HFS_NAMENODE_NAME_DIR", "/a, /b")])
        .flags(&flags)
        .load::<Config>()
        .unwrap();
    assert_eq!(loaded.config.host, "0.0.0.0");
    assert_eq!(loaded.config.name_dir, [PathBuf::from("/a"), PathBuf::from("/b")]);
}

#[test]
fn a_typed_list_replaces_the_file_s() {
    let flags = matches(&["--name-dir", "/x", "--name-dir", "/y"]);
    let loaded = Loader::new("namenode")
        .environment([("HFS_NAMENODE_NAME_DIR", "/a")])
        .flags(&flags)
        .load::<Config>()
        .unwrap();
    assert_eq!(loaded.config.name_dir, [PathBuf::from("/x"), PathBuf::from("/y")]);
}

#[test]
fn an_unknown_key_names_its_place_and_its_neighbour() {
    let sentence = |loader: Loader<'_>| loader.load::<Config>().unwrap_err().to_string();
    assert_eq!(
        sentence(Loader::new("namenode").environment([("HFS_NAMENODE_RCP_PORT", "1")])),
        "environment variable HFS_NAMENODE_RCP_PORT: unknown key \"rcp-port\"; did you mean \"rpc-port\"?"
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hfs.toml");
    std::fs::write(&file, "[namenode]\nnamedir = 'x'\n").unwrap();
    let text = sentence(Loader::new("namenode").toml_file(Some(&file)).environment(NO_VARIABLES));
    assert!(text.contains("hfs.toml [namenode]: unknown key \"namedir\""), "{text}");
    assert!(text.contains("name-dir"), "{text}");
    std::fs::write(&file, "[namenod]\n").unwrap();
    let text = sentence(Loader::new("namenode").toml_file(Some(&file)));
    assert!(text.contains("\"namenode\""), "{text}");
}

#[test]
fn a_bad_value_names_its_place() {
    let sentence = |name: &str, value: &str| {
        Loader::new("namenode")
            .environment([(name, value)])
            .load::<Config>()
            .unwrap_err()
            .to_string()
    };
    let text = sentence("HFS_NAMENODE_RPC_PORT", "eighty");
    assert!(text.contains("HFS_NAMENODE_RPC_PORT") && text.contains("eighty"), "{text}");
    let text = sentence("HFS_NAMENODE_DEAD_AFTER", "10");
    assert!(text.contains("needs a unit"), "{text}");
    let text = sentence("HFS_NAMENODE_RPC_PORT", "70000");
    assert!(text.contains("70000"), "{text}");
}

#[test]
fn a_missing_file_that_was_asked_for_is_an_error() {
    let loader = Loader::new("namenode").toml_file(Some(Path::new("/nonexistent/hfs.toml")));
    let text = loader.load::<Config>().unwrap_err().to_string();
    assert!(text.contains("/nonexistent/hfs.toml"), "{text}");
}
