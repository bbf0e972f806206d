// this borrows, and a worker decodes a copy; take an owned type
use mailring::flow::node;

#[node]
pub fn length(text: std::borrow::Cow<'_, str>) -> usize {
    text.len()
}

fn main() {}
