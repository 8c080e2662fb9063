//! Several processes, one database, and what happens to them: a seed says all of it.
//!
//! The world goes on in small steps. In each it decides what goes wrong and who asks for something, and lets every process
//! live as long as the step lasts, one after the other, in an order by chance. What one of them does in its turn others see in
//! theirs: between two steps they are as far apart as clocks and networks of machines are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use core314_actors::clock::Clock;
use core314_actors::ports::store::Store;
use core314_domain::document::FlowDocument;
use core314_domain::ids::{FlowId, Owner, RowId, UserId};
use core314_domain::plan::{FlowPlan, PlanLimits};
use futures_util::FutureExt;
use serde_json::Value;
use uuid::Uuid;

use super::database::{Database, Mutant};
use super::flows;
use super::node::{Begin, Node, PARTITIONS};
use super::people::Client;
use super::rng::Rng;
use super::timetable;
use super::wire::Way;
use super::witness::{Check, Witness, ensure};
use super::workshop::ACTION;

/// When simulated time begins.
pub const START_MS: i64 = 1_700_000_000_000;
/// How long one step of the world lasts: shorter than half of a lease by far, so that nobody takes over too early.
const STEPS_MS: &[i64] = &[1, 5, 20, 80, 250, 400];
const CALM_STEP_MS: i64 = 400;
/// How long after the last fault everything must be over.
const PATIENCE_MS: i64 = 400_000;
/// How long after the last fault a wake-up may be late, and as of when.
const LATE_MS: i64 = 20_000;
const SETTLED_MS: i64 = 40_000;

/// A machine, on which one process follows the other.
struct Place {
    node: Option<Node>,
    former: Option<RowId>,
    skew_ms: i64,
    /// When the next process begins, where none is.
    begins_ms: i64,
    /// Until when it stands still.
    stopped_until_ms: i64,
    was_stopped: bool,
    way: Way,
    cut_until_ms: i64,
}

/// All of it.
pub struct World {
    pub rng: Rng,
    pub db: Arc<Database>,
    pub now_ms: i64,
    pub clients: Vec<Client>,
    /// Those that clients trigger.
    pub flows: Vec<FlowId>,
    /// The one that starts by itself.
    timetable: Option<FlowId>,
    places: Vec<Place>,
    /// When faults end.
    calm_ms: i64,
    next_fault_ms: i64,
    losses_until_ms: i64,
    next_look_ms: i64,
}

pub fn owner() -> Owner {
    Owner::new(UserId(Uuid::from_u128(7)), None)
}

