//! What stands beside the info dictionary: trackers, and facts of the file.

use super::*;

#[test]
fn trackers_come_in_tiers_each_once() {
    let torrent = with_outer(|root| {
        root.bytes("announce", "http://ignored/");
        root.list("announce-list", |list| {
            list.list(|tier| ["http://a/", " udp://b:1 ", ""].iter().for_each(|u| tier.bytes(u)));
            list.list(|_| ());
            list.list(|tier| tier.bytes("http://a/"));
            list.list(|tier| tier.bytes(b"\xff"));
            list.bytes("http://c/");
            list.int(3);
        });
    });
    let expected = tiers([&["http://a/", "udp://b:1"][..], &["http://c/"]]);
    assert_eq!(torrent.trackers(), expected);
}

#[test]
fn announce_counts_when_the_list_has_nothing() {
    let announce = |fill: fn(&mut DictWriter<'_>)| {
        let torrent = with_outer(|root| {
            root.bytes("announce", "http://a/");
            fill(root);
        });
        torrent.trackers().to_vec()
    };
    let expected = tiers([&["http://a/"][..]]);
    assert_eq!(announce(|_| ()), expected);
    assert_eq!(announce(|root| root.list("announce-list", |_| ())), expected);
    assert_eq!(announce(|root| root.int("announce-list", 1)), expected);
    assert!(with_outer(|_| ()).trackers().is_empty());
}

#[test]
fn trackers_past_the_limit_are_ignored() {
    let torrent = with_outer(|root| {
        root.list("announce-list", |list| {
            (0..5000).for_each(|n| list.list(|tier| tier.bytes(format!("http://{n}/"))));
        });
    });
    assert_eq!(torrent.trackers().len(), MAX_TRACKERS);
}

#[test]
fn what_stands_beside_info_is_read() {
    let torrent = with_outer(|root| {
        root.bytes("comment", b"old\xff");
        root.bytes("comment.utf-8", "two\nlines\x1b[2J");
        root.bytes("created by", "maker/1.0");
        root.int("creation date", -5);
        root.list("url-list", |list| {
            list.bytes("http://seed/");
            list.int(1);
        });
        root.list("nodes", |list| {
            list.list(|node| {
                node.bytes("router.example");
                node.int(6881);
            });
            list.list(|node| node.bytes("no port"));
            list.list(|node| {
                node.bytes("port too large");
                node.int(65_536);
            });
        });
    });
    assert_eq!(torrent.comment(), Some("two\nlines\u{fffd}[2J"));
    assert_eq!(torrent.created_by(), Some("maker/1.0"));
    assert_eq!(torrent.creation_date(), Some(-5));
    assert_eq!(torrent.web_seeds(), ["http://seed/"]);
    assert_eq!(torrent.nodes(), [("router.example".to_owned(), 6881)]);
    let one = with_outer(|root| root.bytes("url-list", "http://seed/"));
    assert_eq!(one.web_seeds(), ["http://seed/"]);
}

#[test]
fn what_is_malformed_beside_info_is_left_out() {
    let torrent = with_outer(|root| {
        [
            "announce",
            "announce-list",
            "comment",
            "created by",
            "creation date",
            "nodes",
            "url-list",
        ]
        .iter()
        .for_each(|key| root.dict(key, |_| ()));
    });
    assert!(torrent.trackers().is_empty() && torrent.nodes().is_empty());
    assert!(torrent.web_seeds().is_empty() && torrent.comment().is_none());
    assert!(torrent.created_by().is_none() && torrent.creation_date().is_none());
}

#[test]
fn changing_the_trackers_changes_nothing_else() {
    // An unknown key on each side, keys unsorted, an info dictionary that is not canonical.
    let info = "d6:lengthi05e4:name1:a12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae";
    let file = |trackers: &str| format!("d3:aaai00e{trackers}4:info{info}3:zzz1:z7:comment1:ce");
    let original = file("8:announce5:old/113:announce-listll5:old/2ee");
    let torrent = Metainfo::parse(original.as_bytes()).unwrap();

    let one = torrent.with_trackers(&tiers([&["new/1"][..]]));
    assert_eq!(one.to_bytes(), file("8:announce5:new/1"));
    let two = one.with_trackers(&tiers([&["new/1"][..], &["new/2"]]));
    let list = "8:announce5:new/113:announce-listll5:new/1el5:new/2ee";
    assert_eq!(two.to_bytes(), file(list));
    assert_eq!(two.with_trackers(&[]).to_bytes(), file(""));
    assert_eq!(two.with_trackers(&tiers([&["old/1"][..]])).trackers(), [["old/1"]]);
    for edited in [one, two] {
        assert_eq!(edited, Metainfo::parse(&edited.to_bytes()).unwrap());
        assert_eq!(edited.infohash(), torrent.infohash());
        assert_eq!(edited.info_bytes(), info);
        assert_eq!(edited.piece_hash(PieceIndex(0)), Some(*b"aaaaaaaaaaaaaaaaaaaa"));
    }
}

#[test]
fn trackers_are_put_where_their_keys_belong() {
    let info = "4:infod6:lengthi0e4:name1:a12:piece lengthi16384e6:pieces0:e";
    for others in ["", "1:a1:x", "10:announce-a1:x", "1:z1:x"] {
        let (before, after) = if others == "1:z1:x" { ("", others) } else { (others, "") };
        let torrent = Metainfo::parse(format!("d{before}{info}{after}e").as_bytes()).unwrap();
        let edited = torrent.with_trackers(&tiers([&["t/1", "t/2"][..]]));
        let bytes = edited.to_bytes();
        let document = Document::parse(&bytes, Limits::METAINFO).unwrap();
        let keys: Vec<_> = document.root().as_dict().unwrap().map(|(key, _)| key).collect();
        assert!(keys.is_sorted(), "{}", bytes.escape_ascii());
        assert_eq!(edited.infohash(), torrent.infohash());
    }
}
