//! Trackers over TLS: certificates that are trusted, and those that are not.

use std::process::Command;
use std::time::Duration;

use bitswarm_tests::interop::bitswarm::{command, quiet_network};
use bitswarm_tests::interop::client::{Client, Peer, Task};
use bitswarm_tests::interop::tracker::TlsDoor;
use bitswarm_tests::interop::{Case, Content, Creator, Lab, Outcome, Process, Torrent, Tracker};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("https_tracker_is_asked_by_both_runtimes", &[], asked_by_both_runtimes),
        Case::new("https_tracker_of_an_unknown_authority_is_refused", &[], unknown_authority),
        Case::new("https_tracker_with_the_certificate_of_another_is_refused", &[], wrong_name),
    ]
}

/// A torrent whose tracker is behind a door, and the process of a seed that the tracker names.
struct Scene {
    torrent: Torrent,
    door: TlsDoor,
    _tracker: Tracker,
    _seed: Box<dyn Peer>,
}

impl Scene {
    fn new(lab: &Lab, name: Option<&str>) -> Outcome<Scene> {
        let tracker = Tracker::start(lab)?;
        let door = TlsDoor::open(lab, &tracker, name)?;
        let content = Content::single(lab, "file.bin", 100_001)?;
        let torrent = Torrent::create(lab, content, Creator::Bitswarm, 1 << 14, &door.url())?;
        let seed = Client::any_seed().start(lab, &Task::seed(&torrent))?;
        tracker.add_peer(torrent.infohash, seed.seat().addr());
        Ok(Scene { torrent, door, _tracker: tracker, _seed: seed })
    }

    /// Downloads with these arguments; the exit code, and what was printed.
    fn download(&self, lab: &Lab, trusts: bool, arguments: &[&str]) -> Outcome<(i32, String)> {
        let root = lab.make_dir("download")?;
        let mut command: Command = command(lab);
        command.arg("download").arg(&self.torrent.path).arg("-o").arg(&root);
        command.args(quiet_network(lab.seat())).args(["--json", "--stall-timeout", "4"]);
        command.args(arguments).env_remove("SSL_CERT_DIR").env_remove("SSL_CERT_FILE");
        if trusts {
            command.env("SSL_CERT_FILE", self.door.ca_file());
        }
        let mut process = Process::spawn(lab, "bitswarm-https", &command)?;
        let code = process.exit_code(Duration::from_secs(40))?;
        if code == 0 {
            self.torrent.content.compare(&root)?;
        }
        Ok((code, process.stdout() + &process.stderr()))
    }
}

fn asked_by_both_runtimes(lab: &Lab) -> Outcome {
    let scene = Scene::new(lab, None)?;
    for runtime in ["mio", "async-std"] {
        let (code, said) = scene.download(lab, true, &["--runtime", runtime])?;
        assert_eq!(code, 0, "{runtime}: {said}");
    }
    Ok(())
}

fn unknown_authority(lab: &Lab) -> Outcome {
    let scene = Scene::new(lab, None)?;
    let (code, said) = scene.download(lab, false, &[])?;
    assert_eq!(code, 6, "{said}");
    assert!(said.contains("certificate not trusted"), "{said}");
    let other = ["--tracker-insecure", "tracker.example"];
    assert_eq!(scene.download(lab, false, &other)?.0, 6, "another host's exception");
    let (code, said) =
        scene.download(lab, false, &["--tracker-insecure", &scene.door.ip().to_string()])?;
    assert_eq!(code, 0, "{said}");
    Ok(())
}

fn wrong_name(lab: &Lab) -> Outcome {
    let scene = Scene::new(lab, Some("tracker.example"))?;
    let (code, said) = scene.download(lab, true, &[])?;
    assert_eq!(code, 6, "{said}");
    assert!(said.contains("certificate not trusted"), "{said}");
    Ok(())
}
