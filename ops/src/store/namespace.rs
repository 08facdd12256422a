//! `tradewind store namespace`: the namespaces of clusters as objects.
//!
//! All works on the database, beside a running store or without one. After a
//! change it is waited until the running store goes by it.

mod args;
mod table;

use std::{path::Path, process::ExitCode};

use gcs_store::namespace::{Applied, Catalog, Credential, Listed, Password, Quota, Version};
use ray_tables::NamespaceName;
use serde::Serialize;

pub use self::args::{Command, Common};
use self::args::{NewPassword, One, PasswordCommand};
use super::copies::{self, Told, time::Moment};
use crate::{
    cli::{Output, WrongFlag, print},
    config::Secret,
};

/// What was done to a namespace.
#[derive(Debug, Serialize)]
struct Done<'a> {
    namespace: &'a NamespaceName,
    done: &'a str,
    applied: Applied,
    #[serde(skip_serializing_if = "Option::is_none")]
    password_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
}

/// Runs it.
///
/// # Errors
/// Those of the command; exit code 4 if a safety rule forbids it.
pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List { common } => {
            let catalog = Catalog::new(&common.database.open().await?);
            show(&catalog.list().await?, common.output)
        }
        Command::Orphans { idle, common } => {
            let catalog = Catalog::new(&common.database.open().await?);
            let idle_ms = i64::try_from(idle.as_millis()).unwrap_or(i64::MAX);
            show(&catalog.orphans(idle_ms).await?, common.output)
        }
        Command::Create {
            name,
            password,
            quota,
            common,
        } => create(&name, &password, quota.quota(), &common).await,
        Command::Password(command) => passwords(command).await,
        Command::Quota {
            name,
            quota,
            common,
        } => {
            let catalog = Catalog::new(&common.database.open().await?);
            let version = catalog.set_quota(&name, quota.quota()).await?;
            told(&catalog, &name, "bounded", version, common.output).await
        }
        Command::Freeze(one) => {
            let catalog = one.catalog().await?;
            let version = catalog.freeze(&one.name).await?;
            told(&catalog, &one.name, "frozen", version, one.common.output).await
        }
        Command::Unfreeze(one) => {
            let catalog = one.catalog().await?;
            let version = catalog.unfreeze(&one.name).await?;
            told(&catalog, &one.name, "active", version, one.common.output).await
        }
        Command::Delete { even_in_use, one } => {
            let catalog = one.catalog().await?;
            let version = catalog.delete(&one.name, even_in_use).await?;
            told(&catalog, &one.name, "deleted", version, one.common.output).await
        }
        Command::Clone {
            name,
            into,
            at,
            common,
        } => {
            let told = Told::new("copied");
            let database = common.database.open().await?;
            let at_ms = at.map(|at| at.0);
            let done =
                gcs_store::copies::clone(&database, &name, at_ms, &into, told.progress()).await?;
            copies::cloned(&database, &into, &done, common.output).await
        }
        Command::Undelete { at, into, one } => undelete(&one, at, into.as_ref()).await,
        Command::Purge {
            name,
            grace,
            common,
        } => {
            let catalog = Catalog::new(&common.database.open().await?);
            let purged = catalog.purge(name.as_ref(), grace).await?;
            if common.output.json() {
                return print(&format!("{}\n", serde_json::to_string_pretty(&purged)?));
            }
            if purged.is_empty() {
                return print("nothing to purge\n");
            }
            let lines: String = purged
                .iter()
                .map(|name| format!("{name}: purged\n"))
                .collect();
            print(&lines)
        }
    }
}

impl One {
    async fn catalog(&self) -> anyhow::Result<Catalog> {
        Ok(Catalog::new(&self.common.database.open().await?))
    }
}

async fn create(
    name: &NamespaceName,
    wanted: &NewPassword,
    quota: Quota,
    common: &Common,
) -> anyhow::Result<ExitCode> {
    let password = match (&wanted.password, &wanted.password_file) {
        (Some(_), _) => Some(Password::random()?),
        (None, Some(path)) => Some(read(path)?),
        (None, None) => None,
    };
    let catalog = Catalog::new(&copies::prepared(&common.database).await?);
    let mut version = catalog.create(name).await?;
    let mut id = None;
    if let Some(password) = &password {
        let added = catalog.add_password(name, password).await?;
        (id, version) = (Some(added.0), added.1);
    }
    if quota != Quota::default() {
        version = catalog.set_quota(name, quota).await?;
    }
    let shown = password
        .as_ref()
        .filter(|_| wanted.password.is_some())
        .map(Password::reveal);
    let done = Done {
        namespace: name,
        done: "created",
        applied: catalog.applied(version).await?,
        password_id: id,
        password: shown,
    };
    done.print(common.output)
}

