//! The edges of a flow: who waits for whom. Refuses what could never run.

use std::collections::{BTreeMap, BTreeSet};

use super::Problem;
use crate::document::StepDocument;
use crate::ids::StepNo;
use crate::suggest::did_you_mean;
use crate::words::ExecutionMode;

/// A set of step numbers.
type Bits = Vec<u64>;

/// Who waits for whom.
pub struct Edges {
    /// For each step, the steps it waits for.
    pub inputs: Vec<Vec<StepNo>>,
    /// For each step, the steps that wait for it.
    pub dependents: Vec<Vec<StepNo>>,
    ancestors: Vec<Bits>,
}

impl Edges {
    /// The step's ancestors: what its expressions may name.
    pub fn before(&self, no: usize) -> impl Iterator<Item = usize> + '_ {
        let bits = self.ancestors.get(no);
        (0..self.inputs.len()).filter(move |n| bits.is_some_and(|b| b[n / 64] >> (n % 64) & 1 == 1))
    }
}

/// Reads the edges that the mode gives to a list of steps, and notes unknown ids, disagreeing outputs and cycles.
pub fn edges(steps: &[StepDocument], mode: ExecutionMode, at: &str, problems: &mut Vec<Problem>) -> Edges {
    let numbers: BTreeMap<&str, StepNo> =
        steps.iter().enumerate().map(|(no, step)| (step.id.as_str(), no as StepNo)).collect();
    let inputs: Vec<Vec<StepNo>> = match mode {
        ExecutionMode::Sequential => {
            (0..steps.len() as StepNo).map(|n| n.checked_sub(1).into_iter().collect()).collect()
        }
        ExecutionMode::Parallel => vec![Vec::new(); steps.len()],
        ExecutionMode::Mixed => mixed(steps, &numbers, at, problems),
    };
    let mut dependents: Vec<Vec<StepNo>> = vec![Vec::new(); inputs.len()];
    for (no, ins) in inputs.iter().enumerate() {
        for input in ins {
            dependents[*input as usize].push(no as StepNo);
        }
    }
    let ancestors = ancestors(&inputs, &dependents).unwrap_or_else(|cycle| {
        let names: Vec<&str> = cycle.iter().map(|n| steps[*n].id.as_str()).collect();
        let message = format!("these steps wait for each other: {}", names.join(", "));
        problems.push(Problem::new(at, message));
        Vec::new()
    });
    Edges { inputs, dependents, ancestors }
}

/// Whether a text may be a step's id.
pub fn valid_id(id: &str) -> bool {
    let mut chars = id.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && id.len() <= 64
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

fn mixed(
    steps: &[StepDocument],
    numbers: &BTreeMap<&str, StepNo>,
    at: &str,
    problems: &mut Vec<Problem>,
) -> Vec<Vec<StepNo>> {
    let mut all = Vec::with_capacity(steps.len());
    for (no, step) in steps.iter().enumerate() {
        let mut inputs = BTreeSet::new();
        for (i, id) in step.connections.inputs.iter().enumerate() {
            let pointer = format!("{at}/{no}/connections/inputs/{i}");
            match numbers.get(id.as_str()) {
                Some(input) if inputs.insert(*input) => {}
                Some(_) => problems.push(Problem::new(pointer, format!("'{id}' stands here twice"))),
                None => problems.push(Problem::new(pointer, no_such_step(id, numbers))),
            }
        }
        all.push(inputs.into_iter().collect());
    }
    outputs_agree(steps, numbers, at, problems);
    all
}

fn no_such_step(id: &str, numbers: &BTreeMap<&str, StepNo>) -> String {
    format!("there is no step '{id}'{}", did_you_mean(id, numbers.keys().copied()))
}

/// Outputs are redundant; where a step gives them they must say what the inputs say.
fn outputs_agree(steps: &[StepDocument], numbers: &BTreeMap<&str, StepNo>, at: &str, problems: &mut Vec<Problem>) {
    for (no, step) in steps.iter().enumerate() {
        for (i, id) in step.connections.inputs.iter().enumerate() {
            let Some(input) = numbers.get(id.as_str()).map(|n| &steps[*n as usize]) else { continue };
            if !input.connections.outputs.is_empty() && !input.connections.outputs.contains(&step.id) {
                let pointer = format!("{at}/{no}/connections/inputs/{i}");
                problems
                    .push(Problem::new(pointer, format!("step '{id}' does not name '{}' among its outputs", step.id)));
            }
        }
    }
    for (no, step) in steps.iter().enumerate() {
        for (i, id) in step.connections.outputs.iter().enumerate() {
            let pointer = format!("{at}/{no}/connections/outputs/{i}");
            let message = match numbers.get(id.as_str()) {
                None => no_such_step(id, numbers),
                Some(n) if steps[*n as usize].connections.inputs.contains(&step.id) => continue,
                Some(_) => format!("step '{id}' does not name '{}' among its inputs", step.id),
            };
            problems.push(Problem::new(pointer, message));
        }
    }
}

/// Each step's ancestors as bits (Kahn's algorithm), or the steps that lie on cycles or between two of them.
fn ancestors(inputs: &[Vec<StepNo>], dependents: &[Vec<StepNo>]) -> Result<Vec<Bits>, Vec<usize>> {
    let mut missing: Vec<usize> = inputs.iter().map(Vec::len).collect();
    let mut found = vec![vec![0_u64; inputs.len().div_ceil(64)]; inputs.len()];
    let mut ready: Vec<usize> = (0..inputs.len()).filter(|n| missing[*n] == 0).collect();
    let mut done = 0;
    while let Some(no) = ready.pop() {
        done += 1;
        let mut seen = found[no].clone();
        seen[no / 64] |= 1 << (no % 64);
        for next in dependents[no].iter().map(|n| *n as usize) {
            found[next].iter_mut().zip(&seen).for_each(|(bits, more)| *bits |= more);
            missing[next] -= 1;
            if missing[next] == 0 {
                ready.push(next);
            }
        }
    }
    if done == inputs.len() {
        return Ok(found);
    }
    // What remains hangs on a cycle; what nothing of it waits for only comes after one.
    let mut stuck: BTreeSet<usize> = (0..inputs.len()).filter(|n| missing[*n] > 0).collect();
    let mut waiting: Vec<usize> =
        dependents.iter().map(|d| d.iter().filter(|n| stuck.contains(&(**n as usize))).count()).collect();
    let mut last: Vec<usize> = stuck.iter().copied().filter(|n| waiting[*n] == 0).collect();
    while let Some(no) = last.pop() {
        stuck.remove(&no);
        for input in inputs[no].iter().map(|n| *n as usize).filter(|n| stuck.contains(n)) {
            waiting[input] -= 1;
            if waiting[input] == 0 {
                last.push(input);
            }
        }
    }
    Err(stuck.into_iter().collect())
}
