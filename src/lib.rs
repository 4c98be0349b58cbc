//! hfs: the command line, the local cluster, and every role behind one binary.
