use mailring::flow::node;

#[node]
pub fn compile(level: impl Into<u32>) -> u32 {
    level.into()
}

fn main() {}
