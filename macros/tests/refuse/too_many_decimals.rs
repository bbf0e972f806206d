// a quantity is a number from 0 to 1000000 with at most 4 decimals, such as 0.5
use mailring::flow::node;

#[node(cpus = 0.00001)]
pub fn compile(level: u32) -> u32 {
    level
}

fn main() {}
