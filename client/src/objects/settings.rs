//! How a bucket is reached: Hadoop's `fs.s3a.*` properties, with `fs.s3a.bucket.NAME.*` for single buckets,
//! over the `AWS_*` variables of the environment.

use object_store::aws::{AmazonS3, AmazonS3Builder};

use crate::config::{ClientConfig, value};
use crate::error::{Error, ErrorKind, Result};

/// Bytes of an upload's parts (`fs.s3a.multipart.size`). Each open file has two of them in memory.
const PART_BYTES_DEFAULT: u64 = 16 << 20;
/// The smallest part that stores take, unless it is the last one.
const PART_BYTES_MIN: u64 = 5 << 20;
/// Bytes of what counts as a file's block, and so of a split (`fs.s3a.block.size`): Hadoop's.
const BLOCK_BYTES_DEFAULT: u64 = 32 << 20;
/// The region where nobody says one; stores that are not Amazon's take any.
const REGION_DEFAULT: &str = "us-east-1";

/// Sizes that are the client's choice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) part_bytes: usize,
    pub(super) block_bytes: u64,
}

/// A property of a bucket: its own, else that of all.
fn property<'a>(config: &'a ClientConfig, bucket: &str, name: &str) -> Option<&'a str> {
    let own = config.get(&format!("fs.s3a.bucket.{bucket}.{name}"));
    own.or_else(|| config.get(&format!("fs.s3a.{name}"))).filter(|text| !text.is_empty())
}

fn wrong(bucket: &str, name: &str, what: &str) -> Error {
    Error::new(ErrorKind::Config, format!("the property fs.s3a.{name} of {bucket}: {what}"))
}

pub(super) fn sizes(config: &ClientConfig, bucket: &str) -> Result<Sizes> {
    let size = |name: &str, default: u64| match property(config, bucket, name) {
        Some(text) => value::size(text).map_err(|what| wrong(bucket, name, &what)),
        None => Ok(default),
    };
    let part = size("multipart.size", PART_BYTES_DEFAULT)?;
    if !(PART_BYTES_MIN..=1 << 30).contains(&part) {
        return Err(wrong(bucket, "multipart.size", "parts have 5 MiB to 1 GiB"));
    }
    Ok(Sizes {
        part_bytes: part as usize,
        block_bytes: size("block.size", BLOCK_BYTES_DEFAULT)?.max(1),
    })
}

pub(super) fn store(config: &ClientConfig, bucket: &str) -> Result<AmazonS3> {
    // Fails only when the program has chosen one itself, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let get = |name: &str| property(config, bucket, name);
    let flag = |name: &str, default: bool| match get(name) {
        Some(text) => value::boolean(text).map_err(|what| wrong(bucket, name, &what)),
        None => Ok(default),
    };
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
    let is_set = |variable: &str| std::env::var_os(variable).is_some_and(|text| !text.is_empty());
    if let Some(region) = get("endpoint.region") {
        builder = builder.with_region(region);
    } else if !is_set("AWS_REGION") && !is_set("AWS_DEFAULT_REGION") {
        builder = builder.with_region(REGION_DEFAULT);
    }
    let environment = || {
        ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|endpoint| !endpoint.is_empty()))
    };
    if let Some(endpoint) = get("endpoint").map(str::to_owned).or_else(environment) {
        let secure = flag("connection.ssl.enabled", true)?;
        let (scheme, host) = endpoint
            .split_once("://")
            .unwrap_or((if secure { "https" } else { "http" }, &endpoint));
        let host = host.trim_end_matches('/');
        // A bucket's name in front of the host needs a wildcard in the DNS, which a store of one's own
        // seldom has.
        let by_path = flag("path.style.access", !host.contains("amazonaws.com"))?;
        let endpoint = match by_path {
            true => format!("{scheme}://{host}"),
            false => format!("{scheme}://{bucket}.{host}"),
        };
        builder = builder
            .with_endpoint(endpoint)
            .with_virtual_hosted_style_request(!by_path)
            .with_allow_http(scheme == "http");
    }
    if let (Some(key), Some(secret)) = (get("access.key"), get("secret.key")) {
        builder = builder.with_access_key_id(key).with_secret_access_key(secret);
        if let Some(token) = get("session.token") {
            builder = builder.with_token(token);
        }
    }
    if get("aws.credentials.provider").is_some_and(|class| class.contains("Anonymous")) {
        builder = builder.with_skip_signature(true);
    }
    builder.build().map_err(|error| {
        Error::new(ErrorKind::Config, format!("the bucket {bucket} can't be used: {error}"))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_buckets_own_properties_win_over_those_of_all() {
        let mut config = ClientConfig::default();
        config.set("fs.s3a.multipart.size", "8m").unwrap();
        config.set("fs.s3a.block.size", "64m").unwrap();
        config.set("fs.s3a.bucket.logs.multipart.size", "32M").unwrap();
        let (logs, other) = (sizes(&config, "logs").unwrap(), sizes(&config, "x").unwrap());
        assert_eq!((logs.part_bytes, logs.block_bytes), (32 << 20, 64 << 20));
        assert_eq!(other.part_bytes, 8 << 20);
        config.set("fs.s3a.multipart.size", "1m").unwrap();
        let error = sizes(&config, "x").unwrap_err().to_string();
        assert!(error.contains("fs.s3a.multipart.size") && error.contains("5 MiB"), "{error}");
        config.set("fs.s3a.multipart.size", "many").unwrap();
        assert!(sizes(&config, "x").unwrap_err().to_string().contains("not a size"));
    }

    #[test]
    fn an_endpoint_needs_no_scheme() {
        let mut config = ClientConfig::default();
        for (name, value) in [
            ("fs.s3a.endpoint", "127.0.0.1:9000"),
            ("fs.s3a.connection.ssl.enabled", "false"),
            ("fs.s3a.access.key", "a"),
            ("fs.s3a.secret.key", "b"),
        ] {
            config.set(name, value).unwrap();
        }
        assert!(store(&config, "bucket").is_ok());
        config.set("fs.s3a.path.style.access", "perhaps").unwrap();
        let error = store(&config, "bucket").unwrap_err().to_string();
        assert!(error.contains("path.style.access"), "{error}");
    }
}
