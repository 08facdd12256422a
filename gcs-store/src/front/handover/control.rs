//! The socket by which a successor comes, and by which one may ask how things
//! stand.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixStream};

use super::{Asks, HandoverError, Says, channel::Channel};

/// A socket in the file system, removed when it is dropped, but not when it is
/// left.
#[derive(Debug)]
pub(crate) struct Control {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl Control {
    /// Puts the socket there, in place of one that a predecessor left.
    ///
    /// # Errors
    /// It cannot be made there.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        // Made aside and renamed: whoever connects finds the old or the new.
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".{}", std::process::id()));
        let aside = PathBuf::from(aside);
        match fs::remove_file(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&aside)?;
        fs::set_permissions(&aside, fs::Permissions::from_mode(0o600))?;
        let inode = fs::metadata(&aside)?.ino();
        fs::rename(&aside, path)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            inode,
        })
    }

    /// Closes it and leaves the file: the successor puts its own there at this
    /// very moment, and between a look and a removal it would be that one.
    pub(crate) fn leave(mut self) {
        self.path.clear();
    }

    /// The next one who comes.
    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept().await?.0)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Another store may have put its own there.
        let ours = fs::metadata(&self.path).is_ok_and(|it| it.ino() == self.inode);
        if ours {
            let _gone = fs::remove_file(&self.path);
        }
    }
}

/// How the store behind a handover socket stands: its `Report` as JSON; none if
/// nobody is there.
///
/// # Errors
/// [`HandoverError`]
pub async fn status(path: &Path) -> Result<Option<serde_json::Value>, HandoverError> {
    let broken = |source| HandoverError::Broken {
        path: path.to_owned(),
        source,
    };
    let Some(stream) = connect(path).await.map_err(broken)? else {
        return Ok(None);
    };
    let mut channel = Channel::new(stream);
    channel
        .send(&Asks::Status, &[], &[])
        .await
        .map_err(broken)?;
    match channel.receive().await.map_err(broken)?.message {
        Says::Status(report) => Ok(Some(report)),
        _ => Err(HandoverError::Nonsense {
            what: "no status when it was asked for one",
        }),
    }
}

/// A connection to who is behind the socket; none if nobody is.
pub(super) async fn connect(path: &Path) -> io::Result<Option<UnixStream>> {
    match UnixStream::connect(path).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error)
            if [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused]
                .contains(&error.kind()) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_successor_s_socket_survives_the_predecessor() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/store.socket");
        assert!(connect(&path).await.unwrap().is_none());
        let first = Control::open(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let second = Control::open(&path).unwrap();
        drop(first);
        assert!(connect(&path).await.unwrap().is_some());
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn who_hands_over_removes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.socket");
        Control::open(&path).unwrap().leave();
        assert!(path.exists());
        assert!(connect(&path).await.unwrap().is_none());
    }
}
