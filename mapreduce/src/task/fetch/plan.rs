//! What is to be fetched next, and from where. Pure: time comes in as an argument, and connections are only kept.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use hfs_protocol::proto::task::MapOutput;

use super::TRIES;
use super::transfer::Transfer;

/// Outputs asked for at once from one server; bounds its work for one request.
pub(super) const MOST_IN_BATCH: usize = 64;
/// Outputs of the first batch from a server, whose runs may have any size.
const FIRST_BATCH: usize = 4;
/// About so many bytes are asked for at once: small runs share a round trip, large ones are spread over the
/// connections.
const BATCH_BYTES: u64 = 4 << 20;
/// Connections to one server.
const CONNECTIONS: usize = 2;
/// Idle connections that are kept, to all servers together.
const IDLE_CONNECTIONS: usize = 64;
/// The first pause after a server could not be reached or was busy; doubles up to the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A map's output that is wanted, and what has come of it.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) output: MapOutput,
    /// Failed tries.
    pub(super) tries: u32,
    pub(super) transfer: Transfer,
}

/// Outputs to be fetched over one connection, or (without an address) to be mapped from this node's disk.
#[derive(Debug)]
pub(super) struct Batch<C> {
    pub(super) address: String,
    pub(super) outputs: VecDeque<Wanted>,
    /// A connection from an earlier batch.
    pub(super) connection: Option<C>,
}

/// What there is to do.
#[derive(Debug)]
pub(super) enum Next<C> {
    Batch(Batch<C>),
    /// Nothing before this moment.
    At(Instant),
    /// Nothing until something arrives.
    Nothing,
}

/// What became of a batch's server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contact {
    /// It answered.
    Good,
    /// It answered, but was busy or broke off.
    Uneasy,
    /// It could not be reached, or said nothing that made sense.
    Lost,
}

#[derive(Debug)]
struct Server<C> {
    ready: VecDeque<Wanted>,
    working: usize,
    idle: Vec<C>,
    /// Contacts that went wrong, one after the other.
    troubles: u32,
    /// Those of them that were lost.
    lost: u32,
    not_before: Option<Instant>,
    /// Bytes of a run from this server, a moving average.
    run_bytes: Option<u64>,
}

impl<C> Default for Server<C> {
    fn default() -> Self {
        Self {
            ready: VecDeque::new(),
            working: 0,
            idle: Vec::new(),
            troubles: 0,
            lost: 0,
            not_before: None,
            run_bytes: None,
        }
    }
}

impl<C> Server<C> {
    fn batch_size(&self) -> usize {
        match self.run_bytes {
            None => FIRST_BATCH,
            Some(bytes) => usize::try_from(BATCH_BYTES / bytes.max(1))
                .unwrap_or(MOST_IN_BATCH)
                .clamp(1, MOST_IN_BATCH),
        }
    }
}

/// All of it.
#[derive(Debug)]
pub(super) struct Plan<C> {
    /// The newest known output of each map that is not had yet; `None` once it is.
    newest: HashMap<u32, Option<String>>,
    servers: BTreeMap<String, Server<C>>,
    later: Vec<(Instant, Wanted)>,
    /// Where the search for the next server begins. Reducers begin at different ones, so that they don't
    /// all ask the same one first.
    turn: usize,
    /// Threads that may read this node's own segments at once.
    copies: usize,
    idle: usize,
}

impl<C> Plan<C> {
    pub(super) fn new(partition: u32, copies: usize) -> Self {
        Self {
            newest: HashMap::new(),
            servers: BTreeMap::new(),
            later: Vec::new(),
            turn: partition as usize,
            copies,
            idle: 0,
        }
    }

    /// An output of a map exists. A newer one replaces an older one.
    pub(super) fn arrived(&mut self, output: MapOutput) {
        match self.newest.get(&output.map_index) {
            Some(None) => return,
            Some(Some(known)) if *known == output.attempt_id => return,
            _ => {}
        }
        self.newest.insert(output.map_index, Some(output.attempt_id.clone()));
        self.again(Wanted { output, tries: 0, transfer: Transfer::default() });
    }

    /// A map's output is here. False: it was already; two attempts of a map give the same records.
    pub(super) fn had(&mut self, map: u32) -> bool {
        self.newest.insert(map, None) != Some(None)
    }

    /// Whether this output is still wanted.
    pub(super) fn wants(&self, output: &MapOutput) -> bool {
        self.newest.get(&output.map_index) == Some(&Some(output.attempt_id.clone()))
    }

    /// Queues an output, at this node's disk if it lies there.
    pub(super) fn again(&mut self, wanted: Wanted) {
        let output = &wanted.output;
        let address = if output.local_path.is_empty() {
            output.shuffle_address.clone()
        } else {
            String::new()
        };
        self.servers.entry(address).or_default().ready.push_back(wanted);
    }

