//! `charts/supercargo-crd` holds the definitions that the types derive; `make crds` writes them.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use supercargo::api::{Definition, definitions};
use supercargo::report::to_yaml;

/// With this set the chart is written, not compared.
const WRITE: &str = "SUPERCARGO_WRITE_CHART";

/// The user's annotations, right under `metadata:`.
const ANNOTATIONS: &str = "metadata:
{{- with .Values.additionalAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
{{- end }}
";

/// The file of a definition in the chart, and what belongs into it.
fn template(definition: &Definition) -> (String, String) {
    let name = &definition.name;
    let (plural, group) = name.split_once('.').unwrap();
    let yaml = to_yaml(&definition.object).unwrap();
    assert!(!yaml.contains("{{"), "{name} would be taken for a template");
    assert_eq!(yaml.matches("\nmetadata:\n").count(), 1);
    (format!("{group}_{plural}.yaml"), yaml.replacen("metadata:\n", ANNOTATIONS, 1))
}

#[test]
fn the_chart_holds_what_the_types_derive() {
    let folder = PathBuf::from("charts/supercargo-crd/templates");
    let wanted: BTreeMap<String, String> = definitions().unwrap().iter().map(template).collect();
    let read = || -> BTreeMap<String, String> {
        let files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap());
        files
            .map(|file| (file.file_name().into_string().unwrap(), std::fs::read_to_string(file.path()).unwrap()))
            .collect()
    };
    if std::env::var_os(WRITE).is_some() {
        for name in read().keys() {
            std::fs::remove_file(folder.join(name)).unwrap();
        }
        for (name, text) in &wanted {
            std::fs::write(folder.join(name), text).unwrap();
        }
    }
    let held = read();
    let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&held), names(&wanted), "run `make crds`");
    for (name, text) in &wanted {
        assert!(&held[name] == text, "{name} is not what the types derive: run `make crds`");
    }
}
