//! `getListing`: a page of a directory.

use hfs_protocol::error::{ErrorKind, RemoteError};
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{DirectoryListingProto, GetListingRequestProto, GetListingResponseProto};

use crate::front::hadoop::Call;
use crate::front::hadoop::convert;

/// A page of a directory.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: GetListingRequestProto = call.decode()?;
    let audit = call.audit_read(&request.src);
    let after = std::str::from_utf8(&request.start_after).map_err(|_| {
        let message = format!("getListing of {}: startAfter is not UTF-8", request.src);
        RemoteError::new(ErrorKind::InvalidPath, message)
    })?;
    let pool = &call.service.identity.block_pool_id;
    let seen = call.service.list(&call.info, &request.src, after, request.need_location);
    call.reply(audit, seen, |page| GetListingResponseProto {
        dir_list: page.map(|page| {
            let mut places = page.places.into_iter();
            let entries = page.listing.entries.iter().map(|entry| {
                let file = places.next().flatten();
                convert::status(entry, file.map(|file| convert::located_file(pool, &file)))
            });
            DirectoryListingProto {
                partial_listing: entries.collect(),
                remaining_entries: u32::try_from(page.listing.remaining).unwrap_or(u32::MAX),
            }
        }),
    })
}
