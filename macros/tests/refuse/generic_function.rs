// a worker has to know the types; it cannot be generic
use mailring::flow::node;

#[node]
pub fn compile<T>(level: T) -> T {
    level
}

fn main() {}
