//! Host ports: two pods that take the same one can't share a node.
//!
//! What daemons and pods on existing nodes take is in the bins' admission already.

use std::collections::BTreeMap;

use crate::kubernetes::ports::ANY_ADDRESS;
use crate::problem::build::Draft;
use crate::problem::types::{NodeCap, ShapeSet};

/// One row for each port, and one for each address where addresses are told apart.
pub(crate) fn rows(draft: &mut Draft) {
    let mut takers: BTreeMap<(&str, i32), BTreeMap<&str, ShapeSet>> = BTreeMap::new();
    for shape in 0..draft.parts.len() {
        for admission in &draft.form(shape).admissions {
            for port in &draft.model.reading.admissions[*admission].ports {
                let by_address = takers.entry((&port.protocol, port.port)).or_default();
                by_address.entry(&port.address).or_insert_with(|| draft.shape_set()).insert(shape);
            }
        }
    }
    let mut rows = Vec::new();
    for ((protocol, port), by_address) in takers {
        let everywhere = by_address.get(ANY_ADDRESS).cloned().unwrap_or_else(|| draft.shape_set());
        let particular: Vec<_> = by_address.iter().filter(|(address, _)| **address != ANY_ADDRESS).collect();
        let mut add = |members: ShapeSet| {
            let name = format!("host port {port}/{protocol} of {}", draft.name_of(&members));
            rows.push(NodeCap { name, members, limit: 1, present: BTreeMap::new() });
        };
        if particular.is_empty() {
            add(everywhere);
            continue;
        }
        for (_, members) in particular {
            let mut members = members.clone();
            members.union_with(&everywhere);
            add(members);
        }
    }
    draft.rules.node_caps.extend(rows);
}
