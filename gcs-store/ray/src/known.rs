//! Numbers that Ray gives names to.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::wire;

/// A state or kind as Ray numbers it. A number that Ray 2.60 does not have is
/// kept and shown: a newer Ray wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Known<E> {
    /// One that has a name.
    Is(E),
    /// One that has none here.
    Unknown(i32),
}

impl<E: TryFrom<i32> + PartialEq> Known<E> {
    pub(crate) fn new(number: i32) -> Self {
        E::try_from(number).map_or(Self::Unknown(number), Self::Is)
    }

    /// Whether it is that one.
    #[must_use]
    pub fn is(&self, other: &E) -> bool {
        matches!(self, Self::Is(it) if it == other)
    }
}

/// Something with a name in Ray's protocol.
pub trait Name {
    /// The name as Ray writes it.
    fn name(&self) -> &'static str;
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $path:path;)*) => { $(
        $(#[$doc])*
        pub type $name = $path;

        impl Name for $path {
            fn name(&self) -> &'static str {
                self.as_str_name()
            }
        }
    )* };
}

names! {
    /// Whether a node lives.
    NodeState = wire::node::State;
    /// Why a node died.
    NodeDeathReason = wire::node_death::Reason;
    /// Where an actor is in its life.
    ActorState = wire::actor::State;
    /// What a worker process is for.
    WorkerType = wire::worker::Type;
    /// How a worker process ended.
    WorkerExit = wire::worker::Exit;
    /// How bundles are spread over nodes.
    GroupStrategy = wire::group::Strategy;
    /// Where a placement group is in its life.
    GroupState = wire::group::State;
    /// What a task is.
    TaskType = wire::task_spec::Type;
}

impl<E: Name> fmt::Display for Known<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(it) => f.pad(it.name()),
            Self::Unknown(number) => write!(f, "UNKNOWN({number})"),
        }
    }
}

impl<E: Name> Serialize for Known<E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
