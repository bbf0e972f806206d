// `max_retries` is an integer from 0 to 2147483647, or -1: without limit
use mailring::flow::node;

#[node(max_retries = -2)]
pub fn compile(level: u32) -> u32 {
    level
}

fn main() {}
