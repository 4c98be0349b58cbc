//! A client that no one here wrote: the `hdfs-native` crate puts, gets and lists on our cluster.

#![allow(clippy::large_futures, reason = "the futures are the client's, and only a few are made")]

use bytes::Bytes;
use hdfs_native::{ClientBuilder, WriteOptions};

use crate::files::sample;
use crate::support::TestCluster;

#[test]
fn hdfs_native_puts_gets_and_lists() {
    let cluster = TestCluster::files(3).unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let client = ClientBuilder::new().with_url(cluster.fs_url()).build().unwrap();
    runtime.block_on(async {
        client.mkdirs("/native/dir", 0o755, true).await.unwrap();
        for size in [0, 1, 512, 65_537, 3_500_000] {
            let path = format!("/native/{size}");
            let bytes = sample(size);
            let options = WriteOptions::default().block_size(1 << 20).replication(3);
            let mut writer = client.create(&path, options).await.unwrap();
            writer.write_bytes(Bytes::from(bytes.clone())).await.unwrap();
            writer.close().await.unwrap();
            let reader = client.read(&path).await.unwrap();
            assert_eq!(reader.file_length(), size);
            assert!(reader.read_range(0, size).await.unwrap() == bytes, "{size}");
            if size > 2000 {
                assert!(reader.read_range(777, 1001).await.unwrap() == bytes[777..1778]);
            }
            // And ours reads what theirs wrote.
            assert!(cluster.hfs(&["cat", &path]).unwrap() == bytes, "{size}");
        }
        let mut names: Vec<String> = client
            .list_status("/native", false)
            .await
            .unwrap()
            .into_iter()
            .map(|status| status.path)
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "/native/0",
                "/native/1",
                "/native/3500000",
                "/native/512",
                "/native/65537",
                "/native/dir"
            ]
        );
        let mut writer = client.append("/native/512").await.unwrap();
        writer.write_bytes(Bytes::from_static(b"more")).await.unwrap();
        writer.close().await.unwrap();
        assert_eq!(client.get_file_info("/native/512").await.unwrap().length, 516);
        client.rename("/native/1", "/native/one", false).await.unwrap();
        client.set_permission("/native/one", 0o600).await.unwrap();
        let status = client.get_file_info("/native/one").await.unwrap();
        assert_eq!((status.length, status.permission), (1, 0o600));
        assert!(client.get_file_info("/native/1").await.is_err());
        assert!(client.delete("/native", true).await.unwrap());
        assert!(!client.delete("/native", true).await.unwrap());
    });
    // And theirs reads what ours wrote.
    let local = cluster.scratch().join("ours");
    let bytes = sample(2_000_000);
    std::fs::write(&local, &bytes).unwrap();
    cluster.hfs(&["put", local.to_str().unwrap(), "/ours"]).unwrap();
    let read = runtime.block_on(async {
        let reader = client.read("/ours").await.unwrap();
        reader.read_range(0, reader.file_length()).await.unwrap()
    });
    assert!(read == bytes);
}
