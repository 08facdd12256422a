//! Calls a model through whichever gateway answers.
//!
//! A [`Client`] knows several gateways ("proxies"), keeps a verified HTTP/2
//! connection to each and sends a call to the nearest, least busy one. When
//! that one dies, falls silent or breaks off, the call goes to another: a
//! unary answer is handed out only once it is whole, and a stream only once
//! its first event is there, so that until then a second attempt is unseen.
//!
//! ```text
//!              pick                      connection, kept by a task
//!   call ---> site, then two random ---> proxy east  == PING ==> gateway
//!     ^       choices by in-flight  \--> proxy west  == PING ==> gateway
//!     |                                      |
//!     +--- retry within attempts, <--- refused, reset, silent,
//!          budget and deadline         broken off, 502 503 504
//! ```
//!
//! Invariants:
//! 1. Every call ends within its deadline, with one answer or one error
//!    (`the_deadline_ends_a_call_that_hangs_and_cancels_it`).
//! 2. Retries never exceed the budget: a share of the calls and a reserve
//!    (`retries_never_exceed_share_and_reserve`).
//! 3. An answer is whole: a body that breaks off is an attempt lost, never an
//!    answer (`a_gateway_that_dies_in_mid_answer_costs_a_retry`).
//! 4. A stream ends with its last event or with an error, never silently
//!    (`a_stream_cut_in_the_middle_ends_with_a_typed_error`).
//! 5. A call marked [`Call::once`] is sent at most once
//!    (`a_call_marked_once_is_not_repeated`).

mod answer;
mod attempt;
mod budget;
mod call;
mod circuit;
mod client;
mod config;
mod connection;
mod error;
mod event;
mod fleet;
mod picker;
mod proxy;
mod stream;

pub use answer::{Answer, Attempt, Outcome};
pub use call::Call;
pub use client::{Client, ProxyStatus};
pub use config::{Config, Invalid};
pub use error::{Cause, Error};
pub use event::Event;
pub use proxy::Standing;
pub use stream::EventStream;
