//! KRPC (BEP 5 with 32, 33, 42 to 44 and 51): any datagram is no message, a query that can be
//! answered with an error, or a message within bounds, which is written as strict bencoding and
//! read again as the same.

use bitswarm_core::dht::krpc::{self, Body, MAX_MESSAGE_LEN, Message, Method};
use bitswarm_core::dht::store::item::{Item, MAX_SALT_LEN, MAX_VALUE_LEN};

use crate::sim::bencode::Value as Strict;

/// Longest transaction id and longest token that are taken.
const MOST_TRANSACTION: usize = 32;
const MOST_TOKEN: usize = 64;

/// Contacts of a family, peers and infohashes taken of one answer.
const MOST_CONTACTS: usize = 16;
const MOST_VALUES: usize = 200;
const MOST_SAMPLES: usize = 100;

/// See the module.
pub(super) fn run(data: &[u8]) {
    krpc::parse(data, |read| match read {
        Ok(message) => {
            assert!(data.len() <= MAX_MESSAGE_LEN);
            check_bounds(&message);
            check_item(&message);
            check_written(message);
        }
        Err(unreadable) => {
            if let Some((transaction, code)) = unreadable.answer {
                assert!(transaction.len() <= MOST_TRANSACTION);
                let _ = code.to_string();
            }
        }
    });
}

/// Nothing is believed to be longer than it may be, whatever the datagram holds.
fn check_bounds(message: &Message<'_>) {
    assert!(message.transaction.len() <= MOST_TRANSACTION);
    match &message.body {
        Body::Query(query) => {
            let (Method::AnnouncePeer { token, .. } | Method::Put { token, .. }) = query.method
            else {
                return;
            };
            assert!(token.len() <= MOST_TOKEN);
            assert!(!matches!(query.method, Method::AnnouncePeer { port: Some(0), .. }));
        }
        Body::Response(response) => {
            assert!(response.nodes.len() <= MOST_CONTACTS);
            assert!(response.nodes6.len() <= MOST_CONTACTS);
            assert!(response.nodes.iter().all(|contact| contact.addr.is_ipv4()));
            assert!(response.nodes6.iter().all(|contact| contact.addr.is_ipv6()));
            assert!(response.values.len() <= MOST_VALUES);
            assert!(response.samples.as_ref().is_none_or(|all| all.len() <= MOST_SAMPLES));
            assert!(response.token.is_none_or(|token| token.len() <= MOST_TOKEN));
        }
        Body::Error(code) => {
            assert_eq!(krpc::ErrorCode::from_number(code.number()), *code);
            let _ = code.to_string();
        }
    }
}

/// What an item is stored as has its place by what it holds, and is no longer than it may be.
fn check_item(message: &Message<'_>) {
    let (raw, salt) = match &message.body {
        Body::Query(krpc::Query { method: Method::Put { item, .. }, .. }) => {
            (item, item.signed.map_or(&[][..], |signed| signed.salt))
        }
        Body::Response(response) => match &response.item {
            Some(item) => (item, &[][..]),
            None => return,
        },
        _ => return,
    };
    let Ok(item) = Item::verify(raw, salt) else { return };
    assert!(item.value().len() <= MAX_VALUE_LEN && salt.len() <= MAX_SALT_LEN);
    assert_eq!(item.raw().value, raw.value);
    assert_eq!(item.signed().is_some(), raw.signed.is_some());
    assert!(Item::verify(&item.raw(), salt).is_ok_and(|again| again.target() == item.target()));
}

fn check_written(mut message: Message<'_>) {
    // A number without a signature says nothing of an item that is there.
    if let Body::Response(response) = &mut message.body
        && response.item.is_some_and(|item| item.signed.is_none())
    {
        response.seq = None;
    }
    let bytes = message.encode();
    if bytes.len() > MAX_MESSAGE_LEN {
        return;
    }
    // A value is passed on as it is, which need not be strict.
    let has_value = match &message.body {
        Body::Query(query) => matches!(query.method, Method::Put { .. }),
        Body::Response(response) => response.item.is_some(),
        Body::Error(_) => false,
    };
    if !has_value {
        Strict::parse(&bytes).expect("what is written is strict bencoding");
    }
    krpc::parse(&bytes, |again| assert_eq!(again.as_ref(), Ok(&message), "{bytes:?}"));
}
