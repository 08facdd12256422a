//! The portable SQL layer.
