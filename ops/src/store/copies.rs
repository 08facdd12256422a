//! `tradewind store backup` and its kin: history and copies of namespaces.

mod args;
pub mod show;
pub mod time;
mod told;

use std::{
    fs,
    os::{fd::AsFd, unix::fs::OpenOptionsExt as _},
    path::Path,
    process::ExitCode,
};

use anyhow::Context;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use gcs_sql::Database;
use gcs_store::{
    copies::{self, Address, Cloned, Filter, Side},
    namespace::{self, Catalog},
};
use ray_tables::NamespaceName;
use serde::Serialize;
use tokio::io::{AsyncWriteExt as _, BufReader, BufWriter};

pub use self::{args::Command, told::Told};
use self::{show::size, time::Moment};
use super::{database, namespace::Common};
use crate::cli::{Exit, Output, WrongFlag, print};

/// Runs it.
///
/// # Errors
/// Those of the command; exit code 4 if a safety rule forbids it.
pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Backup {
            name,
            to,
            at,
            common,
        } => backup(&name, &to, at, &common).await,
        Command::Verify { file, output } => {
            let verified = match open(&file).await? {
                Some(file) => copies::verify(file).await?,
                None => copies::verify(BufReader::new(standard(std::io::stdin())?)).await?,
            };
            let shown = format!(
                "whole: {} rows, {}, of namespace {} at {}",
                verified.trailer.rows,
                size(verified.trailer.bytes),
                verified.header.namespace,
                verified.header.at,
            );
            tell(&verified, &shown, output)
        }
        Command::Restore { file, into, common } => restore(&file, &into, &common).await,
        Command::Diff {
            before,
            after,
            from,
            to,
            common,
        } => {
            let after = side(after.as_ref().unwrap_or(&before), to)?;
            let before = side(&before, from)?;
            let database = common.database.open().await?;
            let found = copies::diff(&database, &before, &after).await?;
            tell(&found, show::difference(&found).trim_end(), common.output)?;
            Ok(if found.is_empty() {
                ExitCode::SUCCESS
            } else {
                Exit::Findings.into()
            })
        }
        Command::Import {
            name,
            from,
            into,
            login,
            common,
        } => {
            let into = match into {
                Some(into) => into,
                None => NamespaceName::new(&name)
                    .map_err(|error| WrongFlag(format!("{error}; name another by --into")))?,
            };
            import(&name, &login.address(&from)?, &into, &common).await
        }
        Command::Export {
            name,
            to,
            into,
            login,
            common,
        } => {
            let address = login.address(&to)?;
            let database = common.database.open().await?;
            let told = Told::new("copied");
            let there = into.as_ref().unwrap_or(&name).as_str();
            let done = copies::export(&database, &name, &address, there, told.progress()).await?;
            let shown = format!(
                "{} rows, {}, of {name} are at {} as {there}, verified",
                done.rows,
                size(done.bytes),
                address.shown(),
            );
            tell(&done, &shown, common.output)
        }
        Command::History {
            name,
            table,
            key,
            key_base64,
            since,
            limit,
            common,
        } => {
            let field = match (key, key_base64) {
                (Some(text), _) => Some(text.into_bytes().into()),
                (None, Some(text)) => {
                    let bytes = BASE64.decode(text);
                    let bytes = bytes.map_err(|error| WrongFlag(format!("--key-base64: {error}")));
                    Some(bytes?.into())
                }
                (None, None) => None,
            };
            let filter = Filter {
                table,
                field,
                since_ms: since.map_or(i64::MIN, |since| since.0),
                limit,
            };
            let database = common.database.open().await?;
            let found = copies::history(&database, &name, &filter).await?;
            tell(&found, show::versions(&found).trim_end(), common.output)
        }
    }
}

/// Opens a database and makes the store's tables if they are not there.
pub(super) async fn prepared(args: &database::Args) -> anyhow::Result<Database> {
    let settings = args.settings()?;
    let shown = settings.shown_url();
    let open = async {
        let database = Database::open(&settings).await?;
        database.migrate(&gcs_store::schema::MIGRATIONS).await?;
        Ok::<_, gcs_sql::Error>(database)
    };
    open.await.with_context(|| shown)
}

/// How a command that failed so ends, if it is ours to say.
pub fn exit(error: &anyhow::Error) -> Option<Exit> {
    if let Some(error) = error.downcast_ref::<copies::Error>() {
        return match error {
            error if error.is_refusal() => Some(Exit::Refused),
            copies::Error::Remote(copies::remote::Error::Client(_)) => Some(Exit::Unreachable),
            _ => None,
        };
    }
    match error.downcast_ref::<namespace::Error>()? {
        namespace::Error::Refused(_) => Some(Exit::Refused),
        _ => None,
    }
}

/// Prints what a clone did, once the running store goes by it.
pub(super) async fn cloned(
    database: &Database,
    into: &NamespaceName,
    done: &Cloned,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let applied = Catalog::new(database).applied(done.version).await?;
    let shown = format!(
        "{into}: {} rows, {}, as of {}, verified{}{}",
        done.rows,
        size(done.bytes),
        copies::utc(done.at_ms),
        raised(done.counter_raised),
        super::namespace::when(applied),
    );
    tell(done, &shown, output)
}

