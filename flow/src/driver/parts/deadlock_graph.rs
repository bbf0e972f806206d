//! Deadlock detection on a plain graph.
//!
//! A task can be complete some day if what it needs can be, and if what it needs of resources is
//! free or held by those that can. What that does not reach waits for itself, by whatever way.
//! Nothing is guessed: a task that is at work counts as one that ends.

/// Amounts of some pools, all at the same time.
pub(crate) type Claim = Vec<(usize, i64)>;

/// A wait of a body: it ends when so many of these are complete.
#[derive(Clone, Debug)]
pub(crate) struct Wait {
    pub(crate) need: usize,
    pub(crate) of: Vec<usize>,
}

/// An incomplete task.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    /// All of these come first.
    pub(crate) after: Vec<usize>,
    /// Its body waits; when one of the waits ends, it may go on to its own end.
    pub(crate) waits: Vec<Wait>,
    /// Which of the claims of the graph it has, if it is yet to be placed.
    pub(crate) wants: Option<usize>,
    /// What it holds until it is complete.
    pub(crate) holds: Claim,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    /// Each is a choice: one of these is enough.
    pub(crate) claims: Vec<Vec<Claim>>,
    /// What is free of each pool.
    pub(crate) free: Vec<i64>,
}

/// How far that was worked out: more can be added to it.
pub(crate) struct Reach<'g> {
    graph: &'g Graph,
    live: Vec<bool>,
    free: Vec<i64>,
    met: Vec<bool>,
    /// Of each node: those that have it among what comes first, and the waits that name it.
    followers: Vec<Vec<usize>>,
    missing: Vec<usize>,
    left: Vec<Vec<usize>>,
    waiters: Vec<Vec<(usize, usize)>>,
    open: Vec<usize>,
}

impl<'g> Reach<'g> {
    pub(crate) fn new(graph: &'g Graph) -> Self {
        let count = graph.nodes.len();
        let mut new = Self {
            graph,
            live: vec![false; count],
            free: graph.free.clone(),
            met: vec![false; graph.claims.len()],
            followers: vec![Vec::new(); count],
            missing: graph.nodes.iter().map(|node| node.after.len()).collect(),
            left: Vec::with_capacity(count),
            waiters: vec![Vec::new(); count],
            open: Vec::new(),
        };
        for (at, node) in graph.nodes.iter().enumerate() {
            node.after.iter().for_each(|&first| new.followers[first].push(at));
            for (which, wait) in node.waits.iter().enumerate() {
                wait.of.iter().for_each(|&of| new.waiters[of].push((at, which)));
            }
            new.left.push(node.waits.iter().map(|wait| wait.need).collect());
        }
        new.meet();
        (0..count).for_each(|at| new.look(at));
        new.run();
        new
    }

    pub(crate) fn is_live(&self, at: usize) -> bool {
        self.live[at]
    }

    /// Whether a task is held up by resources alone.
    pub(crate) fn lacks_resources(&self, at: usize) -> bool {
        self.missing[at] == 0 && self.graph.nodes[at].wants.is_some_and(|wants| !self.met[wants])
    }

    /// This one gets to its end in another way.
    pub(crate) fn free(&mut self, at: usize) {
        self.pass(at);
        self.run();
    }

    fn look(&mut self, at: usize) {
        let node = &self.graph.nodes[at];
        let placed = node.wants.is_none_or(|wants| self.met[wants]);
        let goes_on = node.waits.is_empty() || self.left[at].contains(&0);
        if self.missing[at] == 0 && placed && goes_on {
            self.pass(at);
        }
    }

    fn pass(&mut self, at: usize) {
        if !std::mem::replace(&mut self.live[at], true) {
            self.open.push(at);
        }
    }

    /// Claims that are met now. Whether any was not before.
    fn meet(&mut self) -> bool {
        let mut any = false;
        for (claim, met) in self.graph.claims.iter().zip(&mut self.met) {
            let there = |choice: &Claim| choice.iter().all(|&(pool, n)| self.free[pool] >= n);
            if !*met && claim.iter().any(there) {
                (*met, any) = (true, true);
            }
        }
        any
    }

