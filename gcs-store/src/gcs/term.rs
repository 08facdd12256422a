//! One term of an active store: from taking the database to losing or leaving
//! it.
//!
//! ```text
//!   queue --> group: run all that waits, in memory --> journal --> replies
//!                |  namespace not in memory: parked, loaded meanwhile
//!                v
//!   chores: a sign of life each second, folds, sweeps; one step at a time,
//!           between groups
//! ```
//!
//! The next group is whatever has come in while the last was committed. No
//! timer: alone, a command is a group of its own; under load a group grows to
//! what the disk's flush leaves time for. Under load, too, a group's replies
//! leave while the next one is committed, so that flushing and talking to
//! clients take turns with nobody:
//!
//! ```text
//!   commit 1 |== flush ==|   commit 2 |== flush ==|   commit 3 |== flush ==|
//!                            replies 1, reads         replies 2, reads
//! ```
//!
//! Invariants:
//! 1. A reply leaves only when everything its command did or saw is durable
//!    (crash matrix, `tests/chaos`).
//! 2. Commands of one connection run in their order, also when their namespace
//!    has to be loaded first (`commands_keep_their_order_while_a_namespace_loads`).
//! 3. Reads are answered only while no other process can have taken the
//!    database (`a_paused_store_does_not_answer_from_memory`).

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use futures_util::{future::LocalBoxFuture, poll};
use tokio::{
    sync::oneshot,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    chores::{beat, catalog, journal_rows},
    clock::Clock,
    command::{Reply, Stored},
    cursor::Cursors,
    engine::Settings,
    execute::Room,
    fold::Fold,
    heads::{Heads, Order},
    image::Image,
    journal::{self, Effect},
    key::NamespaceId,
    patience::Patience,
    session::{Job, Shared},
    space::{Entry, Group, Spaces},
    steps::Step,
    writer::{Deposed, Writer},
};

/// Commands of one group at most.
const GROUP_COMMANDS: usize = 4096;

/// Bytes of effects in one group, about, at most: below any packet limit.
const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// For how long after a sign of life no other process takes the database; half
/// of what a standby waits.
pub(super) const SURE: Duration = Duration::from_secs(4);

/// How long a store that leaves may take to say that the database is free.
const RELEASE: Duration = Duration::from_secs(2);

/// How a term ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Another process took the database.
    Deposed,
    /// A successor asked.
    Retired,
    /// The process stops.
    Stopped,
}

pub(super) type Load = LocalBoxFuture<'static, (Entry, Image)>;

/// What is durable and not said yet.
#[derive(Default)]
pub(super) struct Settled {
    replies: Vec<(oneshot::Sender<Reply>, Reply)>,
    /// Connections of heads that a newer one has fenced.
    closing: Vec<Order>,
}

impl Settled {
    fn is_empty(&self) -> bool {
        self.replies.is_empty() && self.closing.is_empty()
    }

    fn release(&mut self, shared: &Shared, settings: &Settings) {
        for order in self.closing.drain(..) {
            shared.close(order);
            settings.metrics.fenced();
        }
        for (to, reply) in self.replies.drain(..) {
            // Whoever asked may have gone.
            let _heard = to.send(reply);
        }
    }
}

/// An active store.
pub(super) struct Term {
    pub(super) shared: Rc<Shared>,
    pub(super) settings: Rc<Settings>,
    pub(super) writer: Writer,
    pub(super) spaces: Spaces,
    pub(super) cursors: Cursors,
    /// What is known of heads in namespaces that are not in memory.
    pub(super) heads: HashMap<NamespaceId, Heads>,
    pub(super) used: HashMap<NamespaceId, Instant>,
    /// Namespaces on their way into memory, and the commands that wait for them.
    pub(super) loads: JoinSet<(Entry, Image)>,
    pub(super) loading: HashSet<NamespaceId>,
    pub(super) parked: HashMap<NamespaceId, Vec<Job>>,
    pub(super) clock: Clock,
    /// Memory of the namespaces in use, about: at least that much.
    pub(super) memory: u64,
    /// The newest row of the journal.
    pub(super) upto: i64,
    pub(super) unfolded_bytes: usize,
    pub(super) fold: Option<Fold>,
    /// When a fold that failed is tried again, and how long it has failed.
    pub(super) fold_again: Instant,
    pub(super) fold_tries: Option<Patience>,
    pub(super) folded: Instant,
    /// Until when reads may be answered without asking the database.
    pub(super) sure: Instant,
    pub(super) beat: Instant,
    pub(super) swept: Instant,
    pub(super) sweeps: JoinSet<()>,
    pub(super) trouble: Option<Instant>,
    pub(super) catalog_seen: i64,
    /// Connections to be closed once it is durable that a newer head has come.
    pub(super) closing: Vec<Order>,
    settled: Settled,
}

