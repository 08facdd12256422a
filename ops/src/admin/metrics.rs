//! The metrics of the process, for Prometheus.
//!
//! The gateway counts for itself; here its collector is put beside what the
//! process knows of the registry and of its peers.

use std::{collections::BTreeMap, fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::{MetricType, gauge::ConstGauge, info::Info},
    registry::Registry,
};

use super::Facts;
use crate::{build::BUILD, status::report::Counter};

/// Of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that is counted.
pub fn registry(facts: &Arc<Facts>) -> Registry {
    let mut registry = Registry::default();
    let labels = [
        ("version", BUILD.version.to_owned()),
        ("profile", BUILD.profile.to_owned()),
        ("site", facts.site.to_string()),
    ];
    registry.register(
        "tw_build",
        "The binary that runs",
        Info::new(labels.to_vec()),
    );
    registry.register_collector(Box::new(Surroundings(facts.clone())));
    if let Some((_, gateway)) = &facts.gateway {
        registry.register_collector(gateway.collector());
    }
    registry
}

/// The text of a scrape.
pub fn text(registry: &Registry) -> Result<String, fmt::Error> {
    let mut text = String::new();
    encode(&mut text, registry)?;
    Ok(text)
}

/// The counters of the gateway in the text of a scrape, in its order.
pub fn counters(text: &str) -> Vec<Counter> {
    text.lines()
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (name, labels) = match series.split_once('{') {
                Some((name, labels)) => (name, labels.strip_suffix('}')?),
                None => (series, ""),
            };
            let counted = name.starts_with("tw_") && name.ends_with("_total");
            counted.then(|| value.parse().ok())?.map(|value| Counter {
                name: name.to_owned(),
                labels: labels.to_owned(),
                value,
            })
        })
        .collect()
}

#[derive(Debug)]
struct Surroundings(Arc<Facts>);

impl Collector for Surroundings {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let facts = &self.0;
        let ready = i64::from(facts.reasons().is_empty());
        gauge(
            &mut encoder,
            "tw_ready",
            "Whether requests should be sent here",
            ready,
        )?;

        let snapshot = facts.view.borrow().clone();
        let revision = snapshot
            .at()
            .map_or(0, |at| i64::try_from(at.revision).unwrap_or(i64::MAX));
        gauge(
            &mut encoder,
            "tw_discovery_revision",
            "Position in the history of the registry",
            revision,
        )?;
        if let Some(heard) = facts
            .link
            .as_ref()
            .and_then(|link| link.borrow().last_heard)
        {
            let help = "Time since the registry was last heard";
            gauge(
                &mut encoder,
                "tw_discovery_age_seconds",
                help,
                heard.elapsed().as_secs_f64(),
            )?;
        }

        let mut endpoints = BTreeMap::<_, i64>::new();
        for endpoint in snapshot.endpoints() {
            *endpoints
                .entry((endpoint.kind, endpoint.state))
                .or_default() += 1;
        }
        let help = "Endpoints known, by kind and state";
        let mut family =
            encoder.encode_descriptor("tw_discovery_endpoints", help, None, MetricType::Gauge)?;
        for ((kind, state), count) in endpoints {
            let labels = [("kind", lower(kind)), ("state", lower(state))];
            ConstGauge::new(count).encode(family.encode_family(&labels)?)?;
        }

        let help = "Whether the link to another site is heard";
        let mut family =
            encoder.encode_descriptor("tw_federation_peer_up", help, None, MetricType::Gauge)?;
        for (site, link) in facts.links() {
            let up = i64::from(link.connected);
            ConstGauge::new(up).encode(family.encode_family(&[("peer", site.as_str())])?)?;
        }
        Ok(())
    }
}

fn gauge<N>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: N,
) -> Result<(), fmt::Error>
where
    ConstGauge<N>: EncodeMetric,
{
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn lower(name: impl fmt::Debug) -> String {
    format!("{name:?}").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_out_of_a_scrape() {
        let text = "# TYPE tw_http_requests counter\ntw_http_requests_total{outcome=\"ok\",path=\"a b\"} 17\n\
                    tw_ready 1\ntw_retries_total 2.5\nother_total 1\n# EOF\n";
        let counter = |name: &str, labels: &str, value| Counter {
            name: name.into(),
            labels: labels.into(),
            value,
        };
        assert_eq!(
            counters(text),
            [
                counter(
                    "tw_http_requests_total",
                    "outcome=\"ok\",path=\"a b\"",
                    17.0
                ),
                counter("tw_retries_total", "", 2.5)
            ]
        );
    }
}
