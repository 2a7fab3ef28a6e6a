//! temporary
use crate::event::Datagram;
use crate::id::ConnId;
use crate::segments::Segments;
use crate::session::Session;
use std::net::SocketAddr;
#[derive(Debug)]
pub(crate) struct TrackerHost {}
#[derive(Debug)]
pub(crate) struct TrackerClient {}
impl TrackerClient {
    pub(crate) fn gather(&mut self, _: &mut Segments) {}
}
impl TrackerHost {
    pub(crate) fn open(_: &mut Session) -> Option<Self> {
        None
    }
    pub(crate) fn accept(&mut self, _: &mut Session, _: SocketAddr) -> Option<ConnId> {
        None
    }
    pub(crate) fn timeout(&mut self, _: &mut Session) {}
    pub(crate) fn received(&mut self, _: &mut Session, _: ConnId, _: &[u8]) {}
    pub(crate) fn sent(&mut self, _: &mut Session, _: ConnId) {}
    pub(crate) fn datagram(&mut self, _: &mut Session, _: &Datagram) -> Option<Datagram> {
        None
    }
}
