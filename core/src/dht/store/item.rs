//! Items: small values that anybody may keep in the DHT (BEP 44).
//!
//! An immutable item lies at the hash of its value. A mutable one lies at the hash of a public key
//! and a salt, has a number that only grows, and is signed; an [`Item`] with a signature that does
//! not fit cannot be made. Values are kept encoded, and must be encoded canonically.

use std::fmt;

use bytes::Bytes;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha1::{Digest, Sha1};

use crate::bencode::{Document, Limits, Value};
use crate::dht::krpc::{ErrorCode, RawItem, RawSigned};
use crate::dht::node_id::NodeId;

/// Longest value, encoded, in bytes (BEP 44).
pub const MAX_VALUE_LEN: usize = 1000;

/// Longest salt in bytes (BEP 44).
pub const MAX_SALT_LEN: usize = 64;

/// How much structure a value may have (chosen: what fits its length, but for depth).
const LIMITS: Limits = Limits { depth: 32, items: 1_000 };

/// A verified item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    value: Bytes,
    signed: Option<Signed>,
}

/// What a mutable item has besides its value.
#[derive(Clone, PartialEq, Eq)]
pub struct Signed {
    /// The public key.
    pub key: [u8; 32],
    /// The salt; empty if there is none.
    pub salt: Bytes,
    /// Its number.
    pub seq: i64,
    /// The signature.
    pub signature: [u8; 64],
}

/// Why something is no item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ItemError {
    /// The value is not canonical bencoding.
    NotBencoded,
    /// The value is longer than [`MAX_VALUE_LEN`].
    ValueTooBig,
    /// The salt is longer than [`MAX_SALT_LEN`].
    SaltTooBig,
    /// The number is negative.
    NegativeSequence,
    /// The signature does not fit.
    BadSignature,
}

impl Item {
    /// An immutable item of a value that is bencoded already.
    pub fn immutable(value: impl Into<Bytes>) -> Result<Self, ItemError> {
        let value = value.into();
        check_value(&value)?;
        Ok(Item { value, signed: None })
    }

    /// A mutable item, signed with the secret key from which `secret` is the seed (RFC 8032).
    pub fn mutable(
        secret: &[u8; 32],
        salt: impl Into<Bytes>,
        seq: i64,
        value: impl Into<Bytes>,
    ) -> Result<Self, ItemError> {
        let (value, salt) = (value.into(), salt.into());
        check_value(&value)?;
        check_salt_and_seq(&salt, seq)?;
        let pair = SigningKey::from_bytes(secret);
        let signature = pair.sign(&signed_bytes(&salt, seq, &value)).to_bytes();
        let key = pair.verifying_key().to_bytes();
        Ok(Item { value, signed: Some(Signed { key, salt, seq, signature }) })
    }

    /// An item from the wire, verified; an answer lacks the salt, which the asker knows.
    pub fn verify(raw: &RawItem<'_>, salt: &[u8]) -> Result<Self, ItemError> {
        let Some(RawSigned { key, seq, signature, .. }) = raw.signed else {
            return Item::immutable(Bytes::copy_from_slice(raw.value));
        };
        check_value(raw.value)?;
        check_salt_and_seq(salt, seq)?;
        let message = signed_bytes(salt, seq, raw.value);
        VerifyingKey::from_bytes(&key)
            .and_then(|key| key.verify_strict(&message, &Signature::from_bytes(&signature)))
            .map_err(|_| ItemError::BadSignature)?;
        let salt = Bytes::copy_from_slice(salt);
        let value = Bytes::copy_from_slice(raw.value);
        Ok(Item { value, signed: Some(Signed { key, salt, seq, signature }) })
    }

    /// The value, bencoded.
    pub fn value(&self) -> &Bytes {
        &self.value
    }

    /// What a mutable item has besides.
    pub fn signed(&self) -> Option<&Signed> {
        self.signed.as_ref()
    }

    /// Its number; `None` for an immutable item.
    pub fn seq(&self) -> Option<i64> {
        self.signed.as_ref().map(|signed| signed.seq)
    }

