//! Records, positions and refusals, in both directions.

use std::num::NonZeroU32;

use super::{Malformed, generated as v1};
use crate::{
    Address, Application, Cursor, Endpoint, EndpointId, Error, Key, Kind, Life, MAX_APPLICATIONS,
    NameError, Site, State,
};

fn name<T>(field: &'static str, name: Result<T, NameError>) -> Result<T, Malformed> {
    name.map_err(|source| Malformed::Name { field, source })
}

impl From<&Key> for v1::Key {
    fn from(key: &Key) -> Self {
        Self {
            site: key.site.as_str().to_owned(),
            id: key.id.as_str().to_owned(),
        }
    }
}

impl TryFrom<v1::Key> for Key {
    type Error = Malformed;
    fn try_from(key: v1::Key) -> Result<Self, Malformed> {
        Ok(Self {
            site: name("site", Site::new(key.site))?,
            id: name("id", EndpointId::new(key.id))?,
        })
    }
}

impl From<Cursor> for v1::Cursor {
    fn from(
        Cursor {
            generation,
            revision,
        }: Cursor,
    ) -> Self {
        Self {
            generation,
            revision,
        }
    }
}

impl From<v1::Cursor> for Cursor {
    fn from(
        v1::Cursor {
            generation,
            revision,
        }: v1::Cursor,
    ) -> Self {
        Self {
            generation,
            revision,
        }
    }
}

impl From<Life> for v1::Life {
    fn from(
        Life {
            incarnation,
            version,
        }: Life,
    ) -> Self {
        Self {
            incarnation,
            version,
        }
    }
}

impl From<v1::Life> for Life {
    fn from(
        v1::Life {
            incarnation,
            version,
        }: v1::Life,
    ) -> Self {
        Self {
            incarnation,
            version,
        }
    }
}

impl From<Kind> for v1::Kind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Replica => Self::Replica,
            Kind::Gateway => Self::Gateway,
            Kind::Peer => Self::Peer,
        }
    }
}

impl From<State> for v1::State {
    fn from(state: State) -> Self {
        match state {
            State::Serving => Self::Serving,
            State::Draining => Self::Draining,
        }
    }
}

fn kind(value: i32) -> Result<Kind, Malformed> {
    match v1::Kind::try_from(value) {
        Ok(v1::Kind::Replica) => Ok(Kind::Replica),
        Ok(v1::Kind::Gateway) => Ok(Kind::Gateway),
        Ok(v1::Kind::Peer) => Ok(Kind::Peer),
        Ok(v1::Kind::Unspecified) | Err(_) => Err(Malformed::Unknown {
            field: "kind",
            value,
        }),
    }
}

fn state(value: i32) -> Result<State, Malformed> {
    match v1::State::try_from(value) {
        Ok(v1::State::Serving) => Ok(State::Serving),
        Ok(v1::State::Draining) => Ok(State::Draining),
        Ok(v1::State::Unspecified) | Err(_) => Err(Malformed::Unknown {
            field: "state",
            value,
        }),
    }
}

impl From<&Endpoint> for v1::Endpoint {
    fn from(endpoint: &Endpoint) -> Self {
        Self {
            key: Some((&endpoint.key).into()),
            kind: v1::Kind::from(endpoint.kind).into(),
            address: endpoint.address.as_str().to_owned(),
            applications: endpoint
                .applications
                .iter()
                .map(|name| name.as_str().to_owned())
                .collect(),
            state: v1::State::from(endpoint.state).into(),
            capacity: endpoint.capacity.map_or(0, NonZeroU32::get),
            incarnation: endpoint.life.incarnation,
            version: endpoint.life.version,
        }
    }
}

impl TryFrom<v1::Endpoint> for Endpoint {
    type Error = Malformed;
    fn try_from(endpoint: v1::Endpoint) -> Result<Self, Malformed> {
        let count = endpoint.applications.len();
        if count > MAX_APPLICATIONS {
            return Err(Malformed::TooManyApplications { count });
        }
        let applications = endpoint
            .applications
            .into_iter()
            .map(|text| name("applications", Application::new(text)));
        Ok(Self {
            key: endpoint
                .key
                .ok_or(Malformed::Missing { field: "key" })?
                .try_into()?,
            kind: kind(endpoint.kind)?,
            address: Address::new(endpoint.address)?,
            applications: applications.collect::<Result<_, _>>()?,
            state: state(endpoint.state)?,
            capacity: NonZeroU32::new(endpoint.capacity),
            life: Life {
                incarnation: endpoint.incarnation,
                version: endpoint.version,
            },
        })
    }
}

impl From<Error> for v1::Refusal {
    fn from(error: Error) -> Self {
        use v1::refusal::Why;
        let why = match error {
            Error::LeaseLapsed => Why::Lapsed(v1::Lapsed {}),
            Error::Superseded {
                key,
                newest,
                offered,
            } => Why::Superseded(v1::Superseded {
                key: Some((&key).into()),
                newest: Some(newest.into()),
                offered: Some(offered.into()),
            }),
            Error::Invalid { reason } => Why::Invalid(reason),
            Error::Full { limit } => Why::Full(limit as u64),
            Error::Unavailable { reason } => Why::Unavailable(reason),
        };
        Self { why: Some(why) }
    }
}

impl TryFrom<v1::Refusal> for Error {
    type Error = Malformed;
    fn try_from(refusal: v1::Refusal) -> Result<Self, Malformed> {
        use v1::refusal::Why;
        Ok(
            match refusal.why.ok_or(Malformed::Missing { field: "why" })? {
                Why::Lapsed(v1::Lapsed {}) => Self::LeaseLapsed,
                Why::Superseded(v1::Superseded {
                    key,
                    newest,
                    offered,
                }) => Self::Superseded {
                    key: key.ok_or(Malformed::Missing { field: "key" })?.try_into()?,
                    newest: newest.unwrap_or_default().into(),
                    offered: offered.unwrap_or_default().into(),
                },
                Why::Invalid(reason) => Self::Invalid { reason },
                Why::Full(limit) => Self::Full {
                    limit: usize::try_from(limit).unwrap_or(usize::MAX),
                },
                Why::Unavailable(reason) => Self::Unavailable { reason },
            },
        )
    }
}
