//! Draws clusters for people.

use std::collections::BTreeMap;

use comfy_table::Table;
use ray_tables::{Finding, Id, Row, Time};

use super::{
    cell::{clean, dash, lived, moment, or_dash, resources, since},
    seen::{Filter, Seen, Stateful, Summary},
};

/// Digits that tell ids of one cluster apart.
const SHORT: usize = 8;

/// Letters of a command line that are shown.
const COMMAND: usize = 60;

/// How to draw rows.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Which ones.
    pub filter: Filter,
    /// With everything there is.
    pub wide: bool,
}

impl View {
    fn id(&self, id: &Id) -> String {
        if self.wide {
            id.to_string()
        } else {
            id.short(SHORT)
        }
    }

    fn some(&self, id: Option<&Id>) -> String {
        id.map_or_else(dash, |id| self.id(id))
    }

    fn text(&self, text: &str, width: usize) -> String {
        let clean = clean(text);
        if self.wide || clean.chars().count() <= width {
            return clean;
        }
        let mut cut: String = clean.chars().take(width - 1).collect();
        cut.push('…');
        cut
    }

    /// A table of rows of one kind, and how many are not in it.
    fn draw<T: Stateful>(
        &self,
        heads: &[&str],
        more: &[&str],
        rows: &[Row<T>],
        cells: impl Fn(&T) -> (Vec<String>, Vec<String>),
    ) -> String {
        let mut table = columns(heads, self.wide.then_some(more));
        let mut errors = String::new();
        let (rows, left) = self.filter.of(rows);
        for row in rows {
            let mut line = vec![self.id(&row.field), row.state()];
            match &row.content {
                Ok(it) => {
                    let (first, rest) = cells(it);
                    line.extend(first);
                    if self.wide {
                        line.extend(rest);
                    }
                }
                Err(error) => errors.push_str(&format!("{}: {error}\n", self.id(&row.field))),
            }
            table.add_row(line);
        }
        end(&table, left) + &errors
    }
}

/// All clusters, one in a line.
pub fn clusters(all: &[Summary], now: Time, view: &View) -> String {
    let heads = [
        "NAMESPACE",
        "CLUSTER",
        "RAY",
        "HEAD",
        "NODES",
        "DEAD",
        "ACTORS",
        "JOBS",
        "LAST WRITE",
        "FINDINGS",
    ];
    let mut table = columns(&heads, view.wide.then_some(&["STATE", "SESSION"]));
    for it in all {
        let id = it.cluster_id.as_deref().unwrap_or("-");
        let mut line = vec![
            it.namespace.to_string(),
            if view.wide {
                id
            } else {
                id.get(..SHORT).unwrap_or(id)
            }
            .to_owned(),
            or_dash(it.ray_version.as_deref()),
            or_dash(it.head_ip.as_deref()),
            it.nodes_alive.to_string(),
            it.nodes_dead.to_string(),
            it.actors_alive.to_string(),
            it.jobs_running.to_string(),
            since(it.updated, now),
            tally(&it.findings),
        ];
        if view.wide {
            line.extend([it.state.clone(), or_dash(it.session_name.as_deref())]);
        }
        table.add_row(line);
    }
    end(&table, 0)
}

/// `NODE`.
pub fn nodes(seen: &Seen, view: &View) -> String {
    let heads = ["NODE", "STATE", "HEAD", "IP", "NAME", "AGE", "RESOURCES"];
    let more = ["HOST", "RAYLET", "STARTED", "ENDED", "DEATH"];
    view.draw(&heads, &more, &seen.cluster.nodes, |it| {
        let death = it.death.as_ref().map(|death| {
            let message = death.message.as_deref().unwrap_or_default();
            format!("{}: {message}", death.reason)
        });
        let first = vec![
            if it.is_head { "yes" } else { "-" }.to_owned(),
            clean(&it.ip),
            or_dash(it.name.as_deref()),
            lived(it.started, it.ended, seen.now),
            resources(&it.resources, view.wide),
        ];
        let rest = vec![
            or_dash(it.host.as_deref()),
            it.raylet_port.to_string(),
            moment(it.started),
            moment(it.ended),
            or_dash(death.as_deref()),
        ];
        (first, rest)
    })
}

