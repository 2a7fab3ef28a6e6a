//! `lint`: names what is unusual or harmful in torrent files.

use serde_json::json;

use crate::args::Lint;
use crate::exit::{Code, Failure};
use crate::input;
use crate::left_out::LeftOut;
use crate::output::{Object, print};
use crate::units::counted;

/// One line a finding. What is harmful ends it with code 4; what is unusual does not.
pub(crate) fn run(args: &Lint) -> Result<(), Failure> {
    let mut harmful = 0_usize;
    let mut left_out = LeftOut::default();
    for path in &args.torrents {
        let Some(metainfo) = left_out.keep(input::load(path)) else { continue };
        let findings = metainfo.lint();
        harmful += findings.iter().filter(|finding| finding.is_harmful()).count();
        let severity = |harmful: bool| if harmful { "harmful" } else { "unusual" };
        if args.json {
            let findings = findings.iter().map(|finding| {
                json!({
                    "finding": finding.word(),
                    "severity": severity(finding.is_harmful()),
                    "message": finding.to_string(),
                })
            });
            let path = path.to_string_lossy();
            Object::new()
                .with("path", path)
                .with("findings", findings.collect::<Vec<_>>())
                .print()?;
            continue;
        }
        for finding in &findings {
            print(&format!(
                "{}: {}: {finding}",
                input::shown(path),
                severity(finding.is_harmful())
            ))?;
        }
        if findings.is_empty() {
            print(&format!("{}: nothing to complain about", input::shown(path)))?;
        }
    }
    if harmful > 0 {
        let things = counted(harmful, "thing is harmful", "things are harmful");
        left_out.add(Failure::verdict(Code::BadInput, format!("{things}; make the torrent anew")));
    }
    left_out.verdict()
}
