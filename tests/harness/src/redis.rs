//! A Redis of one's own, to compare with.

use std::{net::SocketAddr, path::Path};

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    ports,
    server::{Account, Server, find},
};

const PACKAGE: &str = "redis-server";

/// A running Redis on a free port of loopback. Killed when dropped, or when
/// this process ends.
#[derive(Debug)]
pub struct Redis {
    server: Server,
    address: SocketAddr,
}

impl Redis {
    /// Starts it in `folder`, where it keeps nothing unless `arguments` tell it
    /// to (`--appendonly yes --appendfsync always`).
    ///
    /// # Errors
    /// If Redis is not installed (says how to get it) or does not start.
    pub async fn start(folder: &Path, arguments: &[&str]) -> Result<Self> {
        let program = find("redis-server", PACKAGE, &[])?;
        let account = Account::find("redis", PACKAGE)?;
        let home = account.folder(folder, "redis")?;
        let port = ports::lasting()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut all: Vec<String> = ["--bind", "127.0.0.1", "--save", "", "--port"]
            .map(Into::into)
            .into();
        all.extend([port.to_string(), "--dir".into(), home.display().to_string()]);
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let server = Server::start("redis", &home, account, program, all)?;
        let mut redis = Self { server, address };
        redis.ready().await?;
        Ok(redis)
    }

    async fn ready(&mut self) -> Result<()> {
        let address = self.address;
        self.server.ready(async || ping(address).await).await
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}/", self.address)
    }

    /// Stops it where it is (SIGSTOP).
    pub fn pause(&self) {
        self.server.pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.server.resume();
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again on the same port and folder, killing it first if it runs.
    ///
    /// # Errors
    /// If it does not come back.
    pub async fn restart(&mut self) -> Result<()> {
        self.server.restart()?;
        self.ready().await
    }
}

async fn ping(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address).await.context("no connection")?;
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).await?;
    // Anything else is an error reply, e.g. that it is still loading.
    ensure!(&answer == b"+PONG\r\n", "{}", answer.escape_ascii());
    Ok(())
}
