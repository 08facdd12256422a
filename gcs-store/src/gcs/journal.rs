//! What a group of commands changed, as one journal row holds it.
//!
//! Protobuf, declared here rather than in a file of its own: nobody but the
//! store reads it, and an unknown field of a newer store is skipped by an older
//! one. Fields are only ever added.

use bytes::Bytes;
use prost::Message as _;
use ray_tables::TableName;

use super::{command::Stored, key::NamespaceId};

/// Why a journal row cannot be read. The database was tampered with, or is
/// newer than this program by more than one version.
#[derive(Debug, thiserror::Error)]
#[error("journal row {seq} cannot be read: {reason}")]
pub(crate) struct Unreadable {
    /// Which row.
    pub(crate) seq: i64,
    /// What is wrong with it.
    pub(crate) reason: String,
}

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Effect {
    /// A field was written.
    Put {
        namespace: NamespaceId,
        table: TableName,
        field: Bytes,
        value: Stored,
        created_ms: i64,
        epoch: u64,
    },
    /// A field was deleted.
    Delete {
        namespace: NamespaceId,
        table: TableName,
        field: Bytes,
    },
    /// A table was deleted.
    Drop {
        namespace: NamespaceId,
        table: TableName,
    },
    /// A new head began.
    Begin(Incarnation),
}

impl Effect {
    /// Whose it is.
    pub(crate) fn namespace(&self) -> NamespaceId {
        match self {
            Self::Put { namespace, .. }
            | Self::Delete { namespace, .. }
            | Self::Drop { namespace, .. } => *namespace,
            Self::Begin(begin) => begin.namespace,
        }
    }
}

/// One row of the journal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) seq: i64,
    pub(crate) at_ms: i64,
    pub(crate) effects: Vec<Effect>,
}

/// The columns that [`Row::read`] reads, and their order. A row that is folded
/// already is the late echo of a statement that was tried twice.
pub(crate) const SELECT: &str = "SELECT seq, at_ms, payload FROM gcs_journal \
     WHERE seq > (SELECT folded FROM gcs_writer WHERE id = 1) ORDER BY seq";

impl Row {
    /// Reads a row of [`SELECT`].
    ///
    /// # Errors
    /// If it is none of ours.
    pub(crate) fn read(row: &gcs_sql::Row) -> Result<Self, gcs_sql::Error> {
        let seq = row.int(0)?;
        let effects = decode(seq, row.bytes(2)?)
            .map_err(|unreadable| gcs_sql::Error::invalid(unreadable.to_string()))?;
        Ok(Self {
            seq,
            at_ms: row.int(1)?,
            effects,
        })
    }
}

/// A head and how it was told from others.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Incarnation {
    pub(crate) namespace: NamespaceId,
    pub(crate) epoch: u64,
    /// Whether its launcher declared the epoch.
    pub(crate) declared: bool,
    pub(crate) peer: String,
    pub(crate) user: String,
    /// Whether it fenced connections of older heads.
    pub(crate) fences: bool,
}

/// The payload of the journal row for `effects`.
pub(crate) fn encode(effects: &[Effect]) -> Bytes {
    let effects = effects.iter().map(wire::Effect::from).collect();
    wire::Group { effects }.encode_to_vec().into()
}

/// The effects in a journal row's payload.
///
/// # Errors
/// [`Unreadable`].
pub(crate) fn decode(seq: i64, payload: Bytes) -> Result<Vec<Effect>, Unreadable> {
    let unreadable = |reason: String| Unreadable { seq, reason };
    let group = wire::Group::decode(payload).map_err(|error| unreadable(error.to_string()))?;
    let effects = group.effects.into_iter().map(Effect::try_from);
    effects
        .collect::<Result<_, _>>()
        .map_err(|reason| unreadable(reason.to_owned()))
}

impl From<&Effect> for wire::Effect {
    fn from(effect: &Effect) -> Self {
        let mut wire = Self::default();
        match effect {
            Effect::Put {
                namespace,
                table,
                field,
                value,
                created_ms,
                epoch,
            } => {
                wire.namespace = namespace.0;
                wire.put = Some(wire::Put {
                    table: table.to_string(),
                    field: field.clone(),
                    inline: None,
                    hash: None,
                    size: value.size(),
                    created_ms: *created_ms,
                    epoch: *epoch,
                });
                let put = wire.put.get_or_insert_default();
                match value {
                    Stored::Inline(bytes) => put.inline = Some(bytes.clone()),
                    Stored::Blob { hash, .. } => put.hash = Some(Bytes::copy_from_slice(hash)),
                }
            }
            Effect::Delete {
                namespace,
                table,
                field,
            } => {
                wire.namespace = namespace.0;
                wire.delete = Some(wire::Delete {
                    table: table.to_string(),
                    field: field.clone(),
                });
            }
            Effect::Drop { namespace, table } => {
                wire.namespace = namespace.0;
                wire.drop = Some(wire::Drop {
                    table: table.to_string(),
                });
            }
            Effect::Begin(begin) => {
                wire.namespace = begin.namespace.0;
                wire.begin = Some(wire::Begin {
                    epoch: begin.epoch,
                    declared: begin.declared,
                    peer: begin.peer.clone(),
                    user: begin.user.clone(),
                    fences: begin.fences,
                });
            }
        }
        wire
    }
}

