//! What the host is to do: one queue of actions, in the order of their causes.

use std::collections::VecDeque;

use crate::action::Action;
use crate::notice::Notice;

/// Actions that the host has not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    actions: VecDeque<Action>,
    has_ended: bool,
}

impl Outbox {
    /// Has the host do something, after all that is queued.
    pub(crate) fn push(&mut self, action: Action) {
        debug_assert!(!matches!(action, Action::Notify(_)), "notices come by `notify`");
        self.actions.push_back(action);
    }

    /// Reports something to the application, unless it has had its last notice.
    pub(crate) fn notify(&mut self, notice: Notice) {
        if !self.has_ended {
            self.actions.push_back(Action::Notify(Box::new(notice)));
        }
    }

    /// Reports that the session has stopped: the last notice.
    pub(crate) fn notify_stopped(&mut self) {
        self.notify(Notice::Stopped);
        self.has_ended = true;
    }

    /// Whether the application has had its last notice.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// The next thing to do.
    pub(crate) fn pop(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ConnId, Id};

    #[test]
    fn actions_come_in_order_and_no_notice_follows_the_last() {
        let send = || Action::Send { conn: ConnId::new(1, 0) };
        let ready = || Notice::DhtReady { nodes: 1 };
        let mut outbox = Outbox::default();
        outbox.notify(ready());
        outbox.push(send());
        outbox.notify_stopped();
        outbox.notify(ready());
        outbox.notify_stopped();
        outbox.push(send());
        let short = |action| match action {
            Action::Send { .. } => "send",
            Action::Notify(notice) if *notice == ready() => "ready",
            Action::Notify(notice) if *notice == Notice::Stopped => "stopped",
            action => panic!("{action:?}"),
        };
        let actions: Vec<_> = std::iter::from_fn(|| outbox.pop()).map(short).collect();
        assert_eq!(actions, ["ready", "send", "stopped", "send"]);
        assert!(outbox.has_ended());
    }
}
