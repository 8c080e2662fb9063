//! The order of a flow's steps in its plan: their numbers.
//!
//! A step is followed by the steps that stand in it, so that those of a branch or a parallel step have numbers of their
//! own in every run. The body of a loop is laid out after all of these, once: a run makes as many copies of it as it has
//! rounds, with numbers past the end of the plan.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;

use serde_json::{Value, json};

use super::{Problem, graph};
use crate::document::{FlowDocument, StepConfig, StepDocument};
use crate::ids::StepNo;
use crate::words::ExecutionMode;

/// Where a step has come to stand.
pub struct Slot {
    pub step: StepDocument,
    pub config: StepConfig,
    /// JSON pointer to the step.
    pub at: String,
    /// The step that it stands in.
    pub parent: Option<StepNo>,
    /// Which of the parent's lists of steps it stands in.
    pub lane: u32,
    pub inputs: Vec<StepNo>,
    pub dependents: Vec<StepNo>,
    /// Ids of the steps that are over when it begins.
    pub before: Vec<String>,
    /// Whether it stands in a loop, however deep.
    pub in_loop: bool,
    /// The body, of a loop.
    pub body: Range<StepNo>,
    /// Direct inner steps; those of a loop's body are not among them.
    pub children: Vec<StepNo>,
    /// Ids of the last step of each of its lists of steps: what it gives is what they gave.
    pub last: Vec<StepNo>,
}

/// All steps in their order.
#[derive(Default)]
pub struct Layout {
    pub slots: Vec<Slot>,
    /// How many have one number in every run; the bodies of loops follow.
    pub fixed: usize,
}

/// A list of steps that is to be laid out.
struct Body {
    steps: Vec<StepDocument>,
    mode: ExecutionMode,
    at: String,
    parent: Option<StepNo>,
    lane: u32,
    before: Vec<String>,
    in_loop: bool,
}

/// Lays a document out. `None` where a config cannot be read or there are too many steps; the problems say so.
pub fn lay_out(doc: &FlowDocument, most: usize, problems: &mut Vec<Problem>) -> Option<Layout> {
    let mut work = Work { layout: Layout::default(), loops: VecDeque::new(), ids: BTreeSet::new(), most, problems };
    let whole = Body {
        steps: doc.flow_steps.clone(),
        mode: doc.execution_mode,
        at: "/flow_steps".to_owned(),
        parent: None,
        lane: 0,
        before: Vec::new(),
        in_loop: false,
    };
    work.body(whole)?;
    work.layout.fixed = work.layout.slots.len();
    while let Some(body) = work.loops.pop_front() {
        let (owner, start) = (body.parent.expect("a loop's body stands in it"), work.layout.slots.len());
        let last = work.body(body)?;
        let range = start as StepNo..work.layout.slots.len() as StepNo;
        let slot = &mut work.layout.slots[owner as usize];
        slot.body = range;
        slot.last = vec![last];
    }
    Some(work.layout)
}

impl Layout {
    /// The steps as readers of the tables need them.
    pub fn listed(&self) -> Vec<Value> {
        let shown = |slot: &Slot| {
            let mut step = serde_json::to_value(&slot.step).expect("a step has text keys and finite numbers");
            if let Some(config) = step["config"].as_object_mut() {
                ["steps", "default", "cases", "branches"].iter().for_each(|key| drop(config.remove(*key)));
            }
            let inputs = slot.inputs.iter().map(|no| self.slots[*no as usize].step.id.as_str());
            step["connections"] = json!({"inputs": inputs.collect::<Vec<_>>()});
            if let Some(parent) = slot.parent {
                step["parent"] = (parent + 1).into();
            }
            step
        };
        self.slots.iter().map(shown).collect()
    }
}

struct Work<'p> {
    layout: Layout,
    loops: VecDeque<Body>,
    ids: BTreeSet<String>,
    most: usize,
    problems: &'p mut Vec<Problem>,
}

