//! Uploads straight from files: reads that are answered with where their bytes lie, and what becomes
//! of that when it is sent.
//!
//! What a file part names is read when it is gathered, as late as can be, and may fail then as any
//! read may. What is drawn for it comes from a stream of its own.

use bitswarm_core::disk::{DiskError, DiskErrorKind, FileHandle, FilePart, Span};
use bitswarm_core::event::Event;
use bitswarm_core::id::{ConnId, StoreId};
use bitswarm_core::segments::{Segment, Segments};
use bytes::Bytes;

use super::{Disk, error, path_of};

/// What was gathered and cannot be sent.
#[derive(Debug)]
pub struct Lost {
    part: FilePart,
    error: Box<DiskError>,
    /// From there to the end, with zeros for what lies in files.
    pub rest: Vec<Bytes>,
}

impl Lost {
    /// What the engine is to hear of it.
    pub fn event(&self, conn: ConnId) -> Event {
        let FilePart { file, offset, .. } = self.part;
        Event::Unreadable { conn, file, offset, error: self.error.clone() }
    }
}

impl Disk {
    /// Where the bytes lie, if the disk is drawn to say that of them.
    pub(super) fn in_place(&mut self, store: StoreId, spans: &[Span]) -> Option<FilePart> {
        let &[Span { file: Some(file), offset, length }] = spans else { return None };
        if !self.place_dice.chance(self.in_place_per_mille) {
            return None;
        }
        self.counts.in_place += 1;
        Some(FilePart { store, file, offset, length, handle: FileHandle::default() })
    }

    /// Puts the bytes of file parts in their places, up to one that cannot be read: that and what
    /// follows are taken out.
    pub fn fetch_parts(&mut self, out: &mut Segments) -> Option<Lost> {
        if out.segments().all(|segment| matches!(segment, Segment::Bytes(_))) {
            return None;
        }
        let mut lost: Option<Lost> = None;
        for segment in out.drain().collect::<Vec<_>>() {
            let zeros = vec![0; segment.len()].into();
            match (segment, &mut lost) {
                (Segment::Bytes(bytes), None) => out.push(bytes),
                (Segment::Bytes(bytes), Some(lost)) => lost.rest.push(bytes),
                (Segment::File(_), Some(lost)) => lost.rest.push(zeros),
                (Segment::File(mut part), None) => match self.read_part(&part) {
                    Ok(bytes) => out.push(bytes),
                    Err((before, error)) => {
                        part.offset += before.len() as u64;
                        let rest = vec![zeros.slice(before.len()..)];
                        out.push(before);
                        lost = Some(Lost { part, error, rest });
                    }
                },
            }
        }
        self.counts.lost += u64::from(lost.is_some());
        lost
    }

    /// The bytes of a part, or those before its failure.
    fn read_part(&mut self, part: &FilePart) -> Result<Bytes, (Bytes, Box<DiskError>)> {
        let nothing = |error| (Bytes::new(), error);
        let spec = self.store(part.store).map_err(nothing)?;
        let span = Span { file: Some(part.file), offset: part.offset, length: part.length };
        let path = path_of(&spec, &span).expect("the part was made of a read");
        let missing = || nothing(error(DiskErrorKind::NotFound, &path, ""));
        let data = self.files.get(&path).ok_or_else(missing)?.data();
        let data = data.get(part.offset as usize..).unwrap_or_default();
        let bytes = Bytes::copy_from_slice(&data[..data.len().min(part.length as usize)]);
        if bytes.len() < part.length as usize {
            return Err((bytes, error(DiskErrorKind::Short, &path, "")));
        }
        if self.faults.broken.contains(&path)
            || self.place_dice.chance(self.faults.read_error_per_mille)
        {
            let before = bytes.slice(..self.place_dice.index(bytes.len()));
            return Err((before, error(DiskErrorKind::Io, &path, "simulated read error")));
        }
        Ok(bytes)
    }
}
