//! A rank's slots: where values and errors come from, so that nothing stale is ever used.

use std::collections::{HashMap, HashSet, VecDeque};

use spillbench_schedule::{
    ActivationPlan, Boundary, ErrorFlow, LayerId, Message, Network, PanelId, Plan, Rank, Slot, Source,
    Version, strategy::Workspace as Sizes,
};

/// Values and errors of one rank's samples.
pub struct Workspace<'a> {
    network: &'a Network,
    sizes: Sizes,
    pool: Pool<'a>,
    slots: Vec<Samples>,
    kept: HashMap<Message, VecDeque<Source>>,
    /// Updates of each panel so far.
    pub updates: Vec<u64>,
    /// Exchanges so far, in barriers.
    pub barriers: u64,
    stamp: u64,
    /// Stamps of what this rank made itself: made again, it is the same.
    made: HashMap<Making, u64>,
}

/// How values were made: of which samples, where, from which values, with which weights.
type Making = (Source, Boundary, Option<u64>, Vec<(Version, u64)>);

#[derive(Default, Clone)]
struct Samples {
    source: Option<Source>,
    values: HashMap<Boundary, Values>,
    /// Values that a layer has passed backward, and that are given up since. Its update needs its input and its
    /// errors alone; what it was made with is known from here.
    passed: HashMap<Boundary, Values>,
    errors: HashMap<Boundary, Errors>,
}

/// Values at a boundary.
#[derive(Clone)]
struct Values {
    /// Distinguishes them from all others.
    stamp: u64,
    /// Of the values that a layer made them from.
    input: Option<u64>,
    /// Panels of that layer that have contributed, with the weights they used.
    panels: Vec<(Option<PanelId>, Version, u64)>,
    missing: usize,
}

/// Errors at a boundary.
#[derive(Clone)]
struct Errors {
    /// Of the values they belong to.
    values: u64,
    /// Contributions of panels that have yet to come.
    missing: usize,
    /// Panels whose part is now the error before the activation.
    turned: Vec<Option<PanelId>>,
}

/// Memory of values that do not stay, and what is spilled of them.
struct Pool<'a> {
    activations: &'a ActivationPlan,
    held: HashSet<(Boundary, Slot)>,
    in_use: u64,
    spilled: HashMap<(Boundary, Slot), Values>,
}

impl<'a> Pool<'a> {
    fn new(activations: &'a ActivationPlan) -> Self {
        Self { activations, held: HashSet::new(), in_use: 0, spilled: HashMap::new() }
    }

    fn holds(&self, at: Boundary, slot: Slot) -> bool {
        self.held.contains(&(at, slot))
    }

    fn take(&mut self, at: Boundary, slot: Slot) {
        assert!(self.activations.in_pool(at), "values at {at:?} lie elsewhere");
        assert!(self.held.insert((at, slot)), "values at {at:?} are in the pool already");
        self.in_use += self.activations.bytes(at);
        let planned = self.activations.pool();
        assert!(self.in_use <= planned, "{} bytes in a pool of {planned}", self.in_use);
    }

    fn give_back(&mut self, at: Boundary, slot: Slot) {
        assert!(self.held.remove(&(at, slot)), "values at {at:?} are not in the pool");
        self.in_use -= self.activations.bytes(at);
    }
}

impl<'a> Workspace<'a> {
    pub fn new(plan: &'a Plan, rank: Rank) -> Self {
        let sizes = plan.strategy().workspace(rank);
        Self {
            network: &plan.network,
            slots: vec![Samples::default(); usize::from(sizes.slots) + 1],
            sizes,
            pool: Pool::new(&plan.activations),
            kept: HashMap::new(),
            updates: vec![0; plan.network.panels().len()],
            barriers: 0,
            stamp: 0,
            made: HashMap::new(),
        }
    }

    pub fn load(&mut self, slot: Slot, source: Source, values: bool) {
        let evaluates = matches!(source, Source::Evaluate { .. });
        assert_eq!(slot.0 == self.sizes.slots, evaluates, "the last slot is for evaluation");
        *self.samples(slot) = Samples { source: Some(source), ..Samples::default() };
        if values {
            self.make_values(slot, Boundary(0), None, Vec::new(), 0);
        }
    }

    pub fn source(&self, slot: Slot) -> Source {
        self.slots[usize::from(slot.0)].source.expect("a slot that is loaded")
    }

