// a deadline is a string with a number above 0, with at most 4 decimals, and a unit (ms, s, min, h), up to "1000000h", such as "2s" or "1.5min"
use mailring::flow::node;

#[node(deadline = 2)]
fn late() {}
