//! The hashes that we can give of a torrent of v2 (BEP 52): of each file with more than one piece
//! the piece layer, which the metainfo holds, and the layers above it, which are computed.
//!
//! The layers above are computed a file at a time, when one is asked for, and kept while they are
//! among the last [`KEPT`] hashes. Most torrents fit whole, so that each tree is built once; where
//! they do not, peers that ask for many files in turn cannot make us build more than [`FACTOR`]
//! times everything in a minute. Files are found by their root in an index of 4 bytes each.
//!
//! Leaf layers are not held, but where a piece is a block. Of files of one piece nothing is held.

use std::collections::{BTreeMap, VecDeque};

use crate::merkle::{HashRange, HashTree, TreeNode, TreeShape};
use crate::metainfo::Metainfo;
use crate::piece::Sha256Hash;
use crate::rate::Allowance;
use crate::time::Instant;

/// Hashes of trees that are kept, 32 bytes each, besides the tree of the file asked for last
/// (chosen: 4 MiB, the piece layers of half a TiB in pieces of 4 MiB).
const KEPT: u64 = 128 * 1024;
/// What keeping a tree costs besides its hashes, in hashes (chosen).
const TREE_COST: u64 = 16;
/// How often the trees of all files may be built in a minute (chosen).
const FACTOR: u64 = 2;

/// Finds files by their roots, and keeps the trees of those last asked for.
#[derive(Debug, Default)]
pub(in crate::torrent) struct HashTrees {
    index: Option<Index>,
    trees: BTreeMap<u32, HashTree>,
    /// The files of `trees`, the oldest first.
    order: VecDeque<u32>,
    /// What the trees take, in hashes.
    kept: u64,
    building: Allowance,
}

/// The files that have a root.
#[derive(Debug)]
struct Index {
    /// In the order of their roots; one of each root, since their hashes are the same.
    by_root: Vec<u32>,
    /// Hashes in all the piece layers that there are.
    total: u64,
}

impl HashTrees {
    /// Whether such hashes are held; how many there are in all then. The first call takes time in
    /// proportion to the files.
    pub(in crate::torrent) fn holds(
        &mut self,
        metainfo: &Metainfo,
        root: &Sha256Hash,
        range: &HashRange,
    ) -> Option<u64> {
        let index = self.index.get_or_insert_with(|| Index::new(metainfo));
        let (file, shape) = index.find(metainfo, root)?;
        metainfo.piece_layer(usize::try_from(file).ok()?)?;
        let held = range.base_layer >= shape.piece_layer() && range.is_allowed(&shape);
        held.then_some(index.total)
    }

    /// A file with this root.
    pub(in crate::torrent) fn file_with(
        &mut self,
        metainfo: &Metainfo,
        root: &Sha256Hash,
    ) -> Option<usize> {
        let index = self.index.get_or_insert_with(|| Index::new(metainfo));
        index.find(metainfo, root).and_then(|(file, _)| usize::try_from(file).ok())
    }

    /// What a request is answered with: the run and its uncles, one after the other. `None` if they
    /// are not held, or trees were built too often.
    pub(in crate::torrent) fn answer(
        &mut self,
        now: Instant,
        metainfo: &Metainfo,
        root: &Sha256Hash,
        range: &HashRange,
    ) -> Option<Vec<u8>> {
        self.holds(metainfo, root, range)?;
        self.tree(now, metainfo, root)?.answer(range).map(Vec::into_flattened)
    }

    /// The hashes of nodes that lie in the piece layer of a file, or above. `None` as above.
    pub(in crate::torrent) fn nodes(
        &mut self,
        now: Instant,
        metainfo: &Metainfo,
        root: &Sha256Hash,
        nodes: &[TreeNode],
    ) -> Option<Vec<Sha256Hash>> {
        let tree = self.tree(now, metainfo, root)?;
        nodes.iter().map(|node| tree.node(*node)).collect()
    }

    /// The tree of a file, which is built if it has to be.
    fn tree(&mut self, now: Instant, metainfo: &Metainfo, root: &Sha256Hash) -> Option<&HashTree> {
        let index = self.index.get_or_insert_with(|| Index::new(metainfo));
        let total = index.total;
        let (file, shape) = index.find(metainfo, root)?;
        if !self.trees.contains_key(&file) {
            self.build(now, metainfo, file, shape, total)?;
        }
        self.trees.get(&file)
    }

