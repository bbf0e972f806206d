// `gpus` is not an option of a node; there are cpus, resources(..), max_retries, deadline, priority, name
use mailring::flow::node;

#[node(gpus = 1)]
pub fn compile(level: u32) -> u32 {
    level
}

fn main() {}
