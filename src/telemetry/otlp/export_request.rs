//! The requests by which messages are exported.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request};

use super::{OtlpEndpoint, OtlpProtocol};

/// The method of gRPC that takes spans.
pub(super) const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// The method of gRPC that takes metrics.
pub(super) const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// Makes a request with this message. It is sent to the endpoint itself, or for gRPC to a method
/// there.
pub(super) fn export_request(
    endpoint: &OtlpEndpoint,
    method: &'static str,
    message: Vec<u8>,
) -> Request<Bytes> {
    let (content_type, body) = match endpoint.protocol {
        OtlpProtocol::HttpProtobuf | OtlpProtocol::Stdout => {
            ("application/x-protobuf", Bytes::from(message))
        }
        OtlpProtocol::Grpc => ("application/grpc", frame_grpc_message(&message)),
    };
    let mut request = Request::new(body);
    request.headers_mut().extend(endpoint.headers.clone());
    request
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if endpoint.protocol == OtlpProtocol::Grpc {
        request
            .headers_mut()
            .insert(http::header::TE, HeaderValue::from_static("trailers"));
        *request.uri_mut() = http::Uri::from_static(method);
    }
    request
}

/// Frames a message for gRPC: a byte that says that it is not compressed, its length, the message.
fn frame_grpc_message(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.freeze()
}
