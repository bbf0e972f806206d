// arguments end with the call; return an owned type
use mailring::flow::node;

#[node]
pub fn first(text: &str) -> &str {
    &text[..1]
}

fn main() {}