async fn passwords(command: PasswordCommand) -> anyhow::Result<ExitCode> {
    match command {
        PasswordCommand::Add {
            name,
            password_file,
            common,
        } => {
            let random = password_file.is_none();
            let password = match password_file {
                Some(path) => read(&path)?,
                None => Password::random()?,
            };
            let catalog = Catalog::new(&common.database.open().await?);
            let (id, version) = catalog.add_password(&name, &password).await?;
            let done = Done {
                namespace: &name,
                done: "password added",
                applied: catalog.applied(version).await?,
                password_id: Some(id),
                password: random.then(|| password.reveal()),
            };
            done.print(common.output)
        }
        PasswordCommand::List(one) => {
            let all: Vec<Credential> = one.catalog().await?.passwords(&one.name).await?;
            if one.common.output.json() {
                return print(&format!("{}\n", serde_json::to_string_pretty(&all)?));
            }
            print(&table::passwords(&all, gcs_store::now_ms()))
        }
        PasswordCommand::Remove {
            name,
            id,
            even_the_last,
            common,
        } => {
            let catalog = Catalog::new(&common.database.open().await?);
            let version = catalog.remove_password(&name, id, even_the_last).await?;
            told(&catalog, &name, "password removed", version, common.output).await
        }
    }
}

async fn undelete(
    one: &One,
    at: Option<Moment>,
    into: Option<&NamespaceName>,
) -> anyhow::Result<ExitCode> {
    let (name, output) = (&one.name, one.common.output);
    let database = one.common.database.open().await?;
    let Some(Moment(at_ms)) = at else {
        let catalog = Catalog::new(&database);
        let version = catalog.undelete(name).await?;
        return told(&catalog, name, "active", version, output).await;
    };
    let told = Told::new("put back");
    let progress = told.progress();
    let done = match into {
        Some(into) => gcs_store::copies::clone(&database, name, Some(at_ms), into, progress).await,
        None => gcs_store::copies::rebuild(&database, name, at_ms, progress).await,
    }?;
    copies::cloned(&database, into.unwrap_or(name), &done, output).await
}

fn read(path: &Path) -> anyhow::Result<Password> {
    let text = Secret::file(path.to_owned())
        .read()
        .map_err(|error| WrongFlag(format!("--password-file: {error}")))?;
    Ok(Password::new(text).map_err(|error| WrongFlag(format!("--password-file: {error}")))?)
}

fn show(all: &[Listed], output: Output) -> anyhow::Result<ExitCode> {
    if output.json() {
        return print(&format!("{}\n", serde_json::to_string_pretty(all)?));
    }
    print(&table::namespaces(all, gcs_store::now_ms()))
}

async fn told(
    catalog: &Catalog,
    namespace: &NamespaceName,
    done: &str,
    version: Version,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let done = Done {
        namespace,
        done,
        applied: catalog.applied(version).await?,
        password_id: None,
        password: None,
    };
    done.print(output)
}

impl Done<'_> {
    fn print(&self, output: Output) -> anyhow::Result<ExitCode> {
        if output.json() {
            return print(&format!("{}\n", serde_json::to_string_pretty(self)?));
        }
        let mut text = format!("{}: {}{}\n", self.namespace, self.done, when(self.applied));
        if let Some(id) = self.password_id {
            text.push_str(&format!("password number: {id}\n"));
        }
        if let Some(password) = self.password {
            text.push_str(&format!("password, shown only now: {password}\n"));
        }
        print(&text)
    }
}

/// From when a change holds, in words.
pub(super) fn when(applied: Applied) -> &'static str {
    match applied {
        Applied::Now | Applied::Later => "",
        Applied::Unknown => {
            "; the store that is registered as active did not answer, and goes by it when it does"
        }
    }
}
