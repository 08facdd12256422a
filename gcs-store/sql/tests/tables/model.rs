//! Tables against a plain map that remembers everything.

use std::{cell::Cell, collections::BTreeMap};

use gcs_sql::{Cause, Change, Condition, Error, Event, Outcome, Range, Revision, Tables, Write};
use proptest::{prelude::*, test_runner::TestRunner};

use crate::stage::{Stage, next_change, table, tables};

/// One step of a script. Keys are few, so that they meet.
#[derive(Debug, Clone)]
enum Step {
    /// Puts (with a value) and deletes, if the first key is (not) there.
    Write(BTreeMap<u8, Option<u8>>, Option<bool>),
    /// So many revisions are kept.
    Compact(i64),
    /// Reads all, in pages of this size, as of so many revisions ago.
    Read(usize, i64),
    /// Follows the changes since so many revisions ago.
    Watch(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let writes = proptest::collection::btree_map(0..6_u8, any::<Option<u8>>(), 1..4);
    prop_oneof![
        6 => (writes, any::<Option<bool>>()).prop_map(|(writes, there)| Step::Write(writes, there)),
        1 => (0..8_i64).prop_map(Step::Compact),
        3 => (1..4_usize, 0..10_i64).prop_map(|(limit, ago)| Step::Read(limit, ago)),
        2 => (0..10_i64).prop_map(Step::Watch),
    ]
}

/// Everything that ever was, by its revision.
struct Model {
    states: Vec<BTreeMap<u8, u8>>,
    compacted: i64,
}

impl Model {
    fn head(&self) -> i64 {
        self.states.len() as i64 - 1
    }

    fn at(&self, revision: i64) -> &BTreeMap<u8, u8> {
        &self.states[usize::try_from(revision).unwrap()]
    }
}

#[test]
fn tables_do_what_a_map_does() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stage = Stage::sqlite();
    let case = Cell::new(0);
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let scripts = proptest::collection::vec(step(), 1..40);
    let outcome = runner.run(&scripts, |script| {
        let name = format!("model_{}", case.replace(case.get() + 1));
        runtime.block_on(async {
            let tables = tables(&stage.settings(&name).await).await;
            let mut model = Model {
                states: vec![BTreeMap::new()],
                compacted: 0,
            };
            for step in script {
                match step {
                    Step::Write(writes, there) => write(&tables, &mut model, writes, there).await?,
                    Step::Compact(kept) => {
                        let before = (model.head() - kept).max(0);
                        tables.compact(Revision(before)).await.unwrap();
                        model.compacted = model.compacted.max(before);
                    }
                    Step::Read(limit, ago) => read(&tables, &model, limit, ago).await?,
                    Step::Watch(ago) => watch(&tables, &model, ago).await?,
                }
            }
            Ok(())
        })
    });
    outcome.unwrap();
}

async fn write(
    tables: &Tables,
    model: &mut Model,
    writes: BTreeMap<u8, Option<u8>>,
    there: Option<bool>,
) -> Result<(), TestCaseError> {
    let t = table("t");
    let mut write = Write::new();
    let mut holds = true;
    let mut state = model.at(model.head()).clone();
    if let (Some(there), Some(key)) = (there, writes.keys().next()) {
        let condition = match there {
            true => Condition::Present,
            false => Condition::Absent,
        };
        write = write.when(&t, vec![*key], condition);
        holds = state.contains_key(key) == there;
    }
    let mut changes = false;
    for (key, value) in writes {
        write = match value {
            Some(value) => write.put(&t, vec![key], vec![value]),
            None => write.delete(&t, vec![key]),
        };
        changes |= match value {
            Some(value) => {
                state.insert(key, value);
                true
            }
            None => state.remove(&key).is_some(),
        };
    }
    let outcome = tables.transact(&write).await.unwrap();
    if !holds {
        prop_assert!(
            matches!(outcome, Outcome::Refused { condition: 0, .. }),
            "{:?}",
            outcome
        );
        return Ok(());
    }
    if changes {
        model.states.push(state);
    }
    prop_assert_eq!(outcome, Outcome::Done(Revision(model.head())));
    Ok(())
}

async fn read(tables: &Tables, model: &Model, limit: usize, ago: i64) -> Result<(), TestCaseError> {
    let at = (model.head() - ago).max(0);
    let mut found = BTreeMap::new();
    let mut range = Some(Range::all(&table("t")).limit(limit).at(Revision(at)));
    while let Some(next) = range {
        let page = match tables.range(&next).await {
            Ok(page) => page,
            Err(Error::Compacted { oldest }) => {
                prop_assert_eq!(oldest, model.compacted);
                prop_assert!(at < model.compacted);
                return Ok(());
            }
            Err(error) => panic!("{error:?}"),
        };
        prop_assert!(page.entries.len() == limit || page.more.is_none());
        found.extend(
            page.entries
                .iter()
                .map(|entry| (entry.key[0], entry.value[0])),
        );
        range = page.more;
    }
    prop_assert!(at >= model.compacted);
    prop_assert_eq!(&found, model.at(at));
    Ok(())
}

async fn watch(tables: &Tables, model: &Model, ago: i64) -> Result<(), TestCaseError> {
    let after = (model.head() - ago).max(0);
    let mut watch = tables.watch(&table("t"), "", Some(Revision(after)));
    let (mut at, mut known) = (after, model.at(after).clone());
    while at < model.head() {
        match next_change(&mut watch).await {
            Event::Reset {
                at: reset,
                entries,
                cause,
            } => {
                let oldest = Revision(model.compacted);
                prop_assert_eq!(cause, Cause::Compacted { oldest });
                prop_assert!(after < model.compacted && reset.0 == model.head());
                known = entries
                    .iter()
                    .map(|entry| (entry.key[0], entry.value[0]))
                    .collect();
                at = reset.0;
            }
            Event::Changed {
                at: changed,
                changes,
            } => {
                prop_assert!(after >= model.compacted);
                at += 1;
                prop_assert_eq!(changed, Revision(at), "each revision changes something");
                for change in changes {
                    match change {
                        Change::Put(entry) => known.insert(entry.key[0], entry.value[0]),
                        Change::Delete { key } => known.remove(&key[0]),
                    };
                }
            }
            Event::Progress { .. } => {}
        }
        prop_assert_eq!(&known, model.at(at));
    }
    Ok(())
}
