//! Heads one by one, one after the other, and all at once.

use proptest::prelude::*;

use super::*;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

/// A head of Ray 2.60: pair B tells the pid, pair A scans and stays.
fn start(heads: &mut Heads, a: Order, b: Order, from: IpAddr) -> [Verdict; 3] {
    [
        heads.judge(b, from, Some(Sign::Pid), true),
        heads.judge(a, from, None, false),
        heads.judge(a, from, Some(Sign::Scan), false),
    ]
}

#[test]
fn a_head_is_one_incarnation_on_two_connections() {
    let mut heads = Heads::new(0);
    assert_eq!(
        start(&mut heads, 2, 4, HERE),
        [Verdict::Begin, Verdict::Go, Verdict::Go]
    );
    assert_eq!(heads.epoch(), 1);
    assert_eq!(heads.judge(2, HERE, None, true), Verdict::Go);
    assert_eq!(heads.judge(4, HERE, None, true), Verdict::Go);
}

#[test]
fn the_scans_may_come_before_the_process_id() {
    let mut heads = Heads::new(0);
    assert_eq!(heads.judge(2, HERE, Some(Sign::Scan), true), Verdict::Begin);
    assert_eq!(heads.judge(4, HERE, Some(Sign::Pid), true), Verdict::Go);
    assert_eq!(heads.epoch(), 1);
}

#[test]
fn a_second_head_fences_the_first_wherever_it_runs() {
    for second in [HERE, THERE] {
        let mut heads = Heads::new(0);
        start(&mut heads, 2, 4, HERE);
        assert_eq!(
            start(&mut heads, 6, 8, second),
            [Verdict::Begin, Verdict::Go, Verdict::Go]
        );
        assert_eq!(heads.epoch(), 2);
        for old in [2, 4] {
            assert_eq!(heads.judge(old, HERE, None, true), Verdict::Fenced);
        }
        for new in [6, 8] {
            assert_eq!(heads.judge(new, second, None, true), Verdict::Go);
        }
        assert_eq!(heads.fenced, BTreeSet::from([2, 4]));
    }
}

#[test]
fn a_head_that_does_not_tell_its_process_id_is_seen_by_its_scans() {
    let mut heads = Heads::new(0);
    // Ray 2.44: pair A scans, pair B reads and writes without a sign.
    assert_eq!(heads.judge(2, HERE, Some(Sign::Scan), true), Verdict::Begin);
    assert_eq!(heads.judge(4, HERE, None, true), Verdict::Go);
    // The next one's pair B is faster than its scans.
    assert_eq!(heads.judge(8, HERE, None, true), Verdict::Go);
    assert_eq!(heads.judge(6, HERE, Some(Sign::Scan), true), Verdict::Begin);
    assert_eq!(heads.judge(8, HERE, None, true), Verdict::Go);
    assert_eq!(heads.judge(2, HERE, None, true), Verdict::Fenced);
    assert_eq!(heads.judge(4, HERE, None, true), Verdict::Fenced);
}

#[test]
fn a_restarted_head_fences_nobody() {
    let mut heads = Heads::new(0);
    start(&mut heads, 2, 4, HERE);
    heads.gone(2);
    heads.gone(4);
    assert!(!heads.alive());
    start(&mut heads, 6, 8, HERE);
    assert_eq!(heads.epoch(), 2);
    assert_eq!(heads.fenced, BTreeSet::new());
}

#[test]
fn who_looks_around_is_a_guest_until_a_newer_head_begins() {
    let mut heads = Heads::new(0);
    start(&mut heads, 2, 4, HERE);
    assert_eq!(heads.judge(5, HERE, None, true), Verdict::Go);
    start(&mut heads, 6, 8, THERE);
    assert_eq!(heads.judge(5, HERE, None, true), Verdict::Fenced);
    assert_eq!(heads.judge(9, HERE, None, true), Verdict::Go);
}

/// The launcher of a head reads the session's name and stays for a second.
#[test]
fn who_only_reads_takes_nobodys_place() {
    for old_is_alive in [true, false] {
        let mut heads = Heads::new(0);
        start(&mut heads, 2, 4, HERE);
        if !old_is_alive {
            heads.gone(2);
            heads.gone(4);
        }
        assert_eq!(heads.judge(6, HERE, None, false), Verdict::Go);
        assert_eq!(
            start(&mut heads, 8, 10, HERE),
            [Verdict::Begin, Verdict::Go, Verdict::Go]
        );
        assert_eq!(heads.epoch(), 2);
        assert_eq!(heads.judge(8, HERE, None, true), Verdict::Go);
        assert_eq!(heads.judge(10, HERE, None, true), Verdict::Go);
    }
}

#[test]
fn the_first_scans_may_come_before_the_process_id() {
    let mut heads = Heads::new(0);
    start(&mut heads, 2, 4, HERE);
    heads.gone(2);
    heads.gone(4);
    assert_eq!(heads.judge(6, HERE, None, false), Verdict::Go);
    assert_eq!(heads.judge(8, HERE, Some(Sign::Pid), true), Verdict::Begin);
    assert_eq!(heads.judge(6, HERE, Some(Sign::Scan), false), Verdict::Go);
    assert_eq!(heads.judge(6, HERE, None, true), Verdict::Go);
    assert_eq!(heads.judge(8, HERE, None, true), Verdict::Go);
}

