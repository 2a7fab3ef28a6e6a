//! What a file is that was taken for a torrent: for the message that says so.

/// What these bytes look like if they are no torrent, and the way out, to stand after "is".
pub(crate) fn describe(bytes: &[u8]) -> Option<String> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Some("empty; fetch it again".to_owned());
    }
    let by_magic = MAGIC.iter().find(|(magic, ..)| bytes.starts_with(magic));
    if let Some((_, what, way_out)) = by_magic {
        return Some(format!("{what}, no torrent; {way_out}"));
    }
    if bytes.get(4..8) == Some(b"ftyp") {
        return Some(format!("a video, no torrent; {CONTENT}"));
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return Some(format!("a tar archive, no torrent; {UNPACK}"));
    }
    describe_text(bytes)
}

const UNPACK: &str = "unpack it, and give the torrent that is in it";
const CONTENT: &str = "bitswarm create makes a torrent of content";

/// What files begin with, what they are, and what to do.
const MAGIC: [(&[u8], &str, &str); 19] = [
    (b"\x1f\x8b", "a gzip file", "unpack it with gunzip"),
    (b"BZh", "a bzip2 file", "unpack it with bunzip2"),
    (b"\xfd7zXZ\0", "an xz file", "unpack it with unxz"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "unpack it with unzstd"),
    (b"PK\x03\x04", "a ZIP archive", UNPACK),
    (b"PK\x05\x06", "an empty ZIP archive", "fetch it again"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (b"%PDF-", "a PDF document", "look in it for the torrent's address"),
    (b"\x7fELF", "a program", CONTENT),
    (b"\x89PNG\r\n", "a PNG image", CONTENT),
    (b"\xff\xd8\xff", "a JPEG image", CONTENT),
    (b"GIF8", "a GIF image", CONTENT),
    (b"\x1a\x45\xdf\xa3", "a video", CONTENT),
    (b"ID3", "a sound file", CONTENT),
    (b"fLaC", "a sound file", CONTENT),
    (b"OggS", "a sound file", CONTENT),
    (b"RIFF", "a sound file or video", CONTENT),
    (b"SQLite format 3\0", "a database", CONTENT),
];

/// How much of a text is looked at (chosen: a page says early what it is).
const LOOKED_AT: usize = 1024;

fn describe_text(bytes: &[u8]) -> Option<String> {
    let start = &bytes[..bytes.len().min(LOOKED_AT)];
    if start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff") {
        return Some("text in UTF-16, no torrent; fetch the torrent as a file".to_owned());
    }
    let text = String::from_utf8_lossy(start).trim_start_matches('\u{feff}').to_lowercase();
    let text = text.trim_start();
    let is_page = ["<!doctype html", "<html", "<head", "<body"];
    let what = if is_page.iter().any(|tag| text.starts_with(tag)) || text.contains("<html") {
        "an HTML page, no torrent; a site may want you to log in, or moved it: \
         fetch the torrent itself"
    } else if text.starts_with("<?xml") || text.starts_with('<') {
        "an XML document, no torrent; look in it for the torrent's address"
    } else if text.starts_with("http://") || text.starts_with("https://") {
        "a text with an address, no torrent; give what is there"
    } else if text.starts_with("[internetshortcut]") || text.starts_with("[desktop entry]") {
        "a shortcut, no torrent; give what it leads to"
    } else if text.starts_with('{') || text.starts_with('[') {
        "JSON, no torrent; it may say why there is none"
    } else if text.starts_with("http/1.") || text.starts_with("http/2") {
        "a web server's answer with its head, no torrent; store the body alone"
    } else if text.starts_with("d14:failure reason") {
        "a tracker's refusal, no torrent; fetch the torrent itself"
    } else if text.starts_with('d') || !is_plain(text) {
        return None;
    } else {
        "plain text, no torrent; fetch the torrent itself"
    };
    Some(what.to_owned())
}

/// Whether it reads like text.
fn is_plain(text: &str) -> bool {
    text.chars().all(|c| (!c.is_control() || c.is_whitespace()) && c != char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_kinds_are_named_with_the_way_out() {
        let kinds: [(&[u8], &str); 21] = [
            (b"", "empty"),
            (b"\n \n", "empty"),
            (b"<!DOCTYPE html><html>", "HTML page"),
            (b"\xef\xbb\xbf\r\n<HTML lang=en>", "HTML page"),
            (b"<!-- saved --><html>", "HTML page"),
            (b"<?xml version='1.0'?><metalink>", "XML"),
            (b"\x1f\x8b\x08\0", "gunzip"),
            (b"BZh91AY", "bunzip2"),
            (b"\xfd7zXZ\0\0", "unxz"),
            (b"PK\x03\x04\x14", "ZIP"),
            (b"7z\xbc\xaf\x27\x1c\0", "7-Zip"),
            (b"Rar!\x1a\x07\0", "RAR"),
            (b"%PDF-1.7", "PDF"),
            (b"https://example.org/a.torrent\n", "address"),
            (b"[InternetShortcut]\r\nURL=", "shortcut"),
            (b"{\"error\":\"login\"}", "JSON"),
            (b"HTTP/1.1 200 OK\r\n", "head"),
            (b"d14:failure reason4:nope", "refusal"),
            (b"\xff\xfem\0a\0", "UTF-16"),
            (b"\0\0\0\x20ftypisom", "video"),
            (b"Not found.", "plain text"),
        ];
        for (bytes, word) in kinds {
            let said = describe(bytes).unwrap_or_default();
            assert!(said.contains(word), "{}: {said}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_may_be_meant_as_a_torrent_is_judged_as_one() {
        for bytes in [&b"d4:infod4:name1:x"[..], b"d8:announce", b"\x01\x02\x03"] {
            assert_eq!(describe(bytes), None, "{}", bytes.escape_ascii());
        }
    }
}
