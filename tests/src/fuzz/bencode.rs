//! Bencoding: any bytes are refused or read; what is read lies inside the input in order, is
//! written canonically and read again as the same. Strict bencoding, as the simulator's own parser
//! has it, is read and written back byte for byte.

use bitswarm_core::bencode::{Document, Limits, ListWriter, Value, encode_list};

use crate::sim::bencode::Value as Strict;

/// See the module.
pub(super) fn run(data: &[u8]) {
    let parsed = Document::parse(data, Limits::METAINFO);
    let prefix = Document::parse_prefix(data, Limits::METAINFO);
    if let Ok(document) = &parsed {
        assert_eq!(document.consumed(), data.len(), "the whole input is one value");
        check_places(document.root());
        let canonical = canonical(document.root());
        let again = Document::parse(&canonical, Limits::METAINFO).expect("reads what it writes");
        assert_eq!(self::canonical(again.root()), canonical, "canonical is final");
        assert!(canonical.len() <= data.len(), "nothing is said at greater length");
    }
    match &prefix {
        Ok(document) => {
            let whole = data.get(..document.consumed()).expect("it ends inside the input");
            assert!(Document::parse(whole, Limits::METAINFO).is_ok(), "a prefix stands alone");
        }
        Err(error) => {
            assert!(parsed.is_err() && error.offset <= data.len());
            let _ = error.to_string();
        }
    }
    if Document::parse(data, Limits::MESSAGE).is_ok() {
        assert!(parsed.is_ok(), "the narrower limits refuse more");
    }
    if Strict::parse(data).is_ok() {
        let document = parsed.expect("strict bencoding is read");
        assert_eq!(canonical(document.root()), data, "strict bencoding is canonical");
    }
}

/// Values lie in one another and after one another; looking up finds what iterating finds.
fn check_places(value: Value<'_>) {
    let outer = value.span();
    assert_eq!(value.raw().len(), outer.len());
    let mut at = outer.start;
    let mut inside = |child: Value<'_>| {
        assert!(at < child.span().start && child.span().end < outer.end, "{child:?} in {value:?}");
        at = child.span().end - 1;
        check_places(child);
    };
    if let Some(list) = value.as_list() {
        list.for_each(&mut inside);
    }
    for (key, entry) in value.as_dict().into_iter().flatten() {
        let first = value.get(key).expect("what is listed is found");
        assert!(first.span().start <= entry.span().start, "the first of equal keys counts");
        inside(entry);
    }
    if let Some(number) = value.as_int() {
        assert_eq!(value.as_uint(), u64::try_from(number).ok());
    }
}

/// The value as the core writes it.
fn canonical(value: Value<'_>) -> Vec<u8> {
    let list = encode_list(|list| write(list, value));
    list[1..list.len() - 1].to_vec()
}

fn write(out: &mut ListWriter<'_>, value: Value<'_>) {
    if let Some(bytes) = value.as_bytes() {
        out.bytes(bytes);
    } else if let Some(number) = value.as_int() {
        out.int(number);
    } else if let Some(list) = value.as_list() {
        out.list(|out| list.for_each(|value| write(out, value)));
    } else if let Some(dict) = value.as_dict() {
        out.dict(|out| {
            for (key, value) in dict {
                out.raw(key, &canonical(value));
            }
        });
    } else {
        // An integer beyond 64 bits stays as it is.
        out.raw(value.raw());
    }
}
