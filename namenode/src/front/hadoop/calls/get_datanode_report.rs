//! `getDatanodeReport`: datanodes and how they are.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{DatanodeReportTypeProto, GetDatanodeReportRequestProto, GetDatanodeReportResponseProto};

use crate::front::hadoop::Call;
use crate::front::hadoop::convert;
use crate::service::Which;

/// Datanodes and how they are.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: GetDatanodeReportRequestProto = call.decode()?;
    let which = match request.r#type() {
        DatanodeReportTypeProto::All => Some(Which::All),
        DatanodeReportTypeProto::Live => Some(Which::Live),
        DatanodeReportTypeProto::Dead => Some(Which::Dead),
        // No node is ever in these states.
        DatanodeReportTypeProto::Decommissioning
        | DatanodeReportTypeProto::EnteringMaintenance
        | DatanodeReportTypeProto::InMaintenance => None,
    };
    let nodes = which.map(|which| call.service.datanodes(which)).unwrap_or_default();
    call.answer(&GetDatanodeReportResponseProto {
        di: nodes.iter().map(|(node, replicas)| convert::datanode(node, *replicas)).collect(),
    })
}
