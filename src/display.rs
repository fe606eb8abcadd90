//! stand-in
use crate::event::Event;
/// x
#[derive(Default)]
pub struct Display;
impl Display {
    /// x
    pub async fn show(&self, _event: &Event) -> std::io::Result<()> {
        Ok(())
    }
}