async fn backup(
    name: &NamespaceName,
    to: &Path,
    at: Option<Moment>,
    common: &Common,
) -> anyhow::Result<ExitCode> {
    let database = common.database.open().await?;
    let told = Told::new("written");
    let at_ms = at.map(|at| at.0);
    if to == Path::new("-") {
        let out = BufWriter::new(standard(std::io::stdout())?);
        let (_, trailer) = copies::backup(&database, name, at_ms, out, told.progress()).await?;
        eprintln!("{name}: {} rows, {}", trailer.rows, size(trailer.bytes));
        return Ok(ExitCode::SUCCESS);
    }
    if to.exists() {
        let said = format!("--to: {} is there already", to.display());
        return Err(WrongFlag(said).into());
    }
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)
        .with_context(|| to.display().to_string())?;
    let mut out = BufWriter::with_capacity(1 << 20, tokio::fs::File::from_std(file));
    let (header, trailer) =
        match copies::backup(&database, name, at_ms, &mut out, told.progress()).await {
            Ok(done) => done,
            Err(error) => {
                let _gone = fs::remove_file(&partial);
                return Err(error.into());
            }
        };
    out.flush().await?;
    out.get_ref().sync_all().await?;
    fs::rename(&partial, to).with_context(|| to.display().to_string())?;
    let shown = format!(
        "{name}: {} rows, {}, as of {}, in {}",
        trailer.rows,
        size(trailer.bytes),
        header.at,
        to.display(),
    );
    tell(
        &serde_json::json!({ "header": header, "trailer": trailer }),
        &shown,
        common.output,
    )
}

async fn restore(file: &Path, into: &NamespaceName, common: &Common) -> anyhow::Result<ExitCode> {
    let from = match open(file).await? {
        Some(from) => from,
        None => spooled().await?,
    };
    let database = prepared(&common.database).await?;
    let told = Told::new("copied");
    let done = copies::restore(&database, from, into, told.progress()).await?;
    let applied = Catalog::new(&database).applied(done.version).await?;
    let shown = format!(
        "{into}: {} rows, {}, as of {}, verified{}{}",
        done.rows,
        size(done.bytes),
        done.header.at,
        raised(done.counter_raised),
        super::namespace::when(applied),
    );
    tell(&done, &shown, common.output)
}

async fn import(
    name: &str,
    from: &Address,
    into: &NamespaceName,
    common: &Common,
) -> anyhow::Result<ExitCode> {
    let database = prepared(&common.database).await?;
    let told = Told::new("copied");
    let done = copies::import(&database, from, name, into, told.progress()).await?;
    let applied = Catalog::new(&database).applied(done.version).await?;
    let shown = format!(
        "{into}: {} rows, {}, from {}, verified{}{}",
        done.rows,
        size(done.bytes),
        from.shown(),
        raised(done.counter_raised),
        super::namespace::when(applied),
    );
    tell(&done, &shown, common.output)?;
    if done.meanwhile.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "rows changed at the origin while they were copied: a head still writes there. Stop it, \
         delete {into} and import again"
    );
    eprint!("{}", show::difference(&done.meanwhile));
    Ok(Exit::Findings.into())
}

/// A namespace, or a file.
fn side(text: &str, at: Option<Moment>) -> anyhow::Result<Side> {
    if let Some(path) = text.strip_prefix("file:") {
        if at.is_some() {
            return Err(WrongFlag(format!("{text}: a backup is of one time only")).into());
        }
        return Ok(Side::File(path.into()));
    }
    let name = NamespaceName::new(text).map_err(|error| WrongFlag(error.to_string()))?;
    Ok(Side::Namespace(name, at.map(|at| at.0)))
}

/// A file to be read; nothing for standard input.
async fn open(path: &Path) -> anyhow::Result<Option<BufReader<tokio::fs::File>>> {
    if path == Path::new("-") {
        return Ok(None);
    }
    let file = tokio::fs::File::open(path).await;
    let file = file.with_context(|| path.display().to_string())?;
    Ok(Some(BufReader::with_capacity(1 << 20, file)))
}

/// Standard input as a file without a name, which can be read twice.
async fn spooled() -> anyhow::Result<BufReader<tokio::fs::File>> {
    use tokio::io::AsyncSeekExt as _;
    let path = std::env::temp_dir().join(format!("tradewind-{:016x}", fastrand::u64(..)));
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| path.display().to_string())?;
    fs::remove_file(&path)?;
    let mut file = tokio::fs::File::from_std(file);
    tokio::io::copy(&mut standard(std::io::stdin())?, &mut file).await?;
    file.flush().await?;
    file.rewind().await?;
    Ok(BufReader::with_capacity(1 << 20, file))
}

/// Standard input or output as a file, without the buffer of the library.
fn standard(stream: impl AsFd) -> anyhow::Result<tokio::fs::File> {
    let file = fs::File::from(stream.as_fd().try_clone_to_owned()?);
    Ok(tokio::fs::File::from_std(file))
}

fn raised(counter: Option<i64>) -> String {
    counter.map_or_else(String::new, |counter| {
        format!("; the job counter is {counter}, the highest number ever handed out")
    })
}

fn tell(done: &impl Serialize, shown: &str, output: Output) -> anyhow::Result<ExitCode> {
    if output.json() {
        return print(&format!("{}\n", serde_json::to_string_pretty(done)?));
    }
    print(&format!("{shown}\n"))
}
