//! What bytes mean: frames, header views, checksums, offload metadata and software segmentation.
//!
//! Pure: no I/O, no clock, no unsafe code.
#![forbid(unsafe_code)]

pub mod frame;
pub mod offload;