    /// Where it lies.
    pub fn target(&self) -> NodeId {
        match &self.signed {
            Some(signed) => mutable_target(&signed.key, &signed.salt),
            None => NodeId(Sha1::digest(&self.value).into()),
        }
    }

    /// As it goes over the wire.
    pub fn raw(&self) -> RawItem<'_> {
        let signed = self.signed.as_ref().map(|signed| RawSigned {
            key: signed.key,
            salt: &signed.salt,
            seq: signed.seq,
            signature: signed.signature,
        });
        RawItem { value: &self.value, signed }
    }
}

/// The public key that belongs to the seed of a secret key.
pub fn public_key(secret: &[u8; 32]) -> [u8; 32] {
    SigningKey::from_bytes(secret).verifying_key().to_bytes()
}

/// Where the mutable item of a public key and a salt lies.
pub fn mutable_target(key: &[u8; 32], salt: &[u8]) -> NodeId {
    let mut hasher = Sha1::new();
    hasher.update(key);
    hasher.update(salt);
    NodeId(hasher.finalize().into())
}

/// What is signed (BEP 44, "signature verification").
fn signed_bytes(salt: &[u8], seq: i64, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    if !salt.is_empty() {
        bytes.extend_from_slice(format!("4:salt{}:", salt.len()).as_bytes());
        bytes.extend_from_slice(salt);
    }
    bytes.extend_from_slice(format!("3:seqi{seq}e1:v").as_bytes());
    bytes.extend_from_slice(value);
    bytes
}

fn check_salt_and_seq(salt: &[u8], seq: i64) -> Result<(), ItemError> {
    if salt.len() > MAX_SALT_LEN {
        return Err(ItemError::SaltTooBig);
    }
    if seq < 0 { Err(ItemError::NegativeSequence) } else { Ok(()) }
}

fn check_value(value: &[u8]) -> Result<(), ItemError> {
    if value.len() > MAX_VALUE_LEN {
        return Err(ItemError::ValueTooBig);
    }
    let document = Document::parse(value, LIMITS).map_err(|_| ItemError::NotBencoded)?;
    if is_canonical(document.root()) { Ok(()) } else { Err(ItemError::NotBencoded) }
}

/// Whether a value has the one form that BEP 3 allows: keys sorted and unique, no zeros before
/// numbers.
fn is_canonical(root: Value<'_>) -> bool {
    let mut unseen = vec![root];
    while let Some(value) = unseen.pop() {
        let len = if let Some(entries) = value.as_dict() {
            let keys = || entries.clone().map(|(key, _)| key);
            if !keys().zip(keys().skip(1)).all(|(one, next)| one < next) {
                return false;
            }
            unseen.extend(entries.clone().map(|(_, value)| value));
            2 + entries.map(|(key, value)| string_len(key) + value.raw().len()).sum::<usize>()
        } else if let Some(elements) = value.as_list() {
            unseen.extend(elements);
            value.raw().len()
        } else if let Some(string) = value.as_bytes() {
            string_len(string)
        } else {
            int_len(value.raw())
        };
        // Whatever is longer than it need be has a form that is not allowed.
        if len != value.raw().len() {
            return false;
        }
    }
    true
}

/// Length of a string's only encoding.
fn string_len(string: &[u8]) -> usize {
    string.len().to_string().len() + 1 + string.len()
}

/// Length of the only encoding of the number that is encoded here.
fn int_len(raw: &[u8]) -> usize {
    let digits = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    let (sign, digits) = match digits.strip_prefix(b"-") {
        Some(digits) => (1, digits),
        None => (0, digits),
    };
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    match digits.len() - zeros {
        0 => 3,
        significant => 2 + sign + significant,
    }
}

impl ItemError {
    /// What a node answers (BEP 44, "errors").
    pub fn code(self) -> ErrorCode {
        match self {
            ItemError::NotBencoded | ItemError::NegativeSequence => ErrorCode::Protocol,
            ItemError::ValueTooBig => ErrorCode::ValueTooBig,
            ItemError::SaltTooBig => ErrorCode::SaltTooBig,
            ItemError::BadSignature => ErrorCode::BadSignature,
        }
    }
}

