//! The words of the house survive the wire, and what is no word of ours is
//! refused by name.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is a failure with a place"
)]

use std::{num::NonZeroU32, sync::Arc};

use discovery_client::{
    Address, Application, Cursor, Endpoint, EndpointId, Error, Event, Key, Kind, Life,
    MAX_APPLICATIONS, Site, State,
    wire::{Assembler, MAX_MESSAGE, Malformed, generated as v1, updates},
};
use proptest::prelude::*;
use prost::Message as _;

const AT: Cursor = Cursor {
    generation: 3,
    revision: 14,
};

fn any_key() -> impl Strategy<Value = Key> {
    ("[a-z0-9.-]{1,64}", "[A-Za-z0-9._:/@+-]{1,128}").prop_map(|(site, id)| Key {
        site: Site::new(site).unwrap(),
        id: EndpointId::new(id).unwrap(),
    })
}

fn any_life() -> impl Strategy<Value = Life> {
    (any::<u64>(), any::<u64>()).prop_map(|(incarnation, version)| Life {
        incarnation,
        version,
    })
}

fn any_endpoint() -> impl Strategy<Value = Endpoint> {
    let kind = prop_oneof![Just(Kind::Replica), Just(Kind::Gateway), Just(Kind::Peer)];
    let state = prop_oneof![Just(State::Serving), Just(State::Draining)];
    let applications = prop::collection::vec("[A-Za-z0-9._:/@+-]{1,256}", 0..5);
    (
        any_key(),
        kind,
        1..=u16::MAX,
        applications,
        state,
        any::<u32>(),
        any_life(),
    )
        .prop_map(
            |(key, kind, port, applications, state, capacity, life)| Endpoint {
                key,
                kind,
                address: Address::new(format!("10.0.0.1:{port}")).unwrap(),
                applications: applications
                    .into_iter()
                    .map(|name| Application::new(name).unwrap())
                    .collect(),
                state,
                capacity: NonZeroU32::new(capacity),
                life,
            },
        )
}

fn any_event() -> impl Strategy<Value = Event> {
    let at = (any::<u64>(), any::<u64>()).prop_map(|(generation, revision)| Cursor {
        generation,
        revision,
    });
    let endpoint = || any_endpoint().prop_map(Arc::new);
    prop_oneof![
        (at.clone(), prop::collection::vec(endpoint(), 0..5))
            .prop_map(|(at, endpoints)| Event::Reset { at, endpoints }),
        (at.clone(), endpoint()).prop_map(|(at, endpoint)| Event::Put { at, endpoint }),
        (at.clone(), any_key()).prop_map(|(at, key)| Event::Delete { at, key }),
        at.prop_map(|at| Event::Progress { at }),
    ]
}

/// Through bytes and back.
fn carried<M: prost::Message + Default>(message: &M) -> M {
    M::decode(message.encode_to_vec().as_slice()).unwrap()
}

fn events(messages: &[v1::Update]) -> Result<Vec<Event>, Malformed> {
    let mut assembler = Assembler::new();
    messages
        .iter()
        .filter_map(|update| assembler.take(carried(update)).transpose())
        .collect()
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(event in any_event()) {
        prop_assert_eq!(events(&updates(&event)), Ok(vec![event]));
    }

    #[test]
    fn refusals_are_read_back(key in any_key(), newest in any_life(), offered in any_life(), limit: usize) {
        let refusals = || [
            Error::LeaseLapsed,
            Error::Superseded { key: key.clone(), newest, offered },
            Error::Invalid { reason: "why".to_owned() },
            Error::Full { limit },
            Error::Unavailable { reason: "why".to_owned() },
        ];
        for (error, again) in refusals().into_iter().zip(refusals()) {
            let back = Error::try_from(carried(&v1::Refusal::from(error))).unwrap();
            prop_assert_eq!(format!("{back:?}"), format!("{again:?}"));
        }
    }
}

