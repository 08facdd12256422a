//! Is there an order of operations that explains every answer?
//!
//! Just-in-time linearization (Lowe, "Testing for linearizability", 2017, after
//! Wing and Gong): go through begins and ends as they happened and keep every
//! state the key may be in, together with the pending operations that have
//! taken effect in it. An end asks for the states in which its operation has
//! happened; if there is none, no order explains the answer. Keys are checked
//! one by one, which is enough: linearizability is a local property.
//!
//! An operation without an answer may have happened or not. Both are kept.

use std::{
    collections::{BTreeMap, HashSet},
    fmt::Write,
};

use super::history::{Operation, State};

/// Pending operations of one key at one moment.
const PENDING: usize = 64;
/// Possibilities kept for one key before the check gives up.
const POSSIBILITIES: usize = 500_000;
/// Operations shown before the one that cannot be.
const SHOWN: usize = 12;

/// A state that may be, and which of the pending operations made it so.
type Possible = (u64, State);

/// Says for each key what cannot be, if anything.
#[must_use]
pub fn check(history: &[Operation]) -> Vec<String> {
    let mut keys: BTreeMap<u8, Vec<&Operation>> = BTreeMap::new();
    for one in history {
        keys.entry(one.key).or_default().push(one);
    }
    keys.values()
        .filter_map(|operations| check_key(operations).err())
        .collect()
}

fn check_key(operations: &[&Operation]) -> Result<(), String> {
    let mut events: Vec<(u64, usize)> = Vec::with_capacity(operations.len() * 2);
    for (place, one) in operations.iter().enumerate() {
        events.push((one.began, place));
        events.push((one.ended, place));
    }
    events.sort_unstable();
    let mut slots: [Option<usize>; PENDING] = [None; PENDING];
    let mut possible: HashSet<Possible> = HashSet::from([(0, State::default())]);
    for (at, place) in events {
        let operation = operations[place];
        if at == operation.began {
            let free = slots.iter().position(Option::is_none);
            let free =
                free.ok_or_else(|| format!("more than {PENDING} pending operations: {operation}"))?;
            slots[free] = Some(place);
            continue;
        }
        let slot = slots
            .iter()
            .position(|one| *one == Some(place))
            .expect("each operation begins before it ends");
        let pending: Vec<(usize, &Operation)> = slots
            .iter()
            .enumerate()
            .filter_map(|(slot, place)| Some((slot, operations[(*place)?])))
            .collect();
        let after = happened(&possible, &pending, slot)
            .ok_or_else(|| format!("more than {POSSIBILITIES} possibilities: {operation}"))?;
        if after.is_empty() {
            return Err(explain(operations, operation, &pending, &possible));
        }
        slots[slot] = None;
        possible = after;
    }
    Ok(())
}

