//! The routing tables as bytes, to be kept between sessions (BEP 5, "routing table").
//!
//! A bencoded dictionary: our ids, and contacts in compact form. What is read is not believed: it
//! is where the next session begins to ask.

use super::krpc::{Contact, read_contacts, write_contacts};
use super::node_id::NodeId;
use crate::bencode::{Document, Limits, Value, encode_dict};

/// Most contacts kept of a family (chosen: a table has some 200).
const MOST: usize = 400;

/// How much structure a file may have.
const LIMITS: Limits = Limits { depth: 2, items: 32 };

/// What is kept of the DHT.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Saved {
    /// Our ids, IPv4 and IPv6.
    pub ids: [Option<NodeId>; 2],
    /// Nodes, of each family those closest to us last.
    pub contacts: Vec<Contact>,
}

impl Saved {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let family = |v6: bool| {
            let of_family = self.contacts.iter().filter(|c| c.addr.is_ipv6() == v6);
            write_contacts(&of_family.take(MOST).copied().collect::<Vec<_>>())
        };
        encode_dict(|dict| {
            for (key, id) in ["id", "id6"].into_iter().zip(self.ids) {
                if let Some(id) = id {
                    dict.bytes(key, id.0);
                }
            }
            dict.bytes("nodes", family(false));
            dict.bytes("nodes6", family(true));
        })
    }

    /// From bytes; whatever is damaged is left out.
    pub fn decode(bytes: &[u8]) -> Self {
        let Ok(document) = Document::parse(bytes, LIMITS) else { return Saved::default() };
        let root = document.root();
        let string = |key| root.get(key).and_then(Value::as_bytes).unwrap_or_default();
        let mut contacts = read_contacts(string("nodes"), false, MOST);
        contacts.extend(read_contacts(string("nodes6"), true, MOST));
        contacts.retain(|contact| contact.addr.port() != 0);
        let ids = ["id", "id6"].map(|key| NodeId::from_slice(string(key)));
        Saved { ids, contacts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_read_back() {
        let contact = |addr: &str| Contact { id: NodeId([9; 20]), addr: addr.parse().unwrap() };
        let saved = Saved {
            ids: [Some(NodeId([1; 20])), None],
            contacts: vec![contact("1.2.3.4:5"), contact("[2001::1]:5")],
        };
        assert_eq!(Saved::decode(&saved.encode()), saved);
    }

    #[test]
    fn what_is_damaged_is_nothing() {
        assert_eq!(Saved::decode(b"d2:id3:abc5:nodes5:short"), Saved::default());
        assert_eq!(Saved::decode(b"d2:id3:abc5:nodes5:shorte"), Saved::default());
        assert_eq!(Saved::decode(&[b'l'; 1000]), Saved::default());
    }
}
