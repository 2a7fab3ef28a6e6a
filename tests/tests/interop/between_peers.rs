//! The harness alone: the foreign clients reach each other in it, so a case that fails with ours
//! fails because of ours.

use bitswarm_tests::interop::client::Client::{Aria2, Libtorrent, Transmission};
use bitswarm_tests::interop::{Case, Content, Creator, Lab, Need, Outcome, Transfer};

pub(crate) fn cases() -> Vec<Case> {
    let needs =
        [Aria2.needs(), Libtorrent.needs(), Transmission.needs(), &[Need::TransmissionCreate]];
    vec![Case::new("harness_peers_reach_each_other", &needs, harness_peers_reach_each_other)]
}

fn harness_peers_reach_each_other(lab: &Lab) -> Outcome {
    let tree = || Content::awkward_tree(lab);
    Transfer::new(&[Transmission], &[Aria2], Creator::Transmission).run(lab, tree()?)?;
    Transfer::new(&[Aria2], &[Libtorrent], Creator::Libtorrent).run(lab, tree()?)?;
    Transfer::new(&[Libtorrent], &[Transmission], Creator::Libtorrent)
        .run(lab, Content::odd_file(lab)?)
}