impl fmt::Display for ItemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ItemError::NotBencoded => "the value is not canonical bencoding",
            ItemError::ValueTooBig => "the value is longer than 1000 bytes when encoded",
            ItemError::SaltTooBig => "the salt is longer than 64 bytes",
            ItemError::NegativeSequence => "the sequence number is negative",
            ItemError::BadSignature => "the signature does not fit",
        })
    }
}

impl std::error::Error for ItemError {}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed").field("seq", &self.seq).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex<const N: usize>(hex: &str) -> [u8; N] {
        std::array::from_fn(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap())
    }

    const KEY: &str = "77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548";
    const VALUE: &[u8] = b"12:Hello World!";

    fn vector(salt: &'static [u8], signature: &str) -> RawItem<'static> {
        let signed = RawSigned { key: hex(KEY), salt, seq: 1, signature: hex(signature) };
        RawItem { value: VALUE, signed: Some(signed) }
    }

    #[test]
    fn the_vectors_of_bep_44_verify() {
        let plain = vector(
            b"",
            "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff\
             1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01",
        );
        let item = Item::verify(&plain, b"").unwrap();
        assert_eq!(item.target(), NodeId(hex("4a533d47ec9c7d95b1ad75f576cffc641853b750")));
        let salted = vector(
            b"foobar",
            "6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17d\
             df9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08",
        );
        let item = Item::verify(&salted, b"foobar").unwrap();
        assert_eq!(item.target(), NodeId(hex("411eba73b6f087ca51a3795d9c8c938d365e32c1")));
        assert_eq!(Item::verify(&salted, b"foobas"), Err(ItemError::BadSignature));
        let immutable = Item::immutable(VALUE).unwrap();
        assert_eq!(immutable.target(), NodeId(hex("e5f96f6f38320f0f33959cb4d3d656452117aadb")));
    }

    #[test]
    fn what_is_signed_here_verifies_and_nothing_else_does() {
        let item = Item::mutable(&[7; 32], &b"salt"[..], 4, VALUE).unwrap();
        assert_eq!(Item::verify(&item.raw(), b"salt"), Ok(item.clone()));
        assert_eq!(item.target(), mutable_target(&public_key(&[7; 32]), b"salt"));
        let signed = item.raw().signed.unwrap();
        let forged = [
            RawItem { value: b"12:Hello Worlds", ..item.raw() },
            RawItem { signed: Some(RawSigned { seq: 5, ..signed }), ..item.raw() },
            RawItem { signed: Some(RawSigned { key: [1; 32], ..signed }), ..item.raw() },
        ];
        for raw in forged {
            assert_eq!(Item::verify(&raw, b"salt"), Err(ItemError::BadSignature));
        }
    }

    #[test]
    fn values_that_are_too_big_or_not_canonical_are_refused() {
        let string = |len: usize| [format!("{len}:").as_bytes(), &vec![b'x'; len]].concat();
        assert!(Item::immutable(string(996)).is_ok());
        assert_eq!(Item::immutable(string(997)), Err(ItemError::ValueTooBig));
        assert_eq!(Item::mutable(&[1; 32], vec![0; 65], 0, VALUE), Err(ItemError::SaltTooBig));
        assert_eq!(Item::mutable(&[1; 32], vec![], -1, VALUE), Err(ItemError::NegativeSequence));
        for good in [&b"i0e"[..], b"i-10e", b"le", b"de", b"d1:ai1e1:bl1:xee", b"0:"] {
            assert!(Item::immutable(good).is_ok(), "{}", good.escape_ascii());
        }
        let bad: [&[u8]; 9] = [
            b"",
            b"i01e",
            b"i-0e",
            b"d1:bi1e1:ai1ee",
            b"d1:ai1e1:ai1ee",
            b"01:a",
            b"i1ei2e",
            b"ld1:bi1e1:ai1eee",
            b"d01:ai1ee",
        ];
        for bad in bad {
            let refused = Item::immutable(bad);
            assert_eq!(refused, Err(ItemError::NotBencoded), "{}", bad.escape_ascii());
        }
    }
}
