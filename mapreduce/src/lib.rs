//! The MapReduce library that a job program links.
