//! Sets of indices in files: what [`FixedBitSet`] writes (its length, and its blocks as little-endian bytes), read back
//! also from formats such as JSON that can't lend bytes.

use fixedbitset::FixedBitSet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Deserialize)]
struct Written {
    length: usize,
    data: Vec<u8>,
}

pub(super) fn serialize<S: Serializer>(set: &FixedBitSet, serializer: S) -> Result<S::Ok, S::Error> {
    set.serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FixedBitSet, D::Error> {
    let written = Written::deserialize(deserializer)?;
    let mut set = FixedBitSet::with_capacity(written.length);
    for (position, byte) in written.data.iter().enumerate() {
        for bit in (0..8).filter(|bit| byte >> bit & 1 == 1) {
            let index = position * 8 + bit;
            if index >= written.length {
                return Err(serde::de::Error::custom(format!("index {index} in a set of {}", written.length)));
            }
            set.insert(index);
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::problem::{Bin, BinSource, ShapeSet};

    #[test]
    fn a_set_survives_json() {
        let mut admits = ShapeSet::with_capacity(131);
        [0, 63, 64, 130].into_iter().for_each(|index| admits.insert(index));
        let source = BinSource::Offering(0);
        let bin = Bin { name: String::new(), source, price: 1, max_count: None, admits, domains: vec![] };
        let text = serde_json::to_string(&bin).unwrap();
        let read: Bin = serde_json::from_str(&text).unwrap();
        assert_eq!(read.admits, bin.admits);
        assert!(serde_json::from_str::<Bin>(&text.replace("\"length\":131", "\"length\":130")).is_err());
    }
}