    fn run(&mut self) {
        while let Some(at) = self.open.pop() {
            for &(pool, n) in &self.graph.nodes[at].holds {
                self.free[pool] += n;
            }
            for follower in std::mem::take(&mut self.followers[at]) {
                self.missing[follower] -= 1;
                self.look(follower);
            }
            for (waiter, which) in std::mem::take(&mut self.waiters[at]) {
                self.left[waiter][which] = self.left[waiter][which].saturating_sub(1);
                self.look(waiter);
            }
            if !self.graph.nodes[at].holds.is_empty() && self.meet() {
                (0..self.graph.nodes.len()).for_each(|at| self.look(at));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    struct Random(u64);

    impl Random {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99_991);
            (self.0 >> 33) as usize % end
        }
    }

    /// Tasks that are at work, wait, or are queued; pools of which some is held.
    fn random(random: &mut Random) -> Graph {
        let count = 1 + random.below(6);
        let pools = 1 + random.below(3);
        let mut free: Vec<i64> = (0..pools).map(|_| random.below(3) as i64).collect();
        let mut claims: Vec<Vec<Claim>> = Vec::new();
        for _ in 0..1 + random.below(3) {
            let choices = 1 + random.below(2);
            let choice = |random: &mut Random| -> Claim {
                let mut claim: Claim = Vec::new();
                for pool in 0..pools {
                    if random.below(2) == 0 {
                        claim.push((pool, 1 + random.below(2) as i64));
                    }
                }
                claim
            };
            claims.push((0..choices).map(|_| choice(random)).collect());
        }
        let nodes = (0..count)
            .map(|_| {
                let mut node = Node::default();
                let some = |random: &mut Random| -> Vec<usize> {
                    (0..random.below(3)).map(|_| random.below(count)).collect()
                };
                match random.below(3) {
                    0 => {
                        node.after = some(random);
                        node.wants = Some(random.below(claims.len()));
                    }
                    at_work => {
                        for (pool, left) in free.iter_mut().enumerate() {
                            if random.below(3) == 0 {
                                node.holds.push((pool, 1));
                                *left = (*left - 1).max(0);
                            }
                        }
                        for _ in 0..(at_work - 1) * (1 + random.below(2)) {
                            let of = some(random);
                            let need = random.below(of.len() + 1).max(of.len().min(1));
                            node.waits.push(Wait { need, of });
                        }
                    }
                }
                node
            })
            .collect();
        Graph { nodes, claims, free }
    }

    /// All that can be complete in any order, step by step: what is queued takes what it needs,
    /// and gives it back at its end.
    fn by_force(graph: &Graph) -> Vec<bool> {
        #[derive(Clone, PartialEq, Eq, Hash)]
        struct State {
            /// Per node: 0 not placed, 1 at work, 2 complete; and what was taken, by choice.
            phase: Vec<(u8, usize)>,
            free: Vec<i64>,
        }
        let phase = graph.nodes.iter().map(|node| (u8::from(node.wants.is_none()), 0)).collect();
        let mut open = vec![State { phase, free: graph.free.clone() }];
        let mut seen: HashSet<State> = open.iter().cloned().collect();
        let mut reached = vec![false; graph.nodes.len()];
        while let Some(state) = open.pop() {
            let complete = |of: &usize| state.phase[*of].0 == 2;
            for (at, node) in graph.nodes.iter().enumerate() {
                let mut next = Vec::new();
                match state.phase[at] {
                    (0, _) if node.after.iter().all(complete) => {
                        let choices = &graph.claims[node.wants.unwrap()];
                        for (which, choice) in choices.iter().enumerate() {
                            if choice.iter().all(|&(pool, n)| state.free[pool] >= n) {
                                let mut new = state.clone();
                                new.phase[at] = (1, which);
                                choice.iter().for_each(|&(pool, n)| new.free[pool] -= n);
                                next.push(new);
                            }
                        }
                    }
                    (1, which) if node.after.iter().all(complete) => {
                        let ends = |wait: &Wait| {
                            wait.of.iter().filter(|of| complete(of)).count() >= wait.need
                        };
                        if node.waits.is_empty() || node.waits.iter().any(ends) {
                            let mut new = state.clone();
                            new.phase[at] = (2, 0);
                            let none = Claim::new();
                            let taken =
                                node.wants.map_or(&none, |wants| &graph.claims[wants][which]);
                            let back = node.holds.iter().chain(taken);
                            back.for_each(|&(pool, n)| new.free[pool] += n);
                            next.push(new);
                        }
                    }
                    _ => {}
                }
                for new in next {
                    (0..reached.len()).for_each(|at| reached[at] |= new.phase[at].0 == 2);
                    if seen.insert(new.clone()) {
                        open.push(new);
                    }
                }
            }
        }
        reached
    }

    #[test]
    fn as_trying_all_orders_says() {
        let (mut random_of, mut dead) = (Random(7), 0);
        for round in 0..20_000 {
            let graph = random(&mut random_of);
            let reach = Reach::new(&graph);
            let live: Vec<bool> = (0..graph.nodes.len()).map(|at| reach.is_live(at)).collect();
            assert_eq!(live, by_force(&graph), "round {round}: {graph:#?}");
            dead += usize::from(live.contains(&false));
        }
        assert!((2_000..18_000).contains(&dead), "{dead} with a deadlock: both kinds are there");
    }

    #[test]
    fn freeing_one_by_one_frees_all() {
        let mut random_of = Random(11);
        for _ in 0..2_000 {
            let graph = random(&mut random_of);
            let mut reach = Reach::new(&graph);
            for at in 0..graph.nodes.len() {
                if !reach.is_live(at) {
                    reach.free(at);
                }
            }
            assert!((0..graph.nodes.len()).all(|at| reach.is_live(at)));
        }
    }
}
