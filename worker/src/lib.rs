//! The worker: runs the attempts of a job on a node and serves their output to reducers.
