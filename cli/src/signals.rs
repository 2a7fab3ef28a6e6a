//! Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends the process at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::exit::{Code, Failure};

/// Whether the user has asked the process to end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes the signals over from the system, which would end the process in the middle.
    pub(crate) fn catch() -> Result<Self, Failure> {
        let interrupt = Interrupt::default();
        interrupt.register().map_err(|error| {
            Failure::new(Code::Unknown, format!("cannot watch for Ctrl-C: {error}"))
        })?;
        Ok(interrupt)
    }

    fn register(&self) -> io::Result<()> {
        for signal in [SIGINT, SIGTERM] {
            // The order matters: the shutdown acts only when the flag was set by a signal before.
            let status = Code::Interrupted as i32;
            flag::register_conditional_shutdown(signal, status, Arc::clone(&self.0))?;
            flag::register(signal, Arc::clone(&self.0))?;
        }
        Ok(())
    }

    /// Whether a signal has come.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
