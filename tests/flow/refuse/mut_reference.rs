use mailring::flow::node;

#[node]
pub fn compile(level: &mut u32) {
    *level += 1;
}

fn main() {}
