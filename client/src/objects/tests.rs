//! Buckets in memory.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use object_store::memory::InMemory;

use super::settings::Sizes;
use super::*;
use crate::error::ErrorKind;

fn bucket() -> Bucket {
    let sizes = Sizes { part_bytes: 1000, block_bytes: 1 << 20 };
    Bucket::of_store(Arc::new(InMemory::new()), "s3a://bucket/and/more", sizes)
}

async fn uploaded(bucket: &Bucket, path: &str, bytes: &[u8]) -> PendingUpload {
    let mut upload = bucket.upload(path).await.unwrap();
    assert!(upload.pending().parts.is_empty());
    for piece in bytes.chunks(333) {
        upload.write(piece).await.unwrap();
    }
    upload.finish().await.unwrap()
}

async fn read(bucket: &Bucket, path: &str) -> Option<Vec<u8>> {
    let length = bucket.status(path).await.unwrap()?.length;
    Some(match length {
        0 => Vec::new(),
        length => bucket.read(path, 0..length).await.unwrap().to_vec(),
    })
}

#[test]
fn buckets_are_told_from_other_urls() {
    assert_eq!(parse("s3a://bucket/a/b"), Some(("bucket", "/a/b")));
    assert_eq!(parse("S3://bucket"), Some(("bucket", "/")));
    for other in ["s3a:///a", "s3a:/b/a", "hdfs://h/a", "/s3a://b/a", "s3x://b/a"] {
        assert_eq!(parse(other), None, "{other}");
    }
}

#[tokio::test]
async fn directories_are_what_keys_go_on_after() {
    let bucket = bucket();
    assert_eq!(bucket.url(), "s3a://bucket");
    bucket.write("/a/b/c", "abc").await.unwrap();
    bucket.write("/a/bb", "x").await.unwrap();
    let status = async |path: &str| bucket.status(path).await.unwrap();
    assert_eq!(status("/a/b/c").await.map(|e| (e.is_dir, e.length)), Some((false, 3)));
    assert_eq!(status("/a/b/").await.map(|e| (e.path, e.is_dir)), Some(("/a/b".into(), true)));
    assert_eq!(status("/").await.map(|e| e.is_dir), Some(true));
    assert_eq!(status("/a/b/c/d").await, None);
    // A name that only begins so is no entry.
    assert_eq!(status("/a/b/").await.map(|e| e.length), Some(0));
    assert_eq!(status("/a/").await.map(|e| e.is_dir), Some(true));
    let list = bucket.list("/a").await.unwrap();
    let paths: Vec<_> = list.iter().map(|e| (e.path.as_str(), e.is_dir)).collect();
    assert_eq!(paths, [("/a/b", true), ("/a/bb", false)]);
    let missing = bucket.read("/a/none", 0..1).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(missing.to_string().contains("s3a://bucket/a/none"), "{missing}");
    assert_eq!(bucket.status("//").await.unwrap().map(|e| e.is_dir), Some(true));

    bucket.delete("/a/b").await.unwrap();
    assert_eq!(status("/a/b/c").await, None);
    assert!(status("/a/bb").await.is_some());
    bucket.delete("/a/b").await.unwrap();
}

#[tokio::test]
async fn uploads_are_there_when_they_are_published_and_success_is_last() {
    let bucket = bucket();
    let bytes: Vec<u8> = (0..2500u32).map(|n| (n % 251) as u8).collect();
    let uploads = vec![
        uploaded(&bucket, "/out/part-0", &bytes).await,
        uploaded(&bucket, "/out/dir/part-1", b"").await,
    ];
    assert_eq!(uploads[0].parts.len(), 3);
    assert_eq!((uploads[1].parts.len(), uploads[1].length), (1, 0));
    assert_eq!(bucket.status("/out").await.unwrap(), None);
    let kept = uploads.iter().map(PendingUpload::to_json);
    let kept: Vec<_> = kept.map(|json| PendingUpload::from_json(&json).unwrap()).collect();
    assert_eq!(kept, uploads);

    // A try that is broken off after its first upload is finished by the next one.
    publish(&bucket, "/other", vec![uploads[0].clone()], "half").await.unwrap();
    publish(&bucket, "/out", uploads.clone(), "job 1").await.unwrap();
    publish(&bucket, "/out", uploads.clone(), "job 1").await.unwrap();
    assert_eq!(read(&bucket, "/out/part-0").await.unwrap(), bytes);
    assert_eq!(read(&bucket, "/out/dir/part-1").await.unwrap(), b"");
    assert_eq!(read(&bucket, "/out/_SUCCESS").await.unwrap(), b"job 1");

    let late = vec![uploaded(&bucket, "/out/part-0", b"late").await];
    let refused = publish(&bucket, "/out", late.clone(), "job 2").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    assert!(!withdraw(&bucket, "/out", late, "job 2").await.unwrap());
    assert_eq!(read(&bucket, "/out/part-0").await.unwrap(), bytes);
    assert!(withdraw(&bucket, "/out", uploads, "job 1").await.unwrap());
    assert_eq!(read(&bucket, "/out/part-0").await.unwrap(), bytes);
}

#[tokio::test]
async fn what_is_withdrawn_is_gone_even_if_it_was_half_published() {
    let bucket = bucket();
    let whole = uploaded(&bucket, "/out/part-0", b"whole").await;
    let begun = bucket.upload("/out/part-1").await.unwrap().pending().clone();
    // The second can't be completed: there is no `_SUCCESS`.
    let error = publish(&bucket, "/out", vec![whole.clone(), begun.clone()], "job").await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(bucket.status("/out/_SUCCESS").await.unwrap(), None);
    assert!(!withdraw(&bucket, "/out", vec![whole, begun], "job").await.unwrap());
    assert_eq!(bucket.status("/out").await.unwrap(), None);
}
