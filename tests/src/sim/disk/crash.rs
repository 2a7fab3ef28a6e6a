//! What a crash leaves of requests that are under way.

use bitswarm_core::disk::{DiskRequest, StoreSpec, WriteRequest};
use bitswarm_core::time::Instant;

use super::{Disk, Job, Runs, has_its_hash, path_of};

impl Disk {
    /// What a request that was under way leaves behind when everything stops.
    pub(super) fn interrupt(&mut self, now: Instant, job: Job, power: bool) {
        match job.request {
            DiskRequest::Write(write) => {
                let right = has_its_hash(&write);
                let store = self.stores.get(&write.store);
                let Some(spec) = store.map(|store| store.spec.clone()) else { return };
                if right {
                    self.write_unfinished(now, &spec, &write, power);
                }
            }
            // The rename has happened or it has not.
            DiskRequest::Save { name, data } if self.dice.chance(500) => {
                self.states.insert(name, data);
            }
            DiskRequest::Forget { name } if self.dice.chance(500) => {
                self.states.remove(&name);
            }
            _ => {}
        }
    }

    pub(super) fn write_unfinished(
        &mut self,
        now: Instant,
        spec: &StoreSpec,
        write: &WriteRequest,
        power: bool,
    ) {
        let now_ns = self.wall_ns(now);
        let mut data = Runs::new(&write.data);
        for span in &write.spans {
            let bytes = data.take(span.length as usize);
            if let Some(path) = path_of(spec, span)
                && let Some(file) = self.files.get_mut(&path)
            {
                self.sequence += 1;
                let offset = span.offset as usize;
                if power {
                    file.write_unfinished(self.sequence, offset, bytes);
                } else {
                    let part = self.dice.index(bytes.len() + 1);
                    file.write(self.sequence, offset, bytes.slice(..part), now_ns);
                }
            }
        }
    }
}
