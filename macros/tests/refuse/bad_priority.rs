// a priority is an integer from -2147483648 to 2147483647
use mailring::flow::node;

#[node(priority = "high")]
fn urgent() {}
