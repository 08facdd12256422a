#![doc = include_str!("../README.md")]

mod address;
mod backoff;
mod carryover;
mod endpoint;
mod index;
mod name;
mod registrar;
mod registry;
mod remote;
mod running_time;
pub mod sdk;
mod snapshot;
mod subscriber;
pub mod wire;

pub use address::{Address, AddressError};
pub use endpoint::{Endpoint, Key, Kind, Life, MAX_APPLICATIONS, State};
pub use index::Index;
pub use name::{Application, EndpointId, NameError, Site};
pub use registrar::{Registrar, Registration, Standing};
pub use registry::{Cursor, Error, Event, LeaseId, Registry, Watch};
pub use remote::RemoteRegistry;
pub use running_time::RunningTime;
pub use snapshot::Snapshot;
pub use subscriber::{Link, Subscriber};
