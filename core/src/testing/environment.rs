//! What a test or bench decides about the machine that an engine runs on.

use std::net::SocketAddr;

use bytes::BytesMut;

use crate::action::SocketSpec;
use crate::disk::{DiskDone, DiskError, DiskRequest, MemoryDisk};
use crate::event::NetError;
use crate::id::{ConnId, SocketId};

/// What a disk request comes to.
pub type DiskResult = Result<DiskDone, Box<DiskError>>;

/// The machine of one engine in a [`Loopback`](super::Loopback): its disk, and what else a test looks
/// at or changes. [`MemoryDisk`] and [`NoFiles`] are the plain ones.
pub trait Environment {
    /// Performs a disk request. `None`: it is not answered, and is in [`Node::unanswered`](super::Node).
    fn disk(&mut self, request: DiskRequest) -> Option<DiskResult>;

    /// Opens a socket; its address, or why it cannot be opened. `None`: that is not answered yet.
    fn bind(&mut self, spec: &SocketSpec) -> Option<Result<SocketAddr, NetError>> {
        Some(Ok(spec.addr))
    }

    /// Bytes leave the engine on a connection to another engine. They may be changed.
    fn stream_sent(&mut self, conn: ConnId, data: &mut BytesMut) {
        let _ = (conn, data);
    }

    /// A datagram leaves the engine.
    fn datagram_sent(&mut self, packet: &Flight) {
        let _ = packet;
    }

    /// The engine is about to be called.
    fn before_call(&mut self) {}

    /// The engine was called.
    fn after_call(&mut self) {}
}

/// A datagram on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flight {
    /// The engine's socket that it was sent through.
    pub socket: SocketId,
    /// Its source.
    pub from: SocketAddr,
    /// Its destination.
    pub to: SocketAddr,
    /// Its payload.
    pub data: BytesMut,
}

impl Environment for MemoryDisk {
    fn disk(&mut self, request: DiskRequest) -> Option<DiskResult> {
        Some(self.perform(request))
    }
}

/// A disk that has no file and keeps none. Writes succeed, whatever they hold.
#[derive(Clone, Copy, Default, Debug)]
pub struct NoFiles;

impl Environment for NoFiles {
    fn disk(&mut self, request: DiskRequest) -> Option<DiskResult> {
        Some(Ok(match request {
            DiskRequest::Load { .. } => DiskDone::Loaded(None),
            DiskRequest::Open { spec, .. } => DiskDone::Files(vec![None; spec.files.len()]),
            _ => DiskDone::Done,
        }))
    }
}
