use mailring::flow::node;

#[node]
pub fn length(text: std::borrow::Cow<'_, str>) -> usize {
    text.len()
}

fn main() {}