#[test]
fn a_declared_epoch_below_the_newest_is_refused() {
    let mut heads = Heads::new(0);
    assert_eq!(heads.declare(1, HERE, 7), Verdict::Begin);
    assert_eq!(heads.declare(2, HERE, 7), Verdict::Go);
    assert_eq!(heads.declare(3, HERE, 6), Verdict::Fenced);
    assert_eq!(heads.declare(4, THERE, 8), Verdict::Begin);
    assert_eq!(heads.judge(1, HERE, None, true), Verdict::Fenced);
    assert_eq!(heads.judge(2, HERE, Some(Sign::Pid), true), Verdict::Fenced);
    assert_eq!(heads.judge(4, THERE, Some(Sign::Scan), true), Verdict::Go);
    assert_eq!(
        heads.judge(5, HERE, Some(Sign::Scan), false),
        Verdict::Undeclared
    );
    assert_eq!(heads.judge(5, HERE, None, true), Verdict::Undeclared);
    assert_eq!(heads.judge(5, HERE, None, false), Verdict::Go);
}

#[test]
fn a_declared_epoch_goes_on_after_a_restart_of_the_store() {
    let mut heads = Heads::new(7);
    assert_eq!(heads.declare(1, HERE, 7), Verdict::Go);
    assert_eq!(heads.declare(2, HERE, 7), Verdict::Go);
    assert_eq!(heads.declare(3, HERE, 6), Verdict::Fenced);
}

#[test]
fn all_tables_from_the_start_are_the_sign_of_a_head() {
    let mut scans = Scans::default();
    let namespace = ray_tables::NamespaceName::new("a").unwrap();
    let mut scan = |table: &TableName, cursor| {
        scans.sign(&Command::Hscan {
            key: ray_tables::StorageKey::new(namespace.clone(), table.clone()),
            cursor,
            pattern: None,
            count: 1000,
        })
    };
    for table in &ANNOUNCING[..4] {
        assert_eq!(scan(table, 0), None);
    }
    assert_eq!(scan(&TableName::WORKERS, 0), None);
    assert_eq!(scan(&TableName::PLACEMENT_GROUP, 9), None);
    assert_eq!(scan(&TableName::PLACEMENT_GROUP, 0), Some(Sign::Scan));
}

#[derive(Debug, Clone)]
enum Step {
    Judge(Order, bool, u8),
    Declare(Order, bool, u64),
    Gone(Order),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..12_u64, any::<bool>(), 0..3_u8).prop_map(|(o, a, s)| Step::Judge(o, a, s)),
        1 => (1..12_u64, any::<bool>(), 1..9_u64).prop_map(|(o, a, e)| Step::Declare(o, a, e)),
        1 => (1..12_u64).prop_map(Step::Gone),
    ]
}

proptest! {
    #[test]
    fn the_epoch_only_grows(steps in prop::collection::vec(step(), 1..60)) {
        let mut heads = Heads::new(0);
        for step in steps {
            let before = heads.epoch();
            let verdict = take(&mut heads, &step);
            prop_assert!(heads.epoch() >= before);
            prop_assert_eq!(verdict == Some(Verdict::Begin), heads.epoch() > before);
        }
    }

    #[test]
    fn who_was_fenced_stays_fenced(steps in prop::collection::vec(step(), 1..60)) {
        let mut heads = Heads::new(0);
        let mut refused = BTreeSet::new();
        for step in steps {
            let verdict = take(&mut heads, &step);
            match step {
                Step::Gone(connection) => { refused.remove(&connection); }
                Step::Judge(connection, ..) => {
                    prop_assert!(!refused.contains(&connection) || verdict == Some(Verdict::Fenced));
                    if verdict == Some(Verdict::Fenced) { refused.insert(connection); }
                }
                Step::Declare(connection, ..) => {
                    prop_assert!(!refused.contains(&connection) || verdict == Some(Verdict::Fenced));
                }
            }
        }
    }

    /// Two heads from one address whose steps interleave in any way.
    #[test]
    fn only_the_newest_head_writes(
        opens in Just([0_usize, 0, 1, 1]).prop_shuffle(),
        turns in Just([0_usize, 0, 0, 1, 1, 1]).prop_shuffle(),
    ) {
        // Each opens A, then B.
        let mut connections = [Vec::new(), Vec::new()];
        for (nth, head) in opens.into_iter().enumerate() {
            connections[head].push(nth as Order + 1);
        }
        let mut heads = Heads::new(0);
        let mut steps = [0, 0];
        let mut last = 0;
        for head in turns {
            let [a, b] = connections[head][..] else { unreachable!() };
            let (connection, sign) = [(b, Some(Sign::Pid)), (a, None), (a, Some(Sign::Scan))][steps[head]];
            let writes = sign == Some(Sign::Pid);
            steps[head] += 1;
            if heads.judge(connection, HERE, sign, writes) == Verdict::Begin {
                last = head;
            }
        }
        let writes = |heads: &mut Heads, head: usize| {
            connections[head].iter().filter(|it| heads.judge(**it, HERE, None, true) == Verdict::Go).count()
        };
        prop_assert_eq!(writes(&mut heads, 1 - last), 0, "an older head writes beside the newest");
    }
}

fn take(heads: &mut Heads, step: &Step) -> Option<Verdict> {
    let from = |here| if here { HERE } else { THERE };
    match *step {
        Step::Judge(connection, here, sign) => {
            let sign = [None, Some(Sign::Pid), Some(Sign::Scan)][usize::from(sign)];
            Some(heads.judge(connection, from(here), sign, true))
        }
        Step::Declare(connection, here, epoch) => {
            Some(heads.declare(connection, from(here), epoch))
        }
        Step::Gone(connection) => {
            heads.gone(connection);
            None
        }
    }
}
