//! Hashing all pieces of some files on all cores, with progress shown and Ctrl-C heeded.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use bitswarm_core::disk::{DiskError, StoreSpec};
use bitswarm_core::metainfo::create::Protocol;
use bitswarm_core::piece::PieceIndex;
use bitswarm_core::storage::layout::Layout;
use bitswarm_runtime_common::hashing::{PieceHash, Pieces, Place, Progress as Bytes, hash_pieces};

use crate::exit::Failure;
use crate::progress::{Facts, Progress};
use crate::signals::Interrupt;
use crate::units::{Rate, Span};

/// Between two looks at the progress and at signals (chosen).
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The hashes of every piece in order, or why it has none.
pub(crate) type Hashes = Vec<Result<PieceHash, Box<DiskError>>>;

/// Hashes every piece of the layout from the files of `spec`, as the protocol wants. `label` names
/// the work.
pub(crate) fn hash(
    label: &str,
    spec: StoreSpec,
    layout: &Layout,
    protocol: Protocol,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<Hashes, Failure> {
    let geometry = layout.geometry();
    let pieces = Pieces {
        store: Arc::new(spec),
        count: geometry.pieces(),
        length: geometry.piece_len(),
        protocol,
        place: |piece| {
            let merkle_layer = layout.merkle_layer(PieceIndex(piece));
            Place { spans: layout.piece_spans(PieceIndex(piece)), merkle_layer }
        },
    };
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let bytes = Bytes::default();
    let mut task = progress.task(label);
    let total = geometry.data_len();
    let began = Instant::now();
    let hashes = thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        let (pieces, bytes) = (&pieces, &bytes);
        scope.spawn(move || {
            // The receiver waits until it has this.
            let _ = sender.send(hash_pieces(pieces, threads, bytes));
        });
        loop {
            match receiver.recv_timeout(LOOK_INTERVAL) {
                Ok(hashes) => return hashes,
                // Only if the hashing thread panicked, which the scope passes on.
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if interrupt.is_set() {
                bytes.cancel();
            }
            let done = bytes.bytes();
            task.set(|| Facts::work(done, total, Rate::mean(done, began.elapsed()).to_string()));
            progress.refresh();
        }
    });
    let hashes = hashes.ok_or_else(|| Failure::interrupted("run it again to begin anew"))?;
    let (time, rate) = (began.elapsed(), Rate::mean(total, began.elapsed()));
    task.finish(Facts::work(total, total, format!("in {}, {rate}", Span(time))));
    Ok(hashes)
}
