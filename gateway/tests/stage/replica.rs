//! A replica that does what its script says, and remembers what it was asked.

use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    rc::Rc,
    time::Instant,
};

use bytes::{Buf, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

use super::{soon, until};

/// One request as a replica saw it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// When its head had arrived.
    pub(crate) at: Instant,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    /// As much of it as was read.
    pub(crate) body: Vec<u8>,
    /// When the gateway was seen to hang up, if the script looked.
    pub(crate) left: Option<Instant>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

type Log = Rc<RefCell<Vec<Asked>>>;

/// Listens until dropped.
pub(crate) struct Replica {
    pub(crate) id: &'static str,
    pub(crate) address: SocketAddr,
    log: Log,
    task: JoinHandle<()>,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Replica {
    /// Reads each request to its end, then plays `script` for it.
    pub(crate) async fn new(id: &'static str, script: impl AsyncFn(Turn) + 'static) -> Self {
        let whole = async move |mut turn: Turn| {
            if turn.read_body().await.is_ok() {
                script(turn).await;
            }
        };
        Self::eager(id, whole).await
    }

    /// Plays `script` as soon as a request's head is there.
    pub(crate) async fn eager(id: &'static str, script: impl AsyncFn(Turn) + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = Log::default();
        let (told, script) = (Rc::clone(&log), Rc::new(script));
        let task = tokio::task::spawn_local(async move {
            let turns = Rc::new(Cell::new(0));
            let mut talking = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let script = Rc::clone(&script);
                talking.spawn_local(talk(
                    stream,
                    id,
                    script,
                    Rc::clone(&turns),
                    Rc::clone(&told),
                ));
            }
        });
        Self {
            id,
            address,
            log,
            task,
        }
    }

    /// A well one, which answers [`answer`](super::words::answer).
    pub(crate) async fn well(id: &'static str) -> Self {
        Self::new(id, async |turn| turn.well().await).await
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.log.borrow().clone()
    }

    pub(crate) fn times(&self) -> usize {
        self.log.borrow().len()
    }

    /// Waits until it was asked `times` times.
    pub(crate) async fn was_asked(&self, times: usize) {
        let what = format!("{} is asked {times} times", self.id);
        until(&what, || self.times() >= times).await;
    }

    /// Waits until the gateway has hung up on its request `nth`.
    pub(crate) async fn was_left(&self, nth: usize) -> Instant {
        let left = || self.log.borrow().get(nth).and_then(|asked| asked.left);
        until(&format!("{} is left", self.id), || left().is_some()).await;
        left().unwrap()
    }
}

async fn talk(
    stream: TcpStream,
    id: &'static str,
    script: Rc<impl AsyncFn(Turn) + 'static>,
    turns: Rc<Cell<usize>>,
    log: Log,
) {
    stream.set_nodelay(true).unwrap();
    let mut kept = Some((stream, BytesMut::new()));
    while let Some((mut stream, mut buffer)) = kept.take() {
        let Some((asked, body)) = head(&mut stream, &mut buffer).await else {
            return;
        };
        log.borrow_mut().push(asked);
        let (again, next) = oneshot::channel();
        let turn = Turn {
            id,
            nth: turns.replace(turns.get() + 1),
            stream,
            buffer,
            body,
            entry: log.borrow().len() - 1,
            log: Rc::clone(&log),
            again,
        };
        script(turn).await;
        kept = next.await.ok();
    }
}

/// How a request's body ends.
#[derive(Debug, Clone, Copy)]
enum Body {
    Bytes(usize),
    Chunked,
    Over,
}

/// The next request's head, or `None` if there is none.
async fn head(stream: &mut TcpStream, buffer: &mut BytesMut) -> Option<(Asked, Body)> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8(buffer.split_to(end).to_vec()).unwrap();
    let mut lines = text.split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let name = HeaderName::try_from(name).unwrap();
        headers.append(name, HeaderValue::from_str(value.trim()).unwrap());
    }
    let body = match headers.get("content-length") {
        Some(length) => Body::Bytes(length.to_str().unwrap().parse().unwrap()),
        None if headers.contains_key("transfer-encoding") => Body::Chunked,
        None => Body::Over,
    };
    let asked = Asked {
        at: Instant::now(),
        method: first.next().unwrap().to_owned(),
        path: first.next().unwrap().to_owned(),
        headers,
        body: Vec::new(),
        left: None,
    };
    Some((asked, body))
}