    fn build(
        &mut self,
        now: Instant,
        metainfo: &Metainfo,
        file: u32,
        shape: TreeShape,
        total: u64,
    ) -> Option<()> {
        let cost = u64::from(shape.pieces());
        if !self.building.take(now, cost, total.saturating_mul(FACTOR)) {
            return None;
        }
        let layer = metainfo.piece_layer(usize::try_from(file).ok()?)?;
        let tree = HashTree::new(shape, shape.piece_layer(), layer)?;
        self.trees.insert(file, tree);
        self.order.push_back(file);
        self.kept += cost + TREE_COST;
        while self.kept > KEPT && self.order.len() > 1 {
            let oldest = self.order.pop_front().and_then(|oldest| self.trees.remove(&oldest));
            let freed = oldest.map_or(0, |tree| u64::from(tree.shape().pieces()) + TREE_COST);
            self.kept = self.kept.saturating_sub(freed);
        }
        Some(())
    }
}

impl Index {
    fn new(metainfo: &Metainfo) -> Self {
        let count = u32::try_from(metainfo.files().len()).unwrap_or(u32::MAX);
        let has_root = |file: &u32| metainfo.pieces_root(*file as usize).is_some();
        let mut by_root: Vec<u32> = (0..count).filter(has_root).collect();
        let root = |file: &u32| metainfo.pieces_root(*file as usize);
        by_root.sort_by_key(root);
        by_root.dedup_by_key(|file| root(file));
        by_root.shrink_to_fit();
        let has_layer = |file: &&u32| metainfo.piece_layer(**file as usize).is_some();
        let layered = by_root.iter().filter(has_layer);
        let shapes = layered.filter_map(|file| metainfo.tree_shape(*file as usize));
        let total = shapes.map(|shape| u64::from(shape.pieces())).sum();
        Index { by_root, total }
    }

