//! Telling a run something, and waiting until that is durable.

use std::time::Duration;

use core314_domain::ids::RunId;
use core314_domain::run::Command;
use tokio::sync::oneshot;

use super::Ingress;
use crate::engine::TellError;
use crate::flow_run::Remark;
use crate::queue_partition::{Answer, PartitionMsg};

impl Ingress {
    /// Tells a run of this partition, and waits until what comes of it is durable.
    pub(crate) async fn tell(
        &self,
        partition: u16,
        run: RunId,
        command: Command,
        remark: Remark,
    ) -> Result<(), TellError> {
        let target = self.partition_numbered(partition).ok_or(TellError::NotFound)?;
        let (answer, heard) = oneshot::channel();
        let msg = PartitionMsg::Tell { run, command: Box::new(command), remark, answer: Some(answer) };
        target.tell(msg).map_err(|_| TellError::Busy)?;
        let patience = Duration::from_millis(self.runtime.settings.accept_timeout_ms);
        match tokio::time::timeout(patience, heard).await {
            Ok(Ok(Answer::Committed | Answer::Duplicate { .. } | Answer::Gathered { .. })) => Ok(()),
            Ok(Ok(Answer::Refused(refusal))) => Err(TellError::Refused(refusal)),
            Ok(Ok(Answer::NotFound)) => Err(TellError::NotFound),
            Ok(Ok(Answer::RunKeyTaken(other))) => Err(TellError::RunKeyTaken(other)),
            Ok(Ok(Answer::Skipped { holders })) => Err(TellError::Skipped { holders }),
            Ok(Ok(Answer::Failed(message))) => Err(TellError::Failed(message)),
            Ok(Ok(Answer::Crowded) | Err(_)) | Err(_) => Err(TellError::Busy),
        }
    }
}
