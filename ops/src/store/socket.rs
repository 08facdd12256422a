//! Where the control socket of a store is, if nobody says.
//!
//! The store and `tradewind store handover` may run under different users or
//! environments, so one tries where it may write and the other wherever the
//! socket could be.
//!
//! Invariant: a folder below the common temporary one is used only if it belongs
//! to this user and to nobody else (`a_folder_of_somebody_else_is_not_used`).

use std::{
    env, fs,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, access},
    process::geteuid,
};

/// Where a service's runtime files are, by the Filesystem Hierarchy Standard.
const RUN: &str = "/run/tradewind";

/// Where a store that listens on `port` makes its socket; `None` if no folder
/// would do.
pub fn to_make(port: u16) -> Option<PathBuf> {
    make_in(&folders(), port)
}

/// Where the socket of the store that listens on `port` is. If there is none,
/// all places that were looked at.
///
/// # Errors
/// The places.
pub fn to_find(port: u16) -> Result<PathBuf, Vec<PathBuf>> {
    find_in(&folders(), port)
}

fn make_in(folders: &[PathBuf], port: u16) -> Option<PathBuf> {
    let folder = folders.iter().find(|folder| usable(folder))?;
    Some(folder.join(name(port)))
}

fn find_in(folders: &[PathBuf], port: u16) -> Result<PathBuf, Vec<PathBuf>> {
    let places: Vec<_> = folders
        .iter()
        .map(|folder| folder.join(name(port)))
        .collect();
    match places.iter().find(|path| is_socket(path)) {
        Some(path) => Ok(path.clone()),
        None => Err(places),
    }
}

fn name(port: u16) -> String {
    format!("store-{port}.sock")
}

/// The best first.
fn folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    // systemd's `RuntimeDirectory=`; the first of several.
    if let Some(named) = env::var_os("RUNTIME_DIRECTORY")
        && let Some(first) = env::split_paths(&named).next()
    {
        folders.push(first);
    }
    folders.push(PathBuf::from(RUN));
    if let Some(named) = env::var_os("XDG_RUNTIME_DIR") {
        folders.push(PathBuf::from(named).join("tradewind"));
    }
    let own = format!("tradewind-{}", geteuid().as_raw());
    folders.push(env::temp_dir().join(own));
    folders.dedup();
    folders
}

/// Whether a socket can be made in `folder`, which is made if it can be.
fn usable(folder: &Path) -> bool {
    // One that is there already is an error like any other: it is looked at.
    let _ = fs::DirBuilder::new().mode(0o700).create(folder);
    let private = !folder.starts_with(env::temp_dir()) || is_private(folder);
    private && folder.is_dir() && access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// Whether `folder` itself, not where a link leads, is this user's alone.
fn is_private(folder: &Path) -> bool {
    fs::symlink_metadata(folder).is_ok_and(|it| {
        it.is_dir() && it.uid() == geteuid().as_raw() && it.mode().trailing_zeros() >= 6
    })
}

fn is_socket(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|it| it.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_of_somebody_else_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let shared = dir.path().join("shared");
        fs::create_dir(&shared).unwrap();
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(!is_private(&shared));
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(is_private(&shared));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&shared, &link).unwrap();
        assert!(!is_private(&link));
    }

    #[test]
    fn what_is_made_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let folders = [PathBuf::from("/proc/nowhere"), dir.path().join("run")];
        let path = make_in(&folders, 6379).unwrap();
        assert_eq!(path, dir.path().join("run/store-6379.sock"));
        assert!(find_in(&folders, 6379).unwrap_err().contains(&path));
        let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(find_in(&folders, 6379), Ok(path));
    }
}
