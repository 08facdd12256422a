//! Free ports for programs that cannot be told to choose one.
//!
//! The kernel hands them out. All of one call are held until the last one is
//! known, so that none comes twice, and none is given to a second caller of
//! this process. Between the return and the program's own bind another program
//! may still take one; who can let the program bind port 0 should.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, TcpListener},
    sync::{LazyLock, Mutex, PoisonError},
};

use anyhow::{Context, Result};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_comes_twice() {
        let ports: HashSet<u16> = (0..20).flat_map(|_| free::<5>().unwrap()).collect();
        assert_eq!(ports.len(), 100);
    }
}
