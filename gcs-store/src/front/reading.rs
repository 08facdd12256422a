//! The half of a connection that reads.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Poll, ready},
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use resp::{Limits, Parser, Reply};
use tokio::{
    io::{AsyncRead as _, ReadBuf},
    select,
    sync::SemaphorePermit,
};
use tokio_util::io::poll_read_buf;

use super::{
    auth::{self, Identity},
    command::{cost, key_of, key_of_action, keys_of},
    connection::End,
    queue::{Answer, Held, Queue, Waiting},
    shared::{Phase, Shared},
    socket::Socket,
    translate::{self, Action, translate},
    verb::Verb,
};
use crate::gcs::{
    command::{Command, INLINE_MAX, Stored},
    session::{Session, Standing},
};

/// An unfinished request of at most so much is read on beyond all bounds, and
/// not counted.
const SMALL: usize = 64 << 10;

/// What is kept of a client between its requests.
pub(crate) struct Reading {
    /// What came and is not a whole request yet.
    pub(super) buffer: BytesMut,
    pub(super) identity: Identity,
    parser: Parser,
    /// What `buffer` takes of the budget, if it is large.
    held: Held,
}

impl Reading {
    /// Of a client that is known as `identity`, with what came of it before.
    pub(super) fn new(front: &Rc<Shared>, identity: Identity, buffer: BytesMut) -> Self {
        let mut parser = Parser::new(Limits::default());
        if front.requires_login(&identity) {
            parser.set_limits(Limits::UNAUTHENTICATED);
        }
        Self {
            buffer,
            identity,
            parser,
            held: Held::new(front.budget.clone()),
        }
    }

    fn is_small(&self) -> bool {
        self.buffer.len() <= SMALL
    }

    fn count(&mut self) {
        let bytes = if self.is_small() {
            0
        } else {
            self.buffer.len() as u64
        };
        self.held.set(bytes);
    }
}

pub(super) struct Reader<'a> {
    pub(super) front: &'a Rc<Shared>,
    pub(super) session: &'a Session,
    pub(super) socket: &'a RefCell<Socket>,
    pub(super) queue: &'a Queue,
}

impl<'a> Reader<'a> {
    /// Reads and submits until the connection is to end or to stand still.
    pub(super) async fn run(&self, reading: &mut Reading) -> End {
        let mut halted = pin!(self.front.phase_is_not(Phase::Serving));
        let mut fenced = pin!(self.session.fenced());
        let mut turn: Option<SemaphorePermit<'a>> = None;
        loop {
            if self.front.phase() != Phase::Serving {
                return self.halt();
            }
            if self.session.is_fenced() {
                return End::Fenced;
            }
            if reading.is_small() && self.queue.is_empty() {
                turn = None;
            }
            if self.is_bounded(reading, turn.is_some()) {
                select! {
                    biased;
                    () = &mut halted => return self.halt(),
                    () = &mut fenced => return End::Fenced,
                    () = self.queue.taken() => {}
                    () = self.front.budget.freed() => {}
                    got = self.front.turns.acquire(), if self.queue.is_empty() => turn = got.ok(),
                }
                continue;
            }
            match reading.parser.parse(&mut reading.buffer) {
                Err(error) => {
                    self.front.metrics.protocol_error();
                    self.say(None, Reply::Error(format!("ERR {error}").into()));
                    return End::Protocol;
                }
                Ok(Some(request)) => {
                    let bytes = request.wire_bytes as u64;
                    if let Some(end) = self.request(reading, &request.args, bytes).await {
                        return end;
                    }
                    reading.count();
                    // A client that sends without end is not alone here.
                    tokio::task::consume_budget().await;
                    continue;
                }
                Ok(None) => {}
            }
            if reading.buffer.is_empty() {
                reading.buffer = BytesMut::new();
            }
            select! {
                biased;
                () = &mut halted => return self.halt(),
                () = &mut fenced => return End::Fenced,
                read = self.fill(reading) => match read {
                    Ok(0) => return End::Closed,
                    Ok(_) => reading.count(),
                    Err(error) => return End::Broken(error),
                },
            }
        }
    }

    fn halt(&self) -> End {
        match self.front.phase() {
            Phase::Stopping => End::Stopping,
            Phase::Serving | Phase::Quiescing => End::Quiesced,
        }
    }

    /// Whether nothing may be read now.
    fn is_bounded(&self, reading: &Reading, has_turn: bool) -> bool {
        if self.queue.is_full() {
            return true;
        }
        if !self.front.budget.is_spent() {
            return false;
        }
        !self.queue.is_empty() || !(reading.is_small() || has_turn)
    }

    /// Reads what is there. An empty buffer is filled by way of a common one, so
    /// that idle connections need none.
    async fn fill(&self, reading: &mut Reading) -> io::Result<usize> {
        let buffer = &mut reading.buffer;
        let parser = &reading.parser;
        poll_fn(|cx| {
            let mut socket = self.socket.borrow_mut();
            let socket = Pin::new(&mut *socket);
            if !buffer.is_empty() {
                parser.reserve(buffer);
                return poll_read_buf(socket, cx, buffer);
            }
            let mut common = self.front.read_buffer.borrow_mut();
            let mut read = ReadBuf::new(&mut common);
            ready!(socket.poll_read(cx, &mut read))?;
            buffer.extend_from_slice(read.filled());
            Poll::Ready(Ok(read.filled().len()))
        })
        .await
    }