    /// Queues an output again at `moment`, if no newer one has come by then.
    pub(super) fn later(&mut self, moment: Instant, wanted: Wanted) {
        self.later.push((moment, wanted));
    }

    /// What to do now.
    pub(super) fn next(&mut self, now: Instant) -> Next<C> {
        for (moment, wanted) in std::mem::take(&mut self.later) {
            if moment <= now {
                self.again(wanted);
            } else {
                self.later.push((moment, wanted));
            }
        }
        loop {
            let address = match self.best(now) {
                Ok(address) => address,
                Err(soonest) => return soonest.map_or(Next::Nothing, Next::At),
            };
            let Some(server) = self.servers.get_mut(&address) else { return Next::Nothing };
            let size = server.batch_size();
            let mut outputs = VecDeque::new();
            while outputs.len() < size
                && let Some(wanted) = server.ready.pop_front()
            {
                let output = &wanted.output;
                if self.newest.get(&output.map_index) == Some(&Some(output.attempt_id.clone())) {
                    outputs.push_back(wanted);
                }
            }
            if outputs.is_empty() {
                continue;
            }
            self.turn = self.turn.wrapping_add(1);
            server.working += 1;
            let connection = server.idle.pop();
            self.idle -= usize::from(connection.is_some());
            return Next::Batch(Batch { address, outputs, connection });
        }
    }

    /// The server to turn to: the one that is asked least at the moment, from the place of the turn on. Else the
    /// moment at which there may be one.
    fn best(&self, now: Instant) -> Result<String, Option<Instant>> {
        let (mut best, mut soonest) = (None, self.later.iter().map(|(at, _)| *at).min());
        let count = self.servers.len();
        for (place, (address, server)) in self.servers.iter().enumerate() {
            let most = if address.is_empty() { self.copies } else { CONNECTIONS };
            if server.ready.is_empty() || server.working >= most {
                continue;
            }
            if let Some(at) = server.not_before.filter(|at| *at > now) {
                soonest = Some(soonest.map_or(at, |known| known.min(at)));
                continue;
            }
            let rank = (server.working, (place + count - self.turn % count) % count);
            if best.as_ref().is_none_or(|(known, _)| rank < *known) {
                best = Some((rank, address));
            }
        }
        best.map(|(_, address)| address.clone()).ok_or(soonest)
    }

