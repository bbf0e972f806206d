use mailring::flow::node;

#[node]
pub fn compile((level, speed): (u32, u32)) -> u32 {
    level + speed
}

fn main() {}
