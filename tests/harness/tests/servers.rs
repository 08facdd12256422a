//! The servers start, can be held, killed and restarted, and never stay behind.

use std::{fs, path::Path, process::Command, time::Duration};

use harness::{mariadb::Mariadb, postgres::Postgres, redis::Redis, wait};

/// The processes that work in `folder`, in which a server lives. PostgreSQL's
/// tell by nothing else: they retitle themselves.
fn processes(folder: &Path) -> usize {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| fs::read_link(entry.path().join("cwd")).ok())
        .filter(|place| place.starts_with(folder))
        .count()
}

#[tokio::test]
async fn postgres_keeps_its_data_over_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Postgres::start(folder.path()).await.unwrap();
    let url = server.database("mine").await.unwrap();
    assert!(url.ends_with("/mine"));

    server.kill();
    assert!(server.sql("SELECT 1").is_err());
    server.restart().await.unwrap();

    let names = server.sql("SELECT datname FROM pg_database").unwrap();
    assert!(names.contains("mine"), "{names}");
}

#[tokio::test]
async fn mariadb_keeps_its_data_over_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Mariadb::start(folder.path()).await.unwrap();
    let url = server.database("mine").await.unwrap();
    assert!(url.ends_with("/mine"));

    server.kill();
    assert!(server.sql("SELECT 1").is_err());
    server.restart().await.unwrap();

    let names = server.sql("SHOW DATABASES").unwrap();
    assert!(names.contains("mine"), "{names}");
}

#[tokio::test]
async fn redis_comes_back_on_the_same_port() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Redis::start(folder.path(), &["--appendonly", "yes"])
        .await
        .unwrap();
    let address = server.address();

    server.kill();
    assert!(std::net::TcpStream::connect(address).is_err());
    server.restart().await.unwrap();

    assert!(std::net::TcpStream::connect(address).is_ok());
}

#[tokio::test]
async fn a_paused_server_is_silent_and_dies_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let server = Postgres::start(folder.path()).await.unwrap();
    let mut asking = Command::new("psql");
    asking.args(["-h", "127.0.0.1", "-U", "postgres", "-c", "SELECT 1"]);
    asking.args(["-p", &server.port().to_string()]);

    server.pause();
    let mut asking = asking.spawn().unwrap();
    let silent = wait::until("an answer", Duration::from_millis(300), async || {
        asking
            .try_wait()?
            .ok_or_else(|| anyhow::anyhow!("no answer yet"))
    });
    silent.await.unwrap_err();
    server.resume();
    assert!(asking.wait().unwrap().success());

    server.pause();
    assert!(processes(folder.path()) > 5);
    drop(server);
    // All are killed; the last may still be on its way out.
    let gone = wait::until("their end", Duration::from_secs(10), async || {
        let left = processes(folder.path());
        anyhow::ensure!(left == 0, "{left} are left");
        Ok(())
    });
    gone.await.unwrap();
}

/// Runs itself, as the test that dies without a word.
#[tokio::test]
async fn a_server_outlives_no_test() {
    const FOLDER: &str = "HARNESS_ORPHAN_FOLDER";
    if let Some(folder) = std::env::var_os(FOLDER) {
        let server = Postgres::start(folder.as_ref()).await.unwrap();
        server.pause();
        std::mem::forget(server);
        std::process::abort();
    }
    let folder = tempfile::tempdir().unwrap();
    let mut victim = Command::new(std::env::current_exe().unwrap());
    victim
        .args(["--exact", "a_server_outlives_no_test"])
        .env(FOLDER, folder.path());

    assert!(!victim.output().unwrap().status.success());

    wait::until("the server's end", Duration::from_secs(10), async || {
        anyhow::ensure!(processes(folder.path()) == 0, "still running");
        let left = fs::read_dir(folder.path().join("postgres"))?.count();
        anyhow::ensure!(left == 0, "{left} files are left");
        Ok(())
    })
    .await
    .unwrap();
}