impl Work<'_> {
    /// Lays out a list of steps, each followed by those in it. Answers with the number of the last of the list.
    fn body(&mut self, body: Body) -> Option<StepNo> {
        if self.layout.slots.len() + body.steps.len() > self.most {
            let message = format!("a flow has at most {} steps, those in steps counted", self.most);
            self.problems.push(Problem::new(body.at, message));
            return None;
        }
        let edges = graph::edges(&body.steps, body.mode, &body.at, self.problems);
        let ids: Vec<String> = body.steps.iter().map(|step| step.id.clone()).collect();
        let mut numbers: Vec<StepNo> = Vec::with_capacity(ids.len());
        for (no, step) in body.steps.into_iter().enumerate() {
            let at = format!("{}/{no}", body.at);
            self.id(&at, &step.id);
            let config = match step.config() {
                Ok(config) => config,
                Err(e) => {
                    self.problems.push(Problem::new(format!("{at}{}", e.pointer), e.message));
                    return None;
                }
            };
            // Of the steps before, those that stand in them are known too: they are over, or were never taken.
            let mut before = body.before.clone();
            for earlier in edges.before(no) {
                before.push(ids[earlier].clone());
                if let Some(number) = numbers.get(earlier) {
                    self.inner_ids(*number, &mut before);
                }
            }
            let number = self.layout.slots.len() as StepNo;
            numbers.push(number);
            let inner = inner_bodies(&config);
            self.layout.slots.push(Slot {
                step,
                config,
                at: at.clone(),
                parent: body.parent,
                lane: body.lane,
                inputs: Vec::new(),
                dependents: Vec::new(),
                before: before.clone(),
                in_loop: body.in_loop,
                body: 0..0,
                children: Vec::new(),
                last: Vec::new(),
            });
            for (lane, (place, mode, is_loop, steps)) in inner.into_iter().enumerate() {
                let at = format!("{at}/config{place}");
                let in_loop = body.in_loop || is_loop;
                let inner =
                    Body { steps, mode, at, parent: Some(number), lane: lane as u32, before: before.clone(), in_loop };
                if is_loop {
                    self.loops.push_back(inner);
                } else if inner.steps.is_empty() {
                    self.layout.slots[number as usize].last.push(StepNo::MAX);
                } else {
                    let last = self.body(inner)?;
                    self.layout.slots[number as usize].last.push(last);
                }
            }
        }
        for (no, number) in numbers.iter().enumerate() {
            let global = |locals: &[StepNo]| locals.iter().map(|local| numbers[*local as usize]).collect();
            let slot = &mut self.layout.slots[*number as usize];
            slot.inputs = global(&edges.inputs[no]);
            slot.dependents = global(&edges.dependents[no]);
            if let Some(parent) = body.parent.filter(|p| !self.is_loop(*p)) {
                self.layout.slots[parent as usize].children.push(*number);
            }
        }
        numbers.last().copied().or(Some(StepNo::MAX))
    }

    fn is_loop(&self, no: StepNo) -> bool {
        matches!(self.layout.slots[no as usize].config, StepConfig::ForEach(_) | StepConfig::While(_))
    }

    /// Ids are unique in the whole document, so that `steps.ID` says one thing everywhere.
    fn id(&mut self, at: &str, id: &str) {
        let pointer = format!("{at}/id");
        if !graph::valid_id(id) {
            let message = "must be a letter or _, then letters, digits, _ or -, at most 64 in all".to_owned();
            self.problems.push(Problem::new(pointer.clone(), message));
        }
        if !self.ids.insert(id.to_owned()) {
            self.problems.push(Problem::new(pointer, format!("'{id}' is the id of another step too")));
        }
    }

    fn inner_ids(&self, no: StepNo, found: &mut Vec<String>) {
        for child in &self.layout.slots[no as usize].children {
            found.push(self.layout.slots[*child as usize].step.id.clone());
            self.inner_ids(*child, found);
        }
    }
}

/// The lists of steps in a config: where, how their edges are read, whether they are a loop's, and the steps.
fn inner_bodies(config: &StepConfig) -> Vec<(String, ExecutionMode, bool, Vec<StepDocument>)> {
    let is_loop = matches!(config, StepConfig::ForEach(_) | StepConfig::While(_));
    let mut config = config.clone();
    let bodies = config.bodies_mut().into_iter();
    bodies.map(|(place, steps)| (place, mode(steps), is_loop, std::mem::take(steps))).collect()
}

/// Steps in a step run one after the other, unless one of them names its inputs.
fn mode(steps: &[StepDocument]) -> ExecutionMode {
    let names = steps.iter().any(|step| !step.connections.inputs.is_empty());
    if names { ExecutionMode::Mixed } else { ExecutionMode::Sequential }
}
