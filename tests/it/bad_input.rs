//! Garbage on every port, wrong addresses, directories of another cluster: a sentence, never a panic, and
//! nothing is lost.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use hfs::cluster::{Node, Role};

use crate::files::sample;
use crate::support::{HFS, TestCluster, eventually, hfs_command, stderr};

/// Sends bytes and waits until the other side hangs up or has nothing more to say.
fn shout(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    // The other side may hang up in the middle: that is what it is supposed to do.
    let _ = stream.write_all(bytes);
    let _ = stream.read(&mut [0; 4096]);
}

/// Resident memory of a process, in bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    kib << 10
}

fn ports_of(cluster: &TestCluster, node: Node) -> Vec<SocketAddr> {
    let ports = cluster.cluster.ports(node).unwrap();
    [ports.rpc, ports.grpc, ports.http, ports.transfer, ports.ipc, ports.shuffle]
        .into_iter()
        .flatten()
        .collect()
}

/// FAULTS 37: random bytes, lengths of 4 GiB and half a greeting on every port of every daemon.
#[test]
fn fault_37_garbage_on_every_port_hurts_nobody() {
    let cluster = TestCluster::start().unwrap();
    let bytes = sample(1_000_000);
    let local = cluster.scratch().join("kept");
    std::fs::write(&local, &bytes).unwrap();
    cluster.hfs(&["put", local.to_str().unwrap(), "/kept"]).unwrap();
    let noise = sample(200_000);
    let mut greeting = b"hrpc\x09\x00\x00".to_vec();
    greeting.extend([0xff; 64]);
    let huge_packet = [&[0x00, 0x1c, 0x50][..], &[0xff; 64]].concat();
    let shouts: [&[u8]; 8] = [
        &noise,
        b"GET / HTTP/1.1\r\n\r\n",
        b"hrpc",
        &greeting,
        &huge_packet,
        &[0xff; 32],
        &[0; 4096],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff",
    ];
    let nodes = cluster.cluster.nodes().unwrap();
    for node in &nodes {
        for address in ports_of(&cluster, *node) {
            for bytes in shouts {
                shout(address, bytes);
            }
        }
    }
    for node in nodes {
        let pid = cluster.cluster.pid(node).unwrap().unwrap();
        let memory = resident(pid);
        assert!(memory > 0, "{node} has died");
        assert!(memory < 256 << 20, "{node} has taken {memory} bytes");
        let log = cluster.log(node.role, node.number);
        assert!(!log.contains("panicked"), "{node} panicked: {log}");
    }
    assert!(cluster.hfs(&["cat", "/kept"]).unwrap() == bytes);
}

#[test]
fn a_namenode_that_is_not_there_is_named() {
    // Bound and not listening: nobody answers, and nobody else gets the port meanwhile.
    let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    silent.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let free = silent.local_addr().unwrap().as_socket().unwrap();
    let output = hfs_command(&["--fs", &format!("hdfs://{free}"), "ls", "/"]).output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains(&free.to_string()), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
}

#[test]
fn no_cluster_says_how_to_start_one() {
    let dir = tempfile::tempdir().unwrap();
    let output = hfs_command(&["ls", "/"]).env("HFS_CLUSTER_DIR", dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("hfs cluster start"), "{}", stderr(&output));
}

/// FAULTS 23: a data directory of another cluster is refused with both ids and left as it is.
#[test]
fn fault_23_a_foreign_data_directory_is_refused_and_kept() {
    let mut cluster = TestCluster::files(1).unwrap();
    let other = TestCluster::files(1).unwrap();
    let local = cluster.scratch().join("f");
    std::fs::write(&local, b"precious").unwrap();
    other.hfs(&["put", local.to_str().unwrap(), "/precious"]).unwrap();
    let node = Node::new(Role::Datanode, 1);
    cluster.cluster.kill(Role::Datanode, 1).unwrap();
    let namenode = cluster.cluster.ports(Node::new(Role::Namenode, 1)).unwrap().grpc.unwrap();
    let foreign = cluster.scratch().join("foreign");
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .arg(other.cluster.data_dir(node))
        .arg(&foreign)
        .status()
        .unwrap();
    assert!(copied.success());
    let mut daemon = std::process::Command::new(HFS)
        .args(["datanode", "--namenodes", &namenode.to_string(), "--data-dirs"])
        .arg(&foreign)
        .args(["--transfer-port", "0", "--ipc-port", "0", "--http-port", "0"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let ended = eventually("the datanode gives up", || daemon.try_wait().unwrap());
    if ended.is_err() {
        daemon.kill().unwrap();
    }
    let output = daemon.wait_with_output().unwrap();
    assert!(!ended.unwrap().success());
    let said = stderr(&output) + &String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("cluster"), "{said}");
    // Both clusters by their ids, and both directories: it can be seen at once which of them is the wrong one.
    let name_dir = cluster.cluster.data_dir(Node::new(Role::Namenode, 1));
    for dir in [&foreign, &name_dir] {
        assert!(said.contains(dir.to_str().unwrap()), "{} in {said}", dir.display());
    }
    for cluster in [&cluster, &other] {
        let id = cluster_id(cluster);
        assert!(said.contains(&id), "{id} in {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
    // Nothing of the other cluster's was touched.
    assert_eq!(other.hfs(&["cat", "/precious"]).unwrap(), b"precious");
    let diff = std::process::Command::new("diff")
        .arg("-rq")
        .arg(other.cluster.data_dir(node).join("current"))
        .arg(foreign.join("current"))
        .output()
        .unwrap();
    assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
}

/// FAULTS 3: damage in the middle of the journal stops the start and names the file and the offset.
#[test]
fn fault_03_a_damaged_journal_is_refused_with_the_place() {
    let mut cluster = TestCluster::files(1).unwrap();
    for i in 0..50 {
        cluster.hfs(&["mkdir", &format!("/d{i}")]).unwrap();
    }
    cluster.cluster.kill(Role::Namenode, 1).unwrap();
    let dir = cluster.cluster.data_dir(Node::new(Role::Namenode, 1));
    let edits = newest_edits(&dir);
    let mut content = std::fs::read(&edits).unwrap();
    let used = content.iter().rposition(|byte| *byte != 0).unwrap();
    content[used / 2] ^= 0x40;
    std::fs::write(&edits, content).unwrap();
    let said = format!("{:#}", cluster.cluster.start_one(Role::Namenode, 1).unwrap_err());
    let log = cluster.log(Role::Namenode, 1);
    let all = said + &log;
    assert!(all.contains(&*edits.file_name().unwrap().to_string_lossy()), "{all}");
    assert!(all.contains("offset"), "{all}");
    assert!(!all.contains("panicked"), "{all}");
}

/// The id that a cluster's name directory says.
fn cluster_id(cluster: &TestCluster) -> String {
    let mut waiting = vec![cluster.cluster.data_dir(Node::new(Role::Namenode, 1))];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            if entry.path().is_dir() {
                waiting.push(entry.path());
            } else if entry.file_name() == "VERSION" {
                let text = std::fs::read_to_string(entry.path()).unwrap();
                let id = text.lines().find_map(|line| line.strip_prefix("clusterID="));
                return id.unwrap().to_owned();
            }
        }
    }
    panic!("no VERSION file");
}

fn newest_edits(dir: &std::path::Path) -> std::path::PathBuf {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                waiting.push(path);
            } else if entry.file_name().to_string_lossy().starts_with("edits_") {
                found.push(path);
            }
        }
    }
    found.sort();
    found.pop().unwrap()
}
