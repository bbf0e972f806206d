use mailring::flow::node;

#[node(cpus = -1)]
pub fn compile(level: u32) -> u32 {
    level
}

fn main() {}
