//! The lines below the table: on what machine and disk, with what, and how.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use super::{
    super::{
        notes::{build, machine},
        process::find,
        statistics::quantile,
    },
    contender::Contender,
    postgres::Postgres,
    server::REDIS,
    settings::Settings,
};

/// Appends that are timed.
const APPENDS: usize = 200;

/// All notes of a run that took `took`.
pub fn of(settings: &Settings, contenders: &[Contender], took: Duration) -> Vec<String> {
    let mut notes = vec![machine("load, store and database share them")];
    let mut versions = vec![format!(
        "tradewind {} ({})",
        env!("CARGO_PKG_VERSION"),
        build()
    )];
    let redis = [Contender::RedisAlways, Contender::RedisEverysec];
    if contenders.iter().any(|it| redis.contains(it)) {
        versions.extend(redis_version());
    }
    if contenders.contains(&Contender::Postgres) {
        versions.extend(match &settings.postgres {
            None => Postgres::version(),
            Some(_) => Some("PostgreSQL of --postgres".to_owned()),
        });
    }
    notes.push(versions.join("; "));
    if let Some(redis) = &settings.redis {
        notes.push(format!("redis: the one at {redis}"));
    }
    notes.push(settings.describe());
    notes.push(format!("took {} s", took.as_secs()));
    notes
}

fn redis_version() -> Option<String> {
    let output = Command::new(find(REDIS).ok()?).arg("--version").output();
    let text = String::from_utf8(output.ok()?.stdout).ok()?;
    let words: Vec<&str> = text.split_ascii_whitespace().take(3).collect();
    Some(words.join(" "))
}

/// What the disk below `folder` gives: the time to append 4 KiB and flush them,
/// without anybody in between. Every durable write contains one.
///
/// # Errors
/// If it cannot be written.
pub fn disk(folder: &Path) -> io::Result<String> {
    let path = folder.join("disk");
    let mut file = File::create(&path)?;
    let mut times = Vec::with_capacity(APPENDS);
    for _ in 0..APPENDS {
        let began = Instant::now();
        file.write_all(&[b'd'; 4096])?;
        file.sync_data()?;
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    std::fs::remove_file(path)?;
    times.sort_by(f64::total_cmp);
    let at = |q| quantile(&times, q).unwrap_or_default();
    Ok(format!(
        "disk: {:.0} µs to append and flush 4 KiB (p50; p99 {:.0} µs){}",
        at(0.5),
        at(0.99),
        if is_memory(folder) {
            "; THE FOLDER IS IN MEMORY: durable writes cost nothing here, choose another (--folder)"
        } else {
            ""
        }
    ))
}

/// Whether `folder` is on a tmpfs.
fn is_memory(folder: &Path) -> bool {
    /// `TMPFS_MAGIC` of linux/magic.h.
    const TMPFS: i64 = 0x0102_1994;
    rustix::fs::statfs(folder).is_ok_and(|fs| fs.f_type == TMPFS)
}
