use mailring::flow::node;

#[node]
pub fn compile<T>(level: T) -> T {
    level
}

fn main() {}
