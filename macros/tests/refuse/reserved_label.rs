// `GPU` is not a label: use `cpus = ..`, these names are reserved
use mailring::flow::node;

#[node(resources(GPU = 1))]
pub fn compile(level: u32) -> u32 {
    level
}

fn main() {}
