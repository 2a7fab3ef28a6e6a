//! The plain streams of a connection, whether it is encrypted or not: the engine's private key is known,
//! since its seed is.

use std::borrow::Cow;

use crate::sim::mse::{Conversation, End, Keys, PROTOCOL};

/// What lies between the bytes of a connection and what they say.
#[derive(Debug, Default)]
pub(super) enum Tap {
    /// Nothing.
    #[default]
    Plain,
    /// Perhaps nothing: the first bytes of the side that dialled are not all there.
    Undecided { engine: End, first: Vec<u8> },
    /// MSE.
    Mse { engine: End, conversation: Box<Conversation> },
    /// The remote spoke nonsense before anything could be said.
    Broken,
}

impl Tap {
    /// On a connection with a peer, which side the engine is.
    pub(super) fn on(engine: End) -> Self {
        Tap::Undecided { engine, first: Vec::new() }
    }

    /// Whether the bytes say what they are.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Tap::Plain)
    }

    /// Whether they are encrypted.
    pub(super) fn is_mse(&self) -> bool {
        matches!(self, Tap::Mse { .. })
    }

    /// The engine sends this. What it says by it.
    pub(super) fn sent<'a>(
        &mut self,
        bytes: &'a [u8],
        keys: Option<&mut Keys>,
        names: impl FnOnce() -> Vec<[u8; 20]>,
    ) -> Result<Cow<'a, [u8]>, String> {
        if let Tap::Undecided { engine: End::Dialler, .. } = self {
            return self.decide(bytes, keys, names);
        }
        match self {
            Tap::Undecided { .. } if bytes.is_empty() => Ok(Cow::Borrowed(bytes)),
            Tap::Undecided { .. } => Err("speaks before it knows whether it encrypts".to_owned()),
            Tap::Plain => Ok(Cow::Borrowed(bytes)),
            Tap::Mse { engine, conversation } => {
                let side = *engine;
                let plain = conversation.feed(side, bytes)?;
                learn(conversation, side, keys)?;
                Ok(Cow::Owned(plain))
            }
            Tap::Broken if bytes.is_empty() => Ok(Cow::Borrowed(bytes)),
            // What it had to say before it heard the nonsense.
            Tap::Broken => Ok(Cow::Borrowed(&[])),
        }
    }

    /// The engine is handed this. What it hears.
    pub(super) fn received<'a>(
        &mut self,
        bytes: &'a [u8],
        keys: Option<&mut Keys>,
        names: impl FnOnce() -> Vec<[u8; 20]>,
    ) -> Cow<'a, [u8]> {
        if let Tap::Undecided { engine: End::Dialled, .. } = self {
            return self.decide(bytes, keys, names).unwrap_or(Cow::Borrowed(&[]));
        }
        match self {
            Tap::Plain => Cow::Borrowed(bytes),
            Tap::Mse { engine, conversation } => {
                let theirs = if *engine == End::Dialler { End::Dialled } else { End::Dialler };
                let heard = conversation
                    .feed(theirs, bytes)
                    .and_then(|plain| learn(conversation, *engine, keys).map(|()| plain));
                let heard = heard.and_then(|mut plain| {
                    plain.extend(conversation.feed(theirs, &[])?);
                    Ok(plain)
                });
                heard.map_or_else(
                    |_| {
                        *self = Tap::Broken;
                        Cow::Borrowed(&[][..])
                    },
                    Cow::Owned,
                )
            }
            Tap::Undecided { .. } | Tap::Broken => {
                *self = Tap::Broken;
                Cow::Borrowed(&[])
            }
        }
    }

    /// The side that dialled says this, first.
    fn decide<'a>(
        &mut self,
        bytes: &'a [u8],
        keys: Option<&mut Keys>,
        names: impl FnOnce() -> Vec<[u8; 20]>,
    ) -> Result<Cow<'a, [u8]>, String> {
        let Tap::Undecided { engine, first } = self else { return Ok(Cow::Borrowed(bytes)) };
        first.extend_from_slice(bytes);
        let same = first.iter().zip(PROTOCOL).take_while(|(a, b)| a == b).count();
        let (engine, is_decided) = (*engine, same < first.len() || same == PROTOCOL.len());
        if !is_decided {
            return Ok(Cow::Borrowed(&[]));
        }
        let first = std::mem::take(first);
        if same == PROTOCOL.len() {
            *self = Tap::Plain;
            return Ok(Cow::Owned(first));
        }
        let mut conversation = Box::new(Conversation::new(names()));
        conversation.feed(End::Dialler, &first)?;
        learn(&mut conversation, engine, keys)?;
        *self = Tap::Mse { engine, conversation };
        Ok(Cow::Owned(Vec::new()))
    }
}

/// Once both keys are there it is known what both sides know.
fn learn(
    conversation: &mut Conversation,
    engine: End,
    keys: Option<&mut Keys>,
) -> Result<(), String> {
    let theirs = if engine == End::Dialler { End::Dialled } else { End::Dialler };
    let (Some(ours), Some(theirs)) = (conversation.public(engine), conversation.public(theirs))
    else {
        return Ok(());
    };
    if conversation.is_known() {
        return Ok(());
    }
    let private = keys.and_then(|keys| keys.find(ours));
    let private = private.ok_or("sends a key that its generator does not make")?;
    let secret = private.secret(theirs);
    conversation.knows(secret);
    Ok(())
}
