//! The handshake of MSE, for both sides: any bytes from a stranger, and the bytes of an honest peer with
//! some of them changed.

use bitswarm_core::map::HashKeys;
use bitswarm_core::mse::key_exchange::PrivateKey;
use bitswarm_core::mse::{Handshake, Methods, Refusal, Skeys, Step};
use bitswarm_core::piece::InfoHash;
use bitswarm_core::random::SecretRng;
use bytes::BytesMut;

use super::input::{Input, cut};

const TORRENT: InfoHash = InfoHash([7; 20]);
const PAYLOAD: &[u8] = b"initial payload";
/// Most that a side says before it is done: a key, two hashes, an offer, and its longest pads.
const MOST_SAID: usize = 96 + 512 + 40 + 14 + 64 + 2 + PAYLOAD.len();

/// One side of a connection.
struct Side {
    handshake: Handshake,
    secrets: SecretRng,
    skeys: Skeys,
    said: usize,
}

/// How a side stands: the last step, and what came of it.
type Standing = (Result<Step, Refusal>, Option<Vec<u8>>);

/// What a side offers or takes, and whether it takes who does not encrypt.
#[derive(Clone, Copy)]
struct Policy {
    methods: Methods,
    takes_unencrypted: bool,
}

impl Policy {
    fn draw(input: &mut Input<'_>) -> Self {
        let methods = [Methods::RC4, Methods::BOTH, Methods::PLAIN][input.below(3)];
        Policy { methods, takes_unencrypted: input.flag() }
    }

    fn has_common(self, other: Policy) -> bool {
        self.methods == other.methods
            || [self, other].iter().any(|policy| policy.methods == Methods::BOTH)
    }
}

impl Side {
    fn new(dials: bool, policy: Policy) -> Self {
        let mut secrets = SecretRng::from_seed([u8::from(dials); 32]);
        let mut skeys = Skeys::new(HashKeys::draw(&mut secrets));
        skeys.insert(TORRENT);
        let handshake = match dials {
            true => {
                let private = PrivateKey::new(secrets.bytes());
                Handshake::dial(TORRENT, policy.methods, private, &mut secrets)
            }
            false => Handshake::accept(policy.methods, policy.takes_unencrypted),
        };
        Side { handshake, secrets, skeys, said: 0 }
    }

    fn receive(&mut self, data: &[u8]) -> Result<Step, Refusal> {
        let mut step = self.handshake.receive(BytesMut::from(data), &self.skeys)?;
        loop {
            step = match step {
                Step::Agrees => {
                    let private = PrivateKey::new(self.secrets.bytes());
                    self.handshake.agree(&private, &self.skeys, &mut self.secrets)?
                }
                Step::Offers => self.handshake.offer(PAYLOAD, &mut self.secrets)?,
                Step::Waits | Step::Done => return Ok(step),
            };
        }
    }

    /// Receives in parts; a refusal stays one.
    fn receive_all<'a>(
        &mut self,
        parts: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Step, Refusal> {
        let mut last = Ok(Step::Waits);
        for part in parts {
            let step = self.receive(part);
            assert!(last.is_ok() || step == last, "what was refused goes on");
            last = step;
        }
        last
    }

    fn say(&mut self) -> Vec<u8> {
        let said = self.handshake.take_output();
        self.said += said.len();
        assert!(self.said <= MOST_SAID, "it says more than it may");
        said
    }

    fn standing(&mut self, last: Result<Step, Refusal>) -> Standing {
        let end = self.handshake.finish();
        assert_eq!(end.is_some(), last == Ok(Step::Done));
        (last, end.map(|end| end.data.to_vec()))
    }
}

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (honest, dials, cuts) = (input.flag(), input.flag(), input.byte());
    if honest {
        changed(&mut input, cuts);
    } else {
        let policy = Policy::draw(&mut input);
        stranger(dials, policy, input.rest(), cuts);
    }
}

/// However a stranger's bytes are cut, the same comes of them, within bounds.
fn stranger(dials: bool, policy: Policy, bytes: &[u8], cuts: u8) {
    let run = |parts: Vec<&[u8]>| {
        let mut side = Side::new(dials, policy);
        let last = side.receive_all(parts);
        side.say();
        side.standing(last)
    };
    let whole = run(vec![bytes]);
    assert_eq!(run(cut(bytes, cuts)), whole);
    assert_eq!(run(bytes.chunks(1).collect()), if bytes.is_empty() { run(vec![]) } else { whole });
}

/// Two honest sides talk; some bytes are changed on their way. Without a change they agree, if there is
/// anything that both take.
fn changed(input: &mut Input<'_>, cuts: u8) {
    let (ours, theirs) = (Policy::draw(input), Policy::draw(input));
    let mut sides = [Side::new(true, ours), Side::new(false, theirs)];
    let mut is_changed = false;
    let mut last = [Ok(Step::Waits); 2];
    for turn in 0..4 {
        let (from, to) = (turn % 2, 1 - turn % 2);
        let mut said = sides[from].say();
        if !said.is_empty() && input.flag() {
            let (at, with) = (input.below(said.len()), input.byte());
            said[at] ^= with;
            is_changed |= with != 0;
        }
        last[to] = sides[to].receive_all(cut(&said, cuts));
        if last[to].is_err() {
            break;
        }
    }
    let [dialling, accepting] = &mut sides;
    let (a, b) = (dialling.standing(last[0]), accepting.standing(last[1]));
    if !is_changed && !ours.has_common(theirs) {
        assert_eq!(b.0, Err(Refusal::NoMethod));
    } else if !is_changed {
        assert_eq!((a.0, b.0), (Ok(Step::Done), Ok(Step::Done)));
        assert_eq!(b.1.as_deref(), Some(PAYLOAD));
    }
}
