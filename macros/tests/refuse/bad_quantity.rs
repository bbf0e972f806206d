// a quantity of a resource is a number above 0, up to 1000000, with at most 4 decimals, such as 0.5
use mailring::flow::node;

#[node(resources(chipyard = "one"))]
pub fn compile(level: u32) -> u32 {
    level
}

fn main() {}
