//! Both sides against each other, and against a peer that is written anew here, byte by byte.

use quickcheck::{TestResult, quickcheck};

use super::*;
use crate::map::HashKeys;

const TORRENT: InfoHash = InfoHash([7; 20]);

fn secrets(seed: u8) -> SecretRng {
    SecretRng::from_seed([seed; 32])
}

fn private(seed: u8) -> PrivateKey {
    PrivateKey::new([seed; 20])
}

fn skeys() -> Skeys {
    let mut skeys = Skeys::new(HashKeys::draw(&mut secrets(1)));
    skeys.insert(InfoHash([6; 20]));
    skeys.insert(TORRENT);
    skeys
}

/// One side of a connection, with the agreement made as soon as it is due.
struct Side {
    handshake: Handshake,
    secrets: SecretRng,
    payload: Vec<u8>,
}

impl Side {
    fn dial(methods: Methods, payload: &[u8]) -> Self {
        let mut secrets = secrets(3);
        let handshake = Handshake::dial(TORRENT, methods, private(3), &mut secrets);
        Side { handshake, secrets, payload: payload.to_vec() }
    }

    fn accept(methods: Methods) -> Self {
        Side { handshake: Handshake::accept(methods, true), secrets: secrets(4), payload: vec![] }
    }

    /// Another one that is as far.
    fn copy(&self) -> Self {
        let (handshake, payload) = (self.handshake.clone(), self.payload.clone());
        Side { handshake, secrets: secrets(5), payload }
    }

    fn receive(&mut self, data: &[u8]) -> Result<Step, Refusal> {
        let mut step = self.handshake.receive(BytesMut::from(data), &skeys())?;
        loop {
            step = match step {
                Step::Agrees => self.handshake.agree(&private(4), &skeys(), &mut self.secrets)?,
                Step::Offers => self.handshake.offer(&self.payload, &mut self.secrets)?,
                Step::Waits | Step::Done => return Ok(step),
            };
        }
    }

    fn receive_cut(&mut self, mut data: &[u8], cuts: &[u8]) -> Result<Step, Refusal> {
        let mut step = Ok(Step::Waits);
        for cut in cuts.iter().map(|cut| usize::from(*cut)).chain([usize::MAX]) {
            let (part, rest) = data.split_at(cut.min(data.len()));
            step = Ok(self.receive(part)?);
            data = rest;
        }
        step
    }
}

/// Has the two sides talk, in these cuts, and says what both have in the end.
fn talk(a: &mut Side, b: &mut Side, cuts: &[u8]) -> Result<(Established, Established), Refusal> {
    let first = a.handshake.take_output();
    b.receive_cut(&first, cuts)?;
    let second = b.handshake.take_output();
    a.receive_cut(&second, cuts)?;
    let third = a.handshake.take_output();
    b.receive_cut(&third, cuts)?;
    let last = b.handshake.take_output();
    a.receive_cut(&last, cuts)?;
    Ok((a.handshake.finish().expect("done"), b.handshake.finish().expect("done")))
}

/// What was sent with one end, read with the other.
fn through(from: &mut Established, to: &mut Established, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(ciphers) = &mut from.ciphers {
        ciphers.write.apply(&mut bytes);
    }
    if let Some(ciphers) = &mut to.ciphers {
        ciphers.read.apply(&mut bytes);
    }
    bytes
}

/// A peer whose every byte a test decides.
struct Scripted {
    private: PrivateKey,
    read: rc4::Rc4,
    write: rc4::Rc4,
    secret: [u8; KEY_LEN],
}

fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    Sha1::digest(parts.concat()).into()
}

impl Scripted {
    /// It dials `side`, which answers its key: the ciphers are known then.
    fn dials(side: &mut Side) -> Self {
        let private = PrivateKey::new([9; 20]);
        side.receive(&private.public()).expect("a key");
        Self::knows(private, &side.handshake.take_output(), true)
    }

    /// It was dialled by `side`.
    fn dialled(side: &mut Side) -> Self {
        let private = PrivateKey::new([9; 20]);
        let theirs = side.handshake.take_output();
        Self::knows(private, &theirs, false)
    }

    fn knows(private: PrivateKey, theirs: &[u8], dials: bool) -> Self {
        use rc4::{KeyInit, StreamCipher};
        let secret = private.agree(theirs.first_chunk().expect("a key")).expect("a good one");
        let cipher = |name: &[u8]| {
            let key = sha1(&[name, &secret, &TORRENT.0]);
            let mut cipher = rc4::Rc4::new_from_slice(&key).expect("a key");
            cipher.apply_keystream(&mut [0; 1024]);
            cipher
        };
        let (a, b) = (cipher(b"keyA"), cipher(b"keyB"));
        let (read, write) = if dials { (b, a) } else { (a, b) };
        Scripted { private, read, write, secret }
    }