/// One request and the connection it came over. Dropped, it closes.
pub(crate) struct Turn {
    /// Whose turn it is.
    pub(crate) id: &'static str,
    /// How many there were before it at this replica.
    pub(crate) nth: usize,
    pub(crate) stream: TcpStream,
    buffer: BytesMut,
    body: Body,
    entry: usize,
    log: Log,
    again: oneshot::Sender<(TcpStream, BytesMut)>,
}

impl Turn {
    /// What is asked.
    pub(crate) fn asked(&self) -> Asked {
        self.log.borrow()[self.entry].clone()
    }

    /// The next piece of the request's body; nothing at its end.
    pub(crate) async fn read_some(&mut self) -> io::Result<usize> {
        let piece = match self.body {
            Body::Over => return Ok(0),
            Body::Bytes(left) => {
                self.fill(1).await?;
                let piece = self.buffer.split_to(left.min(self.buffer.len()));
                self.body = match left - piece.len() {
                    0 => Body::Over,
                    left => Body::Bytes(left),
                };
                piece
            }
            Body::Chunked => self.chunk_of_body().await?,
        };
        let mut log = self.log.borrow_mut();
        log[self.entry].body.extend_from_slice(&piece);
        Ok(piece.len())
    }

    /// The rest of the request's body.
    pub(crate) async fn read_body(&mut self) -> io::Result<()> {
        if matches!(self.body, Body::Bytes(0)) {
            self.body = Body::Over;
        }
        while !matches!(self.body, Body::Over) {
            self.read_some().await?;
        }
        Ok(())
    }

    async fn chunk_of_body(&mut self) -> io::Result<BytesMut> {
        let line = loop {
            match self.buffer.windows(2).position(|two| two == b"\r\n") {
                Some(at) => break at,
                None => self.fill(self.buffer.len() + 1).await?,
            }
        };
        let size = std::str::from_utf8(&self.buffer[..line]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        self.fill(line + 2 + size + 2).await?;
        self.buffer.advance(line + 2);
        let piece = self.buffer.split_to(size);
        self.buffer.advance(2);
        if size == 0 {
            self.body = Body::Over;
        }
        Ok(piece)
    }

    async fn fill(&mut self, bytes: usize) -> io::Result<()> {
        while self.buffer.len() < bytes {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    /// Writes; whether the gateway is still there is for the test to say.
    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// A whole answer; `headers` are lines with their ends.
    pub(crate) async fn answer(mut self, status: &str, headers: &str, body: &str) {
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        );
        self.write(head + body).await;
        self.again();
    }

    /// Answers as a well replica does.
    pub(crate) async fn well(self) {
        let words = super::words::answer(self.id);
        self.answer("200 OK", "", &words).await;
    }

    /// The head of a stream of events.
    pub(crate) async fn open(&mut self) -> bool {
        self.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            .await
    }

    /// One chunk of a stream.
    pub(crate) async fn chunk(&mut self, bytes: &str) -> bool {
        self.write(format!("{:x}\r\n{bytes}\r\n", bytes.len()))
            .await
    }

    /// One event.
    pub(crate) async fn event(&mut self, data: &str) -> bool {
        self.chunk(&format!("data: {data}\n\n")).await
    }

    /// The clean end of a stream.
    pub(crate) async fn close(mut self) {
        self.write("0\r\n\r\n").await;
        self.again();
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }

    /// Says nothing until the gateway hangs up, and remembers when it did.
    pub(crate) async fn silence(mut self) {
        self.until_left().await;
    }

    pub(crate) async fn until_left(&mut self) {
        let mut bytes = [0; 4096];
        let gone = async { while let Ok(1..) = self.stream.read(&mut bytes).await {} };
        soon("the gateway hangs up", gone).await;
        self.log.borrow_mut()[self.entry].left = Some(Instant::now());
    }

    /// Waits for the next request on this connection.
    pub(crate) fn again(self) {
        // Nobody waits for it once the replica is gone.
        let _ = self.again.send((self.stream, self.buffer));
    }
}

/// An address that refuses connections: taken, and never listened on.
pub(crate) struct Refusing(socket2::Socket);

impl Refusing {
    pub(crate) fn new() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        Self(socket)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap().as_socket().unwrap()
    }
}
