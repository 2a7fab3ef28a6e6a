//! Peers that follow a script, over blocking sockets and without the core.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use super::sample::Sample;
use crate::interop::Outcome;
use crate::interop::wire::{Message, Wire};

/// A listener of our own.
pub(super) fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// Takes the next connection and shakes hands.
pub(super) fn accept(listener: &TcpListener, sample: &Sample) -> Wire {
    let (stream, _) = listener.accept().unwrap();
    Wire::answer(stream, &sample.infohash()).unwrap()
}

/// Connects and shakes hands.
pub(super) fn connect(to: SocketAddr, sample: &Sample) -> Wire {
    try_connect(to, sample).unwrap().expect("the handshake is answered")
}

/// The same. `None`: the peer closed the connection.
pub(super) fn try_connect(to: SocketAddr, sample: &Sample) -> Outcome<Option<Wire>> {
    Wire::greet(TcpStream::connect(to)?, &sample.infohash())
}

/// Has itself unchoked.
pub(super) fn become_unchoked(wire: &mut Wire) {
    wire.send(&Message::Interested).unwrap();
    while wire.receive().unwrap() != Message::Unchoke {}
}

/// Asks for a block, which must be right.
pub(super) fn fetch_block(wire: &mut Wire, sample: &Sample, piece: u32, begin: u32, len: u32) {
    wire.send(&Message::Request(piece, begin, len)).unwrap();
    receive_block(wire, sample, piece, begin, len);
}

/// Waits for a block, which must be right.
pub(super) fn receive_block(wire: &mut Wire, sample: &Sample, piece: u32, begin: u32, len: u32) {
    loop {
        if let Message::Piece(at, from, data) = wire.receive().unwrap() {
            assert_eq!((at, from), (piece, begin));
            assert!(data == sample.block(piece, begin, len), "block {piece}:{begin} differs");
            return;
        }
    }
}

/// Gives what it is asked for until the connection ends.
pub(super) fn serve(wire: &mut Wire, sample: &Sample) {
    while let Ok(message) = wire.receive() {
        let sent = match message {
            Message::Interested => wire.send(&Message::Unchoke),
            Message::Request(piece, begin, len) => wire.send(&sample.piece(piece, begin, len)),
            _ => Ok(()),
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Drops a connection so that the other side gets a reset.
pub(super) fn reset(wire: Wire) {
    SockRef::from(wire.stream()).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Waits until the other side has closed the connection, and how long that took.
pub(super) fn wait_for_end(stream: &TcpStream, longest: Duration) -> Option<Duration> {
    let began = Instant::now();
    stream.set_read_timeout(Some(longest)).unwrap();
    loop {
        match { stream }.read(&mut [0; 4096]) {
            Ok(0) => return Some(began.elapsed()),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock) => return None,
            Err(_) => return Some(began.elapsed()),
        }
    }
}

/// An address where connecting hangs: a listener whose queue is full, and that accepts nobody.
pub(super) struct BlackHole {
    pub(super) addr: SocketAddr,
    _listener: Socket,
    _queued: Vec<TcpStream>,
}

impl BlackHole {
    pub(super) fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let addr = listener.local_addr().unwrap().as_socket().unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(200)) {
            queued.push(stream);
            assert!(queued.len() < 64, "connecting to a full queue does not hang here");
        }
        BlackHole { addr, _listener: listener, _queued: queued }
    }
}
