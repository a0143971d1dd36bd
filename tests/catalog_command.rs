//! `supercargo catalog` as a person calls it.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

fn supercargo(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supercargo"));
    command.args(arguments).env("NO_COLOR", "1").env_remove("SUPERCARGO_CATALOG").env_remove("SUPERCARGO_REGION");
    command.output().unwrap()
}

fn stdout(arguments: &[&str]) -> String {
    let output = supercargo(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn failure(arguments: &[&str]) -> String {
    let output = supercargo(arguments);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

const WHERE: &str = "instance-category in (c,m),instance-cpu<=16,arch=arm64,instance-generation=7";

#[test]
fn listings() {
    insta::assert_snapshot!("list_table", stdout(&["catalog", "list", "--where", WHERE, "--limit", "6"]));
    insta::assert_snapshot!("list_wide", stdout(&["catalog", "list", "--where", "gpu-name=t4", "-o", "wide"]));
    insta::assert_snapshot!(
        "list_markdown",
        stdout(&[
            "catalog",
            "list",
            "--where",
            WHERE,
            "--sort",
            "memory",
            "--reverse",
            "--limit",
            "3",
            "-o",
            "markdown"
        ])
    );
    insta::assert_snapshot!("list_csv", stdout(&["catalog", "list", "--where", "family=inf2", "-o", "csv"]));
    assert!(stdout(&["catalog", "list", "--where", "cpu>100000"]).starts_with("0 of 1340 instance types"));
}

#[test]
fn one_type() {
    insta::assert_snapshot!("show_table", stdout(&["catalog", "show", "g5.xlarge"]));
    let shown: serde_json::Value =
        serde_json::from_str(&stdout(&["catalog", "show", "m5.large", "-o", "json"])).unwrap();
    assert_eq!(shown["allocatable"]["memory"], "6903Mi");
    assert!(stdout(&["catalog", "show", "m5.large", "-o", "yaml"]).contains("name: m5.large"));
}

#[test]
fn what_is_listed_as_json_is_a_catalogue() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("part.json");
    let whole = stdout(&["catalog", "list", "--where", "zone=us-east-1a,capacity-type=spot,family=m5", "-o", "json"]);
    std::fs::write(&path, &whole).unwrap();
    let again = stdout(&["catalog", "list", "--catalog", path.to_str().unwrap(), "-o", "json"]);
    assert_eq!(whole, again);
    let part: serde_json::Value = serde_json::from_str(&again).unwrap();
    let offerings =
        part["instanceTypes"].as_array().unwrap().iter().flat_map(|found| found["offerings"].as_array().unwrap());
    assert!(offerings.clone().count() > 5);
    assert!(offerings.clone().all(|offering| offering["zone"] == "us-east-1a" && offering["capacityType"] == "spot"));
}

#[test]
fn an_export_is_the_file_it_was_made_from() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.json");
    stdout(&["catalog", "export", "--output-file", path.to_str().unwrap()]);
    let bytes = std::fs::read("fixtures/catalog/us-east-1.json.gz").unwrap();
    let made: serde_json::Value = serde_json::from_reader(flate2::read::GzDecoder::new(&bytes[..])).unwrap();
    let exported: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert!(made == exported);
    assert_eq!(
        stdout(&["catalog", "export", "--catalog", path.to_str().unwrap()]),
        std::fs::read_to_string(&path).unwrap()
    );
}

#[test]
fn errors_say_what_is_wrong() {
    assert!(failure(&["catalog", "show", "m5.lagre"]).contains("nearest: m5.large"));
    assert!(failure(&["catalog", "list", "--where", "instance-cpus=4"]).contains("nearest: instance-cpu"));
    assert!(failure(&["catalog", "list", "--region", "eu-west-1"]).contains("the embedded catalogue is of us-east-1"));
    assert!(failure(&["catalog", "list", "--catalog", "/nonexistent.json"]).contains("catalogue /nonexistent.json: "));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.json");
    std::fs::write(
        &path,
        stdout(&["catalog", "list", "--where", "type=m5.large", "-o", "json"]).replace("0.096", "-1"),
    )
    .unwrap();
    let error = failure(&["catalog", "list", "--catalog", path.to_str().unwrap()]);
    assert!(error.contains("bad.json: instanceTypes[0] (m5.large).offerings["), "{error}");
}