    fn encrypted(&mut self, parts: &[&[u8]]) -> Vec<u8> {
        use rc4::StreamCipher;
        let mut bytes = parts.concat();
        self.write.apply_keystream(&mut bytes);
        bytes
    }

    fn decrypted(&mut self, bytes: &[u8]) -> Vec<u8> {
        use rc4::StreamCipher;
        let mut bytes = bytes.to_vec();
        self.read.apply_keystream(&mut bytes);
        bytes
    }

    /// `req1` and the name of a torrent.
    fn names(&self, torrent: InfoHash) -> Vec<u8> {
        let (name, mask) = (sha1(&[b"req2", &torrent.0]), sha1(&[b"req3", &self.secret]));
        let name: Vec<u8> = name.iter().zip(mask).map(|(a, b)| a ^ b).collect();
        [&sha1(&[b"req1", &self.secret])[..], &name].concat()
    }
}

#[test]
fn each_pair_of_methods_agrees_on_what_both_take_or_is_refused() {
    const PLAIN: Methods = Methods::PLAIN;
    const RC4: Methods = Methods::RC4;
    const BOTH: Methods = Methods::BOTH;
    let cases = [
        (BOTH, BOTH, Ok(Encryption::Handshake)),
        (BOTH, RC4, Ok(Encryption::Rc4)),
        (RC4, BOTH, Ok(Encryption::Rc4)),
        (PLAIN, BOTH, Ok(Encryption::Handshake)),
        (PLAIN, RC4, Err(Refusal::NoMethod)),
        (RC4, PLAIN, Err(Refusal::NoMethod)),
    ];
    for (offered, taken, expected) in cases {
        let (mut a, mut b) = (Side::dial(offered, b"first"), Side::accept(taken));
        let agreed = talk(&mut a, &mut b, &[]);
        let both = agreed.as_ref().map(|(a, b)| (a.encryption, b.encryption)).map_err(|why| *why);
        assert_eq!(both, expected.map(|method| (method, method)), "{offered:?} {taken:?}");
        let Ok((mut a, mut b)) = agreed else { continue };
        assert_eq!(&b.data[..], b"first");
        assert_eq!((a.skey, b.skey), (Some(TORRENT), Some(TORRENT)));
        assert_eq!(through(&mut a, &mut b, b"there"), b"there");
        assert_eq!(through(&mut b, &mut a, b"and back"), b"and back");
    }
}

#[test]
fn who_does_not_encrypt_is_told_by_the_first_twenty_bytes() {
    let stream = b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0 and so on";
    for cut in 0..stream.len() {
        let mut side = Side::accept(Methods::BOTH);
        let (first, rest) = stream.split_at(cut);
        let step = side.receive(first).expect("plain");
        assert_eq!(step, if cut < 20 { Step::Waits } else { Step::Done });
        side.receive(rest).expect("plain");
        let end = side.handshake.finish().expect("done");
        assert_eq!((end.encryption, end.skey), (Encryption::None, None));
        assert_eq!(&end.data[..], stream);
    }
    let mut strict = Handshake::accept(Methods::RC4, false);
    let refused = strict.receive(BytesMut::from(&stream[..]), &skeys());
    assert_eq!(refused, Err(Refusal::Unencrypted));
    assert_eq!(strict.receive(BytesMut::new(), &skeys()), Err(Refusal::Unencrypted), "for good");
}

#[test]
fn who_answers_our_key_with_a_plain_handshake_does_not_speak_it() {
    let greeting = b"\x13BitTorrent protocol";
    for cut in 0..greeting.len() {
        let mut side = Side::dial(Methods::BOTH, b"");
        let (first, rest) = greeting.split_at(cut);
        assert_eq!(side.receive(first), Ok(Step::Waits));
        assert_eq!(side.receive(rest), Err(Refusal::Unencrypted));
        assert!(!side.handshake.has_their_key());
    }
    let mut side = Side::dial(Methods::BOTH, b"");
    side.receive(&PrivateKey::new([9; 20]).public()).expect("a key");
    assert!(side.handshake.has_their_key());
}

