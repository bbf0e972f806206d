// a worker runs a function to its end; it cannot be async
use mailring::flow::node;

#[node]
pub async fn compile(level: u32) -> u32 {
    level
}

fn main() {}