impl World {
    pub fn new(seed: u64, mutant: Option<Mutant>) -> Self {
        core314_actors::random::seed_this_thread(seed);
        let mut rng = Rng(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let has_timetable = rng.chance(300);
        let count = 1 + rng.below(3);
        let random = (0..count).map(|no| flows::random(&mut rng, &format!("flow-{no}")));
        let mut documents: Vec<Value> = random.chain([flows::child()]).collect();
        documents.extend(has_timetable.then(timetable::flow));
        let documents: Vec<(FlowId, FlowDocument)> = (1_u128..)
            .map(|id| FlowId(Uuid::from_u128(id)))
            .zip(documents.into_iter().map(|document| FlowDocument::from_value(document).expect("a document")))
            .collect();
        let plans = documents.iter().map(|(id, document)| {
            let plan = FlowPlan::compile(document, &[ACTION], &PlanLimits::default());
            (*id, Arc::new(plan.unwrap_or_else(|problems| panic!("seed {seed}: {problems:?}"))))
        });
        let db = Arc::new(Database::new(seed ^ 0x5eed, mutant, Witness::new(START_MS, plans)));
        db.clock.reach(START_MS);
        for (id, document) in &documents {
            db.rows.add_flow(*id, owner(), document.clone());
        }
        let calm_ms = START_MS + 15_000 + rng.below(30_000) as i64;
        let places = (0..2 + rng.below(2)).map(|_| Place::new(&mut rng)).collect();
        let clients = (0..=rng.below(6)).map(|no| Client::new(no, &mut rng)).collect();
        let flows = documents.iter().take(count).map(|(id, _)| *id).collect();
        let timetable = has_timetable.then(|| FlowId(Uuid::from_u128(documents.len() as u128)));
        let next_fault_ms = START_MS + 1_000 + rng.below(4_000) as i64;
        let (now_ms, next_look_ms) = (START_MS, calm_ms + SETTLED_MS);
        Self {
            rng,
            db,
            now_ms,
            clients,
            flows,
            timetable,
            places,
            calm_ms,
            next_fault_ms,
            losses_until_ms: 0,
            next_look_ms,
        }
    }

    /// Goes on until everything is over, or something is not as it must be.
    pub fn run(&mut self) -> Check {
        while !self.is_over() {
            let step_ms = if self.is_calm() { CALM_STEP_MS } else { self.rng.pick(STEPS_MS) };
            self.now_ms += step_ms;
            self.db.begin_step();
            self.suffer();
            self.ask();
            let mut order: Vec<usize> = (0..self.places.len()).collect();
            while !order.is_empty() {
                let next = order.swap_remove(self.rng.below(order.len()));
                self.turn(next);
            }
            self.db.witness().violation()?;
            self.look()?;
        }
        self.kill_all();
        let rows = self.db.rows.snapshot();
        self.timetable.map_or(Ok(()), |flow| timetable::check(&rows, flow))?;
        self.db.witness().at_the_end(&rows.runs)
    }

    pub fn is_calm(&self) -> bool {
        self.now_ms >= self.calm_ms
    }

    /// Everything that was asked for was promised, and everything that was promised is over.
    fn is_over(&self) -> bool {
        self.clients.iter().all(Client::is_served) && self.is_calm() && self.db.witness().has_all_ended()
    }

    fn kill_all(&mut self) {
        self.places.iter_mut().for_each(|place| place.node = None);
    }

    /// A process that is there, has an engine, and could be asked.
    pub fn somebody(&mut self) -> Option<&Node> {
        let works = |place: &Place| place.node.as_ref().is_some_and(|node| node.engine().is_some());
        let working: Vec<usize> = (0..self.places.len()).filter(|no| works(&self.places[*no])).collect();
        if working.is_empty() {
            return None;
        }
        let chosen = self.rng.pick(&working);
        self.places[chosen].node.as_ref()
    }

    fn turn(&mut self, no: usize) {
        let (now_ms, db) = (self.now_ms, self.db.clone());
        let place = &mut self.places[no];
        if place.node.is_none() && place.begins_ms <= now_ms {
            db.witness().note(now_ms, &format!("node {no}"), "begins");
            let (skew_ms, way) = (place.skew_ms, place.way);
            let node = Node::start(&db, &Begin { place: no, skew_ms, way, now_ms, former: place.former });
            place.former = Some(node.id);
            place.node = Some(node);
        }
        if place.stopped_until_ms > now_ms {
            return;
        }
        let was_stopped = std::mem::take(&mut place.was_stopped);
        let Some(node) = &place.node else { return };
        if was_stopped {
            db.witness().note(now_ms, &format!("node {no}"), "goes on");
        }
        node.run_until(now_ms, was_stopped);
        if node.has_ended() {
            db.witness().note(now_ms, &format!("node {no}"), "has ended");
            place.node = None;
            place.begins_ms = now_ms + 300 + self.rng.below(3_000) as i64;
        }
    }

    /// What goes wrong, and what does not any more.
    fn suffer(&mut self) {
        let (now_ms, is_calm) = (self.now_ms, self.is_calm());
        for place in &mut self.places {
            if is_calm {
                place.stopped_until_ms = place.stopped_until_ms.min(now_ms);
            }
            if place.way != Way::Open && (place.cut_until_ms <= now_ms || is_calm) {
                place.set_way(Way::Open);
            }
        }
        if self.losses_until_ms <= now_ms || is_calm {
            self.db.lost_permille.store(0, Ordering::Relaxed);
        }
        self.db.is_rough.store(!is_calm, Ordering::Relaxed);
        if !is_calm && self.next_fault_ms <= now_ms {
            self.next_fault_ms = now_ms + 500 + self.rng.below(8_000) as i64;
            self.fault();
        }
    }

    fn fault(&mut self) {
        let (now_ms, kind) = (self.now_ms, self.rng.below(12));
        let no = self.rng.below(self.places.len());
        let lasts_ms = 200 + self.rng.below(12_000) as i64;
        let way = self.rng.pick(&[Way::Refused, Way::Silent]);
        let begins_ms = now_ms + 200 + self.rng.below(5_000) as i64;
        let (who, place) = (format!("node {no}"), &mut self.places[no]);
        let told = match kind {
            0..=2 => {
                place.node = None;
                place.begins_ms = begins_ms;
                "dies".to_owned()
            }
            3 => {
                place.node.iter().for_each(Node::stop);
                "is told to stop".to_owned()
            }
            4..=6 => {
                (place.stopped_until_ms, place.was_stopped) = (now_ms + lasts_ms, true);
                format!("stands still for {lasts_ms} ms")
            }
            7 | 8 => {
                place.cut_until_ms = now_ms + lasts_ms;
                place.set_way(way);
                format!("is cut off for {lasts_ms} ms: {way:?}")
            }
            9 => {
                for place in &mut self.places {
                    place.cut_until_ms = now_ms + lasts_ms / 2;
                    place.set_way(way);
                }
                format!("and all others are cut off: {way:?}")
            }
            _ => {
                self.losses_until_ms = now_ms + lasts_ms;
                let permille = self.rng.pick(&[50, 200, 400]);
                self.db.lost_permille.store(permille, Ordering::Relaxed);
                format!("and all others lose {permille} of a thousand commits, and as many answers, for {lasts_ms} ms")
            }
        };
        self.db.witness().note(now_ms, &who, &told);
    }

    /// A wake-up that is due is not left alone, once everything works again; and the end must come.
    fn look(&mut self) -> Check {
        if self.now_ms < self.next_look_ms {
            return Ok(());
        }
        self.next_look_ms = self.now_ms + 5_000;
        let late_ms = self.db.clock.now_ms() - LATE_MS;
        for partition in 0..PARTITIONS {
            let page = self.db.rows.wake_page(partition, late_ms, None, 1).now_or_never().expect("it is in memory");
            let late = page.map_err(|error| error.to_string())?;
            ensure(late.is_empty(), || {
                let late: Vec<_> = late.iter().map(|(at_ms, run)| (at_ms - START_MS, *run)).collect();
                format!("a timer is lost: {late:?} is due since more than {LATE_MS} ms")
            })?;
        }
        let page = self.db.rows.due_schedules(late_ms, None, 1).now_or_never().expect("it is in memory");
        let late = page.map_err(|error| error.to_string())?;
        ensure(late.is_empty(), || format!("a schedule is left alone: {late:?}"))?;
        ensure(self.now_ms < self.calm_ms + PATIENCE_MS, || {
            let runs = self.db.rows.snapshot().runs;
            let mut statuses = BTreeMap::new();
            runs.values().for_each(|run| *statuses.entry(run.state.status.as_str()).or_insert(0) += 1);
            format!("it is not over after {PATIENCE_MS} ms in which nothing went wrong: {statuses:?}")
        })
    }
}

impl Place {
    fn new(rng: &mut Rng) -> Self {
        let skew_ms = rng.pick(&[0, 0, 0, -400, 400, 1_500]);
        let begins_ms = START_MS + rng.below(1_500) as i64;
        let (stopped_until_ms, was_stopped, way, cut_until_ms) = (0, false, Way::Open, 0);
        Self { node: None, former: None, skew_ms, begins_ms, stopped_until_ms, was_stopped, way, cut_until_ms }
    }

    fn set_way(&mut self, way: Way) {
        self.way = way;
        if let Some(node) = &self.node {
            node.wire.turn(way);
        }
    }
}
