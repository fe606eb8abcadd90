//! Errors of AMQP: their text, and which of them mean something.

use lapin::ErrorKind;

use crate::wire_text::escaped_excerpt;

/// Largest length of an error in bytes: what RabbitMQ says has 255 (AMQP 0-9-1, 4.2.5.3), and lapin
/// adds some words.
pub(super) const LONGEST_ERROR: usize = 1024;

/// Text of an error, in which control characters that RabbitMQ may have sent are escaped.
pub(super) fn error_text(error: &lapin::Error) -> String {
    escaped_excerpt(error, LONGEST_ERROR)
}

/// True if RabbitMQ closed the channel because something does not exist (404).
pub(super) fn is_not_found(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error) if error.get_id() == 404)
}

/// True if RabbitMQ closed the channel because something exists with other arguments (406).
pub(super) fn is_precondition_failed(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error) if error.get_id() == 406)
}

/// True if the connection has no channel left that could be opened.
pub(super) fn has_no_channel_left(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ChannelsLimitReached)
}