impl TryFrom<wire::Effect> for Effect {
    type Error = &'static str;

    fn try_from(effect: wire::Effect) -> Result<Self, &'static str> {
        let table = |name: String| TableName::new(name).map_err(|_| "a table without a name");
        let namespace = NamespaceId(effect.namespace);
        if let Some(put) = effect.put {
            let value = match (put.inline, put.hash) {
                (Some(bytes), None) => Stored::Inline(bytes),
                (None, Some(hash)) => Stored::Blob {
                    hash: hash
                        .as_ref()
                        .try_into()
                        .map_err(|_| "a hash of another length")?,
                    size: put.size,
                },
                _ => return Err("a field without a value"),
            };
            return Ok(Self::Put {
                namespace,
                table: table(put.table)?,
                field: put.field,
                value,
                created_ms: put.created_ms,
                epoch: put.epoch,
            });
        }
        if let Some(delete) = effect.delete {
            return Ok(Self::Delete {
                namespace,
                table: table(delete.table)?,
                field: delete.field,
            });
        }
        if let Some(drop) = effect.drop {
            return Ok(Self::Drop {
                namespace,
                table: table(drop.table)?,
            });
        }
        if let Some(begin) = effect.begin {
            return Ok(Self::Begin(Incarnation {
                namespace,
                epoch: begin.epoch,
                declared: begin.declared,
                peer: begin.peer,
                user: begin.user,
                fences: begin.fences,
            }));
        }
        Err("an effect that this version does not know")
    }
}

mod wire {
    use bytes::Bytes;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Group {
        #[prost(message, repeated, tag = "1")]
        pub(super) effects: Vec<Effect>,
    }

    /// Exactly one of the messages is set.
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Effect {
        #[prost(int64, tag = "1")]
        pub(super) namespace: i64,
        #[prost(message, optional, tag = "2")]
        pub(super) put: Option<Put>,
        #[prost(message, optional, tag = "3")]
        pub(super) delete: Option<Delete>,
        #[prost(message, optional, tag = "4")]
        pub(super) drop: Option<Drop>,
        #[prost(message, optional, tag = "5")]
        pub(super) begin: Option<Begin>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Put {
        #[prost(string, tag = "1")]
        pub(super) table: String,
        #[prost(bytes = "bytes", tag = "2")]
        pub(super) field: Bytes,
        #[prost(bytes = "bytes", optional, tag = "3")]
        pub(super) inline: Option<Bytes>,
        #[prost(bytes = "bytes", optional, tag = "4")]
        pub(super) hash: Option<Bytes>,
        #[prost(uint64, tag = "5")]
        pub(super) size: u64,
        #[prost(int64, tag = "6")]
        pub(super) created_ms: i64,
        #[prost(uint64, tag = "7")]
        pub(super) epoch: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Delete {
        #[prost(string, tag = "1")]
        pub(super) table: String,
        #[prost(bytes = "bytes", tag = "2")]
        pub(super) field: Bytes,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Drop {
        #[prost(string, tag = "1")]
        pub(super) table: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Begin {
        #[prost(uint64, tag = "1")]
        pub(super) epoch: u64,
        #[prost(bool, tag = "2")]
        pub(super) declared: bool,
        #[prost(string, tag = "3")]
        pub(super) peer: String,
        #[prost(string, tag = "4")]
        pub(super) user: String,
        #[prost(bool, tag = "5")]
        pub(super) fences: bool,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effects_come_back_as_they_were() {
        let namespace = NamespaceId(7);
        let put = |value| Effect::Put {
            namespace,
            table: TableName::KV,
            field: Bytes::from_static(b"\0\xff"),
            value,
            created_ms: 5,
            epoch: 3,
        };
        let effects = vec![
            put(Stored::Inline(Bytes::new())),
            put(Stored::Blob {
                hash: [9; 32],
                size: 1 << 29,
            }),
            Effect::Delete {
                namespace,
                table: TableName::NODE,
                field: Bytes::new(),
            },
            Effect::Drop {
                namespace,
                table: TableName::JOB_COUNTER,
            },
            Effect::Begin(Incarnation {
                namespace,
                epoch: 4,
                declared: true,
                peer: "10.0.0.1:77".to_owned(),
                user: "a/4".to_owned(),
                fences: true,
            }),
        ];
        assert_eq!(decode(1, encode(&effects)).unwrap(), effects);
    }

    #[test]
    fn junk_is_named_by_its_row() {
        let error = decode(42, Bytes::from_static(b"\xff\xff\xff")).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("journal row 42 cannot be read")
        );
        let unknown = decode(43, Bytes::from_static(b"\x0a\x02\x08\x01")).unwrap_err();
        assert!(unknown.to_string().contains("does not know"), "{unknown}");
    }
}
