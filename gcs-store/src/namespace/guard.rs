//! Keeps a second cluster out of a namespace that has one.
//!
//! A head that finds no cluster id makes a new one. If it does so while nodes
//! of the old cluster live, every one of them is turned away and ends itself
//! with all its actors. So a new id has to wait until the old nodes are gone,
//! or until an operator says that they are. Pure.

/// A cluster id that may not be written: another cluster lives here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another cluster with nodes alive owns this namespace; its cluster id stays")]
pub struct Foreign;

/// Whether `new` may become the cluster id of a namespace that last had `old`.
///
/// `nodes_alive`: a node is stored there as alive.
///
/// # Errors
/// [`Foreign`] if nodes are alive that know another id.
pub fn cluster_guard(nodes_alive: bool, old: Option<&[u8]>, new: &[u8]) -> Result<(), Foreign> {
    match old {
        Some(old) if nodes_alive && old != new => Err(Foreign),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_cluster_waits_until_the_nodes_of_the_old_are_gone() {
        assert_eq!(cluster_guard(true, Some(b"old"), b"new"), Err(Foreign));
        assert_eq!(cluster_guard(false, Some(b"old"), b"new"), Ok(()));
        assert_eq!(cluster_guard(true, Some(b"old"), b"old"), Ok(()));
    }

    #[test]
    fn the_first_cluster_is_welcome() {
        assert_eq!(cluster_guard(false, None, b"new"), Ok(()));
        assert_eq!(cluster_guard(true, None, b"new"), Ok(()));
    }
}
