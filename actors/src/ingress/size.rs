//! How much a trigger may bring.

use super::{Ingress, Trigger, TriggerError};

impl Ingress {
    /// Refuses a trigger whose context is larger than is taken.
    pub(crate) fn check_size(&self, trigger: &Trigger) -> Result<(), TriggerError> {
        let limit = self.runtime.settings.max_trigger_bytes;
        let mut counter = ByteCounter(0);
        serde_json::to_writer(&mut counter, &*trigger.context).map_err(|e| TriggerError::Failed(e.to_string()))?;
        if counter.0 > limit { Err(TriggerError::TooLarge { bytes: counter.0, limit }) } else { Ok(()) }
    }
}

/// Counts what would be written.
struct ByteCounter(usize);

impl std::io::Write for ByteCounter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
