//! What Ray's tables mean.
