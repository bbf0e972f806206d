// a parameter has a name, by which reports call it; take it apart in the body
use mailring::flow::node;

#[node]
pub fn compile((level, speed): (u32, u32)) -> u32 {
    level + speed
}

fn main() {}
