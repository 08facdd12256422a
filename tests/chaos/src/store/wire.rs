//! RESP2 as a tester needs it: requests out, replies in, one by one.
//!
//! Replies are read as they come, so that of a burst cut short the answered
//! commands count as answered.

use std::{fmt, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);

/// One value of the protocol; a request is an array of bulks.
#[derive(Clone, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`
    Status(String),
    /// `-ERR ...`
    Error(String),
    /// `:1`
    Number(i64),
    /// `$3\r\nabc`
    Bulk(Vec<u8>),
    /// `$-1` or `*-1`
    Null,
    /// `*2 ...`
    Array(Vec<Reply>),
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(text) => write!(f, "+{text}"),
            Self::Error(text) => write!(f, "-{text}"),
            Self::Number(number) => write!(f, ":{number}"),
            Self::Bulk(bytes) => {
                let shown = &bytes[..bytes.len().min(60)];
                write!(f, "${} \"{}\"", bytes.len(), shown.escape_ascii())
            }
            Self::Null => f.write_str("null"),
            Self::Array(all) => f.debug_list().entries(all).finish(),
        }
    }
}

impl Reply {
    /// The first value in `bytes` and how long it is; None if it is not all
    /// there yet.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>> {
        let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
            ensure!(bytes.len() < 4096, "a line without an end: {bytes:.60?}");
            return Ok(None);
        };
        let (kind, line) = bytes[..end].split_first().context("an empty line")?;
        let text = || String::from_utf8_lossy(line).into_owned();
        let number = || -> Result<i64> {
            std::str::from_utf8(line)?
                .parse()
                .with_context(|| format!("no number: {}", text()))
        };
        let body = end + 2;
        let value = match kind {
            b'+' => Self::Status(text()),
            b'-' => Self::Error(text()),
            b':' => Self::Number(number()?),
            b'$' => {
                let Ok(length) = usize::try_from(number()?) else {
                    return Ok(Some((Self::Null, body)));
                };
                let Some(held) = bytes.get(body..body + length + 2) else {
                    return Ok(None);
                };
                let (held, after) = held.split_at(length);
                ensure!(after == b"\r\n", "a bulk longer than it says");
                return Ok(Some((Self::Bulk(held.to_vec()), body + length + 2)));
            }
            b'*' => {
                let Ok(length) = usize::try_from(number()?) else {
                    return Ok(Some((Self::Null, body)));
                };
                let (mut all, mut at) = (Vec::new(), body);
                for _ in 0..length {
                    let Some((one, taken)) = Self::parse(&bytes[at..])? else {
                        return Ok(None);
                    };
                    all.push(one);
                    at += taken;
                }
                return Ok(Some((Self::Array(all), at)));
            }
            _ => bail!("not RESP2: {}", bytes[..end].escape_ascii()),
        };
        Ok(Some((value, body)))
    }
}

/// One connection.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Wire {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens there.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = timeout(CONNECT, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        let read = Vec::new();
        Ok(Self { stream, read })
    }

    /// Sends commands back to back.
    ///
    /// # Errors
    /// If the connection is broken.
    pub async fn send(&mut self, commands: &[Vec<Vec<u8>>]) -> Result<()> {
        let mut bytes = Vec::new();
        for command in commands {
            encode(command, &mut bytes);
        }
        Ok(self.stream.write_all(&bytes).await?)
    }

    /// The next reply, however long it takes.
    ///
    /// # Errors
    /// If the connection is closed, or says what is no RESP2.
    pub async fn reply(&mut self) -> Result<Reply> {
        loop {
            if !self.read.is_empty()
                && let Some((reply, taken)) = Reply::parse(&self.read)?
            {
                self.read.drain(..taken);
                return Ok(reply);
            }
            let got = self.stream.read_buf(&mut self.read).await?;
            ensure!(got > 0, "the connection was closed");
        }
    }

    /// One command and its reply.
    ///
    /// # Errors
    /// As [`Wire::send`] and [`Wire::reply`].
    pub async fn call(&mut self, words: &[&[u8]]) -> Result<Reply> {
        let command = words.iter().map(|word| word.to_vec()).collect();
        self.send(&[command]).await?;
        self.reply().await
    }
}

/// A connection of its own for one command, with a limit.
///
/// # Errors
/// If there is no reply within `within`.
pub async fn ask(address: SocketAddr, words: &[&[u8]], within: Duration) -> Result<Reply> {
    let asked = async { Wire::connect(address).await?.call(words).await };
    timeout(within, asked)
        .await
        .with_context(|| format!("no reply within {within:?}"))?
}

fn encode(words: &[Vec<u8>], into: &mut Vec<u8>) {
    into.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        into.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        into.extend_from_slice(word);
        into.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_reply_is_read_however_it_is_cut() {
        let all = b"+OK\r\n-ERR no\r\n:-7\r\n$3\r\n\r\n\0\r\n$-1\r\n*-1\r\n*2\r\n$1\r\n0\r\n*0\r\n$0\r\n\r\n";
        let expected = [
            Reply::Status("OK".to_owned()),
            Reply::Error("ERR no".to_owned()),
            Reply::Number(-7),
            Reply::Bulk(b"\r\n\0".to_vec()),
            Reply::Null,
            Reply::Null,
            Reply::Array(vec![Reply::Bulk(b"0".to_vec()), Reply::Array(vec![])]),
            Reply::Bulk(Vec::new()),
        ];
        let (mut found, mut at) = (Vec::new(), 0);
        for end in 0..=all.len() {
            if let Some((reply, taken)) = Some(&all[at..end])
                .filter(|held| !held.is_empty())
                .and_then(|held| Reply::parse(held).unwrap())
            {
                found.push(reply);
                at += taken;
            }
        }
        assert_eq!(found, expected);
        assert!(Reply::parse(b"what\r\n").is_err());
    }
}
