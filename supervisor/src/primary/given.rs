//! The final answers that the core gave in a turn. A successor gives them again, because they may
//! not have reached their clients.

use ipc::control::Reply;
use serde::{Deserialize, Serialize};

use super::action::Action;
use crate::base::ids::ClientId;

/// A final answer that the core gave, or that it left to the runtime.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Given {
    Answer { client: ClientId, reply: Reply },
    Status { client: ClientId },
    Spec { client: ClientId },
    Logs { client: ClientId },
}

impl Given {
    pub(super) fn of(action: &Action) -> Option<Self> {
        match action {
            Action::Answer { client, reply } => {
                Some(Self::Answer { client: *client, reply: reply.clone() })
            }
            Action::AnswerStatus { client } => Some(Self::Status { client: *client }),
            Action::AnswerSpec { client } => Some(Self::Spec { client: *client }),
            Action::ReopenLogs { client: Some(client) } => Some(Self::Logs { client: *client }),
            // Carrying these out twice would be wrong. The runtime tells the client that the result
            // is unknown.
            Action::Send { .. } | Action::Bus { .. } | Action::Upgrade { .. } => None,
            Action::OpenListeners { .. }
            | Action::Merge { .. }
            | Action::Spawn { .. }
            | Action::RunHook { .. }
            | Action::Lend { .. }
            | Action::Steer { .. }
            | Action::Gate { .. }
            | Action::CloseListener { .. }
            | Action::Signal { .. }
            | Action::Stop { .. }
            | Action::Kill { .. }
            | Action::EndKept { .. }
            | Action::Look { .. }
            | Action::Gauge { .. }
            | Action::Release { .. }
            | Action::Abandon { .. }
            | Action::BusDrain { .. }
            | Action::NoteQuiet { .. }
            | Action::ReloadEnded { .. }
            | Action::Subscribe { .. }
            | Action::Publish(_)
            | Action::ReopenLogs { client: None }
            | Action::Exit { .. } => None,
        }
    }

    pub(super) fn client(&self) -> ClientId {
        match self {
            Self::Answer { client, .. }
            | Self::Status { client }
            | Self::Spec { client }
            | Self::Logs { client } => *client,
        }
    }

    pub(super) fn again(&self) -> Action {
        match self {
            Self::Answer { client, reply } => {
                Action::Answer { client: *client, reply: reply.clone() }
            }
            Self::Status { client } => Action::AnswerStatus { client: *client },
            Self::Spec { client } => Action::AnswerSpec { client: *client },
            Self::Logs { client } => Action::ReopenLogs { client: Some(*client) },
        }
    }
}
