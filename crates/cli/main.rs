//! nsrouter
fn main() {}
