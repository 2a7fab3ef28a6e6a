//! The IP filter of an engine: nothing comes from where it refuses, and nothing goes there.

use std::net::IpAddr;
use std::sync::Arc;

use bitswarm_core::Commands;
use bitswarm_core::ip_filter::IpFilter;

use super::EngineHost;
use crate::sim::world::Cx;

impl EngineHost {
    /// The user has another filter, which the engines that begin here later have, too.
    pub(in crate::sim) fn set_ip_filter(&mut self, cx: &mut Cx<'_>, filter: &Arc<IpFilter>) {
        self.config.ip_filter = Some(Arc::clone(filter));
        if self.engine.is_none() {
            return;
        }
        let given = Some(Arc::clone(filter));
        self.call(cx, "set_ip_filter", |engine, now| engine.set_ip_filter(now, given));
        let remotes = self.conns.values().filter_map(|conn| cx.net.host_of(conn.end.other()));
        let addrs: Vec<IpAddr> = remotes.flat_map(|host| cx.net.addrs_of(host)).copied().collect();
        for ip in addrs {
            self.check_filter(cx, "stays connected with", ip);
        }
    }

    /// What an engine does with an address, which its filter must not refuse.
    pub(super) fn check_filter(&self, cx: &mut Cx<'_>, does: &str, ip: IpAddr) {
        let filter = self.engine().and_then(|engine| engine.config().ip_filter.as_ref());
        if filter.is_some_and(|filter| filter.refuses(ip)) {
            cx.violation(self.id, format!("{does} {ip}, which its IP filter refuses"));
        }
    }
}
