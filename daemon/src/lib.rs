//! The chassis of an hfs daemon: configuration, logging, shutdown, clock, metrics port, disk seam.
