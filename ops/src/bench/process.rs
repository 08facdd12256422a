//! The processes of a benchmark: proxies that are measured, and workers of our
//! own (backend, load) that are not.
//!
//! Invariants:
//! 1. Every process started here has ended when its value is gone, also after
//!    an error.
//! 2. Every wait has a limit.

use std::{
    env, fs,
    fs::File,
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use rustix::process::Signal;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{ChildStdin, ChildStdout},
    time::{sleep, timeout},
};

use super::{
    contender::{Contender, Program, Site},
    guard::Guard,
    payload::{self, Knobs},
    proc::Family,
};

/// Until a program answers its first request.
pub const READY: Duration = Duration::from_secs(15);
/// Between two looks at something that is waited for.
pub const POLL: Duration = Duration::from_millis(50);
/// Until a worker that has closed its output is ended.
const STOP: Duration = Duration::from_secs(5);
/// Until a worker says its next line.
const LINE: Duration = Duration::from_secs(120);

/// A running contender.
#[derive(Debug)]
pub struct Proxy {
    /// Who.
    pub contender: Contender,
    /// Where to send requests.
    pub address: SocketAddr,
    guard: Option<Guard>,
}

impl Proxy {
    /// Starts `contender` before `upstream`, with its files in `directory`, and
    /// waits until it passes a request on.
    ///
    /// # Errors
    /// If it cannot be started or does not answer in time; what it printed is
    /// part of the error.
    pub async fn start(
        contender: Contender,
        upstream: SocketAddr,
        directory: &Path,
    ) -> anyhow::Result<Self> {
        let [listen, admin, registry] = free_addresses()?;
        let root = rustix::process::geteuid().is_root();
        let site = Site {
            listen,
            admin,
            registry,
            upstream,
            directory,
            root,
        };
        let Some(plan) = contender.plan(&site) else {
            return Ok(Self {
                contender,
                address: upstream,
                guard: None,
            });
        };
        fs::create_dir_all(directory)?;
        fs::write(&plan.file.0, &plan.file.1)?;
        let program = match plan.program {
            Some(program) => find(program)?,
            None => env::current_exe()?,
        };
        let output = directory.join("output.log");
        let process = Command::new(&program)
            .args(&plan.arguments)
            .stdin(Stdio::null())
            .stdout(File::create(&output)?)
            .stderr(File::options().append(true).open(&output)?)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut proxy = Self {
            contender,
            address: listen,
            guard: Some(Guard::new(process, Signal::TERM)),
        };
        if let Err(error) = proxy.answers().await {
            let said = fs::read_to_string(&output).unwrap_or_default();
            bail!("{contender} is not ready: {error:#}\n{}", said.trim());
        }
        Ok(proxy)
    }

    /// Its processes; `None` for a contender without any.
    pub fn family(&self) -> Option<Family> {
        self.guard.as_ref().and_then(Guard::id).map(Family::of)
    }

    async fn answers(&mut self) -> anyhow::Result<()> {
        let knobs = Knobs {
            bytes: payload::SIZE,
            ..Knobs::default()
        };
        let request = payload::request(&payload::request_body(false, knobs));
        let began = Instant::now();
        loop {
            if let Some(guard) = &mut self.guard {
                guard.check()?;
            }
            match timeout(Duration::from_secs(1), probe(self.address, &request)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) if began.elapsed() > READY => return Err(error.into()),
                Err(late) if began.elapsed() > READY => return Err(late.into()),
                _ => sleep(POLL).await,
            }
        }
    }

    /// Asks it to end; does not wait.
    pub fn terminate(&self) {
        if let Some(guard) = &self.guard {
            guard.terminate();
        }
    }
}

/// One request on a connection of its own; the answer must be a 200.
async fn probe(address: SocketAddr, request: &[u8]) -> io::Result<()> {
    use tokio::io::AsyncReadExt;
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).await?;
    if &status == b"HTTP/1.1 200" {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "answered {}",
        String::from_utf8_lossy(&status)
    )))
}

