use mailring::flow::node;

#[node(max_retries = -2)]
pub fn compile(level: u32) -> u32 {
    level
}

fn main() {}
