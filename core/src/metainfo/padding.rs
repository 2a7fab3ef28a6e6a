//! Which pieces end in padding (BEP 47; BEP 52, "upgrade path").

use crate::piece::{Geometry, Padding, PieceIndex};

/// The geometry of files, each given by its length and whether it is padding, with that padding
/// known. It is content if the torrent has a v1 part.
pub(super) fn mark(
    geometry: Geometry,
    files: impl IntoIterator<Item = (u64, bool)>,
    has_v1: bool,
) -> Geometry {
    let piece_len = u64::from(geometry.piece_len());
    let total_len = geometry.total_len();
    let padding = if has_v1 { Padding::Content } else { Padding::Unknown };
    let mut tails: Vec<(PieceIndex, u32)> = Vec::new();
    let (mut end, mut data_end) = (0_u64, 0);
    for (length, is_padding) in files.into_iter().filter(|(length, _)| *length > 0) {
        // No more than the content's length.
        end += length;
        if !is_padding {
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
    use super::*;

    /// The bytes to transfer of each piece of 100,000, given the files' lengths; negative ones are
    /// padding.
    fn lengths(files: &[i64]) -> Vec<u32> {
        let files = files.iter().map(|length| (length.unsigned_abs(), *length < 0));
        let total = files.clone().map(|(length, _)| length).sum();
        let geometry = Geometry::new(total, 100_000).expect("within limits");
        let geometry = mark(geometry, files, false);
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
