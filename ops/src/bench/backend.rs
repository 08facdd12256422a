//! The fast backend of a benchmark, a process of its own.
//!
//! One event loop on one thread, one task a connection. A plain request is
//! compared byte for byte with the one that must arrive and answered with bytes
//! built beforehand; all else reads the knobs in the body (see
//! [`super::payload`]). It prints `ready <address>` and ends when its standard
//! input does, so that it never outlives the benchmark.
//!
//! Invariants:
//! 1. A request that did not arrive as it was sent is answered 400.
//! 2. Requests of one hold are answered together or, after [`HOLD_LIMIT`], not
//!    at all.

use std::{
    cell::Cell,
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::{self, JoinSet, LocalSet},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    payload::{self, Event, Knobs},
    wire::Head,
};

/// How much of a body's front is kept to find its knobs.
const FRONT: usize = 2 * payload::SIZE;

/// How long requests are held for others at most.
const HOLD_LIMIT: Duration = Duration::from_secs(30);

/// How long all held requests stay held together, so that memory can be read.
const HOLD_TOGETHER: Duration = Duration::from_millis(500);

/// Connections that may wait to be accepted: a whole burst.
const BACKLOG: u32 = 4096;

const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Serves until standard input ends.
///
/// # Errors
/// If it cannot listen or print.
pub async fn serve() -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let listener = socket.listen(BACKLOG)?;
    println!("ready {}", listener.local_addr()?);
    io::stdout().flush()?;
    let local = LocalSet::new();
    let end = task::spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink()));
    tokio::select! {
        ended = end => ended.map_err(io::Error::other)?.map(|_| ()),
        failed = local.run_until(accept(listener)) => failed,
    }
}

/// A backend of its own thread-local world, listening on `listener`, for as
/// long as the future is polled inside a [`LocalSet`].
///
/// # Errors
/// If accepting fails.
pub async fn accept(listener: TcpListener) -> io::Result<()> {
    let shared = Rc::new(Shared::new());
    let mut connections = JoinSet::new();
    loop {
        let (stream, _): (_, SocketAddr) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // A proxy may drop its connections at any time; the load generator
        // tells whether a request suffered.
        connections.spawn_local(Connection::new(stream, Rc::clone(&shared)).run());
        while connections.try_join_next().is_some() {}
    }
}

/// What all connections see.
struct Shared {
    /// The one plain request's body.
    plain: Vec<u8>,
    /// Its answer, head and body.
    answer: Vec<u8>,
    hold: Hold,
}

impl Shared {
    fn new() -> Self {
        let plain = Knobs {
            bytes: payload::SIZE,
            ..Knobs::default()
        };
        Self {
            plain: payload::request_body(false, plain),
            answer: unary("200 OK", &payload::answer_body()),
            hold: Hold {
                waiting: Cell::new(0),
                released: watch::Sender::new(0),
            },
        }
    }
}

