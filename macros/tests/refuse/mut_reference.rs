// a worker has a copy, so changes would be lost; take it by value and return it
use mailring::flow::node;

#[node]
pub fn compile(level: &mut u32) {
    *level += 1;
}

fn main() {}