/// Free ports of the loopback address, as of now.
///
/// # Errors
/// If the system has none.
pub fn free_addresses<const N: usize>() -> io::Result<[SocketAddr; N]> {
    // All are held until all are known, so that none is given twice.
    let mut held = Vec::with_capacity(N);
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    for address in &mut addresses {
        let listener = std::net::TcpListener::bind(*address)?;
        *address = listener.local_addr()?;
        held.push(listener);
    }
    Ok(addresses)
}

/// Where `program` is.
///
/// # Errors
/// If it is not installed; the error names the package to install.
pub fn find(program: Program) -> anyhow::Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Debian puts servers where the PATH of a plain user does not look.
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(program.name))
        .find(|candidate| candidate.is_file())
        .with_context(|| {
            format!(
                "{} is not installed: apt-get install {} (or leave it out with --only)",
                program.name, program.package
            )
        })
}

/// A process of this same program that works for the benchmark.
#[derive(Debug)]
pub struct Worker {
    process: tokio::process::Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    /// Starts `bench <arguments>`. It is killed when the value is dropped.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(arguments: &[String]) -> anyhow::Result<Self> {
        let mut process = tokio::process::Command::new(env::current_exe()?)
            .arg("bench")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a worker")?;
        let input = process.stdin.take().context("worker without input")?;
        let output = process.stdout.take().context("worker without output")?;
        Ok(Self {
            process,
            input,
            output: BufReader::new(output).lines(),
        })
    }

    /// Its next line.
    ///
    /// # Errors
    /// If it ended or said nothing for [`LINE`].
    pub async fn line(&mut self) -> anyhow::Result<String> {
        let line = timeout(LINE, self.output.next_line())
            .await
            .context("a worker is silent")??;
        if let Some(line) = line {
            return Ok(line);
        }
        let end = timeout(STOP, self.process.wait())
            .await
            .context("a worker hangs")??;
        bail!("a worker ended early: {end}")
    }

    /// Waits for exactly the line `word`.
    ///
    /// # Errors
    /// As [`Self::line`], or if the line is another one.
    pub async fn expect(&mut self, word: &str) -> anyhow::Result<()> {
        let line = self.line().await?;
        ensure!(line == word, "a worker said {line:?} instead of {word:?}");
        Ok(())
    }

    /// Tells it to go on.
    ///
    /// # Errors
    /// If it is gone.
    pub async fn go(&mut self) -> anyhow::Result<()> {
        self.input
            .write_all(b"go\n")
            .await
            .context("a worker is gone")
    }
}

/// The backend, running.
#[derive(Debug)]
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    _worker: Worker,
}

impl Backend {
    /// Starts it.
    ///
    /// # Errors
    /// If it does not come up.
    pub async fn start() -> anyhow::Result<Self> {
        let mut worker = Worker::start(&["backend".to_owned()])?;
        let line = worker.line().await?;
        let address = line
            .strip_prefix("ready ")
            .context("the backend gave no address")?;
        Ok(Self {
            address: address.parse()?,
            _worker: worker,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_the_package_to_install() {
        let program = Program {
            name: "no-such-proxy",
            package: "proxy-light",
        };
        let error = find(program).unwrap_err().to_string();
        assert!(error.contains("apt-get install proxy-light"), "{error}");
    }

    #[test]
    fn free_addresses_differ() {
        let [one, two, three] = free_addresses().unwrap();
        assert!(one != two && two != three && one != three);
    }

    #[tokio::test]
    async fn a_proxy_that_ends_at_once_is_told_with_what_it_said() {
        let directory = tempfile::tempdir().unwrap();
        // Whatever program this test is, it does not know `serve -c`.
        let upstream = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let error = Proxy::start(Contender::Tradewind, upstream, directory.path())
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("tradewind is not ready: it ended"),
            "{error}"
        );
    }
}
