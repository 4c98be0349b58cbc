//! The HDFS client: file system, reader, writer and pipeline.
