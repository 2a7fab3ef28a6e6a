//! Swapping the runtime is one file's work.

use std::fs;
use std::path::Path;

#[test]
fn exactly_one_file_names_async_std_and_smol() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut naming = Vec::new();
    for entry in fs::read_dir(&sources).unwrap() {
        let path = entry.unwrap().path();
        assert!(path.is_file(), "{} is not looked into", path.display());
        // The crate's own name ends in that of the runtime.
        let text = fs::read_to_string(&path).unwrap().replace("bitswarm_runtime_async_std::", "");
        let names = ["async_std", "smol", "async_io"].map(|name| format!("{name}::"));
        if names.iter().any(|name| text.contains(name)) {
            naming.push(path.file_name().unwrap().to_owned());
        }
    }
    assert_eq!(naming, ["rt.rs"]);
}
