//! The namenode: namespace, block management, journal and its protocol fronts.