fn unary(status: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Requests that wait for each other.
struct Hold {
    waiting: Cell<usize>,
    /// How many groups have been let go.
    released: watch::Sender<u64>,
}

impl Hold {
    /// Waits until `size` requests wait here. `false` if they never came.
    async fn wait(&self, size: usize) -> bool {
        let mut released = self.released.subscribe();
        self.waiting.set(self.waiting.get() + 1);
        if self.waiting.get() >= size {
            sleep(HOLD_TOGETHER).await;
            self.waiting.set(0);
            self.released.send_modify(|groups| *groups += 1);
            return true;
        }
        let came = timeout(HOLD_LIMIT, released.changed()).await.is_ok();
        if !came {
            self.waiting.set(self.waiting.get().saturating_sub(1));
        }
        came
    }
}

struct Connection {
    stream: TcpStream,
    shared: Rc<Shared>,
    /// Bytes read and not yet used.
    input: Vec<u8>,
}

/// What is left of a request once it has been read.
struct Request {
    chat: bool,
    /// Its body's first bytes, at most [`FRONT`].
    front: Vec<u8>,
    /// Length of the whole body.
    length: usize,
}

impl Connection {
    fn new(stream: TcpStream, shared: Rc<Shared>) -> Self {
        Self {
            stream,
            shared,
            input: Vec::with_capacity(4096),
        }
    }

    async fn run(mut self) {
        // An error here is the other side's going away.
        while let Ok(Some(request)) = self.read().await {
            if self.answer(&request).await.is_err() {
                return;
            }
        }
    }

    /// The next request; `None` at the end of the connection.
    async fn read(&mut self) -> io::Result<Option<Request>> {
        let (mut body, chat) = loop {
            if let Some(head) = Head::request(&self.input).map_err(io::Error::other)? {
                let chat = head.line.starts_with("POST ") && head.line.contains(payload::PATH);
                let (body, length) = (head.body, head.length);
                self.input.drain(..length);
                break (body, chat);
            }
            if self.more().await? == 0 {
                return Ok(None);
            }
        };
        let mut request = Request {
            chat,
            front: Vec::with_capacity(payload::SIZE),
            length: 0,
        };
        loop {
            let used = body
                .feed(&self.input, |data| {
                    let room = FRONT.saturating_sub(request.front.len());
                    request
                        .front
                        .extend_from_slice(&data[..data.len().min(room)]);
                    request.length += data.len();
                })
                .map_err(io::Error::other)?;
            self.input.drain(..used);
            if body.done() {
                return Ok(Some(request));
            }
            if self.more().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn more(&mut self) -> io::Result<usize> {
        self.input.reserve(4096);
        self.stream.read_buf(&mut self.input).await
    }

    async fn answer(&mut self, request: &Request) -> io::Result<()> {
        let shared = Rc::clone(&self.shared);
        if request.front == shared.plain && request.chat {
            return self.stream.write_all(&shared.answer).await;
        }
        if !request.chat {
            return self.stream.write_all(&unary("404 Not Found", b"{}")).await;
        }
        match payload::knobs(&request.front) {
            Ok(knobs) if knobs.bytes != request.length || knobs == self.plain_knobs() => {
                self.stream
                    .write_all(&unary("400 Bad Request", b"{\"error\":\"body changed\"}"))
                    .await
            }
            Ok(knobs) if payload::wants_stream(&request.front) => self.answer_events(knobs).await,
            Ok(knobs) => {
                if knobs.hold > 0 && !shared.hold.wait(knobs.hold).await {
                    let late = b"{\"error\":\"the others never came\"}";
                    return self
                        .stream
                        .write_all(&unary("503 Service Unavailable", late))
                        .await;
                }
                self.stream.write_all(&shared.answer).await
            }
            Err(reason) => {
                let body = format!("{{\"error\":\"{reason}\"}}");
                self.stream
                    .write_all(&unary("400 Bad Request", body.as_bytes()))
                    .await
            }
        }
    }

    /// The knobs of the plain request, which [`Self::answer`] has already found
    /// to differ in its bytes.
    fn plain_knobs(&self) -> Knobs {
        Knobs {
            bytes: self.shared.plain.len(),
            ..Knobs::default()
        }
    }

    async fn answer_events(&mut self, knobs: Knobs) -> io::Result<()> {
        let began = Instant::now();
        self.stream.write_all(STREAM_HEAD).await?;
        let first = began + Duration::from_micros(knobs.delay_us as u64);
        for number in 0..u32::try_from(knobs.events).map_err(io::Error::other)? {
            let due = first + Duration::from_millis(knobs.gap_ms as u64) * number;
            if due > Instant::now() {
                sleep_until(due).await;
            }
            let after_us = u32::try_from(began.elapsed().as_micros()).map_err(io::Error::other)?;
            let event = Event { number, after_us }.encode();
            let chunk = format!("{:x}\r\n{event}\r\n", event.len());
            self.stream.write_all(chunk.as_bytes()).await?;
        }
        let length = format!("{:x}\r\n", payload::DONE.len());
        let end = [length.as_bytes(), payload::DONE, b"\r\n0\r\n\r\n"].concat();
        self.stream.write_all(&end).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes `request` to a backend of its own and returns what it answered
    /// before it closed.
    async fn ask(requests: &[Vec<u8>]) -> Vec<String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let asking = async {
            let mut streams = Vec::new();
            for request in requests {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(request).await.unwrap();
                stream.shutdown().await.unwrap();
                streams.push(stream);
            }
            let mut answers = Vec::new();
            for mut stream in streams {
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await.unwrap();
                answers.push(answer);
            }
            answers
        };
        LocalSet::new()
            .run_until(async {
                tokio::select! {
                    end = accept(listener) => panic!("accepting ended: {end:?}"),
                    answers = asking => answers,
                }
            })
            .await
    }

    fn plain() -> Vec<u8> {
        payload::request_body(
            false,
            Knobs {
                bytes: payload::SIZE,
                ..Knobs::default()
            },
        )
    }

    #[tokio::test]
    async fn a_plain_request_gets_the_plain_answer() {
        let answers = ask(&[payload::request(&plain())]).await;
        assert!(answers[0].starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(answers[0].as_bytes().ends_with(&payload::answer_body()));
    }

    #[tokio::test]
    async fn a_changed_request_is_refused() {
        let mut changed = plain();
        let last_word = changed.len() - 10;
        changed[last_word] = b'?';
        let shorter = [&plain()[..payload::SIZE - 4], b"}"].concat();
        let answers = ask(&[payload::request(&changed), payload::request(&shorter)]).await;
        assert!(
            answers
                .iter()
                .all(|answer| answer.starts_with("HTTP/1.1 400 ")),
            "{answers:?}"
        );
    }

    #[tokio::test]
    async fn held_requests_are_answered_together() {
        let knobs = Knobs {
            bytes: 20_000,
            hold: 3,
            ..Knobs::default()
        };
        let request = payload::request(&payload::request_body(false, knobs));
        let answers = ask(&[request.clone(), request.clone(), request]).await;
        assert!(
            answers
                .iter()
                .all(|answer| answer.starts_with("HTTP/1.1 200 ")),
            "{answers:?}"
        );
    }

    #[tokio::test]
    async fn a_stream_has_all_its_events_and_an_end() {
        let knobs = Knobs {
            bytes: 512,
            events: 3,
            ..Knobs::default()
        };
        let answers = ask(&[payload::request(&payload::request_body(true, knobs))]).await;
        assert_eq!(answers[0].matches("chat.completion.chunk").count(), 3);
        assert!(answers[0].ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"));
    }
}
