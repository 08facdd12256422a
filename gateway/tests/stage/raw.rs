//! A client that may write anything.

use std::{io, net::SocketAddr};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::soon;

/// An answer as it stood on the wire.
#[derive(Debug)]
pub(crate) struct RawAnswer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl RawAnswer {
    /// Status and the code of a typed error.
    pub(crate) fn refusal(&self) -> (u16, String) {
        let body: Value = serde_json::from_str(&self.body).unwrap();
        (
            self.status,
            body["error"]["code"].as_str().unwrap().to_owned(),
        )
    }
}

/// A connection. Dropped, it closes.
pub(crate) struct RawCaller {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

impl RawCaller {
    pub(crate) async fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Writes; a gateway that has hung up answers what it answers.
    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        soon("writing", self.stream.write_all(bytes.as_ref())).await
    }

    /// The next answer, which must give its length.
    pub(crate) async fn answer(&mut self) -> RawAnswer {
        loop {
            if let Some(answer) = self.parse() {
                return answer;
            }
            let read = soon("an answer", self.stream.read_buf(&mut self.buffer)).await;
            let so_far = || String::from_utf8_lossy(&self.buffer).into_owned();
            assert!(
                !matches!(read, Ok(0) | Err(_)),
                "{read:?} after {:?}",
                so_far()
            );
        }
    }

    fn parse(&mut self) -> Option<RawAnswer> {
        let text = String::from_utf8_lossy(&self.buffer).into_owned();
        let (head, rest) = text.split_once("\r\n\r\n")?;
        let head = head.to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.trim().parse().unwrap());
        let body = rest.get(..length)?.to_owned();
        self.buffer.drain(..head.len() + 4 + length);
        Some(RawAnswer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head,
            body,
        })
    }

    /// Everything to the end of the connection, which must come.
    pub(crate) async fn rest(mut self) -> String {
        // A reset after the last byte is an end too.
        let _ = soon(
            "the connection's end",
            self.stream.read_to_end(&mut self.buffer),
        )
        .await;
        String::from_utf8_lossy(&self.buffer).into_owned()
    }
}

/// Writes `bytes` over a connection of its own and takes one answer.
pub(crate) async fn raw(address: SocketAddr, bytes: impl AsRef<[u8]>) -> RawAnswer {
    let mut caller = RawCaller::new(address).await;
    // The gateway may answer and close before it has read everything.
    let _ = caller.write(bytes).await;
    caller.answer().await
}
