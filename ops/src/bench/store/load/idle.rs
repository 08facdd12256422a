//! Connections that have said something once and then nothing more, as half of
//! a head's do for its whole life.
//!
//! ```text
//!   "ready" -> memory is read -> "go" -> all connect -> "mark" -> memory is read
//!   "ready" -> "go" -> all close -> Outcome
//! ```

use std::{io, net::SocketAddr, time::Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Conductor, Load, Outcome};

/// A word and a read of a field that is not there.
const ASKED: &[u8] = b"*1\r\n$4\r\nPING\r\n*3\r\n$4\r\nHGET\r\n$10\r\nRAYidle@KV\r\n$4\r\nnone\r\n";
const ANSWERED: &[u8] = b"+PONG\r\n$-1\r\n";

pub(super) async fn run(load: &Load, conductor: &mut impl Conductor) -> io::Result<Outcome> {
    drop(connect(load.target).await?);

    conductor.ready()?;
    let began = Instant::now();
    let mut open = Vec::with_capacity(load.clients);
    for _ in 0..load.clients {
        open.push(connect(load.target).await?);
    }
    conductor.mark()?;
    conductor.ready()?;
    Ok(Outcome {
        done: open.len() as u64,
        seconds: began.elapsed().as_secs_f64(),
        ..Outcome::default()
    })
}

async fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(target).await?;
    stream.write_all(ASKED).await?;
    let mut answer = [0; ANSWERED.len()];
    stream.read_exact(&mut answer).await?;
    if answer == ANSWERED {
        return Ok(stream);
    }
    let text = String::from_utf8_lossy(&answer);
    Err(io::Error::other(format!(
        "a connection was answered {text:?}"
    )))
}
