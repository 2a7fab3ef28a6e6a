//! Piece layers (BEP 52): a torrent of files whose lengths the input gives, and with them layers
//! that are theirs, changed, left out or any bytes. It is read only if each file with more than one
//! piece has a layer of the right length that makes its root; what is read is what was given, and
//! fulfils all that the target `metainfo` checks.

use std::collections::BTreeMap;

use bitswarm_core::metainfo::{Metainfo, MetainfoError};
use bitswarm_core::piece::Sha256Hash;
use sha2::{Digest, Sha256};

use super::input::Input;

const PIECE_LEN: u64 = 32 << 10;
/// Most files, and most pieces of one.
const MOST_FILES: usize = 5;
const MOST_PIECES: u64 = 40;

/// See the module.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let files: Vec<File> =
        (0..1 + input.below(MOST_FILES)).map(|_| File::new(&mut input)).collect();
    let is_hybrid = input.flag() && files.len() == 1;
    let layers = layers(&files, &mut input);
    let raw = input.rest();
    let dict = if raw.is_empty() { Some(encode(&layers)) } else { raw_dict(raw) };
    let bytes = torrent(&files, is_hybrid, dict.as_deref());
    let read = Metainfo::parse(&bytes);
    super::metainfo::run(&bytes);
    if raw.is_empty() {
        check(&files, &layers, &read);
    } else if let Ok(metainfo) = &read {
        // Whatever they were, they make the roots that the files have.
        check_layers(&files, metainfo);
    }
}

/// A file of v2, all of whose hashes are computed here.
struct File {
    length: u64,
    layer: Vec<Sha256Hash>,
    root: Sha256Hash,
}

impl File {
    fn new(input: &mut Input<'_>) -> Self {
        let (size, seed) = (input.u16(), input.byte());
        let pieces = u64::from(size >> 8) % MOST_PIECES + 1;
        // The last piece is whole, or of a byte, or something between.
        let last = [PIECE_LEN, 1, 16_384, 16_385][usize::from(size & 3)];
        let length = (pieces - 1) * PIECE_LEN + last;
        let hash = |piece: u64| Sha256Hash::from(Sha256::digest([seed, piece as u8]));
        let layer: Vec<Sha256Hash> = (0..pieces).map(hash).collect();
        let root = root(&layer);
        File { length, layer, root }
    }

    fn has_layer(&self) -> bool {
        self.layer.len() > 1
    }
}

/// The root above hashes of pieces of two blocks, filled up.
fn root(layer: &[Sha256Hash]) -> Sha256Hash {
    let above = |left: Sha256Hash, right: Sha256Hash| {
        Sha256Hash::from(Sha256::digest([left, right].concat()))
    };
    let mut nodes = layer.to_vec();
    nodes.resize(layer.len().next_power_of_two(), above([0; 32], [0; 32]));
    while nodes.len() > 1 {
        nodes = nodes.chunks(2).map(|pair| above(pair[0], pair[1])).collect();
    }
    nodes[0]
}

type Layers = BTreeMap<Vec<u8>, Vec<u8>>;

/// The layers of the files, with what the input does to them.
fn layers(files: &[File], input: &mut Input<'_>) -> Layers {
    let with_layer = files.iter().filter(|file| file.has_layer());
    let mut layers: Layers =
        with_layer.map(|file| (file.root.to_vec(), file.layer.as_flattened().to_vec())).collect();
    for _ in 0..input.below(4) {
        let which = input.below(layers.len());
        let Some(key) = layers.keys().nth(which).cloned() else { break };
        let Some(layer) = layers.get_mut(&key) else { break };
        let at = usize::from(input.u16()) % layer.len().max(1);
        match input.below(6) {
            0 => drop(layers.remove(&key)),
            1 => layer.truncate(at),
            2 => layer.extend([0; 32]),
            3 => layer.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1),
            4 => {
                // One that belongs to no file.
                layers.insert(vec![7; usize::from(at as u8 % 64)], vec![1; 32]);
            }
            _ => {
                let layer = layers.remove(&key).unwrap_or_default();
                layers.insert([&[0], key.get(1..).unwrap_or_default()].concat(), layer);
            }
        }
    }
    layers
}

fn encode(layers: &Layers) -> Vec<u8> {
    let mut bytes = vec![b'd'];
    for (key, value) in layers {
        put(&mut bytes, key);
        put(&mut bytes, value);
    }
    bytes.push(b'e');
    bytes
}

fn put(out: &mut Vec<u8>, string: &[u8]) {
    out.extend(format!("{}:", string.len()).bytes());
    out.extend(string);
}

/// Any bytes as the value; an `x` for none at all.
fn raw_dict(raw: &[u8]) -> Option<Vec<u8>> {
    (raw != b"x").then(|| raw.to_vec())
}

fn torrent(files: &[File], is_hybrid: bool, layers: Option<&[u8]>) -> Vec<u8> {
    let mut info = b"d9:file treed".to_vec();
    let name = |at: usize| if is_hybrid { "t".to_owned() } else { format!("{at}") };
    for (at, file) in files.iter().enumerate() {
        put(&mut info, name(at).as_bytes());
        info.extend(format!("d0:d6:lengthi{}e11:pieces root", file.length).bytes());
        put(&mut info, &file.root);
        info.extend(b"ee");
    }
    info.push(b'e');
    if is_hybrid {
        info.extend(format!("6:lengthi{}e", files[0].length).bytes());
    }
    info.extend(format!("12:meta versioni2e4:name1:t12:piece lengthi{PIECE_LEN}e").bytes());
    if is_hybrid {
        info.extend(b"6:pieces");
        put(&mut info, &vec![3; 20 * files[0].layer.len()]);
    }
    info.push(b'e');
    let mut bytes = [b"d4:info", &info[..]].concat();
    if let Some(layers) = layers {
        bytes.extend(b"12:piece layers");
        bytes.extend(layers);
    }
    bytes.push(b'e');
    bytes
}

/// It is read if the layers are right, and only then.
fn check(files: &[File], layers: &Layers, read: &Result<Metainfo, MetainfoError>) {
    let is_right = |file: &File| {
        let layer = layers.get(&file.root[..]);
        !file.has_layer() || layer.is_some_and(|layer| *layer == file.layer.as_flattened())
    };
    match read {
        Ok(metainfo) => {
            assert!(files.iter().all(is_right), "a wrong layer is taken");
            check_layers(files, metainfo);
        }
        Err(error) => {
            assert!(!files.iter().all(is_right), "right layers are refused: {error}");
            assert!(matches!(error, MetainfoError::Layer { .. }), "{error}");
        }
    }
}

fn check_layers(files: &[File], metainfo: &Metainfo) {
    assert_eq!(metainfo.files().iter().filter(|file| file.is_stored()).count(), files.len());
    for file in files {
        let has_root = |at: &usize| metainfo.pieces_root(*at) == Some(file.root);
        let at = (0..metainfo.files().len()).find(has_root).expect("the file is there");
        if let Some(layer) = metainfo.piece_layer(at) {
            assert_eq!(layer[..], *file.layer.as_flattened());
        } else {
            assert!(!file.has_layer() || metainfo.has_v1(), "a file is without its layer");
        }
    }
}
