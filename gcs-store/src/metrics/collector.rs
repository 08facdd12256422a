//! Writes the counters down when a scrape asks for them.

use std::{fmt, sync::atomic::Ordering::Relaxed};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, NoLabelSet},
    metrics::{MetricType, TypedMetric as _, histogram::Histogram},
};
use ray_tables::TableName;

use super::{Commands, Metrics, NO_TABLE, OTHER, OTHER_TABLE, Tables};
use crate::front::verb::Verb;

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.commands(&mut encoder)?;
        self.durations(&mut encoder)?;
        self.sizes(&mut encoder)?;
        self.counters(&mut encoder)?;
        self.histograms(&mut encoder)
    }
}

impl Metrics {
    fn commands(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let commands = self.0.commands.read();
        let mut all: Vec<(&str, &Tables)> = commands
            .namespaces
            .iter()
            .map(|(name, tables)| (name.as_str(), &**tables))
            .collect();
        all.sort_unstable_by_key(|(name, _)| *name);
        all.push((OTHER, &commands.other));
        let help = "Commands by namespace, table and verb";
        let mut family =
            encoder.encode_descriptor("tw_store_commands", help, None, MetricType::Counter)?;
        for (namespace, tables) in all {
            for (nth, verbs) in tables.0.iter().enumerate() {
                let table = match nth {
                    NO_TABLE => "",
                    OTHER_TABLE => OTHER,
                    _ => TableName::ALL[nth].as_str(),
                };
                for (verb, count) in Verb::ALL.iter().zip(verbs) {
                    let count = count.load(Relaxed);
                    if count > 0 {
                        let labels = [
                            ("namespace", if nth == NO_TABLE { "" } else { namespace }),
                            ("table", table),
                            ("verb", verb.name()),
                        ];
                        family
                            .encode_family(&labels)?
                            .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn durations(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "From a command's arrival to its answer, in seconds";
        let mut family = encoder.encode_descriptor(
            "tw_store_command_seconds",
            help,
            None,
            MetricType::Histogram,
        )?;
        for (verb, histogram) in Verb::ALL.iter().zip(&self.0.seconds) {
            let used = self.0.commands.read().used(*verb);
            if used {
                histogram.encode(family.encode_family(&[("verb", verb.name())])?)?;
            }
        }
        Ok(())
    }

    fn sizes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let usage = self.0.usage.read();
        let mut usage: Vec<_> = usage.iter().collect();
        usage.sort_unstable_by_key(|(name, _)| name.as_str());
        type Of = fn((u64, u64)) -> u64;
        let families: [(_, _, Of); 2] = [
            ("tw_store_namespace_rows", "Fields of a namespace", |it| {
                it.0
            }),
            (
                "tw_store_namespace_bytes",
                "Bytes of a namespace's fields and values",
                |it| it.1,
            ),
        ];
        for (name, help, of) in families {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (namespace, sizes) in &usage {
                family
                    .encode_family(&[("namespace", namespace.as_str())])?
                    .encode_gauge(&i64::try_from(of(**sizes)).unwrap_or(i64::MAX))?;
            }
        }
        Ok(())
    }

    fn counters(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let inner = &*self.0;
        for (name, help, value) in [
            (
                "tw_store_connections",
                "Connections open now",
                &inner.connections,
            ),
            (
                "tw_store_waiting_bytes",
                "Memory for commands that wait for their answers",
                &inner.waiting_bytes,
            ),
        ] {
            encoder
                .encode_descriptor(name, help, None, MetricType::Gauge)?
                .encode_gauge(&value.load(Relaxed))?;
        }
        for (name, help, value) in [
            (
                "tw_store_connections_accepted",
                "Connections that came, or came over from a predecessor",
                &inner.connections_total,
            ),
            (
                "tw_store_connections_refused",
                "Connections closed because there were too many",
                &inner.connections_refused,
            ),
            (
                "tw_store_handshakes_failed",
                "Connections closed because TLS failed",
                &inner.handshakes_failed,
            ),
            (
                "tw_store_unknown_commands",
                "Commands with a verb the store does not know",
                &inner.unknown,
            ),
            (
                "tw_store_protocol_errors",
                "Connections closed because they did not speak RESP",
                &inner.protocol_errors,
            ),
            (
                "tw_store_logins_failed",
                "Logins with a wrong user or password",
                &inner.logins_failed,
            ),
            (
                "tw_store_slow_commands",
                "Commands that took longer than `store.slow`",
                &inner.slow,
            ),
            (
                "tw_store_connections_fenced",
                "Connections closed because a newer head holds the namespace",
                &inner.fenced,
            ),
            (
                "tw_store_handovers",
                "Times the connections were given to a successor",
                &inner.handovers,
            ),
            (
                "tw_store_stalled_ms",
                "Milliseconds in which the database took no commands",
                &inner.stalled_ms,
            ),
        ] {
            encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, _, u64>(&value.load(Relaxed), None)?;
        }
        Ok(())
    }

    fn histograms(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let inner = &*self.0;
        for (name, help, histogram) in [
            (
                "tw_store_group_commands",
                "Commands committed together",
                &inner.group_commands,
            ),
            (
                "tw_store_group_bytes",
                "Bytes of a group in the journal",
                &inner.group_bytes,
            ),
            (
                "tw_store_commit_seconds",
                "Time to commit a group",
                &inner.commit_seconds,
            ),
            (
                "tw_store_fold_rows",
                "Rows folded from the journal into the tables",
                &inner.fold_rows,
            ),
        ] {
            let family = encoder.encode_descriptor(name, help, None, Histogram::TYPE)?;
            histogram.encode(family)?;
        }
        Ok(())
    }
}

impl Commands {
    fn used(&self, verb: Verb) -> bool {
        std::iter::once(&self.other)
            .chain(self.namespaces.values())
            .any(|it| {
                it.0.iter()
                    .any(|verbs| verbs[verb.index()].load(Relaxed) > 0)
            })
    }
}
