//! What the server says when it does not do what is asked: `v1 Status` objects.

use serde_json::{Value, json};

use super::resource::Target;

/// A refusal.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    reason: &'static str,
    message: String,
    details: Value,
}

impl Refusal {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: json!({}),
        }
    }

    fn about(target: &Target, code: u16, reason: &'static str, message: &str) -> Self {
        let (resource, name) = (target.resource, &target.name);
        let message = format!("{} \"{name}\" {message}", resource.full_name());
        let details = json!({"name": name, "group": resource.group, "kind": resource.plural});
        Self {
            code,
            reason,
            message,
            details,
        }
    }

    pub(crate) fn not_found(target: &Target) -> Self {
        Self::about(target, 404, "NotFound", "not found")
    }

    pub(crate) fn exists(target: &Target) -> Self {
        Self::about(target, 409, "AlreadyExists", "already exists")
    }

    pub(crate) fn conflict(target: &Target) -> Self {
        let why = "cannot be fulfilled: the object has been modified; please apply your changes to the latest version";
        Self::about(target, 409, "Conflict", why)
    }

    pub(crate) fn invalid(target: &Target, why: &str) -> Self {
        Self::about(target, 422, "Invalid", &format!("is invalid: {why}"))
    }

    pub(crate) fn forbidden(target: &Target, user: &str, verb: &str) -> Self {
        Self::about(
            target,
            403,
            "Forbidden",
            &format!("is forbidden: User \"{user}\" cannot {verb} it"),
        )
    }

    pub(crate) fn bad_request(why: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", why)
    }

    /// The same of what a patch would have made: that is never malformed, but invalid.
    pub(crate) fn of_a_patch(self) -> Self {
        Self {
            code: 422,
            reason: "Invalid",
            ..self
        }
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    pub(crate) fn gone() -> Self {
        Self::new(410, "Expired", "too old resource version")
    }

    pub(crate) fn unsupported(what: &str) -> Self {
        Self::new(415, "UnsupportedMediaType", format!("{what} is not served"))
    }

    pub(crate) fn no_method() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }

    /// One that a test has ordered.
    pub(crate) fn ordered(code: u16) -> Self {
        let reason = match code {
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "NotFound",
            409 => "Conflict",
            410 => "Expired",
            429 => "TooManyRequests",
            503 => "ServiceUnavailable",
            _ => "InternalError",
        };
        Self::new(code, reason, "as the test ordered")
    }

    /// As it is sent.
    pub(crate) fn status(&self) -> Value {
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "details": self.details, "code": self.code,
        })
    }
}
