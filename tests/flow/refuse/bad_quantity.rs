use mailring::flow::node;

#[node(resources(chipyard = "one"))]
pub fn compile(level: u32) -> u32 {
    level
}

fn main() {}
