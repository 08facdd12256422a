//! Starts a process that takes this one's place.
//!
//! `tradewind store handover` asks for it by a signal ([`ASK`]), and this process
//! starts its successor itself: so the successor has its user, its environment,
//! its output and its place under systemd, whoever asked.
//!
//! The program is looked up as it was when this process was started, not as
//! `/proc/self/exe` has it: that one is the old file, also after a new one was
//! put in its place, and it does not follow a link that now leads to another
//! release.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
};

use rustix::process::Signal;
use tokio::{
    process::Command,
    signal::unix::{Signal as TokioSignal, SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

/// The signal that asks for a successor.
pub const ASK: Signal = Signal::USR2;

/// What asks a store to take the place of the one that runs.
pub const TAKE_OVER: &str = "--take-over";

/// Hears when a successor is asked for.
#[derive(Debug)]
pub struct Demand(TokioSignal);

impl Demand {
    /// Listens for the signal. Before anybody can know of this process: until
    /// then the signal would end it.
    ///
    /// # Errors
    /// If the signal cannot be listened for.
    pub fn hear() -> io::Result<Self> {
        signal(SignalKind::user_defined2()).map(Self)
    }

    /// Starts a successor each time one is asked for, until one has
    /// `succeeded`. One that ends before that is reported, and this process
    /// serves on.
    pub async fn serve(mut self, socket: Option<PathBuf>, succeeded: CancellationToken) {
        let command = command();
        let (Some(_), [program, arguments @ ..]) = (&socket, &*command) else {
            while let Some(Some(())) = succeeded.run_until_cancelled(self.0.recv()).await {
                tracing::error!("asked for a successor, but there is no handover socket");
            }
            return;
        };
        while let Some(Some(())) = succeeded.run_until_cancelled(self.0.recv()).await {
            let mut successor = match Command::new(program).args(arguments).spawn() {
                Ok(successor) => successor,
                Err(error) => {
                    let program = program.to_string_lossy();
                    tracing::error!(%error, %program, "a successor cannot be started");
                    continue;
                }
            };
            tracing::info!(successor.pid = successor.id(), "started a successor");
            match succeeded.run_until_cancelled(successor.wait()).await {
                Some(Ok(status)) => {
                    tracing::error!(%status, "the successor ended, this process serves on");
                }
                Some(Err(error)) => {
                    tracing::error!(%error, "what became of the successor is unknown");
                }
                None => {}
            }
        }
    }
}

/// The program and its arguments; empty if it cannot be known.
fn command() -> Vec<OsString> {
    of(env::args_os().collect(), env::current_dir().ok(), || {
        env::current_exe().ok()
    })
}

fn of(
    arguments: Vec<OsString>,
    folder: Option<PathBuf>,
    own: impl FnOnce() -> Option<PathBuf>,
) -> Vec<OsString> {
    let mut arguments = arguments.into_iter();
    let program = match arguments.next() {
        // A path without folder is one that was found by PATH, and will be again.
        Some(named) if Path::new(&named).components().count() == 1 && !named.is_empty() => {
            Some(named)
        }
        Some(named) if !named.is_empty() => {
            Some(folder.map_or_else(|| named.clone(), |folder| folder.join(&named).into()))
        }
        _ => own().map(OsString::from),
    };
    let Some(program) = program else {
        return Vec::new();
    };
    let mut command = vec![program];
    command.extend(arguments.filter(|it| it != OsStr::new(TAKE_OVER)));
    command.push(TAKE_OVER.into());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    fn command(line: &str) -> Vec<OsString> {
        of(words(line), Some("/srv".into()), || {
            Some("/proc/self/exe".into())
        })
    }

    #[test]
    fn the_arguments_are_the_same_and_ask_for_the_place_once() {
        let expected = words("/usr/bin/tradewind store serve --listen 127.0.0.1:1 --take-over");
        let line = "/usr/bin/tradewind store serve --listen 127.0.0.1:1";
        assert_eq!(command(line), expected);
        let line = "/usr/bin/tradewind store serve --take-over --listen 127.0.0.1:1";
        assert_eq!(command(line), expected);
    }

    #[test]
    fn the_program_is_found_as_it_was() {
        assert_eq!(command("tradewind store serve")[0], "tradewind");
        assert_eq!(
            command("bin/tradewind store serve")[0],
            "/srv/bin/tradewind"
        );
        assert_eq!(command("/a/tradewind store serve")[0], "/a/tradewind");
        let nameless = of(vec![OsString::new()], None, || Some("/b/tradewind".into()));
        assert_eq!(nameless[0], "/b/tradewind");
    }
}