    /// A file with this root, and the shape of its tree.
    fn find(&self, metainfo: &Metainfo, root: &Sha256Hash) -> Option<(u32, TreeShape)> {
        let root_of = |file: &u32| metainfo.pieces_root(*file as usize);
        let at = self.by_root.binary_search_by_key(&Some(*root), root_of).ok()?;
        let file = *self.by_root.get(at)?;
        Some((file, metainfo.tree_shape(file as usize)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::Accumulator;
    use crate::metainfo::Magnet;
    use crate::metainfo::create::{Creator, NewFile, Protocol};
    use crate::time::Duration;

    /// Files of so many pieces of 32 KiB, no two of them alike.
    fn torrent(pieces: &[u32]) -> Metainfo {
        let name = |at: usize| [format!("{at:05}")];
        let file = |(at, count): (usize, &u32)| NewFile::new(name(at), u64::from(*count) << 15);
        let creator = Creator::folder("t", pieces.iter().enumerate().map(file));
        let mut creator = creator.with_protocol(Protocol::V2);
        creator.piece_length = 1 << 15;
        let total: u32 = pieces.iter().sum();
        let content: Vec<u8> =
            (0..total).flat_map(|piece| piece.to_be_bytes().repeat(1 << 13)).collect();
        creator.finish_with_content(&content).expect("valid")
    }

    fn root(metainfo: &Metainfo, file: usize) -> Sha256Hash {
        let named = format!("{file:05}");
        let file = metainfo.files().iter().position(|f| f.path() == named).expect("there");
        metainfo.pieces_root(file).expect("of v2")
    }

    /// The piece layer from `index` on, up to the root.
    fn range(pieces: u32, index: u32, length: u32) -> HashRange {
        let shape = TreeShape::new(u64::from(pieces) << 15, 1 << 15).expect("valid");
        HashRange::to_root(&shape, 1, index, length).expect("allowed")
    }

    #[test]
    fn an_answer_from_the_piece_layer_proves_the_root() {
        let metainfo = torrent(&[5, 1, 40]);
        let mut trees = HashTrees::default();
        for (file, pieces, index, length) in [(0, 5, 4, 2), (2, 40, 0, 64), (2, 40, 16, 16)] {
            let (root, range) = (root(&metainfo, file), range(pieces, index, length));
            assert_eq!(trees.holds(&metainfo, &root, &range), Some(45));
            let answer = trees.answer(Instant::ZERO, &metainfo, &root, &range).expect("held");
            let (hashes, rest) = answer.as_chunks::<32>();
            assert!(rest.is_empty());
            assert_eq!(range.climb(hashes), Some(root));
        }
        let upper = HashRange { base_layer: 3, ..range(40, 4, 2) };
        let upper = HashRange { proof_layers: 2, ..upper };
        assert!(trees.answer(Instant::ZERO, &metainfo, &root(&metainfo, 2), &upper).is_some());
    }

    #[test]
    fn what_is_not_held_is_not_answered() {
        let metainfo = torrent(&[5, 1]);
        let mut trees = HashTrees::default();
        let (five, one) = (root(&metainfo, 0), root(&metainfo, 1));
        let good = range(5, 0, 4);
        let leaves = HashRange { base_layer: 0, ..good };
        let pair = HashRange { base_layer: 0, index: 0, length: 2, proof_layers: 0 };
        let refused = [
            (five, leaves),
            (one, pair),
            ([7; 32], good),
            (five, HashRange { length: 3, ..good }),
            (five, HashRange { index: 2, ..good }),
            (five, HashRange { index: 8, ..good }),
            (five, HashRange { base_layer: u32::MAX, ..good }),
            (five, HashRange { proof_layers: u32::MAX, ..good }),
        ];
        for (root, range) in refused {
            assert_eq!(trees.holds(&metainfo, &root, &range), None, "{range:?}");
            assert_eq!(trees.answer(Instant::ZERO, &metainfo, &root, &range), None);
        }
        assert!(trees.holds(&metainfo, &five, &good).is_some());
    }

    #[test]
    fn without_piece_layers_nothing_is_held() {
        let hybrid = Creator::single_file("f", 1 << 17).with_protocol(Protocol::Hybrid);
        let whole = hybrid.finish_with_content(&[7; 1 << 17]).expect("valid");
        let link = Magnet::new(whole.infohash());
        let bare = Metainfo::from_info(whole.info_bytes(), &link).expect("valid");
        let root = whole.pieces_root(0).expect("of v2");
        let range = HashRange { base_layer: 0, index: 0, length: 8, proof_layers: 2 };
        assert!(HashTrees::default().holds(&whole, &root, &range).is_some());
        assert_eq!(HashTrees::default().holds(&bare, &root, &range), None);
    }

    /// A torrent whose trees do not all fit, made of layers alone.
    fn large(files: u8, pieces: u32) -> (Metainfo, Vec<Sha256Hash>) {
        let shape = TreeShape::new(u64::from(pieces) << 14, 1 << 14).expect("valid");
        let layer = |file: u8| vec![file; pieces as usize * 32];
        let root = |file: &u8| {
            let mut above = Accumulator::new(0);
            (0..pieces).for_each(|_| above.push([*file; 32]));
            above.finish(shape.height()).expect("fits")
        };
        let roots: Vec<Sha256Hash> = (1..=files).collect::<Vec<u8>>().iter().map(root).collect();
        let mut bytes = b"d4:infod9:file treed".to_vec();
        for (file, root) in roots.iter().enumerate() {
            let length = u64::from(pieces) << 14;
            bytes.extend(format!("3:{file:03}d0:d6:lengthi{length}e11:pieces root32:").bytes());
            bytes.extend(root);
            bytes.extend(b"ee");
        }
        bytes.extend(b"e12:meta versioni2e4:name1:t12:piece lengthi16384ee12:piece layersd");
        let mut layers: Vec<(Sha256Hash, Vec<u8>)> =
            roots.iter().copied().zip((1..=files).map(layer)).collect();
        layers.sort();
        for (root, layer) in layers {
            bytes.extend(b"32:");
            bytes.extend(root);
            bytes.extend(format!("{}:", layer.len()).bytes());
            bytes.extend(layer);
        }
        bytes.extend(b"ee");
        (Metainfo::parse(&bytes).expect("valid"), roots)
    }

    #[test]
    fn trees_that_do_not_fit_are_dropped_and_not_built_without_end() {
        let pieces = 1 << 15;
        let (metainfo, roots) = large(8, pieces);
        let shape = TreeShape::new(u64::from(pieces) << 14, 1 << 14).expect("valid");
        let range = HashRange::to_root(&shape, 0, 512, 512).expect("allowed");
        let mut trees = HashTrees::default();
        let mut ask = |now, file: usize| {
            let answer = trees.answer(now, &metainfo, &roots[file], &range);
            assert!(trees.trees.len() <= 4 && trees.order.len() == trees.trees.len());
            assert!(trees.kept <= KEPT && trees.kept > 0);
            answer.is_some()
        };
        assert!((0..16).all(|at| ask(Instant::ZERO, at % 8)), "each twice");
        assert!((0..5).all(|file| !ask(Instant::ZERO, file)));
        assert!(ask(Instant::ZERO, 7), "what was built last needs no building");
        assert!(ask(Instant::ZERO + Duration::from_secs(60), 0));
    }
}