    pub fn forward(&mut self, layer: LayerId, panel: Option<PanelId>, version: Version, slot: Slot) {
        let layer = self.network.layer(layer);
        let input = self.complete_values(slot, layer.input).stamp;
        let started = self.samples(slot).values.get(&layer.output);
        if !started.is_some_and(|values| values.input == Some(input) && values.missing > 0) {
            let panels =
                layer.panels.clone().map(|panel| (version, self.weights(Some(PanelId(panel)), version)));
            let weights = panels.collect();
            self.make_values(slot, layer.output, Some(input), weights, layer.panels.len().max(1));
        }
        let weights = self.weights(panel, version);
        let values = self.samples(slot).values.get_mut(&layer.output).expect("started");
        assert!(values.panels.iter().all(|(other, ..)| *other != panel), "{panel:?} goes forward twice");
        values.panels.push((panel, version, weights));
        values.missing -= 1;
    }

    pub fn backward(
        &mut self,
        layer: LayerId,
        panel: Option<PanelId>,
        version: Version,
        slot: Slot,
        flow: ErrorFlow,
    ) {
        let layer = self.network.layer(layer);
        let input = self.complete_values(slot, layer.input).stamp;
        let weights = self.weights(panel, version);
        let values = self.complete_values(slot, layer.output).clone();
        assert_eq!(values.input, Some(input), "the layer's input was overwritten since its forward pass");
        assert!(values.panels.contains(&(panel, version, weights)), "other weights than forward");
        let errors = self.samples(slot).errors.get_mut(&layer.output).expect("errors at the layer's output");
        assert_eq!((errors.values, errors.missing), (values.stamp, 0), "errors of these values, complete");
        assert!(!errors.turned.contains(&panel), "{panel:?} goes backward twice");
        errors.turned.push(panel);
        let is_first = errors.turned.len() == 1;
        let parts = layer.panels.len().max(1);
        match flow {
            ErrorFlow::Stop => {}
            ErrorFlow::Assign => {
                assert!(is_first, "what other panels passed on is overwritten");
                self.set_errors(slot, layer.input, input, parts - 1);
            }
            ErrorFlow::Accumulate => {
                assert!(!is_first, "added to what nobody assigned");
                let passed = self.samples(slot).errors.get_mut(&layer.input).expect("assigned before");
                assert_eq!(passed.values, input);
                passed.missing -= 1;
            }
        }
    }

    pub fn loss(&mut self, slot: Slot, at: Boundary) {
        let stamp = self.complete_values(slot, at).stamp;
        self.set_errors(slot, at, stamp, 0);
    }

    /// Asserts that a panel's gradient can be formed on a slot: live weights, forward and backward, nothing overwritten.
    pub fn assert_has_gradient(&mut self, panel: PanelId, slot: Slot) {
        let layer = self.network.layer(self.network.panel(panel).layer);
        let input = self.complete_values(slot, layer.input).stamp;
        let live = self.weights(Some(panel), Version::Live);
        let samples = self.samples(slot);
        let values = samples.values.get(&layer.output).or_else(|| samples.passed.get(&layer.output));
        let values = values.expect("values that were passed backward").clone();
        assert_eq!(values.input, Some(input), "the layer's input was overwritten since its forward pass");
        assert!(
            values.panels.contains(&(Some(panel), Version::Live, live)),
            "live weights, not updated since"
        );
        let errors = &self.samples(slot).errors[&layer.output];
        assert_eq!(errors.values, values.stamp);
        assert!(errors.turned.contains(&Some(panel)), "{panel:?} has not gone backward");
    }

    /// What a message carries.
    pub fn pack(&mut self, message: Message, slot: Slot) -> Source {
        let values = self.complete_values(slot, message.boundary()).stamp;
        if let Message::Errors(boundary) = message {
            let errors = &self.samples(slot).errors[&boundary];
            assert_eq!((errors.values, errors.missing), (values, 0), "errors of these values, complete");
            assert!(errors.turned.is_empty(), "errors behind the activation");
        }
        self.source(slot)
    }

    pub fn unpack(&mut self, message: Message, slot: Slot, source: Source) {
        assert_eq!(self.source(slot), source, "{message:?} of other samples");
        match message {
            Message::Values(boundary) => self.set_values(slot, boundary, None, 0),
            Message::Errors(boundary) => {
                let stamp = self.complete_values(slot, boundary).stamp;
                self.set_errors(slot, boundary, stamp, 0);
            }
        }
    }

    pub fn keep(&mut self, message: Message, sources: impl IntoIterator<Item = Source>) {
        let kept = self.kept.entry(message).or_default();
        kept.extend(sources);
        let planned = self.sizes.kept.iter().find(|(planned, _)| *planned == message);
        let most = planned.map_or(0, |(_, count)| *count);
        assert!(kept.len() as u64 <= most, "{} of {message:?} are kept, {most} are planned", kept.len());
    }

