//! Numbering shapes and bins, and writing the rules between them.

use std::collections::{BTreeMap, BTreeSet};

use fixedbitset::FixedBitSet;
use ndarray::Array2;

use super::model::{Domains, Model, Part};
use super::protos::{Admitted, Proto};
use super::{Built, CAPACITY_TYPE, Form, Owned, PodRef, ZONE};
use crate::problem::types::{Bin, BinSource, Problem, Rules, Shape, ShapeSet, Topology, Unit};
use crate::{plan::reasons, rules};

/// A problem in the making; the rules narrow what its bins admit and add their rows.
pub(crate) struct Draft<'a> {
    pub model: &'a Model<'a>,
    /// By shape.
    pub parts: Vec<Part>,
    /// Indices into the model's protos, by bin.
    pub protos: Vec<usize>,
    pub bins: Vec<Bin>,
    pub rules: Rules,
    /// Whether host names are a topology like any other, because no node can be added.
    pub existing_only: bool,
    /// By node that is there: its bin, if it is one.
    by_node: Vec<Option<usize>>,
}

impl<'a> Draft<'a> {
    pub(super) fn assemble(model: &'a Model<'a>, parts: &[Part], existing_only: bool) -> Built {
        let mut refused: Vec<(PodRef, String)> = model.refused.clone();
        let mut refused_parts = Vec::new();
        let mut live: Vec<Part> = parts.iter().filter(|part| part.pods > 0).cloned().collect();
        // A shape that no bin can hold is no part of the problem; without it, others may have to be left out too.
        let draft = loop {
            let draft = Draft::new(model, live.clone(), existing_only);
            let mut held = draft.shape_set();
            draft.bins.iter().for_each(|bin| held.union_with(&bin.admits));
            if held.count_ones(..) == live.len() {
                break draft;
            }
            for (shape, part) in live.iter().enumerate().filter(|(shape, _)| !held.contains(*shape)) {
                let reason = reasons::no_bin(&draft, shape);
                refused.extend(draft.pods(part).iter().map(|pod| (*pod, reason.clone())));
                refused_parts.push(part.clone());
            }
            live =
                live.into_iter().enumerate().filter(|(shape, _)| held.contains(*shape)).map(|(_, part)| part).collect();
        };
        draft.finish(refused, refused_parts)
    }

