//! A small RESP client: for imports, tests and load, not a general one.
//!
//! One connection, no pool, no reconnecting: who asks decides what a lost
//! connection means. Every wait has the target's deadline; after an error of any
//! kind the connection is of no more use, since it is unknown which replies are
//! still to come.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{ProtocolError, Reply, ReplyLimits, ReplyParser, write_command};

/// Why a server could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, or no TLS on it. Safe to retry.
    #[error("cannot connect to {address}")]
    Connect {
        /// `host:port`.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The server refused user and password. Do not retry.
    #[error("login refused: {text}")]
    Login {
        /// The server's error line.
        text: String,
    },
    /// Reading or writing failed; what was asked may have been done.
    #[error("connection failed")]
    Io(#[from] io::Error),
    /// The server closed the connection; what was asked may have been done.
    #[error("connection closed by the server")]
    Closed,
    /// No answer in time; what was asked may have been done.
    #[error("no answer within {0:?}")]
    Deadline(Duration),
    /// The server does not speak RESP2.
    #[error("answer is not RESP2")]
    Protocol(#[from] ProtocolError),
}

/// Where and as whom to connect.
#[derive(Clone)]
pub struct Target {
    address: String,
    tls: Option<(Arc<rustls::ClientConfig>, ServerName<'static>)>,
    login: Vec<String>,
    deadline: Duration,
    limits: ReplyLimits,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The password stays out of logs.
        f.debug_struct("Target")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Target {
    /// `host:port`, without TLS or login, 30 s for each wait.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            tls: None,
            login: Vec::new(),
            deadline: Duration::from_secs(30),
            limits: ReplyLimits::default(),
        }
    }

    /// Speaks TLS; `name` is what the server's certificate is checked for.
    #[must_use]
    pub fn tls(mut self, config: Arc<rustls::ClientConfig>, name: ServerName<'static>) -> Self {
        self.tls = Some((config, name));
        self
    }

    /// Logs in when connected, as the default user or by name.
    #[must_use]
    pub fn login(mut self, user: Option<&str>, password: &str) -> Self {
        self.login = user
            .into_iter()
            .chain([password])
            .map(str::to_owned)
            .collect();
        self
    }

    /// How long to wait for a connection, and for each answer.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// A plain or TLS stream.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// One connection to a server.
pub struct Client {
    reader: Reader,
    writer: Writer,
}

/// The half that replies are read from.
pub struct Reader {
    stream: ReadHalf<Box<dyn Stream>>,
    parser: ReplyParser,
    buffer: BytesMut,
    deadline: Duration,
}

/// The half that commands are written to.
pub struct Writer {
    stream: WriteHalf<Box<dyn Stream>>,
    buffer: BytesMut,
    deadline: Duration,
}

impl Client {
    /// Connects, and logs in if the target says so.
    ///
    /// # Errors
    /// [`Error::Connect`] if nobody listens or TLS fails, [`Error::Login`] if the
    /// server refuses the password.
    pub async fn connect(target: &Target) -> Result<Self, Error> {
        let failed = |source| Error::Connect {
            address: target.address.clone(),
            source,
        };
        let stream = within(target.deadline, async {
            open(target).await.map_err(failed)
        })
        .await?;
        let (read, write) = tokio::io::split(stream);
        let deadline = target.deadline;
        let parser = ReplyParser::new(target.limits);
        let mut client = Self {
            reader: Reader {
                stream: read,
                parser,
                buffer: BytesMut::new(),
                deadline,
            },
            writer: Writer {
                stream: write,
                buffer: BytesMut::new(),
                deadline,
            },
        };
        if !target.login.is_empty() {
            let mut command = vec!["AUTH"];
            command.extend(target.login.iter().map(String::as_str));
            if let Reply::Error(text) = client.call(&command).await? {
                return Err(Error::Login {
                    text: text.into_owned(),
                });
            }
        }
        Ok(client)
    }

    /// One command and its reply. An error reply is a reply, not an `Err`.
    ///
    /// # Errors
    /// The connection failed; see [`Error`].
    pub async fn call<A: AsRef<[u8]>>(&mut self, command: &[A]) -> Result<Reply, Error> {
        self.writer.push(command);
        self.writer.flush().await?;
        self.reader.reply().await
    }

    /// As [`call`](Self::call), but the reply's bytes as they came.
    ///
    /// # Errors
    /// The connection failed; see [`Error`].
    pub async fn call_raw<A: AsRef<[u8]>>(&mut self, command: &[A]) -> Result<Bytes, Error> {
        self.writer.push(command);
        self.writer.flush().await?;
        self.reader.frame().await
    }

    /// Many commands at once; their replies in the same order.
    ///
    /// Replies are read while commands are written, so that no two full socket
    /// buffers wait for each other.
    ///
    /// # Errors
    /// The connection failed; see [`Error`].
    pub async fn pipeline<A: AsRef<[u8]>>(
        &mut self,
        commands: &[Vec<A>],
    ) -> Result<Vec<Reply>, Error> {
        for command in commands {
            self.writer.push(command);
        }
        let reading = async {
            let mut replies = Vec::with_capacity(commands.len());
            for _ in commands {
                replies.push(self.reader.reply().await?);
            }
            Ok(replies)
        };
        let writing = self.writer.flush();
        let (replies, ()) = tokio::try_join!(reading, writing)?;
        Ok(replies)
    }

    /// Sends `bytes` as they are, right or wrong; for tests of a server's front.
    ///
    /// # Errors
    /// The connection failed; see [`Error`].
    pub async fn send_raw(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.writer.buffer.extend_from_slice(bytes);
        self.writer.flush().await
    }

    /// The next reply on the connection.
    ///
    /// # Errors
    /// The connection failed; see [`Error`].
    pub async fn reply(&mut self) -> Result<Reply, Error> {
        self.reader.reply().await
    }

    /// The two halves, to write and read at the same time.
    pub fn split(self) -> (Reader, Writer) {
        (self.reader, self.writer)
    }
}

impl Reader {
    /// The next reply.
    ///
    /// # Errors
    /// The connection failed; see [`Error`].
    pub async fn reply(&mut self) -> Result<Reply, Error> {
        loop {
            if let Some(reply) = self.parser.parse(&mut self.buffer)? {
                return Ok(reply);
            }
            self.fill().await?;
        }
    }

    /// The bytes of the next reply.
    ///
    /// # Errors
    /// The connection failed; see [`Error`].
    pub async fn frame(&mut self) -> Result<Bytes, Error> {
        loop {
            if let Some(frame) = self.parser.frame(&mut self.buffer)? {
                return Ok(frame);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), Error> {
        self.buffer.reserve(16 << 10);
        let read = within(self.deadline, async {
            self.stream
                .read_buf(&mut self.buffer)
                .await
                .map_err(Error::from)
        });
        if read.await? == 0 {
            Err(Error::Closed)
        } else {
            Ok(())
        }
    }
}

impl Writer {
    /// Writes a command into the buffer; [`flush`](Self::flush) sends it.
    pub fn push<A: AsRef<[u8]>>(&mut self, command: &[A]) {
        write_command(&mut self.buffer, command);
    }

    /// Sends what was pushed.
    ///
    /// # Errors
    /// The connection failed; see [`Error`].
    pub async fn flush(&mut self) -> Result<(), Error> {
        while !self.buffer.is_empty() {
            let written = within(self.deadline, async {
                self.stream
                    .write_buf(&mut self.buffer)
                    .await
                    .map_err(Error::from)
            });
            if written.await? == 0 {
                return Err(Error::Closed);
            }
        }
        within(self.deadline, async {
            self.stream.flush().await.map_err(Error::from)
        })
        .await
    }
}

async fn open(target: &Target) -> io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect(&target.address).await?;
    stream.set_nodelay(true)?;
    Ok(match &target.tls {
        None => Box::new(stream),
        Some((config, name)) => {
            let connector = TlsConnector::from(Arc::clone(config));
            Box::new(connector.connect(name.clone(), stream).await?)
        }
    })
}

async fn within<T>(
    deadline: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::time::timeout(deadline, work)
        .await
        .unwrap_or(Err(Error::Deadline(deadline)))
}
