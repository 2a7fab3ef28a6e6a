//! How a stream is set up until its owner's bytes pass: TLS, or message stream encryption.
//!
//! TLS is the host's. MSE is ours: bytes that come in the stage [`Stage::Mse`] go to its
//! [`Handshake`](super::mse::Handshake), which sends before the owner does. What we dialled is open for its
//! owner at once: the first bytes it sends, when the peer's key has come, are the initial payload. An incoming
//! stream finds out by its first bytes whether the peer encrypts.

use bytes::BytesMut;

use super::mse::{Established, Refusal, Step};
use super::stream::{Carrier, Cipher, Setup, Stage};
use super::streams::{Delivery, StreamEvent, Transport};
use crate::action::{Action, Close};
use crate::id::ConnId;

impl Transport<'_> {
    /// A stream is not dialled any more, one attempt has been successful: it is open, or TLS or MSE
    /// begins.
    pub(super) fn dialled(&mut self, conn: ConnId, by: Carrier) -> Option<Delivery> {
        let streams = &mut *self.streams;
        let stream = streams.table.get_mut(conn)?;
        let (role, is_half_open) = (stream.role, stream.is_half_open());
        let Stage::Dialling { setup, .. } = std::mem::replace(&mut stream.stage, Stage::Open)
        else {
            return None;
        };
        streams.half_open -= usize::from(is_half_open);
        stream.carrier = by;
        match setup {
            Setup::Plain => {}
            Setup::Tls(host) => {
                stream.stage = Stage::Tls;
                self.outbox.push(Action::Secure { conn, host });
                return None;
            }
            Setup::Mse(skey) => {
                stream.stage = Stage::Mse(Box::new(streams.encrypting.dial(skey)));
                self.ask_send(conn);
            }
        }
        Some(Delivery { conn, role, event: StreamEvent::Opened })
    }

    /// TLS is agreed on: the stream is open.
    pub(crate) fn handle_secured(&mut self, conn: ConnId) -> Option<Delivery> {
        let stream = self.streams.table.get_mut(conn)?;
        if !matches!(stream.stage, Stage::Tls) {
            return None;
        }
        stream.stage = Stage::Open;
        Some(Delivery { conn, role: stream.role, event: StreamEvent::Opened })
    }

    /// Bytes of a handshake have come.
    pub(super) fn handle_handshake(&mut self, conn: ConnId, data: BytesMut) -> Option<Delivery> {
        let streams = &mut *self.streams;
        let stream = streams.table.get_mut(conn)?;
        let Stage::Mse(handshake) = &mut stream.stage else { return None };
        let step = handshake.receive(data, &streams.encrypting.skeys);
        // Until its key is there the peer has not shown that it speaks MSE.
        stream.is_heard = handshake.has_their_key();
        self.proceed(conn, step)
    }

    /// What follows from a step of a handshake.
    fn proceed(&mut self, conn: ConnId, step: Result<Step, Refusal>) -> Option<Delivery> {
        match step {
            Ok(Step::Agrees) => {
                let encrypting = &mut self.streams.encrypting;
                match encrypting.may_agree(conn, self.now) {
                    Ok(()) => self.agree(conn),
                    Err(at) => {
                        self.timers.set(encrypting.timer, at);
                        None
                    }
                }
            }
            Ok(Step::Waits | Step::Offers) => {
                self.ask_send(conn);
                None
            }
            Ok(Step::Done) => self.established(conn),
            Err(_) => {
                let delivery = self.streams.closed_by_us(conn);
                self.close(conn, Close::Abort);
                delivery
            }
        }
    }

    fn agree(&mut self, conn: ConnId) -> Option<Delivery> {
        let streams = &mut *self.streams;
        let Stage::Mse(handshake) = &mut streams.table.get_mut(conn)?.stage else { return None };
        let step = streams.encrypting.agree(handshake);
        self.proceed(conn, step)
    }

    /// A second is over: who waits for an agreement goes on, as many as may in one.
    pub(crate) fn handle_agreements_due(&mut self) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        loop {
            let streams = &mut *self.streams;
            let is_here = |conn| streams.table.get(conn).is_some();
            let Some(conn) = streams.encrypting.next_in_line(self.now, is_here) else { break };
            deliveries.extend(self.agree(conn));
        }
        let encrypting = &self.streams.encrypting;
        if encrypting.has_line() {
            self.timers.set(encrypting.timer, encrypting.next_at());
        }
        deliveries
    }

    /// A handshake is over: what the peer sent behind it is for the owner.
    fn established(&mut self, conn: ConnId) -> Option<Delivery> {
        let stream = self.streams.table.get_mut(conn)?;
        let Stage::Mse(handshake) = &mut stream.stage else { return None };
        let Established { encryption, skey, ciphers, data } = handshake.finish()?;
        let last = handshake.take_output();
        stream.stage = if last.is_empty() { Stage::Open } else { Stage::Answering(last) };
        stream.encryption = encryption;
        stream.skey = skey;
        if let Some(ciphers) = ciphers {
            stream.cipher = Cipher::Rc4(ciphers);
        }
        let role = stream.role;
        if skey.is_some() {
            self.ask_send(conn);
        }
        (!data.is_empty()).then_some(Delivery { conn, role, event: StreamEvent::Received(data) })
    }
}
