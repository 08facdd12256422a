//! RESP2, the wire.