    pub fn recall(&mut self, message: Message) -> Source {
        self.kept.entry(message).or_default().pop_front().expect("something kept")
    }

    pub fn take_kept(&mut self, message: Message) -> Vec<Source> {
        self.kept.remove(&message).unwrap_or_default().into()
    }

    pub fn assert_nothing_kept(&self) {
        assert!(self.kept.values().all(VecDeque::is_empty), "kept at the end: {:?}", self.kept);
    }

    pub fn allocate(&mut self, at: Boundary, slot: Slot) {
        self.pool.take(at, slot);
    }

    pub fn discard(&mut self, at: Boundary, slot: Slot) {
        self.pool.give_back(at, slot);
        if let Some(values) = self.samples(slot).values.remove(&at) {
            self.samples(slot).passed.insert(at, values);
        }
    }

    pub fn spill(&mut self, at: Boundary, slot: Slot) {
        self.complete_values(slot, at);
        self.pool.give_back(at, slot);
        let values = self.samples(slot).values.remove(&at).expect("complete");
        self.pool.spilled.insert((at, slot), values);
    }

    pub fn fetch(&mut self, at: Boundary, slot: Slot) {
        self.pool.take(at, slot);
        let values = self
            .pool
            .spilled
            .remove(&(at, slot))
            .expect("what is fetched was spilled, and not fetched since");
        self.samples(slot).values.insert(at, values);
    }

    pub fn reload(&mut self, slot: Slot) {
        self.make_values(slot, Boundary(0), None, Vec::new(), 0);
    }

    pub fn assert_pool_is_empty(&self) {
        assert_eq!(self.pool.in_use, 0, "left in the pool: {:?}", self.pool.held);
        assert!(self.pool.spilled.is_empty(), "spilled for nothing: {:?}", self.pool.spilled.keys());
    }

    pub fn complete_outputs(&mut self, slot: Slot) {
        self.complete_values(slot, self.network.output());
    }

    /// What tells one state of a panel's weights from another.
    fn weights(&self, panel: Option<PanelId>, version: Version) -> u64 {
        match (panel, version) {
            (Some(panel), Version::Live) => self.updates[panel.0 as usize],
            _ => self.barriers,
        }
    }

    fn samples(&mut self, slot: Slot) -> &mut Samples {
        &mut self.slots[usize::from(slot.0)]
    }

    fn complete_values(&mut self, slot: Slot, at: Boundary) -> &Values {
        let values = self.samples(slot).values.get(&at).expect("values at the boundary");
        assert_eq!(values.missing, 0, "values at {at:?} are not complete");
        values
    }

    /// As [`Self::set_values`], with the stamp that these values had before, if they were made before.
    fn make_values(
        &mut self,
        slot: Slot,
        at: Boundary,
        input: Option<u64>,
        weights: Vec<(Version, u64)>,
        missing: usize,
    ) {
        self.set_values(slot, at, input, missing);
        let stamp = *self.made.entry((self.source(slot), at, input, weights)).or_insert(self.stamp);
        self.samples(slot).values.get_mut(&at).expect("just set").stamp = stamp;
    }

    fn set_values(&mut self, slot: Slot, at: Boundary, input: Option<u64>, missing: usize) {
        let evaluates = slot.0 == self.sizes.slots;
        let places = if evaluates { &self.sizes.evaluation } else { &self.sizes.values };
        let sharers = places.sharers(at).to_vec();
        let in_pool = !evaluates && self.pool.holds(at, slot);
        assert!(!sharers.is_empty() || in_pool, "no memory is planned for values at {at:?}");
        self.samples(slot).values.retain(|other, _| !sharers.contains(other));
        self.stamp += 1;
        let values = Values { stamp: self.stamp, input, panels: Vec::new(), missing };
        self.samples(slot).values.insert(at, values);
    }

    fn set_errors(&mut self, slot: Slot, at: Boundary, values: u64, missing: usize) {
        assert!(slot.0 < self.sizes.slots, "evaluation has no errors");
        let sharers = self.sizes.errors.sharers(at).to_vec();
        assert!(!sharers.is_empty(), "no memory is planned for errors at {at:?}");
        self.samples(slot).errors.retain(|other, _| !sharers.contains(other));
        self.samples(slot).errors.insert(at, Errors { values, missing, turned: Vec::new() });
    }
}
