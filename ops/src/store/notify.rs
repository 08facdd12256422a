//! Tells systemd that this process serves, and that it is the main one now.
//!
//! The protocol is a line or two in a datagram to the socket named in
//! `NOTIFY_SOCKET`; without that variable nobody wants to know. The main process
//! must be said, for after a handover it is a child of the one systemd started.

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// Says that this process serves.
///
/// # Errors
/// If the socket is named and cannot be written to.
pub fn ready() -> io::Result<()> {
    let Some(name) = env::var_os("NOTIFY_SOCKET") else {
        return Ok(());
    };
    send(name.as_bytes(), std::process::id())
}

fn send(name: &[u8], pid: u32) -> io::Result<()> {
    // A leading @ stands for the NUL of an abstract name.
    let address = match name.strip_prefix(b"@") {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
    };
    let words = format!("MAINPID={pid}\nREADY=1");
    UnixDatagram::unbound()?.send_to_addr(words.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_hears_who_is_ready() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str().as_bytes(), 17).unwrap();
        let mut heard = [0; 64];
        let length = systemd.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"MAINPID=17\nREADY=1");
    }

    #[test]
    fn an_abstract_name_is_understood() {
        let name = format!("tradewind-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let systemd = UnixDatagram::bind_addr(&address).unwrap();
        send(format!("@{name}").as_bytes(), 18).unwrap();
        let mut heard = [0; 64];
        let length = systemd.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"MAINPID=18\nREADY=1");
    }
}