impl Term {
    /// Begins with what the journal of the last term has left.
    pub(super) async fn begin(
        shared: Rc<Shared>,
        settings: Rc<Settings>,
        mut writer: Writer,
        heads: HashMap<NamespaceId, Heads>,
        cursors: Cursors,
    ) -> Result<Self, Deposed> {
        let mut spaces = Spaces::default();
        let catalog_seen = beat(&mut writer, 0).await?;
        let (entries, passwords) = catalog(&mut writer).await;
        spaces.set_catalog(entries);
        (settings.passwords)(passwords);
        let now = Instant::now();
        let mut term = Self {
            shared,
            settings,
            writer,
            spaces,
            cursors,
            heads,
            used: HashMap::new(),
            loads: JoinSet::new(),
            loading: HashSet::new(),
            parked: HashMap::new(),
            clock: Clock::default(),
            memory: 0,
            upto: 0,
            unfolded_bytes: 0,
            fold: None,
            fold_again: now,
            fold_tries: None,
            folded: now,
            sure: now,
            beat: now,
            swept: now,
            sweeps: JoinSet::new(),
            trouble: None,
            catalog_seen,
            closing: Vec::new(),
            settled: Settled::default(),
        };
        term.replay().await?;
        Ok(term)
    }

    /// Folds the journal that is there.
    async fn replay(&mut self) -> Result<(), Deposed> {
        let rows = journal_rows(&mut self.writer).await;
        let count = rows.len();
        for row in rows {
            for effect in row.effects {
                let id = effect.namespace();
                if self.spaces.get(id).is_none() {
                    let entry = self.spaces.entries().find(|entry| entry.id == id);
                    // A namespace that was purged has nothing to be told.
                    let Some(entry) = entry.cloned() else {
                        continue;
                    };
                    let (entry, image) = self.load(entry).await;
                    self.loaded(&entry, image);
                }
                if let Some(space) = self.spaces.get_mut(id) {
                    space.apply(&effect, row.at_ms);
                }
            }
            self.upto = row.seq;
        }
        if count > 0 {
            self.fold_all().await?;
            // The journal may know of heads that the catalog does not know yet.
            for space in self.spaces.used_mut() {
                if space.heads.epoch() < space.entry.epoch {
                    space.heads = Heads::new(space.entry.epoch);
                }
            }
            tracing::info!(groups = count, "took over what the journal held");
        }
        Ok(())
    }

    /// Serves until it is over.
    pub(super) async fn serve(&mut self, stop: &CancellationToken) -> End {
        loop {
            match self.turn(stop).await {
                Ok(None) => {}
                Ok(Some(end)) => return end,
                Err(Deposed) => {
                    self.release();
                    return End::Deposed;
                }
            }
        }
    }

