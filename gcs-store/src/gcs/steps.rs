//! Runs one command in its turn: finds its namespace, judges its connection,
//! executes it.

use futures_util::FutureExt as _;
use ray_tables::NamespaceName;
use tokio::{sync::oneshot, time::Instant};

use super::{
    command::{Command, Reply, Stored},
    execute::{self, Room},
    heads::{Heads, Verdict},
    image::Image,
    journal::{Effect, Incarnation},
    key::NamespaceId,
    load,
    patience::Patience,
    session::{Job, Link, Work},
    space::{Entry, Group, Space, State},
    term::{Load, Term},
    writer::Deposed,
};

/// What became of a job.
pub(super) enum Step {
    /// It has its answer.
    Reply(oneshot::Sender<Reply>, Reply),
    /// It waits for a namespace to be loaded.
    Parked(NamespaceId, Job),
    /// It wanted none.
    Nothing,
}

/// What a command needs before it can run.
enum Need {
    /// Nothing.
    Ready,
    /// The namespace is not in memory.
    Load(NamespaceId),
    /// The namespace is not there.
    Create(NamespaceName),
}

impl Term {
    /// Runs a job, or finds what it waits for.
    pub(super) async fn step(
        &mut self,
        job: Job,
        room: Room,
        group: &mut Group,
    ) -> Result<Step, Deposed> {
        if job.link.is_closed() && !matches!(job.work, Work::Gone) {
            return Ok(Step::Nothing);
        }
        let Job { link, work, reply } = job;
        let again = |link, work, reply| Job { link, work, reply };
        match work {
            Work::Gone => {
                self.gone(&link);
                Ok(Step::Nothing)
            }
            Work::Declare { namespace, .. } if self.is_deleted(&namespace) => Ok(Step::Reply(
                reply,
                Reply::Error(execute::deleted(&namespace)),
            )),
            Work::Declare { namespace, epoch } => match self.need(&namespace, true) {
                Need::Load(id) => {
                    let work = Work::Declare { namespace, epoch };
                    Ok(Step::Parked(id, again(link, work, reply)))
                }
                Need::Create(name) => match self.create(&name).await? {
                    Ok(id) => {
                        let answer = self.declare(id, epoch, &link, group);
                        Ok(Step::Reply(reply, answer))
                    }
                    Err(refusal) => Ok(Step::Reply(reply, refusal)),
                },
                Need::Ready => {
                    let id = self.spaces.entry(&namespace).map(|entry| entry.id);
                    let answer = id.map_or(Reply::Null, |id| self.declare(id, epoch, &link, group));
                    Ok(Step::Reply(reply, answer))
                }
            },
            Work::Command(command @ Command::Scan { .. }) => match self.scan_keys(&command) {
                Ok(answer) => Ok(Step::Reply(reply, answer)),
                Err(id) => Ok(Step::Parked(id, again(link, Work::Command(command), reply))),
            },
            Work::Command(command) => {
                let names = namespaces(&command);
                // It is not taken into memory: a copy may be filling it.
                if let Some(name) = names.iter().find(|name| self.is_deleted(name)) {
                    return Ok(Step::Reply(reply, Reply::Error(execute::deleted(name))));
                }
                // The first head of all announces itself before it writes.
                let announces = link.scans.get().sign(&command).is_some();
                let creates = announces || execute::creates(&command);
                for name in &names {
                    match self.need(name, creates) {
                        Need::Ready => {}
                        Need::Load(id) => {
                            let job = again(link, Work::Command(command), reply);
                            return Ok(Step::Parked(id, job));
                        }
                        Need::Create(name) => {
                            if let Err(refusal) = self.create(&name).await? {
                                return Ok(Step::Reply(reply, refusal));
                            }
                        }
                    }
                }
                let answer = self.command(&command, &names, &link, room, group);
                Ok(Step::Reply(reply, answer))
            }
        }
    }

