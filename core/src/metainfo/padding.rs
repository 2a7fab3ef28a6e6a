//! Which pieces end in padding (BEP 47; BEP 52, "upgrade path").

use super::File;
use crate::piece::{Geometry, Padding, PieceIndex};

/// The geometry of these files, with its padding known.
pub(super) fn mark(geometry: Geometry, files: &[File], padding: Padding) -> Geometry {
    let piece_len = u64::from(geometry.piece_len());
    let total_len = geometry.total_len();
    let mut tails: Vec<(PieceIndex, u32)> = Vec::new();
    let mut data_end = 0;
    for file in files.iter().filter(|file| file.length > 0) {
        let end = file.offset + file.length;
        if !file.attributes.pad {
            data_end = end;
        } else if end.is_multiple_of(piece_len) || end == total_len {
            // What is the piece's whole length is left out by the geometry.
            let last = (end - 1) / piece_len;
            let bytes = data_end.saturating_sub(last * piece_len);
            let tail = u32::try_from(last).ok().zip(u32::try_from(bytes).ok());
            tails.extend(tail.map(|(piece, bytes)| (PieceIndex(piece), bytes)));
        }
    }
    geometry.with_padding(padding, tails)
}

#[cfg(test)]
mod tests {
    use super::super::Attributes;
    use super::*;

    /// The bytes to transfer of each piece of 100,000, given the files' lengths; negative ones are
    /// padding.
    fn lengths(files: &[i64]) -> Vec<u32> {
        let mut offset = 0;
        let file = |&length: &i64| {
            let attributes = Attributes { pad: length < 0, ..Attributes::default() };
            let length = length.unsigned_abs();
            let path = String::new();
            let file = File { path, length, offset, attributes, root: None, layer: None };
            offset += length;
            file
        };
        let files: Vec<File> = files.iter().map(file).collect();
        let geometry = Geometry::new(offset, 100_000).expect("within limits");
        let geometry = mark(geometry, &files, Padding::Unknown);
        geometry.iter().map(|piece| geometry.data_len_of(piece)).collect()
    }

    #[test]
    fn padding_at_the_end_of_a_piece_is_not_transferred() {
        assert_eq!(lengths(&[130_000, -70_000, 5, -99_995]), [100_000, 30_000, 5]);
        assert_eq!(lengths(&[10, -20_000, -79_990, 10]), [10, 10], "in two parts");
        assert_eq!(lengths(&[10, -40_000]), [10], "at the end of all");
        assert_eq!(lengths(&[0, 10, -99_990, 0, 7]), [10, 7], "beside files of no bytes");
    }

    #[test]
    fn padding_elsewhere_is_content() {
        assert_eq!(lengths(&[10, -20, 30]), [60], "amid a piece");
        assert_eq!(lengths(&[10, -20]), [10]);
        assert_eq!(
            lengths(&[100_000, -100_000, 5]),
            [100_000, 100_000, 5],
            "a piece of nothing else"
        );
        assert_eq!(lengths(&[50_000, -150_000, 5]), [100_000, 100_000, 5]);
        assert_eq!(lengths(&[-100_000]), [100_000]);
        assert_eq!(lengths(&[-50_000, 50_000]), [100_000]);
    }
}