    fn new(model: &'a Model<'a>, parts: Vec<Part>, existing_only: bool) -> Draft<'a> {
        let shapes = parts.len();
        let mut draft = Draft {
            model,
            parts,
            protos: Vec::new(),
            bins: Vec::new(),
            rules: Rules::default(),
            existing_only,
            by_node: Vec::new(),
        };
        let mut admitted = Admitted::default();
        for (index, proto) in model.protos.iter().enumerate() {
            if existing_only && proto.weight.is_some() {
                continue;
            }
            let forms = draft.parts.iter().map(|part| &model.forms[part.form]);
            let mut admits = FixedBitSet::with_capacity(shapes);
            admits.extend(admitted.by(proto, forms).iter().copied().filter(|shape| {
                let part = &draft.parts[*shape];
                let allowed = proto.weight.is_none() || proto.weight == part.weight;
                allowed && proto.fits(&model.forms[part.form])
            }));
            if !admits.is_clear() {
                draft.protos.push(index);
                let max_count = matches!(proto.source, BinSource::Existing(_)).then_some(1);
                draft.bins.push(Bin {
                    name: draft.bin_name(proto),
                    source: proto.source,
                    price: proto.price,
                    max_count,
                    admits,
                    domains: proto.domains.clone(),
                });
            }
        }
        draft.by_node = vec![None; model.standing.len()];
        for (index, bin) in draft.bins.iter().enumerate() {
            if let BinSource::Existing(node) = bin.source {
                draft.by_node[node] = Some(index);
            }
        }
        rules::ports::rows(&mut draft);
        rules::apart::rows(&mut draft);
        rules::together::rows(&mut draft);
        rules::spread::rows(&mut draft);
        rules::limits::rows(&mut draft);
        rules::flexibility::rows(&mut draft);
        draft
    }

    fn finish(mut self, refused: Vec<(PodRef, String)>, refused_parts: Vec<Part>) -> Built {
        self.drop_empty();
        let model = self.model;
        let columns = model.columns.len();
        let demand =
            Array2::from_shape_fn((self.parts.len(), columns), |(shape, column)| self.form(shape).demand[column]);
        let capacity =
            Array2::from_shape_fn((self.bins.len(), columns), |(bin, column)| self.proto(bin).room[column].max(0));
        let shapes = self
            .parts
            .iter()
            .map(|part| {
                let form = &model.forms[part.form];
                Shape {
                    name: form.name.clone(),
                    count: part.pods as u32 / form.unit,
                    priority: form.priority,
                    unit: Unit { pods: form.unit },
                }
            })
            .collect();
        let topologies = model
            .topologies
            .iter()
            .map(|domains| Topology { key: domains.key.clone(), values: domains.values.clone() })
            .collect();
        let pods = self.parts.iter().map(|part| self.pods(part).to_vec()).collect();
        let problem = Problem {
            resources: model.columns.clone(),
            shapes,
            bins: self.bins,
            demand,
            capacity,
            topologies,
            rules: self.rules,
        };
        Built { problem, pods, parts: self.parts, refused, refused_parts }
    }

    /// Drops bins that admit nobody any more, and renumbers those that rules point at.
    fn drop_empty(&mut self) {
        let mut numbers: Vec<Option<usize>> = Vec::with_capacity(self.bins.len());
        let mut next = 0;
        for bin in &self.bins {
            let kept = !bin.admits.is_clear();
            numbers.push(kept.then_some(next));
            next += usize::from(kept);
        }
        if next == self.bins.len() {
            return;
        }
        let mut kept = numbers.iter().map(Option::is_some);
        self.protos.retain(|_| kept.next().unwrap_or(false));
        self.bins.retain(|bin| !bin.admits.is_clear());
        let renumber = |set: &FixedBitSet| {
            let mut renumbered = FixedBitSet::with_capacity(next);
            renumbered.extend(set.ones().filter_map(|bin| numbers[bin]));
            renumbered
        };
        for row in &mut self.rules.node_caps {
            row.present = row.present.iter().filter_map(|(bin, count)| Some((numbers[*bin]?, *count))).collect();
        }
        for row in &mut self.rules.node_spreads {
            row.present = row.present.iter().filter_map(|(bin, count)| Some((numbers[*bin]?, *count))).collect();
        }
        for row in &mut self.rules.node_togethers {
            row.satisfied = renumber(&row.satisfied);
        }
        for row in &mut self.rules.flexibles {
            row.bins = renumber(&row.bins);
        }
        for row in &mut self.rules.node_budgets {
            row.per_node = row.per_node.iter().filter_map(|(bin, take)| Some((numbers[*bin]?, *take))).collect();
        }
        self.rules.flexibles.retain(|row| !row.bins.is_clear());
        self.rules.node_budgets.retain(|row| !row.per_node.is_empty());
    }

    fn bin_name(&self, proto: &Proto) -> String {
        match proto.source {
            BinSource::Existing(node) => self.model.standing[node].name.clone(),
            BinSource::Offering(host) => {
                let host = self.model.host(host);
                let instance = &self.model.catalog.instance_types[host.instance as usize];
                let label = |key| self.model.host_label(&host, key).unwrap_or_default();
                let pool = &self.model.market.variants[host.variant as usize].name;
                format!("{pool}/{}/{}/{}", instance.name, label(ZONE), label(CAPACITY_TYPE))
            }
        }
    }

    pub fn form(&self, shape: usize) -> &'a Form {
        &self.model.forms[self.parts[shape].form]
    }

    pub fn proto(&self, bin: usize) -> &'a Proto {
        &self.model.protos[self.protos[bin]]
    }

    pub fn pods(&self, part: &Part) -> &'a [PodRef] {
        &self.model.forms[part.form].pods[part.first..part.first + part.pods]
    }

    /// The empty set of shapes.
    pub fn shape_set(&self) -> ShapeSet {
        FixedBitSet::with_capacity(self.parts.len())
    }

    /// Shapes by the rules that they own.
    pub fn owners(&self) -> BTreeMap<&'a Owned, ShapeSet> {
        let mut owners: BTreeMap<&'a Owned, ShapeSet> = BTreeMap::new();
        for shape in 0..self.parts.len() {
            for owned in &self.form(shape).owned {
                owners.entry(owned).or_insert_with(|| FixedBitSet::with_capacity(self.parts.len())).insert(shape);
            }
        }
        owners
    }

    /// Shapes that belong to a set of pods.
    pub fn members(&self, pods: usize) -> ShapeSet {
        let mut set = self.shape_set();
        set.extend((0..self.parts.len()).filter(|shape| self.form(*shape).member.contains(pods)));
        set
    }

    /// The topology of a key; `None` for host names, where those are no topology.
    pub fn topology(&self, key: &str) -> Option<usize> {
        self.model.topologies.iter().position(|domains| domains.key == key && domains.counted.is_none())
    }

    /// Nodes that are there (and stay), with how many of the pods stand on each; only those that hold any.
    pub fn present(&self, pods: usize) -> Vec<(usize, u32)> {
        let model = self.model;
        model
            .standing
            .iter()
            .enumerate()
            .filter(|(_, node)| !node.leaving)
            .map(|(index, node)| {
                let holds = |pod: &&usize| model.reading.bound[**pod].member.contains(pods);
                (index, node.pods.iter().filter(holds).count() as u32)
            })
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// The domain of a node that is there.
    pub fn domain_of(&self, topology: usize, node: usize) -> Option<usize> {
        let Domains { key, values, .. } = &self.model.topologies[topology];
        let value = self.model.standing[node].label(key)?;
        values.binary_search_by(|known| known.as_str().cmp(value)).ok()
    }

    /// The bin of a node that is there, if it is one.
    pub fn bin_of(&self, node: usize) -> Option<usize> {
        self.by_node[node]
    }

    /// Takes shapes off nodes that are there and have no label of this key: they are in no domain of it.
    pub fn forbid_without(&mut self, shapes: &ShapeSet, key: &str) {
        let model = self.model;
        self.forbid(shapes, |_, bin| match bin.source {
            BinSource::Existing(node) => model.standing[node].label(key).is_none(),
            BinSource::Offering(_) => false,
        });
    }

    /// Takes shapes off the bins for which `forbidden` holds.
    pub fn forbid(&mut self, shapes: &ShapeSet, forbidden: impl Fn(usize, &Bin) -> bool) {
        for (index, bin) in self.bins.iter_mut().enumerate() {
            if forbidden(index, bin) {
                bin.admits.difference_with(shapes);
            }
        }
    }

    /// Names of the workloads of a set of shapes, the first and how many more.
    pub fn name_of(&self, shapes: &ShapeSet) -> String {
        let names: BTreeSet<&str> = shapes.ones().map(|shape| self.form(shape).name.as_str()).collect();
        match (names.first(), names.len()) {
            (None, _) => "no pod".to_owned(),
            (Some(name), 1) => (*name).to_owned(),
            (Some(name), count) => format!("{name} and {} more", count - 1),
        }
    }
}