    /// Runs a command whose namespaces are in memory, or not there.
    fn command(
        &mut self,
        command: &Command,
        names: &[NamespaceName],
        link: &Link,
        room: Room,
        group: &mut Group,
    ) -> Reply {
        let mut scans = link.scans.get();
        let sign = scans.sign(command);
        link.scans.set(scans);
        let mut total = None;
        for name in names {
            let id = self.spaces.entry(name).map(|entry| entry.id);
            let Some(space) = id.and_then(|id| self.spaces.get_mut(id)) else {
                total = Some(add(total, execute::absent(command)));
                continue;
            };
            self.used.insert(space.entry.id, Instant::now());
            link.touches(space.entry.id);
            let alive = space.heads.alive();
            let writes = execute::writes(command);
            let verdict = space.heads.judge(link.order, link.peer.ip(), sign, writes);
            if verdict == Verdict::Begin {
                begin(space, alive, false, link, group);
                self.closing.extend(space.heads.fenced());
            }
            match verdict {
                Verdict::Go | Verdict::Begin => {}
                Verdict::Fenced => {
                    let id = space.entry.id;
                    return self.refuse(id, link);
                }
                Verdict::Undeclared => {
                    if sign.is_some() {
                        // A head: it is not to try its luck with other commands.
                        self.shared.close(link.order);
                    }
                    return Reply::Error(
                        format!(
                            "NOPERM heads of namespace {name} log in as {name}/<epoch>, and this one has not"
                        )
                        .into(),
                    );
                }
            }
            let reply = execute::execute(space, command, &mut self.cursors, room, group);
            total = Some(add(total, reply));
        }
        total.unwrap_or(Reply::Int(0))
    }

    fn declare(&mut self, id: NamespaceId, epoch: u64, link: &Link, group: &mut Group) -> Reply {
        let Some(space) = self.spaces.get_mut(id) else {
            return Reply::Null;
        };
        self.used.insert(id, Instant::now());
        link.touches(id);
        let alive = space.heads.alive();
        match space.heads.declare(link.order, link.peer.ip(), epoch) {
            Verdict::Go => Reply::Status("OK"),
            Verdict::Begin => {
                begin(space, alive, true, link, group);
                self.closing.extend(space.heads.fenced());
                Reply::Status("OK")
            }
            Verdict::Fenced | Verdict::Undeclared => self.refuse(id, link),
        }
    }

    fn gone(&mut self, link: &Link) {
        for id in link.namespaces.borrow().iter() {
            if let Some(space) = self.spaces.get_mut(*id) {
                space.heads.gone(link.order);
            }
            if let Some(heads) = self.heads.get_mut(id) {
                heads.gone(link.order);
            }
        }
    }

    /// One namespace's keys a page; or which one has to be loaded.
    fn scan_keys(&self, command: &Command) -> Result<Reply, NamespaceId> {
        let Command::Scan {
            cursor, pattern, ..
        } = command
        else {
            return Ok(Reply::Int(0));
        };
        let prefix = pattern.as_ref().map_or(&[][..], |pattern| pattern.prefix());
        let mut candidates: Vec<&Entry> = self
            .spaces
            .entries()
            .filter(|entry| u64::try_from(entry.id.0).is_ok_and(|id| id >= *cursor))
            .filter(|entry| {
                let key = format!("RAY{}@", entry.name);
                prefix.starts_with(key.as_bytes()) || key.as_bytes().starts_with(prefix)
            })
            .filter(|entry| entry.state != State::Deleted)
            .collect();
        candidates.sort_unstable_by_key(|entry| entry.id);
        let Some(entry) = candidates.first() else {
            return Ok(execute::page(0, Vec::new()));
        };
        let Some(space) = self.spaces.get(entry.id) else {
            return Err(entry.id);
        };
        let keys = space.image.tables().map(|(table, _)| {
            ray_tables::StorageKey::new(entry.name.clone(), table.clone()).to_bytes()
        });
        let items = keys
            .filter(|key| pattern.as_ref().is_none_or(|pattern| pattern.matches(key)))
            .map(|key| Reply::Bulk(Stored::Inline(key)))
            .collect();
        let next = candidates
            .get(1)
            .map_or(0, |entry| u64::try_from(entry.id.0).unwrap_or(0));
        Ok(execute::page(next, items))
    }

    fn is_deleted(&self, name: &NamespaceName) -> bool {
        let entry = self.spaces.entry(name);
        entry.is_some_and(|entry| entry.state == State::Deleted)
    }

    fn need(&self, name: &NamespaceName, creates: bool) -> Need {
        match self.spaces.entry(name) {
            None if creates => Need::Create(name.clone()),
            None => Need::Ready,
            Some(entry) if self.spaces.get(entry.id).is_some() => Need::Ready,
            Some(entry) => Need::Load(entry.id),
        }
    }

