//! `supercargo convert` on what an older Karpenter's cluster holds.
#![allow(clippy::unwrap_used)]

use supercargo::cluster::{ReadOptions, read};
use supercargo::commands::convert::{ConvertArguments, run};

fn fixture(name: &str) -> String {
    format!("fixtures/manifests/legacy/{name}")
}

fn convert(file: &str) -> anyhow::Result<String> {
    let mut out = Vec::new();
    run(ConvertArguments { filenames: vec![file.to_string()] }, &mut out)?;
    Ok(String::from_utf8(out)?)
}

#[test]
fn legacy_manifests_become_what_the_fixture_says() {
    let converted = convert(&fixture("provisioner.yaml")).unwrap();
    assert_eq!(converted, std::fs::read_to_string(fixture("provisioner.converted.yaml")).unwrap());
}

#[test]
fn the_converted_reads_as_the_original() {
    let snapshot = |file: &str| read(&[fixture(file)], &ReadOptions::default()).unwrap().snapshot;
    let (old, new) = (snapshot("provisioner.yaml"), snapshot("provisioner.converted.yaml"));
    let text = |snapshot: &supercargo_models::kubernetes::Snapshot| {
        serde_json::to_value((&snapshot.node_pools, &snapshot.node_classes)).unwrap()
    };
    assert_eq!(text(&old), text(&new));
}

#[test]
fn nothing_to_convert_is_bad_input() {
    let error = convert(&fixture("provisioner.converted.yaml")).unwrap_err();
    assert!(error.to_string().ends_with("there is no Provisioner, AWSNodeTemplate or v1beta1 NodePool to convert"));
}
