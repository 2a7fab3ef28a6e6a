use quickcheck::quickcheck;

use super::*;
use crate::dht::node_id::NodeId;
use crate::dht::store::bloom::Bloom;

const US: NodeId = NodeId(*b"abcdefghij0123456789");
const THEM: NodeId = NodeId(*b"mnopqrstuvwxyz123456");

fn message(body: Body<'_>) -> Message<'_> {
    Message { transaction: b"aa", version: None, read_only: false, your_addr: None, body }
}

fn query(method: Method<'_>) -> Message<'_> {
    message(Body::Query(Query { id: US, want: None, method }))
}

fn assert_round_trip(message: &Message<'_>) {
    let encoded = message.encode();
    parse(&encoded, |read| assert_eq!(read.as_ref(), Ok(message), "{}", encoded.escape_ascii()));
}

#[test]
fn the_examples_of_bep_5_are_written_as_they_stand_there() {
    let response = Response::new(THEM);
    let examples: [(Message<'_>, &[u8]); 4] = [
        (query(Method::Ping), b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"),
        (
            message(Body::Response(Box::new(response))),
            b"d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re",
        ),
        (
            query(Method::FindNode { target: THEM }),
            b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q9:find_node1:t2:aa1:y1:qe",
        ),
        (
            query(Method::GetPeers { infohash: THEM, no_seeds: false, scrape: false }),
            b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:qe",
        ),
    ];
    for (message, expected) in examples {
        assert_eq!(
            message.encode().escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
        assert_round_trip(&message);
    }
}

#[test]
fn what_bep_5_announces_and_answers_is_read() {
    let announce = b"d1:ad2:id20:abcdefghij012345678912:implied_porti1e9:info_hash20:mnopqrstuvwxyz1234564:porti6881e5:token8:aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe";
    parse(announce, |read| {
        let method =
            Method::AnnouncePeer { infohash: THEM, port: None, seed: false, token: b"aoeusnth" };
        assert_eq!(read, Ok(query(method)));
    });
    let peers = b"d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re";
    parse(peers, |read| {
        let Ok(Message { body: Body::Response(response), .. }) = read else { panic!("{read:?}") };
        let values = ["97.120.106.101:11893", "105.100.104.116:28269"];
        assert_eq!(response.values, values.map(|addr| addr.parse().unwrap()));
        assert_eq!(response.token, Some(&b"aoeusnth"[..]));
    });
    let error = b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee";
    parse(error, |read| assert_eq!(read, Ok(message(Body::Error(ErrorCode::Generic)))));
}

#[test]
fn every_query_is_read_as_it_was_written() {
    let signed = RawSigned { key: [3; 32], salt: b"salt", seq: 4, signature: [5; 64] };
    let methods = [
        Method::Ping,
        Method::FindNode { target: THEM },
        Method::GetPeers { infohash: THEM, no_seeds: true, scrape: true },
        Method::AnnouncePeer { infohash: THEM, port: Some(7), seed: true, token: b"t" },
        Method::AnnouncePeer { infohash: THEM, port: None, seed: false, token: b"t" },
        Method::Get { target: THEM, seq: Some(9) },
        Method::Get { target: THEM, seq: None },
        Method::Put { item: RawItem { value: b"l1:ae", signed: None }, cas: None, token: b"t" },
        Method::Put {
            item: RawItem { value: b"3:abc", signed: Some(signed) },
            cas: Some(3),
            token: b"t",
        },
        Method::SampleInfohashes { target: THEM },
    ];
    for method in methods {
        assert_round_trip(&query(method));
        let want = Some(Want { v4: true, v6: true });
        let body = Body::Query(Query { id: US, want, method });
        assert_round_trip(&Message { read_only: true, version: Some(b"bs00"), ..message(body) });
    }
}

#[test]
fn a_full_answer_is_read_as_it_was_written() {
    let v4 = Contact { id: THEM, addr: "1.2.3.4:5".parse().unwrap() };
    let v6 = Contact { id: US, addr: "[2001::1]:5".parse().unwrap() };
    let mut peers = Bloom::default();
    peers.insert("1.1.1.1".parse().unwrap());
    let signed = RawSigned { key: [3; 32], salt: b"", seq: 4, signature: [5; 64] };
    let response = Response {
        id: US,
        nodes: vec![v4, v4],
        nodes6: vec![v6],
        token: Some(b"token"),
        values: vec![v4.addr, v4.addr],
        blooms: Some(Box::new((Bloom::default(), peers))),
        item: Some(RawItem { value: b"d1:ai1ee", signed: Some(signed) }),
        seq: Some(4),
        samples: Some(vec![US, THEM]),
        num: Some(1000),
        interval: Some(60),
    };
    let body = Body::Response(Box::new(response));
    assert_round_trip(&Message { your_addr: Some(v6.addr), ..message(body) });
}

#[test]
fn a_query_without_what_it_needs_is_answered_with_an_error() {
    let broken: [&[u8]; 6] = [
        b"d1:ade1:q4:ping1:t2:aa1:y1:qe",
        b"d1:ad2:id3:abce1:q4:ping1:t2:aa1:y1:qe",
        b"d1:ad2:id20:abcdefghij0123456789e1:q9:find_node1:t2:aa1:y1:qe",
        b"d1:ad2:id20:abcdefghij0123456789e1:t2:aa1:y1:qe",
        b"d1:q4:ping1:t2:aa1:y1:qe",
        b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz1234564:porti0e5:token1:te1:q13:announce_peer1:t2:aa1:y1:qe",
    ];
    for data in broken {
        parse(data, |read| {
            let answer = Some((&b"aa"[..], ErrorCode::Protocol));
            assert_eq!(read, Err(Unreadable { answer }), "{}", data.escape_ascii());
        });
    }
}

#[test]
fn what_is_no_message_is_unreadable() {
    let long = vec![b'x'; MAX_MESSAGE_LEN + 1];
    let deep = b"d1:t".iter().copied().chain([b'l'; 2000]).collect::<Vec<u8>>();
    let transaction = [&b"d1:q4:ping1:t99:"[..], &[b'a'; 99], b"1:y1:qe"].concat();
    let junk: [&[u8]; 8] =
        [b"", b"de", b"i5e", b"d1:t2:aae", b"d1:t2:aa1:y1:ze", &long, &deep, &transaction];
    for data in junk {
        parse(data, |read| assert_eq!(read, Err(Unreadable { answer: None })));
    }
}

#[test]
fn a_method_that_is_not_known_is_named_with_its_target() {
    let data =
        b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q4:vote1:t2:aa1:y1:qe";
    parse(data, |read| assert_eq!(read, Ok(query(Method::Unknown { target: Some(THEM) }))));
}

quickcheck! {
    fn no_bytes_make_it_panic(bytes: Vec<u8>) -> bool {
        parse(&bytes, |_| true)
    }

    fn no_change_of_one_byte_makes_it_panic(at: usize, to: u8) -> bool {
        let signed = RawSigned { key: [3; 32], salt: b"salt", seq: 4, signature: [5; 64] };
        let item = RawItem { value: b"3:abc", signed: Some(signed) };
        let mut bytes = query(Method::Put { item, cas: Some(3), token: b"t" }).encode();
        let at = at % bytes.len();
        bytes[at] = to;
        parse(&bytes, |_| true)
    }
}