/// `ACTOR`.
pub fn actors(seen: &Seen, view: &View) -> String {
    let heads = [
        "ACTOR", "STATE", "CLASS", "NAME", "JOB", "NODE", "PID", "RESTARTS", "AGE",
    ];
    let more = ["NAMESPACE", "DETACHED", "IP", "RESOURCES", "DEATH"];
    view.draw(&heads, &more, &seen.cluster.actors, |it| {
        let allowed = match it.max_restarts {
            -1 => "∞".to_owned(),
            number => number.to_string(),
        };
        let first = vec![
            view.text(&it.class, 30),
            it.name
                .as_deref()
                .map_or_else(dash, |name| view.text(name, 40)),
            it.job_id.as_ref().map_or_else(dash, ToString::to_string),
            view.some(it.node_id.as_ref()),
            it.pid.map_or_else(dash, |pid| pid.to_string()),
            format!("{}/{allowed}", it.restarts),
            lived(it.started, it.ended, seen.now),
        ];
        let rest = vec![
            or_dash(it.ray_namespace.as_deref()),
            if it.detached { "yes" } else { "-" }.to_owned(),
            or_dash(it.ip.as_deref()),
            resources(&it.resources, true),
            or_dash(it.death.as_deref()),
        ];
        (first, rest)
    })
}

/// `JOB`, and the records of submitted jobs below.
pub fn jobs(seen: &Seen, view: &View) -> String {
    let heads = ["JOB", "STATE", "DRIVER", "PID", "NODE", "AGE", "ENTRYPOINT"];
    let more = ["NAMESPACE", "SUBMISSION", "STARTED", "ENDED"];
    let drivers = view.draw(&heads, &more, &seen.cluster.jobs, |it| {
        let first = vec![
            clean(&it.driver_ip),
            it.driver_pid.to_string(),
            view.some(it.driver_node_id.as_ref()),
            lived(it.started, it.ended, seen.now),
            view.text(&it.entrypoint, COMMAND),
        ];
        let rest = vec![
            or_dash(it.ray_namespace.as_deref()),
            or_dash(it.submission_id.as_deref()),
            moment(it.started),
            moment(it.ended),
        ];
        (first, rest)
    });
    let all = seen.submissions();
    let (submissions, left) = view.filter.of(&all);
    if submissions.is_empty() {
        return drivers;
    }
    let mut table = columns(
        &["SUBMISSION", "STATUS", "AGE", "ENTRYPOINT", "MESSAGE"],
        None,
    );
    for it in submissions {
        let message = it.error.as_ref().or(it.message.as_ref());
        table.add_row([
            clean(&it.id),
            clean(&it.state()),
            lived(it.started, it.ended, seen.now),
            view.text(&it.entrypoint, COMMAND),
            message.map_or_else(dash, |message| view.text(message, COMMAND)),
        ]);
    }
    format!("{drivers}\n{}", end(&table, left))
}