    /// Lets the next one have the database at once; what it must know.
    pub(super) async fn leave(mut self) -> (Vec<(NamespaceId, Heads)>, Cursors) {
        // It would find out by itself, after a while.
        match timeout(RELEASE, self.writer.release()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "could not tell that the database is free"),
            Err(_) => tracing::warn!("could not tell in time that the database is free"),
        }
        let used = self
            .spaces
            .used()
            .map(|space| (space.entry.id, space.heads.clone()));
        let heads = self.heads.into_iter().chain(used).collect();
        (heads, self.cursors)
    }

    async fn turn(&mut self, stop: &CancellationToken) -> Result<Option<End>, Deposed> {
        if stop.is_cancelled() {
            return Ok(Some(End::Stopped));
        }
        while let Some(Ok((entry, image))) = self.loads.try_join_next() {
            self.loaded(&entry, image);
        }
        if !self.shared.idle() {
            if self.settled.is_empty() {
                // Whoever else has something to say now is in the group as well.
                tokio::task::yield_now().await;
            }
            self.group().await?;
            if !self.shared.idle() && Instant::now() < self.next_chore() {
                return Ok(None);
            }
            self.release();
        }
        if self.chores().await? || !self.shared.idle() {
            return Ok(None);
        }
        let next = self.next_chore();
        let loading = !self.loads.is_empty();
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(Some(End::Stopped)),
            () = self.shared.wake.notified() => {}
            // Behind what waits: it is answered first.
            () = self.shared.retire.notified() => return Ok(Some(End::Retired)),
            Some(Ok((entry, image))) = self.loads.join_next(), if loading => {
                self.loaded(&entry, image);
            }
            () = sleep_until(next) => {}
        }
        Ok(None)
    }

    /// Runs what waits, makes it durable, answers.
    async fn group(&mut self) -> Result<(), Deposed> {
        let mut group = Group {
            at_ms: self.clock.now_ms(),
            effects: Vec::new(),
        };
        let room = Room {
            more: self.memory < self.settings.image_limit,
        };
        let (mut replies, mut bytes) = (Vec::new(), 0);
        while replies.len() < GROUP_COMMANDS && bytes < GROUP_BYTES {
            let Some(job) = self.shared.pop() else {
                break;
            };
            let before = group.effects.len();
            match self.step(job, room, &mut group).await? {
                Step::Reply(to, reply) => replies.push((to, reply)),
                Step::Parked(id, job) => self.parked.entry(id).or_default().push(job),
                Step::Nothing => {}
            }
            bytes += group.effects[before..].iter().map(weight).sum::<usize>();
            if before == 0 && !group.effects.is_empty() {
                gcs_sql::crash::point("mid-group");
            }
        }
        // What they replaced is seen when all is counted again, each second.
        self.memory += bytes as u64;
        if group.effects.is_empty() {
            self.release();
            self.be_sure().await?;
        } else {
            self.commit(&group, replies.len()).await?;
        }
        self.settled.replies = replies;
        self.settled.closing.append(&mut self.closing);
        Ok(())
    }

    /// Says what is durable.
    pub(super) fn release(&mut self) {
        self.settled.release(&self.shared, &self.settings);
    }

    async fn commit(&mut self, group: &Group, commands: usize) -> Result<(), Deposed> {
        let payload = journal::encode(&group.effects);
        let bytes = payload.len();
        gcs_sql::crash::point("before-commit");
        let began = Instant::now();
        {
            let mut append = pin!(self.writer.append(group.at_ms, payload));
            let appended = poll!(&mut append);
            // The database has it: time for what the last group is owed.
            self.settled.release(&self.shared, &self.settings);
            self.upto = match appended {
                Poll::Ready(seq) => seq?,
                Poll::Pending => append.await?,
            };
        }
        gcs_sql::crash::point("after-commit");
        let took = began.elapsed();
        self.unfolded_bytes += bytes;
        self.sure = began + SURE;
        self.settings.metrics.group(commands, bytes, took);
        self.note_trouble(began);
        if took > self.writer.database().deadline() {
            self.settings.metrics.stalled(took);
        }
        Ok(())
    }
}

/// What an effect adds to the journal, about.
fn weight(effect: &Effect) -> usize {
    match effect {
        Effect::Put { field, value, .. } => match value {
            Stored::Inline(bytes) => field.len() + bytes.len(),
            Stored::Blob { .. } => field.len() + 40,
        },
        Effect::Delete { field, .. } => field.len(),
        Effect::Drop { .. } | Effect::Begin(_) => 64,
    }
}
