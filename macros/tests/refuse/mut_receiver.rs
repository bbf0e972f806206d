// a worker has a copy of the receiver, so changes would be lost; take `self` and return it, or make the type an actor
use mailring::flow::node;

pub struct Chisel {
    width: u32,
}

#[mailring::flow::nodes]
impl Chisel {
    #[node]
    pub fn widen(&mut self, by: u32) {
        self.width += by;
    }
}

fn main() {}
