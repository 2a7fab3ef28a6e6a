//! `tracker`: a tracker over HTTP and UDP, in both address families, until stopped.

use std::net::SocketAddr;

use bitswarm_core::action::SocketKind;
use bitswarm_core::config::Config;
use bitswarm_core::notice::{Notice, Service};
use bitswarm_runtime_common::ClientConfig;

use crate::args::Tracker;
use crate::exit::Failure;
use crate::json;
use crate::output::print;
use crate::session::{self, MustListen, PATIENCE, Session};
use crate::signals::Interrupt;

/// The port that trackers usually have.
const PORT: u16 = 6969;

/// Runs until Ctrl-C or SIGTERM. Says where it listens, once it does.
pub(crate) fn run(args: &Tracker) -> Result<(), Failure> {
    let interrupt = Interrupt::catch()?;
    let core = Config { listen: Vec::new(), tracker_listen: listen_at(args), ..Config::default() };
    let config = ClientConfig { core, ..ClientConfig::default() };
    let session = Session::start(args.driven.runtime, &config, MustListen::Yes)?;
    while !interrupt.is_set() {
        if let Some(Notice::Listening { kind, addr, service: Service::Tracker }) =
            session.next_notice(PATIENCE)?
        {
            match kind {
                _ if args.reporting.json => json::listening(kind, addr).print()?,
                SocketKind::TcpListener => print(&format!("http://{addr}/announce"))?,
                SocketKind::Udp | SocketKind::Multicast => print(&format!("udp://{addr}"))?,
            }
        }
    }
    session.stop();
    Ok(())
}

/// Where the user wants it; if that is not said, at all addresses of both families.
fn listen_at(args: &Tracker) -> Vec<SocketAddr> {
    match args.listen.is_empty() {
        true => session::listen_at(&[], PORT),
        false => args.listen.clone(),
    }
}
