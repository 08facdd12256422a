//! Draws the picture for people.

use std::{collections::BTreeMap, time::Duration};

use comfy_table::Table;
use discovery_client::{Kind, State};

use super::{
    Picture,
    report::{Endpoint, Report},
};

/// Three tables: processes, endpoints, links between sites.
pub fn draw(picture: &Picture) -> String {
    let reports: Vec<_> = picture
        .processes
        .iter()
        .filter_map(|process| process.report.as_ref())
        .collect();
    let mut parts = vec![
        format!("as of {}", picture.at),
        processes(picture).to_string(),
    ];
    for table in [endpoints(&reports), links(&reports)].into_iter().flatten() {
        parts.push(String::new());
        parts.push(table.to_string());
    }
    parts.push(String::new());
    let lines = parts
        .iter()
        .flat_map(|part| part.split('\n'))
        .map(str::trim_end);
    lines.collect::<Vec<_>>().join("\n")
}

fn columns(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(heads);
    table
}

fn processes(picture: &Picture) -> Table {
    let mut table = columns(&[
        "PROCESS",
        "ROLES",
        "READY",
        "UP",
        "GATEWAY",
        "REVISION",
        "AGE",
        "REQUESTS",
        "IN FLIGHT",
        "REFUSED",
        "BROKEN",
        "ROUTED",
    ]);
    for process in &picture.processes {
        let Some(report) = &process.report else {
            table.add_row([process.admin.authority(), "", "no answer"]);
            continue;
        };
        let count = |outcome: &str| {
            total(report, "tw_http_requests_total", |label| {
                outcome.is_empty() || label("outcome") == outcome
            })
        };
        table.add_row([
            format!("{}/{}", report.site, report.id),
            report.roles.join(","),
            if report.ready {
                "yes".to_owned()
            } else {
                format!("no: {}", report.reasons.join("; "))
            },
            age(Some(report.uptime_s * 1000)),
            report
                .gateway
                .as_ref()
                .map_or_else(dash, |address| address.authority().to_owned()),
            report
                .registry
                .revision
                .map_or_else(dash, |revision| revision.to_string()),
            age(report.registry.age_ms),
            count(""),
            total(report, "tw_http_in_flight", |_| true),
            count("own"),
            count("broken"),
            routed(report),
        ]);
    }
    table
}

/// Replicas and gateways, each as its own site sees it if that was asked.
fn endpoints(reports: &[&Report]) -> Option<Table> {
    let mut known = BTreeMap::<_, (&Endpoint, &Report)>::new();
    for report in reports {
        for endpoint in report
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.kind != Kind::Peer)
        {
            let seen = known
                .entry((&endpoint.site, endpoint.kind, &endpoint.id))
                .or_insert((endpoint, report));
            if report.gateway.is_some() && seen.1.gateway.is_none() {
                *seen = (endpoint, report);
            }
        }
    }
    let mut table = columns(&[
        "ENDPOINT",
        "KIND",
        "STATE",
        "ADDRESS",
        "IN FLIGHT",
        "APPLICATIONS",
    ]);
    for (endpoint, report) in known.into_values() {
        let target = format!("{}/{}", endpoint.site, endpoint.id);
        let of = |metric| total(report, metric, |label| label("target") == target);
        let replica = endpoint.kind == Kind::Replica && report.gateway.is_some();
        table.add_row([
            target.clone(),
            format!("{:?}", endpoint.kind).to_lowercase(),
            match endpoint.state {
                State::Draining => "draining".to_owned(),
                State::Serving if replica && of("tw_upstream_ejected") == "1" => {
                    "failing".to_owned()
                }
                State::Serving => "serving".to_owned(),
            },
            endpoint.address.authority().to_owned(),
            if replica {
                of("tw_upstream_in_flight")
            } else {
                dash()
            },
            applications(endpoint),
        ]);
    }
    (!table.is_empty()).then_some(table)
}

fn links(reports: &[&Report]) -> Option<Table> {
    let mut table = columns(&["FROM", "TO", "LINK", "AGE", "GATEWAYS", "APPLICATIONS"]);
    for report in reports {
        for peer in &report.peers {
            let there: Vec<_> = report
                .endpoints
                .iter()
                .filter(|it| it.kind == Kind::Peer && it.site == peer.site)
                .collect();
            table.add_row([
                format!("{}/{}", report.site, report.id),
                peer.site.to_string(),
                if peer.up { "up" } else { "down" }.to_owned(),
                age(peer.age_ms),
                there.len().to_string(),
                there
                    .first()
                    .map_or_else(dash, |endpoint| applications(endpoint)),
            ]);
        }
    }
    (!table.is_empty()).then_some(table)
}

/// How many choices were made for which reason.
fn routed(report: &Report) -> String {
    let mut reasons = BTreeMap::<_, f64>::new();
    for choice in report
        .traffic
        .iter()
        .filter(|sample| sample.name == "tw_route_choices_total")
    {
        *reasons.entry(choice.label("reason")).or_default() += choice.value;
    }
    let all: Vec<_> = reasons
        .iter()
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    if all.is_empty() {
        dash()
    } else {
        all.join(", ")
    }
}

/// The sum of a metric over the series whose labels suit; `-` without any.
fn total(report: &Report, metric: &str, suits: impl Fn(&dyn Fn(&str) -> String) -> bool) -> String {
    let series = report.traffic.iter().filter(|sample| sample.name == metric);
    let values: Vec<_> = series
        .filter(|sample| suits(&|name| sample.label(name).to_owned()))
        .map(|sample| sample.value)
        .collect();
    if values.is_empty() && report.gateway.is_none() {
        dash()
    } else {
        values
            .iter()
            .fold(0.0, |sum, value| sum + value)
            .to_string()
    }
}

/// Names shown of a list before the rest is counted.
const SHOWN: usize = 4;

fn applications(endpoint: &Endpoint) -> String {
    let mut names: Vec<_> = endpoint
        .applications
        .iter()
        .take(SHOWN)
        .map(ToString::to_string)
        .collect();
    let more = endpoint.applications.len().saturating_sub(SHOWN);
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    if names.is_empty() {
        dash()
    } else {
        names.join(", ")
    }
}

fn age(ms: Option<u64>) -> String {
    let Some(ms) = ms else {
        return "never".to_owned();
    };
    let rounded = if ms < 10_000 {
        ms / 100 * 100
    } else {
        ms / 1000 * 1000
    };
    humantime::format_duration(Duration::from_millis(rounded)).to_string()
}

fn dash() -> String {
    "-".to_owned()
}
