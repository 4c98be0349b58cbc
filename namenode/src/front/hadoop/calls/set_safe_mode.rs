//! `setSafeMode`: asks for or changes safe mode.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{SafeModeActionProto, SetSafeModeRequestProto, SetSafeModeResponseProto};

use crate::front::hadoop::Call;
use crate::service::SafeModeAction;

/// Asks for or changes safe mode.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: SetSafeModeRequestProto = call.decode()?;
    let action = match request.action() {
        SafeModeActionProto::SafemodeEnter => SafeModeAction::Enter,
        SafeModeActionProto::SafemodeLeave | SafeModeActionProto::SafemodeForceExit => {
            SafeModeAction::Leave
        }
        SafeModeActionProto::SafemodeGet => SafeModeAction::Get,
    };
    let audit = match action {
        SafeModeAction::Get => call.audit_read(""),
        SafeModeAction::Enter | SafeModeAction::Leave => call.audit("", None),
    };
    let seen = call.service.set_safe_mode(&call.info, action);
    call.reply(audit, seen, |result| SetSafeModeResponseProto { result })
}