/// `PLACEMENT_GROUP`.
pub fn groups(seen: &Seen, view: &View) -> String {
    let heads = [
        "GROUP", "STATE", "STRATEGY", "NAME", "JOB", "BUNDLES", "NODES", "AGE",
    ];
    let more = ["NAMESPACE", "DETACHED", "RESOURCES"];
    view.draw(&heads, &more, &seen.cluster.groups, |it| {
        let placed: Vec<_> = it
            .bundles
            .iter()
            .filter_map(|it| it.node_id.as_ref())
            .collect();
        let mut nodes: Vec<_> = placed.iter().map(|id| view.id(id)).collect();
        nodes.sort();
        nodes.dedup();
        let mut sum = BTreeMap::<_, f64>::new();
        for (name, amount) in it.bundles.iter().flat_map(|it| &it.resources) {
            *sum.entry(name.clone()).or_default() += amount;
        }
        let first = vec![
            it.strategy.to_string(),
            or_dash(it.name.as_deref()),
            it.job_id.as_ref().map_or_else(dash, ToString::to_string),
            format!("{}/{}", placed.len(), it.bundles.len()),
            if nodes.is_empty() {
                dash()
            } else {
                nodes.join(", ")
            },
            since(it.requested, seen.now),
        ];
        let rest = vec![
            or_dash(it.ray_namespace.as_deref()),
            if it.detached { "yes" } else { "-" }.to_owned(),
            resources(&sum, true),
        ];
        (first, rest)
    })
}

/// `KV`.
pub fn kv(seen: &Seen, view: &View) -> String {
    let mut table = columns(
        &["KEY", "KIND", "BYTES", "AGE"],
        view.wide.then_some(&["CREATED", "UPDATED"]),
    );
    let (pairs, left) = view.filter.of(&seen.cluster.kv);
    for pair in pairs {
        let mut line = vec![
            view.text(&pair.key.to_string(), 90),
            pair.kind.name().to_owned(),
            pair.bytes.to_string(),
            since(Some(pair.updated), seen.now),
        ];
        if view.wide {
            line.extend([pair.created.to_string(), pair.updated.to_string()]);
        }
        table.add_row(line);
    }
    end(&table, left)
}

/// Who was head, as the store and as the nodes' table have it.
pub fn heads(seen: &Seen, view: &View) -> String {
    let mut table = columns(
        &["EPOCH", "KNOWN BY", "USER", "PEER", "BEGAN", "FENCED", "BY"],
        None,
    );
    for head in &seen.heads {
        table.add_row([
            head.epoch.to_string(),
            clean(&head.kind),
            or_dash(Some(head.user.as_str()).filter(|user| !user.is_empty())),
            clean(&head.peer),
            head.began.to_string(),
            moment(head.fenced),
            head.fenced_by.map_or_else(dash, |epoch| epoch.to_string()),
        ]);
    }
    let mut nodes = columns(&["HEAD NODE", "STATE", "IP", "STARTED", "ENDED"], None);
    let read = seen.cluster.nodes.iter().filter_map(Row::get);
    for node in read.filter(|node| node.is_head) {
        nodes.add_row([
            view.id(&node.id),
            node.state.to_string(),
            clean(&node.ip),
            moment(node.started),
            moment(node.ended),
        ]);
    }
    format!("{}\n{}", end(&table, 0), end(&nodes, 0))
}

/// What is wrong, and what to do.
pub fn findings(found: &[Finding]) -> String {
    if found.is_empty() {
        return "no findings\n".to_owned();
    }
    let mut text = String::new();
    for it in found {
        text.push_str(&format!(
            "{}: {} [{}]\n  means: {}\n  to do: {}\n",
            it.severity.name(),
            clean(&it.what),
            it.code,
            it.means,
            it.advice
        ));
    }
    text
}

fn columns(heads: &[&str], more: Option<&[&str]>) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(heads.iter().chain(more.unwrap_or_default()));
    table
}

fn end(table: &Table, left: usize) -> String {
    let mut text: String = table
        .to_string()
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect();
    if left > 0 {
        text.push_str(&format!("{left} more: raise --limit\n"));
    }
    text
}

/// `2 errors, 1 warning`, or a dash.
fn tally(found: &[Finding]) -> String {
    let mut counts = BTreeMap::<_, usize>::new();
    for finding in found {
        *counts.entry(finding.severity).or_default() += 1;
    }
    let parts: Vec<_> = counts
        .iter()
        .map(|(severity, count)| format!("{count} {}", severity.name()))
        .collect();
    if parts.is_empty() {
        dash()
    } else {
        parts.join(", ")
    }
}