    /// Makes a namespace that is not there; or says why not.
    async fn create(
        &mut self,
        name: &NamespaceName,
    ) -> Result<Result<NamespaceId, Reply>, Deposed> {
        if !self.settings.open {
            return Ok(Err(Reply::Error(
                format!(
                    "NOPERM there is no namespace {name}; `tradewind store namespace create {name}` makes it"
                )
                .into(),
            )));
        }
        // This may take long; what is durable is said before.
        self.release();
        let at_ms = self.clock.now_ms();
        let mut patience = Patience::new("making a namespace");
        let (entry, fresh) = loop {
            match self.writer.create(name, at_ms).await {
                Ok(made) => break made?,
                Err(error) => {
                    self.writer.spoiled(&error);
                    patience.wait(&error).await;
                }
            }
        };
        let id = entry.id;
        self.spaces.add(entry.clone());
        if fresh {
            self.loaded(&entry, Image::default());
        } else if self.spaces.get(id).is_none() {
            // Made this moment by somebody else, who may have filled it.
            let (entry, image) = self.load(entry).await;
            self.loaded(&entry, image);
        }
        Ok(Ok(id))
    }

    pub(super) fn load(&self, entry: Entry) -> Load {
        let database = self.shared.database().clone();
        async move {
            let mut patience = Patience::new("reading a namespace");
            loop {
                match load::image(&database, entry.id).await {
                    Ok(image) => return (entry, image),
                    Err(error) => patience.wait(&error).await,
                }
            }
        }
        .boxed_local()
    }

    pub(super) fn loaded(&mut self, entry: &Entry, image: Image) {
        let id = entry.id;
        self.loading.remove(&id);
        // The catalog may have changed while it was read.
        let entry = match self.spaces.entry(&entry.name) {
            Some(now) if now.id == id && now.state != State::Deleted => now.clone(),
            _ => return self.unpark(id),
        };
        let heads = self
            .heads
            .remove(&id)
            .unwrap_or_else(|| Heads::new(entry.epoch));
        self.spaces.load(Space::new(entry, heads, image));
        self.used.insert(id, Instant::now());
        self.unpark(id);
    }

    /// Lets the commands that waited for a namespace have their turn.
    pub(super) fn unpark(&mut self, id: NamespaceId) {
        if let Some(jobs) = self.parked.remove(&id) {
            self.shared.unpop(jobs.into_iter());
        }
    }
}

/// The namespaces that a command is of, each once.
fn namespaces(command: &Command) -> Vec<NamespaceName> {
    match command {
        Command::Hset { key, .. }
        | Command::Hsetnx { key, .. }
        | Command::Hget { key, .. }
        | Command::Hmget { key, .. }
        | Command::Hexists { key, .. }
        | Command::Hdel { key, .. }
        | Command::Hlen { key }
        | Command::Hscan { key, .. }
        | Command::Incrby { key, .. }
        | Command::Get { key } => vec![key.namespace.clone()],
        Command::Del { keys } => {
            let mut names: Vec<_> = keys.iter().map(|key| key.namespace.clone()).collect();
            names.sort_unstable();
            names.dedup();
            names
        }
        Command::Scan { .. } => Vec::new(),
    }
}

/// The answer of a command of several namespaces; the first refusal is all.
fn add(total: Option<Reply>, reply: Reply) -> Reply {
    match (total, reply) {
        (Some(Reply::Int(a)), Reply::Int(b)) => Reply::Int(a + b),
        (Some(refusal @ Reply::Error(_)), _) => refusal,
        (_, reply) => reply,
    }
}

/// A new head: its epoch becomes durable with its first command.
fn begin(space: &mut Space, fences: bool, declared: bool, link: &Link, group: &mut Group) {
    let incarnation = Incarnation {
        namespace: space.entry.id,
        epoch: space.heads.epoch(),
        declared,
        peer: link.peer.to_string(),
        user: link.user.borrow().clone().unwrap_or_default(),
        fences,
    };
    tracing::info!(
        namespace = %space.entry.name,
        epoch = incarnation.epoch,
        peer = incarnation.peer,
        declared,
        fences,
        "a new head has the namespace"
    );
    let effect = Effect::Begin(incarnation);
    space.apply(&effect, group.at_ms);
    group.effects.push(effect);
}

impl Term {
    /// A head that a newer one has fenced: its connection is closed.
    fn refuse(&self, id: NamespaceId, link: &Link) -> Reply {
        self.shared.close(link.order);
        self.settings.metrics.fenced();
        let (name, epoch) = self.spaces.get(id).map_or_else(
            || (String::new(), 0),
            |space| (space.entry.name.to_string(), space.heads.epoch()),
        );
        tracing::warn!(namespace = name, epoch, peer = %link.peer, "refused a fenced head");
        Reply::Error(format!("FENCED a newer head, of epoch {epoch}, has namespace {name}").into())
    }
}
