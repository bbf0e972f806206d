// a worker has to know the type; name it instead of `impl Trait`
use mailring::flow::node;

#[node]
pub fn compile(level: impl Into<u32>) -> u32 {
    level.into()
}

fn main() {}
