//! Scripted peers that harm others: they claim to have everything and then lie in one way each.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::wire::{self, Message, Wire};
use super::{Lab, Outcome, Seat, Torrent};

/// What a hostile peer does once its handshake is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Harm {
    /// Serves requests; one byte of each block is wrong.
    CorruptEveryBlock,
    /// Serves requests; only blocks at the start of a piece are wrong.
    CorruptFirstBlocks,
    /// Announces a message of 4 GiB.
    HugeMessage,
    /// Sends bytes that are no protocol.
    Garbage,
    /// Names pieces that the torrent does not have.
    HaveOutOfRange,
    /// Lets itself be asked and never answers.
    Silence,
    /// Sends blocks that nobody asked for, all wrong.
    UnrequestedBlocks,
}

/// A running hostile peer. Dropping it closes its connections.
#[derive(Debug)]
pub struct Hostile {
    seat: Seat,
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    harm: Harm,
    torrent: Torrent,
    stop: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
    handshakes: AtomicUsize,
    corrupt_blocks: AtomicUsize,
}

impl Hostile {
    /// Starts one at a new seat. It tells no tracker.
    pub fn start(lab: &Lab, torrent: &Torrent, harm: Harm) -> Outcome<Hostile> {
        let seat = lab.seat();
        let listener = TcpListener::bind(seat.addr())?;
        let shared = Arc::new(Shared {
            harm,
            torrent: torrent.clone(),
            stop: AtomicBool::new(false),
            streams: Mutex::default(),
            handshakes: AtomicUsize::new(0),
            corrupt_blocks: AtomicUsize::new(0),
        });
        let serving = Arc::clone(&shared);
        let thread = thread::spawn(move || serve(&listener, &serving));
        Ok(Hostile { seat, shared, thread: Some(thread) })
    }

    /// Where it sits.
    pub fn seat(&self) -> Seat {
        self.seat
    }

    /// Handshakes that others have completed with it.
    pub fn handshakes(&self) -> usize {
        self.shared.handshakes.load(Ordering::SeqCst)
    }

    /// Wrong blocks that it has sent.
    pub fn corrupt_blocks(&self) -> usize {
        self.shared.corrupt_blocks.load(Ordering::SeqCst)
    }

    /// Goes to a victim from its own address; whether it is let in.
    pub fn is_welcome_at(&self, victim: Seat) -> Outcome<bool> {
        Ok(Wire::connect(self.seat.ip, victim.addr(), &self.shared.torrent)?.is_some())
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for stream in self.shared.streams.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the thread from its accept.
        let _ = TcpStream::connect(self.seat.addr());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming().flatten() {
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        if let Ok(copy) = stream.try_clone() {
            shared.streams.lock().unwrap_or_else(PoisonError::into_inner).push(copy);
        }
        let shared = Arc::clone(shared);
        // It ends with its connection, and the connection with it: at the first bytes that are no
        // plain handshake, as with any client that knows no encryption.
        thread::spawn(move || {
            let end = stream.try_clone();
            drop(harm(stream, &shared));
            drop(end.map(|end| end.shutdown(Shutdown::Both)));
        });
    }
}

fn harm(stream: TcpStream, shared: &Shared) -> Outcome {
    let torrent = &shared.torrent;
    let mut wire = Wire::answer(stream, &torrent.infohash)?;
    shared.handshakes.fetch_add(1, Ordering::SeqCst);
    match shared.harm {
        Harm::HugeMessage => wire.send_raw(&[0xff, 0xff, 0xff, 0xff, 7])?,
        Harm::Garbage => wire.send_raw(&garbage())?,
        _ => wire.send(&wire::everything(torrent))?,
    }
    if shared.harm == Harm::HaveOutOfRange {
        wire.send(&Message::Have(u32::MAX))?;
        wire.send(&Message::Have(u32::try_from(torrent.piece_hashes.len())?))?;
    }
    loop {
        match wire.receive()? {
            Message::Interested => {
                wire.send(&Message::Unchoke)?;
                if shared.harm == Harm::UnrequestedBlocks {
                    for piece in 0..u32::try_from(torrent.piece_hashes.len())? {
                        wire.send(&Message::Piece(piece, 0, vec![0xee; 1 << 14]))?;
                    }
                }
            }
            Message::Request(piece, offset, length) if shared.harm != Harm::Silence => {
                let mut bytes = wire::block(torrent, piece, offset, length)?;
                if shared.harm == Harm::CorruptEveryBlock
                    || (shared.harm == Harm::CorruptFirstBlocks && offset == 0)
                {
                    bytes[length as usize / 2] ^= 0x10;
                    shared.corrupt_blocks.fetch_add(1, Ordering::SeqCst);
                }
                wire.send(&Message::Piece(piece, offset, bytes))?;
            }
            _ => {}
        }
    }
}

fn garbage() -> Vec<u8> {
    (0..20_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}
