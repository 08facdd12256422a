//! Who is measured.

use std::fmt;

/// One who keeps the state of heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum Contender {
    /// The Redis of `--redis`, as it is set up.
    Redis,
    /// Redis that flushes to disk before it answers, as this store does.
    RedisAlways,
    /// Redis that flushes once a second and may lose what it has answered.
    RedisEverysec,
    /// This store on a file, full sync.
    Sqlite,
    /// This store on PostgreSQL, fsync on.
    Postgres,
}

impl Contender {
    /// The name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::RedisAlways => "redis-always",
            Self::RedisEverysec => "redis-everysec",
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