    /// A batch is over. Outputs that are not had are queued again by whoever had the batch. Gives those to give up:
    /// all that are wanted of a server that was lost as often as an output is tried.
    pub(super) fn over(
        &mut self,
        address: &str,
        connection: Option<C>,
        contact: Contact,
        run_bytes: Option<u64>,
        now: Instant,
    ) -> Vec<Wanted> {
        let Some(server) = self.servers.get_mut(address) else { return Vec::new() };
        server.working -= 1;
        if let Some(connection) = connection.filter(|_| self.idle < IDLE_CONNECTIONS) {
            server.idle.push(connection);
            self.idle += 1;
        }
        if let Some(bytes) = run_bytes {
            server.run_bytes = Some(server.run_bytes.map_or(bytes, |known| (known + bytes) / 2));
        }
        if contact == Contact::Good {
            (server.troubles, server.lost, server.not_before) = (0, 0, None);
            return Vec::new();
        }
        let pause = PAUSE.0 * 2u32.saturating_pow(server.troubles.min(10));
        server.troubles += 1;
        server.not_before = Some(now + pause.min(PAUSE.1));
        server.lost = if contact == Contact::Lost { server.lost + 1 } else { 0 };
        if server.lost < TRIES {
            return Vec::new();
        }
        server.lost = 0;
        server.ready.drain(..).map(|wanted| Wanted { tries: TRIES, ..wanted }).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn output(map: u32, attempt: &str, address: &str) -> MapOutput {
        MapOutput {
            map_index: map,
            attempt_id: attempt.into(),
            shuffle_address: address.into(),
            ..MapOutput::default()
        }
    }

    fn batch(next: Next<u32>) -> Batch<u32> {
        match next {
            Next::Batch(batch) => batch,
            other => panic!("{other:?}"),
        }
    }

    fn maps(batch: &Batch<u32>) -> Vec<u32> {
        batch.outputs.iter().map(|wanted| wanted.output.map_index).collect()
    }

    #[test]
    fn a_server_is_asked_for_more_at_once_the_smaller_its_runs_are() {
        let now = Instant::now();
        let mut plan = Plan::new(0, 5);
        for map in 0..200 {
            plan.arrived(output(map, "a", "s:1"));
        }
        let first = batch(plan.next(now));
        assert_eq!(maps(&first), [0, 1, 2, 3]);
        let second = batch(plan.next(now));
        assert_eq!(second.outputs.len(), FIRST_BATCH);
        assert!(matches!(plan.next(now), Next::Nothing), "two connections are the most");
        plan.over("s:1", Some(7), Contact::Good, Some(100), now);
        let third = batch(plan.next(now));
        assert_eq!((third.outputs.len(), third.connection), (MOST_IN_BATCH, Some(7)));
        plan.over("s:1", None, Contact::Good, Some(1 << 30), now);
        let fourth = batch(plan.next(now));
        assert_eq!((fourth.outputs.len(), fourth.connection), (1, None));
    }

    #[test]
    fn servers_take_turns_and_reducers_begin_at_different_ones() {
        let now = Instant::now();
        let first = |partition| {
            let mut plan = Plan::<u32>::new(partition, 5);
            for map in 0..9 {
                plan.arrived(output(map, "a", &format!("s:{}", map % 3)));
            }
            let mut seen: Vec<String> = (0..3).map(|_| batch(plan.next(now)).address).collect();
            let first = seen[0].clone();
            seen.sort();
            assert_eq!(seen, ["s:0", "s:1", "s:2"], "each before any twice");
            first
        };
        assert_ne!(first(0), first(1));
    }

    #[test]
    fn only_the_newest_output_of_a_map_is_fetched_and_only_once() {
        let now = Instant::now();
        let mut plan = Plan::new(0, 5);
        plan.arrived(output(0, "a", "s:1"));
        plan.arrived(output(0, "a", "s:1"));
        plan.arrived(output(0, "b", "s:2"));
        let only = batch(plan.next(now));
        assert_eq!((only.address.as_str(), only.outputs.len()), ("s:2", 1));
        assert!(matches!(plan.next(now), Next::Nothing));
        assert!(plan.wants(&output(0, "b", "s:2")) && !plan.wants(&output(0, "a", "s:1")));
        assert!(plan.had(0) && !plan.had(0));
        plan.arrived(output(0, "c", "s:3"));
        assert!(matches!(plan.next(now), Next::Nothing));
    }

    #[test]
    fn a_server_in_trouble_is_left_alone_longer_each_time() {
        let mut now = Instant::now();
        let mut plan = Plan::new(0, 5);
        plan.arrived(output(0, "a", "s:1"));
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let failed = batch(plan.next(now));
            assert!(plan.over("s:1", None, Contact::Uneasy, None, now).is_empty());
            failed.outputs.into_iter().for_each(|wanted| plan.again(wanted));
            let Next::At(at) = plan.next(now) else { panic!("no pause") };
            pauses.push(at - now);
            now = at;
        }
        assert!(pauses.is_sorted() && pauses[1] == pauses[0] * 2);
        assert_eq!(pauses[7], PAUSE.1);
        let good = batch(plan.next(now));
        plan.over("s:1", None, Contact::Good, None, now);
        // What is put off waits by itself and does not hold up others.
        plan.later(now + PAUSE.1, good.outputs.into_iter().next().unwrap());
        plan.arrived(output(1, "a", "s:1"));
        assert_eq!(maps(&batch(plan.next(now))), [1]);
        assert!(matches!(plan.next(now), Next::At(at) if at == now + PAUSE.1));
        assert_eq!(maps(&batch(plan.next(now + PAUSE.1))), [0]);
    }

    #[test]
    fn all_that_is_wanted_of_a_lost_server_is_given_up_together() {
        let mut now = Instant::now();
        let mut plan = Plan::<u32>::new(0, 5);
        for map in 0..100 {
            plan.arrived(output(map, "a", "s:1"));
        }
        for round in 1..=2 * TRIES {
            let lost = batch(plan.next(now));
            lost.outputs.into_iter().for_each(|wanted| plan.again(wanted));
            let given_up = plan.over("s:1", None, Contact::Lost, None, now);
            assert_eq!(given_up.len(), if round % TRIES == 0 { 100 } else { 0 }, "{round}");
            given_up.into_iter().for_each(|wanted| plan.later(now, wanted));
            now += PAUSE.1;
        }
    }

    #[test]
    fn what_lies_on_this_node_is_read_by_all_threads() {
        let now = Instant::now();
        let mut plan = Plan::<u32>::new(0, 3);
        for map in 0..40 {
            let local_path = format!("/w/{map}");
            plan.arrived(MapOutput { local_path, ..output(map, "a", "s:1") });
        }
        for _ in 0..3 {
            assert_eq!(batch(plan.next(now)).address, "");
        }
        assert!(matches!(plan.next(now), Next::Nothing));
    }
}
