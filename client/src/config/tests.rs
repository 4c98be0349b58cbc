#![allow(clippy::unwrap_used)]

use super::*;

fn set(key: &str, value: &str) -> ClientConfig {
    let mut config = ClientConfig::default();
    config.set(key, value).unwrap();
    config
}

#[test]
fn hdfs_keys_set_their_fields() {
    assert_eq!(set("dfs.replication", "2").replication, 2);
    assert_eq!(set("dfs.blocksize", "64m").block_size, 64 << 20);
    assert_eq!(set("dfs.blocksize", "1g").block_size, 1 << 30);
    assert_eq!(set("dfs.blocksize", "1048576").block_size, 1 << 20);
    assert_eq!(set("dfs.client.socket-timeout", "1500").socket_timeout.as_millis(), 1500);
    assert_eq!(set("dfs.client.socket-timeout", "2m").socket_timeout.as_secs(), 120);
    assert_eq!(set("fs.permissions.umask-mode", "077").umask, 0o077);
    assert!(!set("dfs.client.read.shortcircuit", "False").short_circuit);
    let mode = "dfs.checksum.combine.mode";
    assert_eq!(set(mode, "composite_crc").checksum_combine, ChecksumCombine::CompositeCrc);
    assert_eq!(set("any.other.key", " kept ").get("any.other.key"), Some("kept"));
    assert_eq!(set("fs.defaultFS", "file:///").default_fs, None);
}

#[test]
fn the_packet_size_counts_as_hdfs_counts_it() {
    // 65536 bytes, all in, are 126 chunks of 512.
    let config = set("dfs.client-write-packet-size", "65536");
    assert_eq!(config.packet_data_bytes, 126 * 512);
    assert_eq!(set("dfs.client-write-packet-size", "1").packet_data_bytes, 512);
    let mut config = ClientConfig::default();
    assert!(config.set("dfs.client-write-packet-size", "17m").is_err());
}

#[test]
fn values_that_make_no_sense_are_refused_with_the_key() {
    for (key, value) in [
        ("dfs.replication", "0"),
        ("dfs.replication", "three"),
        ("dfs.blocksize", "1000"),
        ("dfs.blocksize", "0"),
        ("dfs.blocksize", "12x"),
        ("dfs.blocksize", "99999999999p"),
        ("fs.permissions.umask-mode", "9"),
        ("dfs.client.read.shortcircuit", "maybe"),
        ("dfs.client.socket-timeout", "soon"),
        ("hfs.client.local-address", "localhost"),
        ("dfs.checksum.type", "CRC32"),
        ("fs.defaultFS", "hdfs://h:notaport"),
    ] {
        let error = ClientConfig::default().set(key, value).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(
            error.to_string().starts_with(&format!("{key}={value} can't be used: ")),
            "{error}"
        );
    }
}

#[test]
fn xml_files_are_read_with_entities_comments_and_references() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("core-site.xml"),
        "<?xml version=\"1.0\"?>\n<!-- hi -->\n<configuration>\n\
         <property><name>where</name><value>nn1:9000</value></property>\n\
         <property><name> fs.defaultFS </name><value>hdfs://${where}</value><final>true</final>\
         </property>\n\
         <property><name>odd</name><value>a &lt;&amp;&#65;&gt; ${no.such}</value></property>\n\
         <property><name>empty</name><value/></property>\n\
         </configuration>",
    )
    .unwrap();
    std::fs::write(
        dir.path().join("hdfs-site.xml"),
        "<configuration><property><name>dfs.replication</name><value>1</value></property>\
         </configuration>",
    )
    .unwrap();
    let config = ClientConfig::from_dir(dir.path()).unwrap();
    assert_eq!(config.default_fs.as_ref().map(ToString::to_string).unwrap(), "hdfs://nn1:9000/");
    assert_eq!(config.get("odd"), Some("a <&A> ${no.such}"));
    assert_eq!(config.get("empty"), Some(""));
    assert_eq!(config.replication, 1);
}

#[test]
fn a_broken_file_is_named() {
    for text in ["", "not xml", "<configuration><property><name>a", "<a></b>", "<configuration>&x;"]
    {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("core-site.xml"), text).unwrap();
        match ClientConfig::from_dir(dir.path()) {
            Err(error) => assert!(error.to_string().contains("core-site.xml"), "{error}"),
            Ok(_) => assert_eq!(text, "<configuration>&x;"),
        }
    }
    let dir = tempfile::tempdir().unwrap();
    assert!(ClientConfig::from_dir(dir.path()).is_ok(), "no files at all are fine");
}

#[test]
fn a_nameservice_means_its_namenodes() {
    let mut config = ClientConfig::default();
    let plain = Authority::parse("host").unwrap();
    assert_eq!(config.namenodes(&plain).unwrap(), ["host:8020"]);
    for (key, value) in [
        ("dfs.nameservices", "alpha, beta"),
        ("dfs.ha.namenodes.alpha", "nn1,nn2"),
        ("dfs.namenode.rpc-address.alpha.nn1", "one:9000"),
    ] {
        config.set(key, value).unwrap();
    }
    let alpha = Authority::parse("alpha").unwrap();
    assert!(config.namenodes(&alpha).unwrap_err().to_string().contains("alpha.nn2 is not set"));
    config.set("dfs.namenode.rpc-address.alpha.nn2", "two").unwrap();
    assert_eq!(config.namenodes(&alpha).unwrap(), ["one:9000", "two:8020"]);
    let exact = Authority::parse("alpha:1").unwrap();
    assert_eq!(config.namenodes(&exact).unwrap(), ["alpha:1"]);
}

#[test]
fn the_user_is_found_in_passwd() {
    let passwd = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\nodd\n";
    assert_eq!(name_of_uid(passwd, 1000).as_deref(), Some("alice"));
    assert_eq!(name_of_uid(passwd, 5), None);
    assert!(!user_name().is_empty());
}
