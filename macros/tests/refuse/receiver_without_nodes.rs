// a free function has no `self`; put #[nodes] on the impl block
use mailring::flow::node;

pub struct Chisel {
    width: u32,
}

impl Chisel {
    #[node]
    pub fn width(&self) -> u32 {
        self.width
    }
}

fn main() {}
