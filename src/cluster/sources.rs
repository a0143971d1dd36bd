//! From what a person names (files, folders, globs, standard input) to text.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::InputError;

/// The most that one source may hold once it is unpacked, in bytes.
const MAX_BYTES: u64 = 256 << 20;
/// Folders within folders beyond this depth are not looked into.
const MAX_DEPTH: usize = 32;
/// What standard input is called in messages.
const STANDARD_INPUT: &str = "standard input";

/// One file's text.
#[derive(Debug)]
pub(crate) struct Source {
    /// What it is called in messages.
    pub name: String,
    /// What it holds.
    pub text: String,
}

/// Reads all `sources`: each a file, a folder (looked through for `*.yaml`, `*.yml` and `*.json`, packed with gzip or
/// not, in the order of their paths), a glob, or `-` for standard input. A file that is named twice is read once.
pub(crate) fn open(sources: &[String]) -> Result<Vec<Source>, InputError> {
    let mut seen = BTreeSet::new();
    let mut opened = Vec::new();
    for source in sources {
        if source == "-" {
            if seen.insert(PathBuf::from("-")) {
                opened.push(unpack(STANDARD_INPUT.to_string(), std::io::stdin().lock())?);
            }
            continue;
        }
        for path in expand(source)? {
            let identity = path.canonicalize().unwrap_or_else(|_| path.clone());
            if seen.insert(identity) {
                let name = path.display().to_string();
                let file = File::open(&path).map_err(|error| cannot_read(&name, &error))?;
                opened.push(unpack(name, file)?);
            }
        }
    }
    Ok(opened)
}

/// The files that one argument stands for.
fn expand(source: &str) -> Result<Vec<PathBuf>, InputError> {
    let path = Path::new(source);
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return folder(path),
        Ok(_) => return Ok(vec![path.to_path_buf()]),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(cannot_read(source, &error)),
        Err(_) => {}
    }
    if !source.contains(['*', '?', '[']) {
        return Err(InputError::of_file(source, "there is no such file or folder"));
    }
    let paths = glob::glob(source)
        .map_err(|error| InputError::of_file(source, format!("is not a valid glob: {}", error.msg)))?;
    let mut files = Vec::new();
    for path in paths {
        let path = path.map_err(|error| cannot_read(&error.path().display().to_string(), error.error()))?;
        if path.is_dir() {
            files.extend(folder(&path)?);
        } else {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(InputError::of_file(source, "no file matches this glob"));
    }
    Ok(files)
}

/// All manifests of a folder and the folders in it.
fn folder(root: &Path) -> Result<Vec<PathBuf>, InputError> {
    let mut files = Vec::new();
    walk(root, 0, &mut files)?;
    files.sort();
    if files.is_empty() {
        return Err(InputError::of_file(
            root.display().to_string(),
            "this folder holds no manifest (*.yaml, *.yml, *.json, or these with .gz)",
        ));
    }
    Ok(files)
}

fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), InputError> {
    let failed = |error: std::io::Error| cannot_read(&folder.display().to_string(), &error);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // Linked folders are left alone: they may lead round in a circle.
        if kind.is_dir() {
            if depth < MAX_DEPTH && !name.starts_with('.') {
                walk(&entry.path(), depth + 1, files)?;
            }
        } else if is_manifest(&name) && entry.path().is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn is_manifest(name: &str) -> bool {
    let name = name.strip_suffix(".gz").unwrap_or(name);
    [".yaml", ".yml", ".json"].iter().any(|ending| name.ends_with(ending))
}

/// Reads to the end, unpacks gzip and zstd (known by their first bytes), and checks that the rest is text.
fn unpack(name: String, mut reader: impl Read) -> Result<Source, InputError> {
    let mut bytes = read_bounded(&name, &mut reader)?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        bytes = read_bounded(&name, &mut flate2::read::MultiGzDecoder::new(bytes.as_slice()))?;
    } else if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let mut decoder =
            zstd::stream::read::Decoder::new(bytes.as_slice()).map_err(|error| cannot_read(&name, &error))?;
        bytes = read_bounded(&name, &mut decoder)?;
    }
    if bytes.starts_with(&[0xef, 0xbb, 0xbf]) {
        bytes.drain(..3);
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        InputError::of_file(&name, format!("is not text: byte {offset} is not valid UTF-8"))
    })?;
    Ok(Source { name, text })
}

fn read_bounded(name: &str, reader: &mut dyn Read) -> Result<Vec<u8>, InputError> {
    let mut bytes = Vec::new();
    reader.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| cannot_read(name, &error))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(InputError::of_file(name, format!("is larger than {} MiB", MAX_BYTES >> 20)));
    }
    Ok(bytes)
}

fn cannot_read(name: &str, error: &std::io::Error) -> InputError {
    InputError::of_file(name, format!("cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn manifests_are_known_by_their_ending() {
        for name in ["a.yaml", "a.yml", "a.json", "a.json.gz"] {
            assert!(is_manifest(name), "{name}");
        }
        for name in ["a.txt", "yaml", "a.yaml.bak", "a.gz"] {
            assert!(!is_manifest(name), "{name}");
        }
    }

    #[test]
    fn folders_are_read_in_order_and_through() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("b")).unwrap();
        for name in ["c.yaml", "b/a.yml", "a.json", "notes.txt"] {
            std::fs::write(root.path().join(name), name).unwrap();
        }
        let sources = open(&[root.path().display().to_string()]).unwrap();
        let texts: Vec<&str> = sources.iter().map(|source| source.text.as_str()).collect();
        assert_eq!(texts, ["a.json", "b/a.yml", "c.yaml"]);
    }

    #[test]
    fn bytes_that_are_no_text_are_an_error() {
        let error = unpack("x.yaml".into(), [b'a', 0xff, 0xfe].as_slice()).unwrap_err();
        assert_eq!(error.to_string(), "x.yaml: is not text: byte 1 is not valid UTF-8");
    }
}
