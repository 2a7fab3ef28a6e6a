//! Tests of the picker as a whole.

mod model;
mod policy;
mod work;

use super::Received;

/// With the peers to cancel in order, so that it can be compared.
fn sorted(mut received: Received) -> Received {
    if let Received::Accepted { also_requested_by, .. } = &mut received {
        also_requested_by.sort();
    }
    received
}
