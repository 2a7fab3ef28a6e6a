//! Signals that ask the process to end: Ctrl-C, Ctrl-\, `SIGTERM`, and `SIGHUP` unless it was
//! ignored when the process began (`nohup`). The first asks for an orderly end; a second ends the
//! process at once, but for its temporary directories. `SIGUSR2` asks for files to be read again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bitswarm_runtime_common::signals::is_ignored;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR2, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};

use crate::exit::{Code, Failure};
use crate::temporary;

/// A second signal that comes sooner than this is the first once more (chosen): `timeout` sends one
/// to the process and to its group, a closing terminal sends two.
const ECHO: Duration = Duration::from_millis(100);

/// What the user has asked the process for by signals.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt {
    /// To end.
    ends: Arc<AtomicBool>,
    /// To read its files again.
    reloads: Arc<AtomicBool>,
}

/// Whether interrupts were ignored when they were taken over, as a shell without job control has it for
/// what it puts into the background.
static WERE_IGNORED: AtomicBool = AtomicBool::new(false);

/// Whether the process began with interrupts ignored.
pub(crate) fn began_uninterruptible() -> bool {
    WERE_IGNORED.load(Ordering::Relaxed) || is_ignored(SIGINT)
}

impl Interrupt {
    /// Takes the signals over from the system, which would end the process in the middle.
    pub(crate) fn catch() -> Result<Self, Failure> {
        WERE_IGNORED.store(is_ignored(SIGINT), Ordering::Relaxed);
        let interrupt = Interrupt::default();
        interrupt.watch().map_err(|error| {
            Failure::new(Code::Unknown, format!("cannot watch for Ctrl-C: {error}"))
        })?;
        Ok(interrupt)
    }

    fn watch(&self) -> io::Result<()> {
        flag::register(SIGUSR2, Arc::clone(&self.reloads))?;
        let mut wanted = vec![SIGINT, SIGTERM, SIGQUIT];
        if !is_ignored(SIGHUP) {
            wanted.push(SIGHUP);
        }
        // While temporary directories are being removed, one more ends it without that.
        let cleaning = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGQUIT] {
            let status = Code::Interrupted as i32;
            flag::register_conditional_shutdown(signal, status, Arc::clone(&cleaning))?;
        }
        let mut signals = Signals::new(wanted)?;
        let interrupt = self.clone();
        let watch = move || interrupt.heed(&mut signals, &cleaning);
        thread::Builder::new().name("signals".to_owned()).spawn(watch)?;
        Ok(())
    }

    fn heed(&self, signals: &mut Signals, cleaning: &AtomicBool) {
        let mut first: Option<Instant> = None;
        for signal in signals.forever() {
            let began = *first.get_or_insert_with(Instant::now);
            let is_first = !self.ends.swap(true, Ordering::Relaxed);
            // A terminal that closes insists on nothing.
            if is_first || signal == SIGHUP || began.elapsed() < ECHO {
                continue;
            }
            cleaning.store(true, Ordering::SeqCst);
            temporary::remove_all();
            low_level::exit(Code::Interrupted as i32);
        }
    }

    /// Whether files are to be read again: once each time that is asked for.
    pub(crate) fn takes_reload(&self) -> bool {
        self.reloads.swap(false, Ordering::Relaxed)
    }

    /// Whether a signal has come that asks for the end.
    pub(crate) fn is_set(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }
}

/// Makes a limit on the size of files (`ulimit -f`) an error of the file, as a full disk is one,
/// instead of the death of the process.
pub(crate) fn outlive_file_limits() {
    // Any handler does: what counts is that the signal does not end the process.
    let _ = flag::register(SIGXFSZ, Arc::default());
}
