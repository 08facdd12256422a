//! Requests, written as a client sends them.

use bytes::BytesMut;

use crate::reply::{write_array_header, write_bulk};

/// Appends one request, an array of bulk strings.
pub fn write_command<A: AsRef<[u8]>>(out: &mut BytesMut, arguments: &[A]) {
    let size: usize = arguments.iter().map(|it| it.as_ref().len() + 24).sum();
    out.reserve(size + 24);
    write_array_header(out, arguments.len());
    for argument in arguments {
        write_bulk(out, argument.as_ref());
    }
}
