//! The writes of a head: `HSET`s that overwrite a few fields again and again,
//! as nodes, actors and checkpoints do.

use std::io;

use bytes::BytesMut;
use resp::write_command;

/// Fields of each writer.
pub(super) const FIELDS: usize = 8;

/// Bytes of a value.
pub(super) const VALUE_BYTES: usize = 300;

/// Digits of the stamp in a value.
const STAMP: usize = 16;

/// What Redis answers: a new field, one that was there.
pub(super) const STORED: [&[u8; 4]; 2] = [b":1\r\n", b":0\r\n"];

/// Requests in turn, each time with another value.
pub(super) struct Writes {
    requests: Vec<Vec<u8>>,
    count: u64,
}

impl Writes {
    /// Writes to `table` of the cluster `name`.
    pub(super) fn new(name: &str, table: &str) -> Self {
        let key = format!("RAY{name}@{table}");
        // The same for every contender and round; does not compress.
        let mut random = fastrand::Rng::with_seed(key.len() as u64);
        let requests = (0..FIELDS).map(|_| {
            let mut field = [0; 28];
            random.fill(&mut field);
            let mut value = [0; VALUE_BYTES];
            random.fill(&mut value);
            let mut request = BytesMut::new();
            write_command(&mut request, &[b"HSET", key.as_bytes(), &field, &value]);
            request.to_vec()
        });
        Self {
            requests: requests.collect(),
            count: 0,
        }
    }

    /// The next request.
    pub(super) fn next(&mut self) -> &[u8] {
        let turn = self.count as usize % self.requests.len();
        let request = &mut self.requests[turn];
        let end = request.len() - 2;
        let mut left = self.count;
        for digit in request[end - STAMP..end].iter_mut().rev() {
            *digit = b'0' + (left % 10) as u8;
            left /= 10;
        }
        self.count += 1;
        request
    }
}

/// Whether `reply` says that a field was stored.
pub(super) fn stored(reply: &[u8; 4]) -> io::Result<()> {
    if STORED.contains(&reply) {
        return Ok(());
    }
    let text = format!("a write was answered {:?}…", String::from_utf8_lossy(reply));
    Err(io::Error::other(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_write_has_another_value_and_comes_back_to_its_field() {
        let mut writes = Writes::new("a", "NODE");
        let seen: Vec<Vec<u8>> = (0..=FIELDS).map(|_| writes.next().to_vec()).collect();
        let head = |request: &[u8]| request[..request.len() - 2 - STAMP].to_vec();
        assert_eq!(head(&seen[0]), head(&seen[FIELDS]));
        assert_ne!(seen[0], seen[FIELDS]);
        assert_ne!(head(&seen[0]), head(&seen[1]));
        let value = seen[0].len() - seen[0].windows(6).position(|it| it == b"$300\r\n").unwrap();
        assert_eq!(value, 6 + VALUE_BYTES + 2);
    }
}
