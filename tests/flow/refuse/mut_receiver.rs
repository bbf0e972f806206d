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
