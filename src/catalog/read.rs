//! A catalogue file: JSON, plain or packed by gzip or zstd, whatever its name.

use std::borrow::Cow;
use std::io::Read;
use std::path::Path;

use anyhow::Context;
use supercargo_models::catalog::{Catalog, check};

use crate::cli::BadInput;

/// Largest unpacked catalogue, in bytes: all regions of EC2 together stay below, and a packed bomb does not.
const LARGEST: u64 = 1 << 28;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Reads and checks a catalogue file.
///
/// # Errors
/// With a [`BadInput`] that names the file, and the field where the file can be read but makes no sense.
pub fn read(path: &Path) -> anyhow::Result<Catalog> {
    let named = || format!("catalogue {}", path.display());
    let bytes = std::fs::read(path).map_err(BadInput::from_error).with_context(named)?;
    parse(&bytes).map_err(BadInput::from_error).with_context(named)
}

/// Reads and checks a catalogue: JSON, plain or packed by gzip or zstd.
///
/// # Errors
/// Where the bytes can't be unpacked, are no JSON of a catalogue's form, or make no sense; the message names the field.
pub fn parse(bytes: &[u8]) -> anyhow::Result<Catalog> {
    let catalog = parse_unchecked(bytes)?;
    check(&catalog)?;
    Ok(catalog)
}

pub(super) fn parse_unchecked(bytes: &[u8]) -> anyhow::Result<Catalog> {
    let text = unpack(bytes)?;
    // Paths cost time: they are asked for only where something is wrong.
    serde_json::from_slice(&text).map_err(|plain| {
        let mut deserializer = serde_json::Deserializer::from_slice(&text);
        match serde_path_to_error::deserialize::<_, Catalog>(&mut deserializer) {
            Err(error) if error.path().to_string() != "." => {
                anyhow::anyhow!("{}: {}", error.path().clone(), error.into_inner())
            }
            _ => plain.into(),
        }
    })
}

fn unpack(bytes: &[u8]) -> anyhow::Result<Cow<'_, [u8]>> {
    let mut text = Vec::new();
    if bytes.starts_with(&GZIP_MAGIC) {
        let unpacked = flate2::read::MultiGzDecoder::new(bytes).take(LARGEST + 1).read_to_end(&mut text);
        unpacked.context("the gzip data is damaged")?;
    } else if bytes.starts_with(&ZSTD_MAGIC) {
        let unpacked = zstd::Decoder::with_buffer(bytes)?.take(LARGEST + 1).read_to_end(&mut text);
        unpacked.context("the zstd data is damaged")?;
    } else {
        return Ok(Cow::Borrowed(bytes));
    }
    if text.len() as u64 > LARGEST {
        anyhow::bail!("unpacked it is larger than {} MiB", LARGEST >> 20);
    }
    Ok(Cow::Owned(text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use super::*;

    const SMALL: &str = r#"{"region": "us-east-1", "asOf": "2026-07-20", "zones": ["us-east-1a"], "instanceTypes": [
        {"name": "m5.large", "arch": "amd64", "vcpu": 2, "memoryMiB": 8192, "maxPods": 29, "gpus": {}, "labels": {},
         "offerings": [{"zone": "us-east-1a", "capacityType": "on-demand", "price": 0.096, "estimated": false, "interruption": null}]}]}"#;

    fn message(text: &str) -> String {
        format!("{:#}", parse(text.as_bytes()).unwrap_err())
    }

    #[test]
    fn plain_gzip_and_zstd_are_the_same() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(SMALL.as_bytes()).unwrap();
        let packed = [gzip.finish().unwrap(), zstd::encode_all(SMALL.as_bytes(), 1).unwrap()];
        let plain = serde_json::to_string(&parse(SMALL.as_bytes()).unwrap()).unwrap();
        for bytes in packed {
            assert_eq!(serde_json::to_string(&parse(&bytes).unwrap()).unwrap(), plain);
        }
    }

    #[test]
    fn an_error_names_the_field() {
        assert!(message(&SMALL.replace("0.096", "\"dear\"")).starts_with("instanceTypes[0].offerings[0].price: "));
        assert!(message(&SMALL.replace("\"vcpu\": 2,", "")).starts_with("instanceTypes[0]: missing field `vcpu`"));
        assert!(message(&SMALL.replace("0.096", "-1")).starts_with("instanceTypes[0] (m5.large).offerings[0].price: "));
        assert!(message(&SMALL.replace("0.096", "NaN")).contains("line"));
        assert!(
            message(&SMALL.replace("\"maxPods\": 29", "\"maxPods\": -1")).starts_with("instanceTypes[0].maxPods: ")
        );
        assert!(message("").contains("EOF"));
        assert!(message("[]").contains("expected struct Catalog"), "{}", message("[]"));
    }

    #[test]
    fn damaged_packing_is_told() {
        let packed = zstd::encode_all(SMALL.as_bytes(), 1).unwrap();
        assert!(format!("{:#}", parse(&packed[..packed.len() / 2]).unwrap_err()).contains("zstd data is damaged"));
        assert!(format!("{:#}", parse(&[0x1f, 0x8b, 8, 0]).unwrap_err()).contains("gzip data is damaged"));
    }
}
