//! The gateway's promises, proved over real sockets.
//!
//! A [`stage`] is a whole gateway in this process, between clients and replicas
//! that do exactly what a test tells them to. Nothing sleeps to make a test
//! pass: a condition is polled until a deadline, and where something must *not*
//! happen, the wait says why it is long enough.

#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod cancel;
#[cfg(test)]
mod corners;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod framing;
#[cfg(test)]
mod http2;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod retries;
#[cfg(test)]
mod sites;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod trace;
#[cfg(test)]
mod uploads;
#[cfg(test)]
mod upstream;
