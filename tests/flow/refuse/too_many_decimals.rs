use mailring::flow::node;

#[node(cpus = 0.00001)]
pub fn compile(level: u32) -> u32 {
    level
}

fn main() {}