    /// Does what a request asks. What waits long and seldom is boxed, so that
    /// connections at rest do not hold the room for it.
    async fn request(&self, reading: &mut Reading, words: &[Bytes], bytes: u64) -> Option<End> {
        let came = Instant::now();
        let (verb, action) = translate(words);
        match verb {
            Some(verb) => self.front.metrics.command(verb, key_of_action(&action)),
            None => self.unknown(words),
        }
        let logs_in = matches!(action, Action::Login { .. } | Action::Quit);
        if !logs_in && self.front.requires_login(&reading.identity) {
            self.say(verb, auth::required());
            return None;
        }
        match action {
            Action::Say(reply) => self.say(verb, reply),
            Action::Ping(None) => self.say(verb, Reply::PONG),
            Action::Ping(Some(word)) => self.say(verb, Reply::bulk(&word)),
            Action::Probe => {
                let reply = Box::pin(self.probe()).await;
                self.say(verb, reply);
            }
            Action::Login { user, password } => {
                Box::pin(self.login(reading, user.as_deref(), &password)).await;
            }
            Action::Quit => {
                self.say(verb, Reply::OK);
                return Some(End::Quit);
            }
            Action::Run(command) => {
                if let Err(reply) = self.admit(&reading.identity, &command).await {
                    self.say(verb, reply);
                    return None;
                }
                let key = key_of(&command).cloned();
                let bytes = bytes + cost(&command);
                let keys = matches!(command, Command::Scan { .. });
                let pending = self.submit(command, bytes).await;
                self.queue.push(Waiting {
                    answer: if keys {
                        Answer::Keys(pending, reading.identity.clone())
                    } else {
                        Answer::One(pending)
                    },
                    verb,
                    key,
                    came,
                    bytes,
                });
            }
            Action::RunAll(commands) => {
                let first = commands.first()?;
                if let Err(reply) = self.admit(&reading.identity, first).await {
                    self.say(verb, reply);
                    return None;
                }
                let key = key_of(first).cloned();
                let mut pending = std::collections::VecDeque::with_capacity(commands.len());
                for command in commands {
                    pending.push_back(self.submit(command, bytes).await);
                }
                self.queue.push(Waiting {
                    answer: Answer::Sum { pending, sum: 0 },
                    verb,
                    key,
                    came,
                    bytes,
                });
            }
        }
        None
    }

    fn say(&self, verb: Option<Verb>, reply: Reply) {
        self.queue.push(Waiting {
            answer: Answer::Ready(reply),
            verb,
            key: None,
            came: Instant::now(),
            bytes: 0,
        });
    }

    /// Hands a command over, its value first if that is large.
    async fn submit(&self, mut command: Command, bytes: u64) -> crate::gcs::session::Pending {
        if let Command::Hset { value, .. } | Command::Hsetnx { value, .. } = &mut command
            && let Stored::Inline(content) = value
            && content.len() > INLINE_MAX
        {
            let mut held = Held::new(self.front.budget.clone());
            held.set(bytes);
            *value = Box::pin(self.session.stage(content.clone())).await;
        }
        self.session.submit(command)
    }

    /// Whether the client may do this, and here. Waits until that is known.
    async fn admit(&self, identity: &Identity, command: &Command) -> Result<(), Reply> {
        let standing = match self.front.engine.standing() {
            Standing::Starting => self.front.engine.settled().await,
            known => known,
        };
        for key in keys_of(command) {
            self.front.admit(identity, key)?;
        }
        match standing {
            Standing::Standby { active } => {
                let text =
                    format!("READONLY this store is a standby, the active one is at {active}");
                Err(Reply::Error(text.into()))
            }
            Standing::Active { .. } | Standing::Starting => Ok(()),
        }
    }

    /// The answer to `DEL DUMMY`.
    async fn probe(&self) -> Reply {
        loop {
            match self.front.engine.fresh_standing().await {
                Standing::Active { .. } => return Reply::Int(0),
                // The slot means nothing here; clients read the address.
                Standing::Standby { active } => {
                    return Reply::Error(format!("MOVED 0 {active}").into());
                }
                Standing::Starting => {
                    self.front.engine.settled().await;
                }
            }
        }
    }

    async fn login(&self, reading: &mut Reading, user: Option<&[u8]>, password: &[u8]) {
        let peer = self.session.peer();
        // Who has a password of its own is known only then.
        if let Standing::Standby { .. } = self.front.engine.settled().await {
            reading.identity = Identity::Unchecked;
            self.say(Some(Verb::Auth), Reply::OK);
            return;
        }
        let passwords = &self.front.passwords;
        let checked = self
            .front
            .guard
            .login(peer.ip(), user, password, |name| passwords.of(name))
            .await;
        let login = match checked {
            Ok(login) => login,
            Err(reply) => {
                self.front.metrics.login_failed();
                if let Some(kept_back) = self.front.logins.borrow_mut().allows(Instant::now()) {
                    tracing::warn!(client.address = %peer, kept_back, "a login failed");
                }
                self.say(Some(Verb::Auth), reply);
                return;
            }
        };
        reading.identity = login.identity;
        reading.parser.set_limits(Limits::default());
        let user = user.and_then(|user| std::str::from_utf8(user).ok());
        let pending = self.session.login(user, login.namespace.zip(login.epoch));
        self.queue.push(Waiting {
            answer: Answer::One(pending),
            verb: Some(Verb::Auth),
            key: None,
            came: Instant::now(),
            bytes: 0,
        });
    }

    fn unknown(&self, words: &[Bytes]) {
        self.front.metrics.unknown_verb();
        if let Some(kept_back) = self.front.unknown.borrow_mut().allows(Instant::now()) {
            tracing::warn!(
                client.address = %self.session.peer(),
                client.command = translate::for_log(words),
                kept_back,
                "a client sent a command that the store does not know"
            );
        }
    }
}