#[test]
fn a_pad_may_be_as_long_as_it_may_and_no_longer() {
    let mut accepts = Side::accept(Methods::BOTH);
    let mut peer = Scripted::dials(&mut accepts);
    let hello = peer.encrypted(&[&VC, &[0, 0, 0, 2], &[0, 0], &[0, 0]]);
    let hello = [peer.names(TORRENT), hello].concat();
    let mut dials = Side::dial(Methods::BOTH, b"");
    let mut peer = Scripted::dialled(&mut dials);
    dials.receive(&peer.private.public()).expect("a key");
    let answer = peer.encrypted(&[&VC, &[0, 0, 0, 1], &[0, 0]]);
    for len in 0..=513 {
        let expected = if len <= 512 { Ok(Step::Done) } else { Err(Refusal::NoSync) };
        for (side, said) in [(&accepts, &hello), (&dials, &answer)] {
            // Zeros: no part of a hash.
            let bytes = [&vec![0; len][..], said].concat();
            assert_eq!(side.copy().receive(&bytes), expected, "{len}");
        }
    }
}

#[test]
fn what_a_peer_that_dials_says_wrongly_is_refused() {
    let longest_pad = [0; 512];
    let payload = [5; 4096];
    type Parts<'a> = &'a [&'a [u8]];
    let cases: [(Parts<'_>, Result<Step, Refusal>); 8] = [
        (&[&VC, &[0, 0, 0, 3], &[2, 0], &longest_pad, &[16, 0], &payload], Ok(Step::Done)),
        (&[&[0, 0, 0, 0, 0, 0, 0, 1], &[0, 0, 0, 3], &[0, 0]], Err(Refusal::BadVerification)),
        (&[&VC, &[0, 0, 0, 0], &[0, 0]], Err(Refusal::NoMethod)),
        (&[&VC, &[0, 0, 0, 4], &[0, 0]], Err(Refusal::NoMethod)),
        (&[&VC, &[0xff; 4], &[0, 0], &[0, 0]], Ok(Step::Done)),
        (&[&VC, &[0, 0, 0, 3], &[2, 1]], Err(Refusal::PadTooLong)),
        (&[&VC, &[0, 0, 0, 3], &[0, 0], &[16, 1]], Err(Refusal::PayloadTooLong)),
        (&[&VC, &[0, 0, 0, 3], &[0, 0], &[0xff, 0xff]], Err(Refusal::PayloadTooLong)),
    ];
    for (at, (parts, expected)) in cases.into_iter().enumerate() {
        let mut side = Side::accept(Methods::BOTH);
        let mut peer = Scripted::dials(&mut side);
        let bytes = [peer.names(TORRENT), peer.encrypted(parts)].concat();
        assert_eq!(side.receive(&bytes), expected, "case {at}");
    }
    let mut side = Side::accept(Methods::BOTH);
    let peer = Scripted::dials(&mut side);
    let unknown = peer.names(InfoHash([8; 20]));
    assert_eq!(side.receive(&unknown), Err(Refusal::UnknownTorrent));
}

#[test]
fn what_a_peer_that_was_dialled_says_wrongly_is_refused() {
    let longest_pad = [0; 512];
    type Case<'a> = (Methods, &'a [&'a [u8]], Result<Step, Refusal>);
    let cases: [Case<'_>; 7] = [
        (Methods::BOTH, &[&VC, &[0, 0, 0, 2], &[2, 0], &longest_pad], Ok(Step::Done)),
        (Methods::BOTH, &[&VC, &[0, 0, 0, 3], &[0, 0]], Err(Refusal::BadChoice)),
        (Methods::BOTH, &[&VC, &[0, 0, 0, 0], &[0, 0]], Err(Refusal::BadChoice)),
        (Methods::BOTH, &[&VC, &[0, 0, 0, 4], &[0, 0]], Err(Refusal::BadChoice)),
        (Methods::RC4, &[&VC, &[0, 0, 0, 1], &[0, 0]], Err(Refusal::BadChoice)),
        (Methods::BOTH, &[&VC, &[0, 0, 0, 1], &[2, 1]], Err(Refusal::PadTooLong)),
        (Methods::BOTH, &[&VC, &[1, 0, 0, 1], &[0, 0]], Err(Refusal::BadChoice)),
    ];
    for (at, (methods, parts, expected)) in cases.into_iter().enumerate() {
        let mut side = Side::dial(methods, b"hello");
        let mut peer = Scripted::dialled(&mut side);
        side.receive(&peer.private.public()).expect("a key");
        let said = side.handshake.take_output();
        let (names, offer) = said.split_at(40);
        assert_eq!(names, peer.names(TORRENT));
        let offer = peer.decrypted(offer);
        assert_eq!((&offer[..8], offer[11]), (&VC[..], methods.0 as u8));
        assert_eq!(&offer[offer.len() - 7..], b"\0\x05hello");
        let bytes = peer.encrypted(parts);
        assert_eq!(side.receive(&bytes), expected, "case {at}");
    }
}

#[test]
fn degenerate_keys_are_refused_by_both_sides() {
    let mut one = [0; KEY_LEN];
    one[KEY_LEN - 1] = 1;
    for key in [[0; KEY_LEN], one, [0xff; KEY_LEN]] {
        assert_eq!(Side::accept(Methods::BOTH).receive(&key), Err(Refusal::BadKey));
        assert_eq!(Side::dial(Methods::BOTH, b"").receive(&key), Err(Refusal::BadKey));
    }
}

#[test]
fn who_speaks_before_its_turn_is_refused_and_holds_no_more_than_a_pad() {
    let key = PrivateKey::new([9; 20]).public();
    let mut accepts = Handshake::accept(Methods::BOTH, true);
    let receive = |side: &mut Handshake, data: &[u8]| side.receive(BytesMut::from(data), &skeys());
    assert_eq!(receive(&mut accepts, &key), Ok(Step::Agrees));
    assert_eq!(receive(&mut accepts, &[0; 512]), Ok(Step::Waits), "said once");
    assert!(!accepts.has_output(), "nothing is computed before it is due");
    assert_eq!(receive(&mut accepts, &[0]), Err(Refusal::NoSync));

    let mut dials = Handshake::dial(TORRENT, Methods::BOTH, private(3), &mut secrets(3));
    assert_eq!(receive(&mut dials, &key), Ok(Step::Offers));
    assert_eq!(receive(&mut dials, &[0; 512]), Ok(Step::Waits));
    assert_eq!(receive(&mut dials, &[0]), Err(Refusal::TooEarly));
    assert!(dials.finish().is_none());
}

#[test]
fn a_handshake_that_is_not_over_is_not_finished_by_asking() {
    let (mut a, mut b) = (Side::dial(Methods::RC4, b"x"), Side::accept(Methods::BOTH));
    let first = a.handshake.take_output();
    b.receive(&first[..50]).expect("half a key");
    assert!(b.handshake.finish().is_none());
    b.receive(&first[50..]).expect("the rest");
    let second = b.handshake.take_output();
    a.receive(&second).expect("a key");
    b.receive(&a.handshake.take_output()).expect("an offer");
    assert!(b.handshake.finish().is_some());
}

quickcheck! {
    fn any_chunking_gives_the_same(cuts: Vec<u8>, payload: Vec<u8>, rc4: bool) -> bool {
        let offered = if rc4 { Methods::RC4 } else { Methods::BOTH };
        let sides = || (Side::dial(offered, &payload), Side::accept(Methods::BOTH));
        let ((mut a, mut b), (mut whole_a, mut whole_b)) = (sides(), sides());
        let (mut a, mut b) = talk(&mut a, &mut b, &cuts).expect("they agree");
        let (_, whole) = talk(&mut whole_a, &mut whole_b, &[]).expect("they agree");
        a.encryption == b.encryption
            && b.data == whole.data
            && b.data == payload
            && through(&mut a, &mut b, b"on") == b"on"
            && through(&mut b, &mut a, b"back") == b"back"
    }

    fn bytes_one_at_a_time_give_the_same(payload: Vec<u8>) -> bool {
        let (mut a, mut b) = (Side::dial(Methods::BOTH, &payload), Side::accept(Methods::RC4));
        talk(&mut a, &mut b, &[1; 2000]).is_ok_and(|(_, b)| b.data == payload)
    }

    fn what_follows_in_the_same_read_is_of_the_stream(after: Vec<u8>, rc4: bool) -> bool {
        let mut side = Side::accept(Methods::BOTH);
        let mut peer = Scripted::dials(&mut side);
        let offered = [0, 0, 0, if rc4 { 2 } else { 1 }];
        let mut bytes = peer.names(TORRENT);
        bytes.extend(peer.encrypted(&[&VC, &offered, &[0, 3, 0, 0, 0], &[0, 2], b"IA"]));
        bytes.extend(if rc4 { peer.encrypted(&[&after]) } else { after.clone() });
        let done = side.receive(&bytes) == Ok(Step::Done);
        let end = side.handshake.finish();
        done && end.is_some_and(|end| end.data[..] == [&b"IA"[..], &after].concat())
    }

    fn garbage_ends_within_its_bounds(garbage: Vec<u8>, cuts: Vec<u8>, dials: bool) -> TestResult {
        if garbage.is_empty() {
            return TestResult::discard();
        }
        let mut side = match dials {
            true => Side::dial(Methods::BOTH, b"ia"),
            false => Side::accept(Methods::BOTH),
        };
        let garbage: Vec<u8> = garbage.into_iter().cycle().take(96 + 512 + 8 + 20).collect();
        let whole = side.receive_cut(&garbage, &cuts);
        let refused = matches!(
            whole,
            Err(Refusal::BadKey | Refusal::NoSync | Refusal::TooEarly | Refusal::Unencrypted)
        );
        TestResult::from_bool(refused || side.handshake.finish().is_none())
    }
}