/// What may be, once the operation in `slot` has surely happened (or, without
/// an answer, surely will not any more). None: too many to keep.
fn happened(
    possible: &HashSet<Possible>,
    pending: &[(usize, &Operation)],
    slot: usize,
) -> Option<HashSet<Possible>> {
    let mut after = HashSet::new();
    let mut seen = possible.clone();
    let mut open: Vec<Possible> = possible.iter().copied().collect();
    while let Some((done, state)) = open.pop() {
        if done & (1 << slot) != 0 {
            after.insert((done & !(1 << slot), state));
            continue;
        }
        for (other, operation) in pending {
            if done & (1 << other) != 0 {
                continue;
            }
            for next in outcomes(state, operation) {
                let next = (done | (1 << other), next);
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        if seen.len() > POSSIBILITIES {
            return None;
        }
    }
    Some(after)
}

/// The states an operation may lead to from `state`.
fn outcomes(state: State, operation: &Operation) -> impl Iterator<Item = State> {
    let (changed, would_answer) = state.apply(&operation.act);
    let (first, second) = match &operation.answer {
        Some(answer) => ((*answer == would_answer).then_some(changed), None),
        None => (Some(state), (changed != state).then_some(changed)),
    };
    first.into_iter().chain(second)
}

fn explain(
    operations: &[&Operation],
    culprit: &Operation,
    pending: &[(usize, &Operation)],
    possible: &HashSet<Possible>,
) -> String {
    let mut text = format!("no order of operations explains {culprit}\n  it may have met:");
    let mut states: Vec<_> = possible.iter().map(|(_, state)| *state).collect();
    states.sort_unstable_by_key(|state| (state.fields, state.number));
    states.dedup();
    for state in states.iter().take(SHOWN) {
        let _ = write!(text, "\n    {:?} {}", state.fields, state.number);
    }
    text.push_str("\n  before it:");
    let mut before: Vec<_> = operations
        .iter()
        .filter(|one| one.began < culprit.ended && !std::ptr::eq(**one, culprit))
        .collect();
    before.sort_unstable_by_key(|one| one.ended);
    for one in &before[before.len().saturating_sub(SHOWN + pending.len())..] {
        let _ = write!(text, "\n    {one}");
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::history::{Act, Answer, FIELDS};
    use super::*;

    /// `began`, `ended`, what, and the answer.
    fn op(began: u64, ended: u64, act: Act, answer: Option<Answer>) -> Operation {
        Operation {
            client: u32::try_from(began).unwrap(),
            key: 0,
            act,
            began,
            ended,
            answer,
        }
    }

    fn number(n: i64) -> Option<Answer> {
        Some(Answer::Number(n))
    }

    fn value(id: u64) -> Option<Answer> {
        Some(Answer::Values(vec![Some(id).filter(|id| *id != 0)]))
    }

    #[test]
    fn a_lost_acknowledged_write_is_seen() {
        let history = [
            op(1, 2, Act::Set(0, 1), number(1)),
            op(3, 4, Act::Get(0), value(0)),
        ];
        let broken = check(&history);
        assert_eq!(broken.len(), 1);
        assert!(broken[0].contains("[3..4]"), "{}", broken[0]);
    }

    #[test]
    fn an_older_value_after_a_newer_one_is_seen() {
        let history = [
            op(1, 2, Act::Set(0, 1), number(1)),
            op(3, 4, Act::Set(0, 2), number(0)),
            op(5, 6, Act::Get(0), value(2)),
            op(7, 8, Act::Get(0), value(1)),
        ];
        assert_eq!(check(&history).len(), 1);
    }

    #[test]
    fn two_winners_of_one_field_are_seen() {
        let history = [
            op(1, 4, Act::SetNew(0, 1), number(1)),
            op(2, 3, Act::SetNew(0, 2), number(1)),
        ];
        assert_eq!(check(&history).len(), 1);
    }

    #[test]
    fn a_number_given_twice_is_seen_and_a_gap_needs_an_unknown() {
        let up = |began, ended, answer| op(began, ended, Act::Increase(1), answer);
        assert_eq!(check(&[up(1, 2, number(1)), up(3, 4, number(1))]).len(), 1);
        assert_eq!(check(&[up(1, 2, number(1)), up(3, 4, number(3))]).len(), 1);
        let with_unknown = [up(1, 2, number(1)), up(3, 6, None), up(7, 8, number(3))];
        assert_eq!(check(&with_unknown), Vec::<String>::new());
    }

    #[test]
    fn a_deletion_counted_twice_is_seen() {
        let history = [
            op(1, 2, Act::Set(0, 1), number(1)),
            op(3, 6, Act::Delete(vec![0, 1]), number(1)),
            op(4, 5, Act::Delete(vec![0]), number(1)),
        ];
        assert_eq!(check(&history).len(), 1);
    }

    #[test]
    fn an_unknown_write_may_show_or_not_but_not_change_its_mind() {
        let unknown = op(1, 4, Act::Set(0, 1), None);
        for seen in [0, 1] {
            let read = op(5, 6, Act::Get(0), value(seen));
            assert_eq!(check(&[unknown.clone(), read]), Vec::<String>::new());
        }
        let late = [
            unknown,
            op(5, 6, Act::Get(0), value(0)),
            op(7, 8, Act::Get(0), value(1)),
        ];
        assert_eq!(check(&late).len(), 1);
    }

    #[test]
    fn half_a_command_is_seen() {
        let history = [
            op(1, 2, Act::Set(0, 1), number(1)),
            op(3, 4, Act::Set(1, 2), number(1)),
            op(5, 6, Act::Delete(vec![0, 1]), None),
            op(
                7,
                8,
                Act::GetMany(vec![0, 1]),
                Some(Answer::Values(vec![None, Some(2)])),
            ),
        ];
        assert_eq!(check(&history).len(), 1);
    }

    fn act() -> impl Strategy<Value = Act> {
        let field = || 0..u8::try_from(FIELDS).unwrap();
        prop_oneof![
            4 => (field(), 1..1_000_u64).prop_map(|(field, id)| Act::Set(field, id)),
            3 => (field(), 1..1_000_u64).prop_map(|(field, id)| Act::SetNew(field, id)),
            3 => field().prop_map(Act::Get),
            2 => prop::collection::vec(field(), 1..4).prop_map(Act::GetMany),
            1 => field().prop_map(Act::Exists),
            2 => prop::collection::vec(field(), 1..4).prop_map(Act::Delete),
            1 => Just(Act::Drop),
            2 => (1..3_i64).prop_map(Act::Increase),
        ]
    }

    proptest! {
        /// Each operation takes effect at a moment of its own, begins up to five
        /// others before and ends up to five others after it.
        #[test]
        fn whatever_a_store_answers_in_some_order_is_accepted_and_a_wrong_number_is_not(
            acts in prop::collection::vec((act(), 0..5_u64, 0..5_u64, prop::bool::weighted(0.1)), 1..60),
            wrong in any::<prop::sample::Index>(),
        ) {
            let mut state = State::default();
            let mut history = Vec::new();
            for (nth, (act, early, late, unknown)) in acts.into_iter().enumerate() {
                let at = 1_000 * (nth as u64 + 5);
                let (after, answer) = state.apply(&act);
                let lost = unknown && early > 2;
                if !lost {
                    state = after;
                }
                history.push(op(
                    at - 1_000 * early - nth as u64,
                    at + 1_000 * late + nth as u64 + 1,
                    act,
                    (!unknown).then_some(answer),
                ));
            }
            prop_assert_eq!(check(&history), Vec::<String>::new());

            let place = wrong.index(history.len());
            if let Some(Answer::Number(n)) = &mut history[place].answer {
                *n += 1_000;
                prop_assert_eq!(check(&history).len(), 1);
            }
        }
    }
}
