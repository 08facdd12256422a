//! A PostgreSQL of our own, as durable as one is out of the box: fsync and
//! synchronous commit on.
//!
//! PostgreSQL does not run as root; then it runs as `postgres` or `nobody`.

use std::{
    env, fs,
    fs::File,
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, bail, ensure};
use rustix::{
    fs::{Gid, Uid, chown},
    process::Signal,
};
use tokio::time::sleep;

use super::super::{
    guard::Guard,
    proc::Family,
    process::{POLL, READY, free_addresses},
};

/// A running PostgreSQL.
#[derive(Debug)]
pub struct Postgres {
    address: SocketAddr,
    guard: Guard,
}

impl Postgres {
    /// Makes a cluster below `folder` and starts it.
    ///
    /// # Errors
    /// If it cannot be made or does not come up.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        let programs = programs().context("PostgreSQL is not installed")?;
        let [address] = free_addresses()?;
        fs::create_dir_all(folder)?;
        let user = unprivileged()?;
        if let Some((uid, gid)) = user {
            chown(folder, Some(uid), Some(gid))?;
        }
        let data = folder.join("data");
        let log = folder.join("output.log");
        let command = |name: &str| -> anyhow::Result<Command> {
            let output = File::options().create(true).append(true).open(&log)?;
            let mut command = Command::new(programs.join(name));
            command
                .arg("-D")
                .arg(&data)
                .current_dir(folder)
                .stdin(Stdio::null())
                .stdout(output.try_clone()?)
                .stderr(output);
            if let Some((uid, gid)) = user {
                command.uid(uid.as_raw()).gid(gid.as_raw());
            }
            Ok(command)
        };
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let made = command("initdb")?
            .args(["--username=tradewind", "--auth=trust", "--no-locale"])
            .arg("--encoding=UTF8")
            .status()?;
        ensure!(made.success(), "initdb failed: {made}\n{}", said().trim());
        let process = command("postgres")?
            .args(["-h", &address.ip().to_string()])
            .args(["-p", &address.port().to_string()])
            .args(["-c", "unix_socket_directories="])
            .args(["-c", "fsync=on", "-c", "synchronous_commit=on"])
            .spawn()?;
        // SIGINT: it ends without waiting for its clients.
        let mut guard = Guard::new(process, Signal::INT);
        let began = Instant::now();
        while !is_ready(&data) {
            if let Err(error) = guard.check() {
                bail!("PostgreSQL is not ready: {error:#}\n{}", said().trim());
            }
            ensure!(
                began.elapsed() < READY,
                "PostgreSQL is not ready\n{}",
                said()
            );
            sleep(POLL).await;
        }
        Ok(Self { address, guard })
    }

    /// Where the store finds it.
    pub fn url(&self) -> String {
        format!("postgres://tradewind@{}/postgres", self.address)
    }

    /// Its processes.
    pub fn family(&self) -> Option<Family> {
        self.guard.id().map(Family::of)
    }

    /// Its version, in words.
    pub fn version() -> Option<String> {
        let output = Command::new(programs()?.join("postgres"))
            .arg("--version")
            .output();
        let text = String::from_utf8(output.ok()?.stdout).ok()?;
        Some(text.trim().to_owned())
    }
}

/// The folder with `initdb` and `postgres`, the newest version's if Debian has
/// put them where no `PATH` looks.
pub fn programs() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut debian: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    debian.sort_by_key(|folder| {
        let version = folder.parent().and_then(Path::file_name);
        version.and_then(|it| it.to_str()?.parse::<u32>().ok())
    });
    debian
        .into_iter()
        .rev()
        .chain(env::split_paths(&path))
        .find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
}

/// Whether the server of `data` says in its file that it takes connections;
/// its port is open before.
fn is_ready(data: &Path) -> bool {
    let file = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    file.lines()
        .nth(7)
        .is_some_and(|state| state.trim() == "ready")
}

/// Whom to run it as, if this is root.
fn unprivileged() -> anyhow::Result<Option<(Uid, Gid)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let id = |name| ids(&users, name);
    let (uid, gid) = id("postgres")
        .or_else(|| id("nobody"))
        .context("no user to run PostgreSQL as: neither postgres nor nobody")?;
    Ok(Some((Uid::from_raw(uid), Gid::from_raw(gid))))
}

/// User and group number of `name` in a text such as `/etc/passwd`.
fn ids(users: &str, name: &str) -> Option<(u32, u32)> {
    let line = users
        .lines()
        .find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_the_whole_name() {
        let users = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65533:nobody:/:/none\n";
        assert_eq!(ids(users, "nobody"), Some((65534, 65533)));
        assert_eq!(ids(users, "body"), None);
    }

    #[tokio::test]
    async fn one_of_our_own_answers_and_ends() {
        use std::{fs::Permissions, os::unix::fs::PermissionsExt};

        // It runs as somebody else if this is root.
        let open = Permissions::from_mode(0o755);
        let folder = tempfile::Builder::new()
            .permissions(open)
            .tempdir()
            .unwrap();
        let postgres = Postgres::start(&folder.path().join("postgres"))
            .await
            .unwrap();
        let address = postgres.address;
        assert!(postgres.family().unwrap().resident_bytes().unwrap() > 1 << 20);
        assert!(Postgres::version().unwrap().contains("PostgreSQL"));

        drop(postgres);

        assert!(tokio::net::TcpStream::connect(address).await.is_err());
    }
}
