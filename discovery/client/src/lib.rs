#![doc = include_str!("../README.md")]

mod address;
mod endpoint;
mod index;
mod name;
mod registry;
mod snapshot;

pub use address::{Address, AddressError};
pub use endpoint::{Endpoint, Key, Kind, Life, MAX_APPLICATIONS, State};
pub use index::Index;
pub use name::{Application, EndpointId, NameError, Site};
pub use registry::{Cursor, Error, Event, LeaseId, Registry, Watch};
pub use snapshot::Snapshot;
