//! Free ports for programs that cannot be told to choose one.
//!
//! The kernel hands them out. All of one call are held until the last one is
//! known, so that none comes twice, and none is given to a second caller of
//! this process. Between the return and the program's own bind another program
//! may still take one; who can let the program bind port 0 should.

use std::{
    collections::HashSet,
    fs,
    net::{Ipv4Addr, TcpListener},
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context, Result, bail};

/// `N` ports on loopback that nobody listens on.
///
/// # Errors
/// If the kernel has none left.
pub fn free<const N: usize>() -> Result<[u16; N]> {
    static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut held, mut ports) = (Vec::new(), [0; N]);
    for port in &mut ports {
        *port = loop {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
            let number = listener.local_addr()?.port();
            held.push(listener);
            if given.insert(number) {
                break number;
            }
        };
    }
    Ok(ports)
}

/// A port on loopback for a server that will be killed and come back to it.
///
/// One that the kernel hands out may become the near end of somebody's
/// connection while the server is away. This one is below all of those.
///
/// # Errors
/// If none is free there.
pub fn lasting() -> Result<u16> {
    const LOWEST: u16 = 10_000;
    const TRIES: u32 = 1_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first = range.split_ascii_whitespace().next();
    let below: u16 = first
        .and_then(|first| first.parse().ok())
        .filter(|first| *first > LOWEST)
        .unwrap_or(32_768);
    let span = u32::from(below - LOWEST);
    for _ in 0..TRIES {
        // Each process begins elsewhere, and gives none twice.
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let place = std::process::id()
            .wrapping_mul(7_919)
            .wrapping_add(nth)
            .checked_rem(span)
            .unwrap_or(0);
        let port = LOWEST + u16::try_from(place).unwrap_or(0);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port from {LOWEST} to {below}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_comes_twice() {
        let ports: HashSet<u16> = (0..20).flat_map(|_| free::<5>().unwrap()).collect();
        assert_eq!(ports.len(), 100);
    }

    #[test]
    fn a_lasting_port_is_none_that_the_kernel_hands_out() {
        let ports: HashSet<u16> = (0..20).map(|_| lasting().unwrap()).collect();
        assert_eq!(ports.len(), 20);
        let [handed_out] = free().unwrap();
        assert!(ports.iter().all(|port| *port < handed_out), "{ports:?}");
    }
}
