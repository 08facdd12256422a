//! What concurrent clients asked a store and what they were told.
//!
//! Every value carries the number of the operation that wrote it and the place
//! it was written to, so a reply that belongs to another request shows, as does
//! a value that came back torn. Times are places in one global order: taken just
//! before a request leaves and just after its reply came, so `a.ended < b.began`
//! means that `a` was over before `b` existed.
//!
//! An operation without an answer may or may not have happened. It has a last
//! moment all the same: when the next store process is ready, whatever the dead
//! one had under way is decided ([`History::settle`]). This is strict
//! linearizability (Aguilera and Frølund, HPL-2003-241), more than Ray needs and
//! what a store that may answer nothing late must give.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Fields of each key; few, so that clients meet.
pub const FIELDS: usize = 4;

/// The number of the operation that wrote a value; 0 is never given.
pub type Id = u64;

/// What one command does to one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// `HSET`: the answer is whether the field is new.
    Set(u8, Id),
    /// `HSETNX`: the answer is whether it was stored.
    SetNew(u8, Id),
    /// `HGET`.
    Get(u8),
    /// `HMGET`.
    GetMany(Vec<u8>),
    /// `HEXISTS`.
    Exists(u8),
    /// `HDEL`: the answer is how many existed.
    Delete(Vec<u8>),
    /// `DEL`: the answer is whether the key existed.
    Drop,
    /// `INCRBY`: the answer is the new number.
    Increase(i64),
}

/// What a client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A count or a counter.
    Number(i64),
    /// Who wrote each field asked for, if it is there.
    Values(Vec<Option<Id>>),
}

/// One command of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Who asked.
    pub client: u32,
    /// Which key, by number.
    pub key: u8,
    /// What.
    pub act: Act,
    /// Before it was sent.
    pub began: u64,
    /// After it was answered, or could not happen any more.
    pub ended: u64,
    /// None: the connection broke before the answer.
    pub answer: Option<Answer>,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            client,
            key,
            act,
            began,
            ended,
            answer,
        } = self;
        write!(
            f,
            "[{began}..{ended}] client {client} key {key} {act:?} -> "
        )?;
        match answer {
            Some(answer) => write!(f, "{answer:?}"),
            None => f.write_str("unknown"),
        }
    }
}

/// The state of one key: a hash of [`FIELDS`] fields, or a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct State {
    /// Who wrote each field; 0 where there is none.
    pub fields: [Id; FIELDS],
    /// The counter.
    pub number: i64,
}

impl State {
    /// What a store that does one thing at a time makes of `act`.
    #[must_use]
    pub fn apply(mut self, act: &Act) -> (Self, Answer) {
        let number = |is: bool| Answer::Number(i64::from(is));
        let answer = match act {
            Act::Set(field, id) => {
                let slot = &mut self.fields[usize::from(*field)];
                number(std::mem::replace(slot, *id) == 0)
            }
            Act::SetNew(field, id) => {
                let slot = &mut self.fields[usize::from(*field)];
                let is_new = *slot == 0;
                if is_new {
                    *slot = *id;
                }
                number(is_new)
            }
            Act::Get(field) => Answer::Values(vec![self.holds(*field)]),
            Act::GetMany(fields) => {
                Answer::Values(fields.iter().map(|field| self.holds(*field)).collect())
            }
            Act::Exists(field) => number(self.holds(*field).is_some()),
            Act::Delete(fields) => {
                let mut count = 0;
                for field in fields {
                    count += i64::from(self.holds(*field).is_some());
                    self.fields[usize::from(*field)] = 0;
                }
                Answer::Number(count)
            }
            Act::Drop => {
                let existed = self != Self::default();
                self = Self::default();
                number(existed)
            }
            Act::Increase(by) => {
                self.number += by;
                Answer::Number(self.number)
            }
        };
        (self, answer)
    }

    fn holds(&self, field: u8) -> Option<Id> {
        Some(self.fields[usize::from(field)]).filter(|id| *id != 0)
    }
}

/// Where clients write down what they do.
#[derive(Debug, Default)]
pub struct History {
    clock: AtomicU64,
    ids: AtomicU64,
    operations: Mutex<Vec<Operation>>,
    faults: Mutex<Vec<String>>,
}

impl History {
    /// The next moment of the global order.
    pub fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// A number for a value that nobody has written yet.
    pub fn id(&self) -> Id {
        self.ids.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Notes a request that is about to leave; gives back its place.
    pub fn begin(&self, client: u32, key: u8, act: Act) -> usize {
        let mut all = self
            .operations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.push(Operation {
            client,
            key,
            act,
            began: self.now(),
            ended: u64::MAX,
            answer: None,
        });
        all.len() - 1
    }

    /// Notes the answer to the request at `place`.
    pub fn end(&self, place: usize, answer: Answer) {
        let mut all = self
            .operations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all[place].ended = self.now();
        all[place].answer = Some(answer);
    }

    /// Nothing unanswered so far can still happen: its store is dead and the
    /// next one serves, or will see it in what it reads at its start.
    pub fn settle(&self) {
        let now = self.now();
        let mut all = self
            .operations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for one in all.iter_mut().filter(|one| one.ended == u64::MAX) {
            one.ended = now;
        }
    }

    /// Notes what no order of operations can explain: a reply that belongs
    /// elsewhere, a torn value, an error.
    pub fn fault(&self, what: String) {
        self.faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(what);
    }

    /// All there is so far.
    #[must_use]
    pub fn recorded(&self) -> (Vec<Operation>, Vec<String>) {
        let copy = |faults: &Mutex<Vec<String>>| {
            faults
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
        };
        let operations = self
            .operations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        (operations, copy(&self.faults))
    }
}
