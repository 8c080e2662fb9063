//! How much a trigger may bring.

use serde_json::Value;

use super::{Ingress, Trigger, TriggerError};

impl Ingress {
    /// Refuses a trigger whose context is larger than is taken.
    pub(crate) fn check_size(&self, trigger: &Trigger) -> Result<(), TriggerError> {
        let limit = self.runtime.settings.max_trigger_bytes;
        let bytes = json_bytes(&trigger.context);
        if bytes > limit { Err(TriggerError::TooLarge { bytes, limit }) } else { Ok(()) }
    }
}

/// How many bytes a value has as a text.
pub(crate) fn json_bytes(value: &Value) -> usize {
    let mut counter = ByteCounter(0);
    serde_json::to_writer(&mut counter, value).expect("a value has text keys, and counting does not fail");
    counter.0
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
