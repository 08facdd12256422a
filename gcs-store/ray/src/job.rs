//! `JOB`, `JobCounter` and `WORKERS`: drivers, their numbers, and processes.

use bytes::Bytes;
use serde::Serialize;

use crate::{
    Decode, Id, Known, TableName, Time, Unreadable, WorkerExit, WorkerType, present, wire,
};

/// One driver.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Job {
    /// Its id.
    pub id: Id,
    /// The number it was given.
    pub number: Option<u32>,
    /// Whether it has ended.
    pub dead: bool,
    /// The node the driver runs on.
    pub driver_node_id: Option<Id>,
    /// The address of the driver.
    pub driver_ip: String,
    /// The process of the driver.
    pub driver_pid: i64,
    /// Ray's namespace of its actors (not the store's).
    pub ray_namespace: Option<String>,
    /// The submission it belongs to.
    pub submission_id: Option<String>,
    /// When it began.
    pub started: Option<Time>,
    /// When it ended.
    pub ended: Option<Time>,
    /// What was started.
    pub entrypoint: String,
}

impl Decode for Job {
    const TABLE: TableName = TableName::JOB;

    fn decode(field: &Bytes, value: &Bytes) -> Result<Self, Unreadable> {
        let job: wire::Job = Self::message(field, value, |it: &wire::Job| &it.job_id)?;
        let mut config = job.config.unwrap_or_default();
        let id = Id::new(job.job_id);
        Ok(Self {
            number: id.job_number(),
            id,
            dead: job.is_dead,
            driver_node_id: job.driver_address.and_then(|it| Id::present(it.node_id)),
            driver_ip: job.driver_ip,
            driver_pid: job.driver_pid,
            ray_namespace: present(config.ray_namespace),
            submission_id: config.metadata.remove("job_submission_id"),
            started: Time::present(job.start_ms),
            ended: Time::present(job.end_ms),
            entrypoint: job.entrypoint,
        })
    }
}

/// The last job number handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct JobCounter {
    /// The number.
    pub last: i64,
}

impl Decode for JobCounter {
    const TABLE: TableName = TableName::JOB_COUNTER;

    fn decode(_: &Bytes, value: &Bytes) -> Result<Self, Unreadable> {
        let number = std::str::from_utf8(value)
            .ok()
            .and_then(|it| it.parse().ok());
        number
            .map(|last| Self { last })
            .ok_or_else(|| Unreadable::Malformed {
                table: Self::TABLE,
                reason: "not a number".to_owned(),
            })
    }
}

/// One worker process.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Worker {
    /// Its id.
    pub id: Id,
    /// Whether it lives.
    pub alive: bool,
    /// What it is for.
    #[serde(rename = "type")]
    pub kind: Known<WorkerType>,
    /// Where it runs.
    pub node_id: Option<Id>,
    /// Its address.
    pub ip: Option<String>,
    /// Its process.
    pub pid: u32,
    /// The job it worked for.
    pub job_id: Option<Id>,
    /// When it began.
    pub started: Option<Time>,
    /// When it ended.
    pub ended: Option<Time>,
    /// How it ended.
    pub exit: Option<Known<WorkerExit>>,
    /// In words.
    pub exit_detail: Option<String>,
}

impl Decode for Worker {
    const TABLE: TableName = TableName::WORKERS;

    fn decode(field: &Bytes, value: &Bytes) -> Result<Self, Unreadable> {
        static NONE: Bytes = Bytes::new();
        let worker: wire::Worker = Self::message(field, value, |it: &wire::Worker| {
            it.address.as_ref().map_or(&NONE, |it| &it.worker_id)
        })?;
        let address = worker.address.unwrap_or_default();
        Ok(Self {
            id: Id::new(address.worker_id),
            alive: worker.is_alive,
            kind: Known::new(worker.r#type),
            node_id: Id::present(address.node_id),
            ip: present(address.ip),
            pid: worker.pid,
            job_id: Id::present(worker.job_id),
            started: Time::present(worker.start_ms),
            ended: Time::present(worker.end_ms),
            exit: worker.exit.map(Known::new),
            exit_detail: present(worker.exit_detail),
        })
    }
}
