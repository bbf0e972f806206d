// a worker has to know the type; name it instead of `dyn Trait`
use mailring::flow::node;

#[node]
pub fn shown(what: &dyn std::fmt::Display) -> String {
    what.to_string()
}

fn main() {}
