//! The hfs binary. 
fn main() {}
