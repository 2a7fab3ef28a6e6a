//! Every fuzz target on stable Rust: over its committed corpus, and over as many seeded mutations
//! of it as its entry in the table says. See docs/FUZZING.md.
//!
//! An input that breaks a promise is written to `fuzz/artifacts/<target>/`; copied into
//! `fuzz/corpus/<target>/`, it is tried first in every run.

use std::error::Error;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bitswarm_tests::fuzz::mutate::Mutator;
use bitswarm_tests::fuzz::{TARGETS, Target};
use libtest_mimic::{Arguments, Failed, Trial};
use sha1::{Digest, Sha1};

/// Decides all mutations, unless `FUZZ_SEED` is in the environment: another one tries others.
const SEED: u64 = 1;

fn main() {
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> =
        TARGETS.iter().map(|target| Trial::test(target.name, || Ok(try_target(target)?))).collect();
    trials.push(Trial::test("every_target_has_a_fuzzer_and_a_corpus", || Ok(check_folders()?)));
    libtest_mimic::run(&arguments, trials).exit();
}

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn try_target(target: &Target) -> Result<(), Box<dyn Error>> {
    let corpus = read_corpus(target)?;
    for (path, input) in &corpus {
        try_input(target, input).map_err(|_| format!("{} breaks it", path.display()))?;
    }
    let inputs: Vec<Vec<u8>> = corpus.into_iter().map(|(_, input)| input).collect();
    let seed = std::env::var("FUZZ_SEED").map_or(Ok(SEED), |seed| seed.parse())?;
    let mut mutator = Mutator::new(&inputs, target.max_len, seed);
    for _ in 0..target.mutations {
        let input = mutator.next_input();
        if try_input(target, &input).is_err() {
            let path = keep(target, &input)?;
            return Err(format!("an input breaks it; kept as {}", path.display()).into());
        }
    }
    Ok(())
}

/// The panic has been printed when this returns.
fn try_input(target: &Target, input: &[u8]) -> Result<(), Failed> {
    catch_unwind(AssertUnwindSafe(|| (target.run)(input))).map_err(|_| Failed::without_message())
}

/// Inputs and where they lie.
type Corpus = Vec<(PathBuf, Vec<u8>)>;

fn read_corpus(target: &Target) -> Result<Corpus, Box<dyn Error>> {
    let folder = fuzz_folder().join("corpus").join(target.name);
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_, std::io::Error>>()?;
    paths.sort();
    paths.into_iter().map(|path| Ok((path.clone(), fs::read(path)?))).collect()
}

fn keep(target: &Target, input: &[u8]) -> Result<PathBuf, Box<dyn Error>> {
    let folder = fuzz_folder().join("artifacts").join(target.name);
    fs::create_dir_all(&folder)?;
    let name: String = Sha1::digest(input).iter().map(|byte| format!("{byte:02x}")).collect();
    let path = folder.join(format!("crash-{name}"));
    fs::write(&path, input)?;
    Ok(path)
}

/// The table, the fuzzers' binaries and the corpora go together.
fn check_folders() -> Result<(), Box<dyn Error>> {
    let manifest = fs::read_to_string(fuzz_folder().join("Cargo.toml"))?;
    for Target { name, .. } in TARGETS {
        let binary = format!("[[bin]]\nname = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"\n");
        if !manifest.contains(&binary) {
            return Err(format!("fuzz/Cargo.toml lacks {binary:?}").into());
        }
        let wrapper = format!("fuzz_targets/{name}.rs");
        let text = fs::read_to_string(fuzz_folder().join(&wrapper))
            .map_err(|error| format!("fuzz/{wrapper}: {error}"))?;
        if !text.contains(&format!("fuzz::run(\"{name}\", data)")) {
            return Err(format!("fuzz/{wrapper} runs another target").into());
        }
        if !fuzz_folder().join("corpus").join(name).is_dir() {
            return Err(format!("fuzz/corpus/{name} is missing").into());
        }
    }
    let binaries = manifest.matches("[[bin]]").count();
    if binaries != TARGETS.len() {
        return Err(format!("{binaries} fuzzers for {} targets", TARGETS.len()).into());
    }
    Ok(())
}