fn replica() -> Endpoint {
    Endpoint {
        key: Key {
            site: Site::new("east").unwrap(),
            id: EndpointId::new("r1").unwrap(),
        },
        kind: Kind::Replica,
        address: Address::new("10.0.0.1:80").unwrap(),
        applications: vec![Application::new("chat").unwrap()],
        state: State::Serving,
        capacity: None,
        life: Life {
            incarnation: 1,
            version: 0,
        },
    }
}

#[test]
fn a_long_list_arrives_whole() {
    let name = |n: usize| Application::new(format!("{n:0>200}")).unwrap();
    let full: Vec<_> = (0..MAX_APPLICATIONS).map(name).collect();
    let endpoints: Vec<_> = (0..20)
        .map(|n| {
            let key = Key {
                id: EndpointId::new(format!("r{n}")).unwrap(),
                ..replica().key
            };
            Arc::new(Endpoint {
                key,
                applications: full.clone(),
                ..replica()
            })
        })
        .collect();
    let event = Event::Reset { at: AT, endpoints };
    let messages = updates(&event);
    assert!(messages.len() > 1);
    assert!(
        messages
            .iter()
            .all(|update| update.encoded_len() < MAX_MESSAGE)
    );
    assert_eq!(events(&messages).unwrap(), [event]);
}

#[test]
fn each_way_to_be_malformed_is_named() {
    let malformed = |change: fn(&mut v1::Endpoint)| {
        let mut endpoint = v1::Endpoint::from(&replica());
        change(&mut endpoint);
        Endpoint::try_from(endpoint).unwrap_err().to_string()
    };
    assert_eq!(malformed(|e| e.key = None), "`key` is missing");
    assert_eq!(
        malformed(|e| e.key.as_mut().unwrap().site = "a b".to_owned()),
        "`site` is not a name"
    );
    assert_eq!(
        malformed(|e| e.key.as_mut().unwrap().id = String::new()),
        "`id` is not a name"
    );
    assert_eq!(
        malformed(|e| e.applications[0] = "ü".to_owned()),
        "`applications` is not a name"
    );
    assert_eq!(
        malformed(|e| e.address = "nowhere".to_owned()),
        "`address` is not an address"
    );
    assert_eq!(
        malformed(|e| e.kind = 77),
        "`kind` has the unknown value 77"
    );
    assert_eq!(
        malformed(|e| e.state = 0),
        "`state` has the unknown value 0"
    );
    assert_eq!(
        malformed(|e| e.applications = vec!["a".to_owned(); 5000]),
        "5000 applications in one record, at most 4096 are allowed"
    );
}

#[test]
fn an_unreadable_record_is_absent() {
    let unreadable = v1::Endpoint {
        kind: 77,
        ..(&replica()).into()
    };
    let update = |change| v1::Update {
        at: Some(AT.into()),
        change: Some(change),
    };
    let messages = [
        update(v1::update::Change::Put(unreadable.clone())),
        update(v1::update::Change::Put(v1::Endpoint {
            key: None,
            ..unreadable.clone()
        })),
        update(v1::update::Change::Reset(v1::Reset {
            endpoints: vec![unreadable, (&replica()).into()],
            more: false,
        })),
    ];
    assert_eq!(
        events(&messages).unwrap(),
        [
            Event::Delete {
                at: AT,
                key: replica().key
            },
            Event::Progress { at: AT },
            Event::Reset {
                at: AT,
                endpoints: vec![Arc::new(replica())]
            },
        ]
    );
}

#[test]
fn an_update_without_a_position_or_a_change_is_refused() {
    let refused = |update| Assembler::new().take(update).unwrap_err();
    assert_eq!(
        refused(v1::Update {
            at: None,
            change: None
        }),
        Malformed::Missing { field: "at" }
    );
    assert_eq!(
        refused(v1::Update {
            at: Some(AT.into()),
            change: None
        }),
        Malformed::Missing { field: "change" }
    );
}
